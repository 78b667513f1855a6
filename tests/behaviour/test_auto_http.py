"""Backends that are spoken to as the client came: plain text behind plain text, TLS behind TLS, on the same port."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import NamedTuple

import msgspec
import pytest
import trustme

from proxy.table import (
    Affinity,
    Balance,
    Cluster,
    Endpoint,
    Forward,
    HashPart,
    Host,
    Policy,
    Route,
    Settings,
    Table,
    UpstreamTls,
)
from tests.behaviour.test_tls_termination import secured, trusting
from tests.support.backend import Backend, Script, fixed, raw_backend
from tests.support.certificates import ca_pem, server_context
from tests.support.clients import Reply, get, parse_request, read_reply
from tests.support.failing import quiet, refusing_port, resets
from tests.support.http2 import http2_client
from tests.support.proxy import HOST, RunningProxy, running_proxy

AUTHORITY = trustme.CA()
NAME = "api.internal.example"
CONTEXT = server_context(AUTHORITY, NAME)
TRUST = UpstreamTls(verify=True, ca_pem=ca_pem(AUTHORITY), server_name=NAME)
PLAIN, SECURED = "plain", "secured"
STICKY = Affinity(cookie="route")
NO_LOG = Settings(access_log="off")


def says(name: str) -> Script:
    """Every answer names its pod."""
    return fixed(f"HTTP/1.1 200 OK\r\nX-Pod: {name}\r\nContent-Length: 0\r\n\r\n".encode())


class Pod(NamedTuple):
    """What came to one port in plain text and over TLS."""

    port: int
    plain: Backend
    secured: Backend

    @property
    def heard(self) -> tuple[int, int]:
        """Requests in plain text, and over TLS."""
        return len(self.plain.heads), len(self.secured.heads)


@asynccontextmanager
async def pod(name: str, *, plain: Script | None = None, over_tls: Script | None = None) -> AsyncIterator[Pod]:
    """A port that speaks both, as the first byte of a connection wants it."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b"") -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            writer.write(first)
            while data := await reader.read(65536):
                writer.write(data)
        writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        behind = over if first[:1] == b"\x16" else text
        if first:
            back, there = await asyncio.open_connection("127.0.0.1", behind.port)
            await asyncio.gather(pass_on(reader, there, first), pass_on(back, writer))
        writer.transport.abort()

    async with (
        raw_backend(plain or says(name), name=name) as text,
        raw_backend(over_tls or says(name), tls=CONTEXT, name=name) as over,
    ):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield Pod(server.sockets[0].getsockname()[1], text, over)
        finally:
            server.close()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def pods(*names: str) -> AsyncIterator[list[Pod]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(pod(name)) for name in names]


def auto(
    plain: Sequence[int],
    over_tls: Sequence[int] | None = None,
    *,
    settings: Settings = NO_LOG,
    policy: Policy | None = None,
    affinity: Affinity | None = None,
    balance: Balance | None = None,
) -> Table:
    """The one host, to the ports ``plain``, and for clients over TLS to those of ``over_tls`` (``None``: the same)."""

    def cluster(ports: Sequence[int], tls: UpstreamTls | None, affinity: Affinity | None) -> Cluster:
        endpoints = tuple(Endpoint(address="127.0.0.1", port=port) for port in ports)
        return Cluster(endpoints=endpoints, tls=tls, affinity=affinity, balance=balance or Balance())

    shared = None if affinity is None else msgspec.structs.replace(affinity, cluster=PLAIN)
    route = Route(action=Forward(cluster=PLAIN, tls_cluster=SECURED), policy=policy or Policy())
    return msgspec.structs.replace(
        secured([]),
        hosts={HOST: Host(routes=(route,))},
        clusters={
            PLAIN: cluster(plain, None, affinity),
            SECURED: cluster(plain if over_tls is None else over_tls, TRUST, shared),
        },
        settings=settings,
    )


async def ask(proxy: RunningProxy, *fields: str, tls: bool, path: str = "/") -> Reply:
    """One request on a connection of its own."""
    client = await proxy.connect(tls_context=trusting() if tls else None, server_hostname=HOST if tls else None)
    client.send(get(path, *fields))
    try:
        return await read_reply(client)
    finally:
        client.close()


