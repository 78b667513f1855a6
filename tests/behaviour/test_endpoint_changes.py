"""Endpoints and clusters come and go while requests are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from proxy.table import Cluster, Endpoint, Table
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.clients import reset
from tests.support.failing import (
    CLUSTER,
    OK,
    Gate,
    answers,
    client_of,
    cluster_of,
    deaf_port,
    endpoint_of,
    eventually,
    quiet,
    request,
    status,
    turn_to,
)
from tests.support.proxy import RunningProxy, one_route, running_proxy


def _with_ports(table: Table, ports: Sequence[int]) -> Table:
    endpoints = tuple(Endpoint(address="127.0.0.1", port=port) for port in ports)
    return msgspec.structs.replace(table, clusters={CLUSTER: Cluster(endpoints=endpoints)})


async def test_an_endpoint_that_leaves_finishes_what_it_has_and_gets_nothing_new() -> None:
    """The request under way ends well, then its connection closes; idle connections close at once."""
    gate = Gate()
    gate.open.set()
    async with (
        raw_backend(gate) as old,
        raw_backend(answers()) as new,
        running_proxy(one_route([old.port])) as proxy,
        client_of(proxy) as client,
        client_of(proxy) as other,
    ):
        for each in (client, other):
            each.send(request())
        for each in (client, other):
            await each.read_response()
        assert len(endpoint_of(proxy).idle) == 2
        gate.open.clear()
        client.send(request())
        await eventually(lambda: len(old.heads) == 3, "a request is under way")
        leaving = endpoint_of(proxy)
        proxy.publish(_with_ports(proxy.table, [new.port]))
        await eventually(lambda: gate.ended == 1, "the idle connection is closed")
        for _ in range(5):
            other.send(request())
            assert status((await other.read_response())[0]) == 200
        assert len(new.heads) == 5
        gate.open.set()
        assert status((await client.read_response())[0]) == 200
        await eventually(lambda: gate.ended == 2, "the busy connection is closed after its response")
        assert leaving.active == 0
        assert not leaving.idle
        await quiet(proxy, connections=2)
    assert len(old.heads) == 3


async def test_an_endpoint_that_stays_keeps_its_connections() -> None:
    """A change beside it costs a staying endpoint neither its pool nor its health."""
    async with (
        raw_backend(answers()) as stays,
        raw_backend(answers()) as comes,
        running_proxy(one_route([stays.port])) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        await client.read_response()
        before = endpoint_of(proxy)
        before.failures = 3
        proxy.publish(_with_ports(proxy.table, sorted([stays.port, comes.port])))
        assert before in cluster_of(proxy).endpoints
        assert len(before.idle) == 1
        assert before.failures == 3
        for _ in range(10):
            client.send(request())
            await client.read_response()
        assert (stays.connections, comes.connections) == (1, 1)


async def test_a_cluster_that_is_removed_while_in_use_finishes_first() -> None:
    """Its request ends well; the next one finds the route without endpoints."""
    gate = Gate()
    async with (
        raw_backend(gate) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        await eventually(lambda: bool(backend.heads), "the request is under way")
        proxy.publish(msgspec.structs.replace(proxy.table, clusters={}))
        gate.open.set()
        assert status((await client.read_response())[0]) == 200
        await eventually(lambda: gate.ended == 1, "its connection is closed")
        client.send(request())
        assert status((await client.read_response())[0]) == 503
        await quiet(proxy, connections=1)


async def test_a_whole_table_removed_in_use_finishes_first() -> None:
    """A request keeps the table it began with."""
    gate = Gate()
    async with (
        raw_backend(gate) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        await eventually(lambda: bool(backend.heads), "the request is under way")
        proxy.publish(Table(settings=proxy.table.settings))
        gate.open.set()
        assert status((await client.read_response())[0]) == 200
        client.send(request())
        assert status((await client.read_response())[0]) == 404
        await quiet(proxy, connections=1)


async def test_a_request_whose_endpoint_leaves_while_it_is_dialled_is_sent_to_another() -> None:
    """The endpoint that takes no connection leaves; the retry finds the new ones."""
    settings = one_route([]).settings
    settings = msgspec.structs.replace(settings, connect_timeout=0.2)
    with deaf_port() as deaf:
        async with (
            raw_backend(answers()) as new,
            running_proxy(one_route([deaf], settings=settings)) as proxy,
            client_of(proxy) as client,
        ):
            client.send(request("POST", body=b"abc"))
            await eventually(lambda: endpoint_of(proxy).active == 1, "the dial is under way")
            proxy.publish(_with_ports(proxy.table, [new.port]))
            assert status((await client.read_response())[0]) == 200
            client.close()
            await quiet(proxy)


async def test_a_dial_to_an_endpoint_that_left_is_not_pooled() -> None:
    """The connection comes up after both its request and its endpoint are gone: it is closed."""
    gate = Gate()
    async with raw_backend(gate) as old, running_proxy(one_route([old.port])) as proxy:
        client = await proxy.connect()
        await eventually(lambda: len(proxy.worker.connections) == 1, "the client is there")
        member = next(iter(proxy.worker.connections._members))
        member.data_received(request())
        leaving = endpoint_of(proxy)
        assert leaving.active == 1
        member._exchange.client_gone()
        proxy.publish(_with_ports(proxy.table, []))
        reset(client)
        await eventually(lambda: gate.ended == 1, "the connection is closed again")
        assert not leaving.idle
        assert leaving.active == 0
        await quiet(proxy)


async def _ask_on(proxy: RunningProxy, method: str, number: int) -> list[int]:
    statuses = []
    async with client_of(proxy) as client:
        for _ in range(number):
            client.send(request(method, body=b"x" if method == "POST" else None))
            statuses.append(status((await client.read_response())[0]))
    return statuses


async def test_endpoints_replaced_under_load_fail_no_request() -> None:
    """Again and again the only two endpoints give way to two others and close once they are through: none of 600 fails.

    As pods do, an endpoint that was told to end finishes what it has first; it closes its connections right after that.
    """

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            await conversation.read_body(head)
            await asyncio.sleep(0.001)
            conversation.send(OK)

    async with raw_backend(script) as first, raw_backend(script) as second:
        async with running_proxy(one_route([first.port, second.port])) as proxy, asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(_ask_on(proxy, method, 60)) for method in ("GET", "POST") for _ in range(5)]
            changes = 0
            while not all(task.done() for task in asking):
                async with raw_backend(script) as third, raw_backend(script) as fourth:
                    proxy.publish(_with_ports(proxy.table, [third.port, fourth.port]))
                    await asyncio.sleep(0.02)
                    leaving = cluster_of(proxy).endpoints
                    proxy.publish(_with_ports(proxy.table, [first.port, second.port]))
                    while any(endpoint.active for endpoint in leaving):
                        await asyncio.sleep(0)
                changes += 2
        statuses = [answer for task in asking for answer in task.result()]
        await quiet(proxy)
    assert statuses == [200] * 600
    assert changes >= 6


async def test_round_robin_goes_on_over_an_update() -> None:
    """A change of the cluster does not begin again with the first endpoint."""
    async with (
        raw_backend(answers()) as first,
        raw_backend(answers()) as second,
        running_proxy(one_route([first.port, second.port])) as proxy,
        client_of(proxy) as client,
    ):
        turn_to(proxy, 0)
        for _ in range(20):
            client.send(request())
            await client.read_response()
            cluster_of(proxy).update(proxy.table.clusters[CLUSTER])
    assert (len(first.heads), len(second.heads)) == (10, 10)
