"""The table changes while requests run: each keeps the routes it began with, the next one has the new ones."""

from __future__ import annotations

import asyncio

import msgspec

from proxy.table import Cluster, Endpoint, Host, Policy, Settings, Table
from tests.support.backend import Backend, Conversation, Script, raw_backend
from tests.support.clients import get, read_reply, within
from tests.support.proxy import HOST, one_route, running_proxy


def named(name: bytes, gate: asyncio.Event | None = None) -> Script:
    """A backend that answers with its name, in two halves where ``gate`` keeps the second one back."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            backend.heads.append(head)
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(name)) + name)
            if gate is not None:
                await gate.wait()
            conversation.send(name)

    return script


async def test_the_next_request_of_a_connection_has_the_new_table() -> None:
    """One client connection is led to another backend, to a 404, to a 503 and back, without being closed."""
    async with (
        raw_backend(named(b"old")) as old,
        raw_backend(named(b"new")) as new,
        running_proxy(one_route([old.port])) as proxy,
    ):
        client = await proxy.connect()
        first = proxy.table
        for table, status, body in (
            (first, 200, b"oldold"),
            (one_route([new.port]), 200, b"newnew"),
            (msgspec.structs.replace(first, hosts={}), 404, None),
            (msgspec.structs.replace(first, clusters={}), 503, None),
            (first, 200, b"oldold"),
        ):
            proxy.publish(msgspec.structs.replace(table, settings=first.settings))
            client.send(get())
            reply = await read_reply(client)
            assert reply.status == status
            assert body in (reply.body, None)
        client.close()


async def test_a_request_under_way_keeps_its_route() -> None:
    """Its host, its cluster and its endpoint go while its response is half sent: the other half arrives."""
    gate = asyncio.Event()
    async with raw_backend(named(b"old", gate)) as old, running_proxy(one_route([old.port])) as proxy:
        client = await proxy.connect()
        client.send(get())
        await client.read_head()
        proxy.publish(Table(settings=proxy.table.settings))
        await proxy.tick()
        gate.set()
        assert await within(client.reader.readexactly(6)) == b"oldold"
        client.send(get())
        assert (await read_reply(client)).status == 404
        client.close()


async def test_a_connection_to_an_endpoint_that_left_is_not_kept() -> None:
    """When its last request ends, the connection closes instead of going to the pool of an endpoint that is no more."""
    gate = asyncio.Event()
    ended = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        await named(b"old", gate)(conversation, backend)
        ended.set()

    async with raw_backend(script) as old, running_proxy(one_route([old.port])) as proxy:
        client = await proxy.connect()
        client.send(get())
        await client.read_head()
        proxy.publish(msgspec.structs.replace(proxy.table, clusters={"default/backend:80": Cluster()}))
        assert not ended.is_set()
        gate.set()
        assert await within(client.reader.readexactly(6)) == b"oldold"
        await within(ended.wait())
        client.close()


async def test_an_upload_under_way_keeps_its_limit() -> None:
    """A smaller body limit counts from the next request on."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            backend.bodies.append(await conversation.read_body(head))
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        upload = b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"
        client.send(upload)
        await asyncio.sleep(0.02)
        limited = one_route([backend.port], policy=Policy(max_body_bytes=5), settings=proxy.table.settings)
        proxy.publish(limited)
        client.send(b"5\r\nfghij\r\n0\r\n\r\n")
        assert (await read_reply(client)).status == 200
        client.send(upload + b"5\r\nfghij\r\n0\r\n\r\n")
        assert (await read_reply(client)).status == 413
        client.close()


async def test_hundreds_of_changes_under_load_lose_nothing() -> None:
    """While clients ask without pause, endpoints and hosts change at every turn: each request gets its 200."""

    async def ask_on(count: int) -> None:
        client = await proxy.connect()
        for _ in range(count):
            client.send(get())
            reply = await read_reply(client)
            assert (reply.status, reply.body) in ((200, b"oneone"), (200, b"twotwo"))
        client.close()

    async with (
        raw_backend(named(b"one")) as one,
        raw_backend(named(b"two")) as two,
        running_proxy(one_route([one.port])) as proxy,
    ):
        tables = []
        for turn in range(200):
            ports = ([one.port], [two.port], [one.port, two.port])[turn % 3]
            endpoints = tuple(Endpoint(address="127.0.0.1", port=port) for port in sorted(ports))
            hosts = {HOST: proxy.table.hosts[HOST]}
            if turn % 2:
                hosts["other.example.com"] = Host()
            tables.append(
                msgspec.structs.replace(
                    proxy.table, hosts=hosts, clusters={"default/backend:80": Cluster(endpoints=endpoints)}
                )
            )
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(ask_on(100))
            for table in tables:
                proxy.publish(table)
                await asyncio.sleep(0.001)
    assert one.connections + two.connections > 2
    assert proxy.worker.runtime.active == 0


async def test_a_change_of_settings_reaches_every_route() -> None:
    """Routes are compiled with the settings in mind: a new general body limit counts for a host that did not change."""

    async with raw_backend(named(b"x")) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        request = b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 9\r\n\r\n"
        proxy.publish(msgspec.structs.replace(proxy.table, settings=Settings(access_log="off", max_body_bytes=8)))
        client.send(request)
        assert (await read_reply(client)).status == 413
        client.close()