async def test_each_client_meets_its_own_scheme() -> None:
    """Plain text reaches the pod in plain text and TLS over TLS, HTTP/2 too; the pod is told the client's scheme."""
    context = trusting()
    context.set_alpn_protocols(["h2"])
    settings = Settings(access_log="off", h2c=True)
    async with pod("a") as a, running_proxy(auto([a.port], settings=settings)) as proxy:
        for tls, heard in ((False, (1, 0)), (True, (1, 1)), (False, (2, 1)), (True, (2, 2))):
            assert (await ask(proxy, tls=tls)).status == 200
            assert a.heard == heard
        async with http2_client(proxy) as client:
            assert (await client.get()).status == 200
        assert a.heard == (3, 2)
        async with http2_client(proxy, tls_context=context, server_hostname=HOST) as client:
            assert (await client.get()).status == 200
            assert (await client.get()).status == 200
        assert a.heard == (3, 4)
        for heads, scheme in ((a.plain.heads, "http"), (a.secured.heads, "https")):
            assert {parse_request(head).fields["x-forwarded-proto"] for head in heads} == {scheme}
        await quiet(proxy)


async def test_connections_are_kept_for_each_scheme() -> None:
    """No request of one scheme goes out on a connection of the other, however they take turns."""
    async with pod("a") as a, running_proxy(auto([a.port])) as proxy:
        for _ in range(4):
            for tls in (False, True):
                assert (await ask(proxy, tls=tls)).status == 200
        assert a.heard == (4, 4)
        assert (a.plain.connections, a.secured.connections) == (1, 1)


@pytest.mark.parametrize("tls", [False, True])
async def test_what_a_trusted_proxy_says_of_the_scheme_decides_nothing(tls: bool) -> None:
    """The connection itself does, as nginx's ``$scheme``; what was said is passed on all the same."""
    settings = Settings(access_log="off", trusted_proxies=("127.0.0.1",))
    other = "http" if tls else "https"
    async with pod("a") as a, running_proxy(auto([a.port], settings=settings)) as proxy:
        assert (await ask(proxy, f"X-Forwarded-Proto: {other}", tls=tls)).status == 200
        assert a.heard == ((0, 1) if tls else (1, 0))
        (head,) = a.plain.heads + a.secured.heads
        assert parse_request(head).fields["x-forwarded-proto"] == other


@pytest.mark.parametrize("tls", [False, True])
async def test_retries_stay_within_the_scheme(tls: bool) -> None:
    """A pod that resets is followed by another one of the same cluster, never by the same one in the other scheme."""
    async with (
        pod("a", plain=resets(), over_tls=resets()) as a,
        pod("b") as b,
        running_proxy(auto([a.port, b.port])) as proxy,
    ):
        for _ in range(4):
            assert (await ask(proxy, tls=tls)).fields["x-pod"] == "b"
        assert (a.heard, b.heard) == (((0, 1), (0, 4)) if tls else ((1, 0), (4, 0)))
        await quiet(proxy)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_scheme_without_a_living_pod_is_not_answered_by_the_other(tls: bool) -> None:
    """Refused everywhere it is 502, without endpoints or without its cluster 503; the other scheme goes on."""
    async with pod("a") as a:
        with refusing_port() as one, refusing_port() as two:
            dead, alive = [one, two], [a.port]
            table = auto(alive, dead) if tls else auto(dead, alive)
            async with running_proxy(table) as proxy:
                assert (await ask(proxy, tls=tls)).status == 502
                assert a.heard == (0, 0)
                assert (await ask(proxy, tls=not tls)).status == 200
        for table in (auto(alive, []) if tls else auto([], alive), _without(auto(alive), SECURED if tls else PLAIN)):
            before = sum(a.heard)
            async with running_proxy(table) as proxy:
                assert (await ask(proxy, tls=tls)).status == 503
                assert sum(a.heard) == before
                assert (await ask(proxy, tls=not tls)).status == 200


def _without(table: Table, key: str) -> Table:
    return msgspec.structs.replace(table, clusters={name: it for name, it in table.clusters.items() if name != key})


async def test_a_pod_that_is_not_believed_serves_no_client_over_tls() -> None:
    """The settings of TLS hold for the twin: 502 over TLS, while plain text is served."""
    stranger = server_context(trustme.CA(), NAME)
    async with (
        raw_backend(says("a"), tls=stranger) as liar,
        pod("b") as honest,
        running_proxy(auto([honest.port], [liar.port])) as proxy,
    ):
        assert (await ask(proxy, tls=True)).status == 502
        assert (await ask(proxy, tls=False)).status == 200
    assert not liar.heads


@pytest.mark.parametrize("first", [False, True], ids=["from http", "from https"])
async def test_a_client_returns_to_its_pod_by_either_scheme(first: bool) -> None:
    """The cookie that one scheme sets leads to the same pod over the other one, and is not set again."""
    async with pods("a", "b", "c") as three:
        async with running_proxy(auto([each.port for each in three], affinity=STICKY)) as proxy:
            begun = [await ask(proxy, tls=first) for _ in range(3)]
            assert {reply.fields["x-pod"] for reply in begun} == {"a", "b", "c"}
            for reply in begun:
                cookie = re.match(r"route=[0-9a-f]{32}", reply.fields["set-cookie"])
                assert cookie is not None
                assert ("; Secure" in reply.fields["set-cookie"]) is first
                for tls in (first, not first, first, not first):
                    again = await ask(proxy, f"Cookie: {cookie[0]}", tls=tls)
                    assert again.fields["x-pod"] == reply.fields["x-pod"]
                    assert "set-cookie" not in again.fields
        assert all(min(each.heard) > 0 for each in three)


async def test_both_schemes_are_balanced() -> None:
    """In turn, each scheme reaches every pod equally often; by hash, equal keys reach the same pod by both."""
    async with pods("a", "b") as two:
        ports = [each.port for each in two]
        async with running_proxy(auto(ports)) as proxy:
            for _ in range(4):
                for tls in (False, True):
                    await ask(proxy, tls=tls)
            assert [each.heard for each in two] == [(2, 2), (2, 2)]
        balance = Balance(method="hash", hash_key=(HashPart(source="uri"),))
        async with running_proxy(auto(ports, balance=balance)) as proxy:
            met = {
                path: {(await ask(proxy, tls=tls, path=path)).fields["x-pod"] for tls in (False, True)}
                for path in map("/{}".format, range(12))
            }
        assert all(len(names) == 1 for names in met.values())
        assert {name for names in met.values() for name in names} == {"a", "b"}


async def test_a_change_of_endpoints_reaches_both_schemes() -> None:
    """Clients keep their connections, and the next request of each goes to the pod that is there now."""
    async with pods("a", "b") as (a, b), running_proxy(auto([a.port])) as proxy:
        plain = await proxy.connect()
        over_tls = await proxy.connect(tls_context=trusting(), server_hostname=HOST)
        met = []
        for port in (a.port, b.port, a.port):
            proxy.publish(auto([port]))
            for client in (plain, over_tls):
                client.send(get())
                met.append((await read_reply(client)).fields["x-pod"])
        assert met == ["a", "a", "b", "b", "a", "a"]
        assert (a.heard, b.heard) == ((2, 2), (1, 1))
        plain.close()
        over_tls.close()


async def test_a_route_may_turn_to_one_scheme_and_back() -> None:
    """Whether clients over TLS have a cluster of their own may change under an open connection."""
    async with pod("a") as a, running_proxy(auto([a.port])) as proxy:
        client = await proxy.connect(tls_context=trusting(), server_hostname=HOST)
        one = Host(routes=(Route(action=Forward(cluster=PLAIN)),))
        for table, heard in (
            (auto([a.port]), (0, 1)),
            (msgspec.structs.replace(auto([a.port]), hosts={HOST: one}), (1, 1)),
            (auto([a.port]), (1, 2)),
        ):
            proxy.publish(table)
            client.send(get())
            await read_reply(client)
            assert a.heard == heard
        client.close()


async def test_a_websocket_passes_as_its_client_came() -> None:
    """The upgrade and the bytes behind it go out in the client's scheme."""
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    asked = get("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    contexts: list[ssl.SSLContext | None] = [None, trusting()]
    async with pod("a", plain=fixed(switch), over_tls=fixed(switch)) as a, running_proxy(auto([a.port])) as proxy:
        for context in contexts:
            client = await proxy.connect(tls_context=context, server_hostname=HOST if context else None)
            client.send(asked)
            assert b" 101 " in await client.read_head()
            client.close()
        assert a.heard == (1, 1)
        await quiet(proxy)
