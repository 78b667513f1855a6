"""TLS passed through by server name, on real sockets: who ends it, what the endpoint gets, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
import trustme

from proxy.table import Cluster, Endpoint, Host, Labels, ProxyProtocol, Respond, Route, Settings, Table
from tests.behaviour.test_tls_termination import AUTHORITY, OK, names_shown, secured, trusting
from tests.support.backend import fixed, raw_backend
from tests.support.clients import get, read_reply, silent, within
from tests.support.failing import eventually, refusing_port
from tests.support.log import log_pipe
from tests.support.proxy import HOST, RawClient, RunningProxy, running_proxy

PASSED = "passed.example.com"
OWN = trustme.CA()
LEAF = OWN.issue_cert(PASSED, "*.wild.example.com")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def endpoint(*, secure: bool = True, serve: Serve | None = None) -> AsyncIterator[int]:
    """The port of one that ends TLS itself and echoes, or does what ``serve`` does. Not ``secure``: raw bytes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    LEAF.configure_cert(context)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await (serve or echo)(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=context if secure else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def passing(*ports: int, names: tuple[str, ...] = (PASSED,), proxy: ProxyProtocol = "", **settings: object) -> Table:
    """A table that ends the TLS of HOST and leaves that of ``names`` to the endpoints."""
    table = secured([], settings=Settings(**{"access_log": "off", **settings}))
    endpoints = tuple(Endpoint(address="127.0.0.1", port=port) for port in ports)
    cluster = Cluster(endpoints=endpoints, send_proxy=proxy)
    return msgspec.structs.replace(
        table, passthrough=dict.fromkeys(names, "c"), clusters={**table.clusters, "c": cluster}
    )


def both() -> ssl.SSLContext:
    """A client that trusts the endpoint and us."""
    context = trusting()
    OWN.configure_trust(context)
    return context


async def connect(proxy: RunningProxy, name: str | None = PASSED) -> RawClient:
    return await within(proxy.connect(tls_context=both(), server_hostname=name or ""))


async def echoes(client: RawClient, data: bytes = b"hello") -> bool:
    client.send(data)
    return await within(client.reader.readexactly(len(data))) == data


async def test_the_endpoint_ends_the_tls_and_bytes_pass_both_ways() -> None:
    """The client is shown the endpoint's certificate, and megabytes come back as they went."""
    async with endpoint() as server, running_proxy(passing(server)) as proxy:
        client = await connect(proxy)
        assert names_shown(client) == {PASSED, "*.wild.example.com"}
        data = bytes(range(256)) * 16 * 1024
        client.send(data)
        assert await within(client.reader.readexactly(len(data))) == data
        client.close()


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        (PASSED, True),
        (PASSED.upper(), True),
        ("a.wild.example.com", True),
        ("a.b.wild.example.com", False),
        ("wild.example.com", False),
        (HOST, False),
        (None, False),
    ],
)
async def test_the_server_name_decides_who_ends_the_tls(name: str | None, passes: bool) -> None:
    """Exact names and wildcards of one label; all other names, and none, are ended here."""
    async with raw_backend(fixed(OK)) as backend, endpoint() as server:
        table = passing(server, names=(PASSED, "*.wild.example.com"))
        clusters = table.clusters | {
            "default/backend:80": Cluster(endpoints=(Endpoint(address="127.0.0.1", port=backend.port),))
        }
        async with running_proxy(msgspec.structs.replace(table, clusters=clusters)) as proxy:
            client = await connect(proxy, name)
            assert (PASSED in names_shown(client)) is passes
            if passes:
                assert await echoes(client)
            else:
                client.send(get(host=HOST))
                assert (await read_reply(client)).body == b"ok"
            client.close()


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_endpoint_is_told_of_the_client_where_it_wants_to(version: ProxyProtocol) -> None:
    """The PROXY header stands in front of the ClientHello and names both ends of the client's connection."""
    async with endpoint(secure=False) as raw, running_proxy(passing(raw, proxy=version)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
        writer.write(hello())
        port = writer.get_extra_info("sockname")[1]
        header = b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (port, proxy.tls_port)
        if version == "v2":
            ports = port.to_bytes(2, "big") + proxy.tls_port.to_bytes(2, "big")
            header = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes([127, 0, 0, 1]) * 2 + ports
        assert await within(reader.readexactly(len(header + hello()))) == header + hello()
        writer.transport.abort()


def hello(name: str = PASSED) -> bytes:
    """The ClientHello of a client that stops there; the same each time."""
    if name not in _hellos:
        out = ssl.MemoryBIO()
        with pytest.raises(ssl.SSLWantReadError):
            trusting().wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
        _hellos[name] = out.read()
    return _hellos[name]


_hellos: dict[str, bytes] = {}


async def test_a_proxy_in_front_is_believed_towards_the_endpoint_too() -> None:
    """The client of a PROXY header that came in is the one of the header that goes out."""
    async with endpoint(secure=False) as raw:
        table = passing(raw, proxy="v1", proxy_protocol_from=("127.0.0.1",))
        async with running_proxy(table) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
            line = b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 443\r\n"
            writer.write(line + hello())
            assert await within(reader.readexactly(len(line + hello()))) == line + hello()
            writer.transport.abort()


async def test_an_endpoint_that_cannot_be_reached_is_passed_over() -> None:
    """Nothing was sent to it, so the next one is tried; with none left, the connection ends."""
    with refusing_port() as closed:
        async with endpoint() as server, running_proxy(passing(closed, server)) as proxy:
            for _ in range(4):
                client = await connect(proxy)
                assert await echoes(client)
                client.close()
            assert proxy.worker.telemetry.upstream_connect_failures >= 1
        for table in (passing(closed), passing()):
            async with running_proxy(table) as proxy:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await connect(proxy)
                await eventually(lambda: proxy.worker.runtime.tunnels == 0, "the tunnel ends")


async def test_names_without_a_cluster_are_not_ended_here() -> None:
    """A client that is to see the endpoint's certificate sees none of ours instead."""
    table = msgspec.structs.replace(passing(), passthrough={PASSED: "missing"})
    async with running_proxy(table) as proxy:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(proxy)


async def test_each_side_may_end_its_half() -> None:
    """What the client sent last arrives, and so does the answer to it (TCP half-close)."""

    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d" % len(await reader.read()))
        writer.write_eof()
        await writer.drain()
        await asyncio.sleep(0.05)

    async with endpoint(secure=False, serve=answer_at_the_end) as raw, running_proxy(passing(raw)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
        writer.write(hello() + b"x" * 100_000)
        writer.write_eof()
        assert await within(reader.read()) == b"%d" % (len(hello()) + 100_000)
        writer.close()
        await eventually(lambda: proxy.worker.runtime.tunnels == 0, "the tunnel ends")
        assert len(proxy.worker.connections) == 0


@pytest.mark.parametrize("who", ["client", "endpoint"])
async def test_when_one_side_is_gone_the_other_ends(who: str) -> None:
    """No half of a connection is left behind, and the gauges come back to nothing."""

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        await writer.drain()
        if who == "client":
            await reader.read()
            ended.set()
        else:
            writer.transport.abort()

    ended = asyncio.Event()
    async with endpoint(serve=leave) as server, running_proxy(passing(server)) as proxy:
        client = await connect(proxy)
        assert await echoes(client)
        cluster = proxy.worker.runtime.state.clusters["c"]
        assert (proxy.worker.runtime.tunnels, cluster.endpoints[0].active) == (1, 1)
        if who == "client":
            client.close()
            await within(ended.wait())
        else:
            assert await client.read_to_end() == b""
            client.close()
        await eventually(lambda: proxy.worker.runtime.tunnels == 0, "the tunnel ends")
        assert (proxy.worker.runtime.active, cluster.endpoints[0].active, len(proxy.worker.connections)) == (0, 0, 0)


async def test_a_slow_client_holds_the_endpoint_up() -> None:
    """What the endpoint can write ahead of a client that does not read is bounded by buffers, not by memory."""
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    async with endpoint(secure=False, serve=flood) as raw, running_proxy(passing(raw)) as proxy:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port, limit=65536)
        writer.write(hello())
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.2)
        assert 0 < written < 24 * 1024 * 1024
        writer.transport.abort()


async def test_what_is_idle_too_long_is_cut() -> None:
    """As tunnels of WebSocket; bytes in either direction count as life."""
    async with endpoint() as server, running_proxy(passing(server, tunnel_timeout=0.2)) as proxy:
        client = await connect(proxy)
        for _ in range(3):
            await asyncio.sleep(0.1)
            assert await echoes(client)
            await proxy.tick()
        assert await silent(client, 0.25)
        await proxy.tick()
        assert await client.read_to_end() == b""
        client.close()


async def test_a_change_of_the_table_counts_for_new_connections() -> None:
    """Those that are open go on; the name is ended here once it is no longer passed through."""
    async with endpoint() as server, running_proxy(passing(server)) as proxy:
        old = await connect(proxy)
        proxy.publish(passing(server, names=()))
        assert await echoes(old)
        new = await connect(proxy)
        assert PASSED not in names_shown(new)
        proxy.publish(passing(server))
        third = await connect(proxy)
        assert PASSED in names_shown(third)
        for client in (old, new, third):
            client.close()


async def test_a_limit_of_connections_counts_them() -> None:
    """They take two sockets like every other; beyond the limit the client is cut."""
    async with endpoint() as server, running_proxy(passing(server, max_connections=1)) as proxy:
        client = await connect(proxy)
        assert await echoes(client)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(proxy)
        client.close()


async def test_a_host_of_its_own_is_no_part_of_a_wildcard() -> None:
    """Another's wildcard does not take the connections of a host that the table has by its exact name."""
    table = passing(1, names=("*.example.com",))
    own = msgspec.structs.replace(table, hosts={**table.hosts, PASSED: table.hosts[HOST]})
    async with running_proxy(own) as proxy:
        for name in (HOST, PASSED):
            client = await connect(proxy, name)
            assert PASSED not in names_shown(client)
            client.close()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(proxy, "other.example.com")


ROUTE = Route(
    action=Respond(status=421, reason="passed"),
    labels=Labels(namespace="default", ingress="web", path="/", service="secure", port="443"),
)


def logging(*ports: int, **settings: object) -> Table:
    """As :func:`passing`, with the host as the control plane writes it and a log."""
    table = passing(*ports, **{"access_log": "json", **settings})
    return msgspec.structs.replace(table, hosts={**table.hosts, PASSED: Host(routes=(ROUTE,))})


async def test_a_line_of_the_log_tells_of_a_connection_at_its_end() -> None:
    """Who, to which name and endpoint, how many bytes and how long; its labels are those of the host's path ``/``."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(hello()) + 5)
        writer.write(b"farewell")
        await writer.drain()

    async with (
        log_pipe() as log,
        endpoint(secure=False, serve=answer) as raw,
        running_proxy(logging(raw), log_fd=log.fd) as proxy,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
        writer.write(hello())
        await asyncio.sleep(0.1)
        writer.write(b"12345")
        assert await within(reader.read()) == b"farewell"
        writer.close()
        entry = await log.entry(proxy)
    assert 0.1 <= entry.pop("upstream_duration") <= entry.pop("duration") < 5
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {
        "remote_addr": "127.0.0.1",
        "method": "",
        "host": PASSED,
        "target": "",
        "protocol": "TCP",
        "status": 200,
        "request_bytes": len(hello()) + 5,
        "response_bytes": 8,
        "referer": "",
        "user_agent": "",
        "request_id": "",
        "namespace": "default",
        "ingress": "web",
        "service": "secure",
        "port": "443",
        "upstream_addr": f"127.0.0.1:{raw}",
        "upstream_status": "-",
        "retries": 0,
        "tls": "",
        "error": "",
    }


async def test_the_combined_line_of_a_connection_is_that_of_a_request_without_its_line() -> None:
    """So parsers of ingress-nginx's form go on; the service tells which host it was."""
    async with (
        log_pipe() as log,
        endpoint() as server,
        running_proxy(logging(server, access_log="combined"), log_fd=log.fd) as proxy,
    ):
        client = await connect(proxy)
        assert await echoes(client)
        client.close()
        (line,) = await log.lines(proxy, 1)
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[[^]]+\] "-" 200 \d{3,} "-" "-" \d{3,} \d\.\d{3} \[default-secure-443\] \[\] '
        rf"127\.0\.0\.1:{server} \d{{3,}} \d\.\d{{3}} - -",
        line,
    )


async def test_the_log_tells_why_a_connection_was_cut() -> None:
    """502 and the reason where no endpoint was reached; 200 and a reason where it ended early."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(hello()))
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with (
        log_pipe() as log,
        endpoint(secure=False) as raw,
        endpoint(secure=False, serve=reset) as rude,
        AsyncExitStack() as holding,
    ):
        closed = [holding.enter_context(refusing_port()) for _ in range(2)]
        async with running_proxy(logging(*closed), log_fd=log.fd) as proxy:
            said = []
            for table in (logging(*closed), logging(), logging(rude), logging(raw, tunnel_timeout=0.05)):
                proxy.publish(table)
                reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
                writer.write(hello())
                await asyncio.sleep(0.1)
                await proxy.tick()
                with contextlib.suppress(ConnectionError):
                    await within(reader.read())
                writer.transport.abort()
                entry = await log.entry(proxy)
                said.append((entry["status"], entry["error"], entry["upstream_addr"].count(":"), entry["retries"]))
    assert said == [
        (502, "ConnectRefused", 2, 1),
        (502, "NoEndpoints", 0, 0),
        (200, "UpstreamReset", 1, 0),
        (200, "TunnelTimeout", 1, 0),
    ]


async def test_the_log_tells_of_clients_that_leave() -> None:
    """A reset is told; 499 where the client's connection ended before an endpoint was reached, as for requests."""
    async with log_pipe() as log, endpoint() as server, running_proxy(logging(server), log_fd=log.fd) as proxy:
        client = await connect(proxy)
        assert await echoes(client)
        linger = struct.pack("ii", 1, 0)
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.close()
        entry = await log.entry(proxy)
        assert (entry["status"], entry["error"]) == (200, "ClientReset")

        # A queue that is full: further connections are neither taken nor refused.
        with socket.socket() as full, socket.socket() as first:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            first.connect(full.getsockname())
            port = full.getsockname()[1]
            proxy.publish(logging(port))
            _, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
            writer.write(hello())
            await eventually(lambda: proxy.worker.runtime.tunnels == 1, "the tunnel stands")
            await asyncio.sleep(0.05)
            assert proxy.worker.connections.kill_all() == 1
            entry = await log.entry(proxy)
            writer.transport.abort()
        assert (entry["status"], entry["error"], entry["response_bytes"]) == (499, "ClientGone", 0)
        assert entry["upstream_addr"] == f"127.0.0.1:{port}"


async def test_the_log_names_the_client_that_a_load_balancer_told_of() -> None:
    """``remote_addr`` is that of the PROXY protocol header."""
    async with log_pipe() as log, endpoint(secure=False) as raw:
        table = logging(raw, proxy_protocol_from=("127.0.0.0/8",))
        async with running_proxy(table, log_fd=log.fd) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
            writer.write(b"PROXY TCP4 203.0.113.7 192.0.2.1 4321 443\r\n" + hello())
            assert await within(reader.readexactly(len(hello()))) == hello()
            writer.close()
            entry = await log.entry(proxy)
    assert (entry["remote_addr"], entry["request_bytes"]) == ("203.0.113.7", len(hello()))


async def test_a_name_for_a_local_address_is_not_dialled() -> None:
    """An ExternalName that leads to this machine is refused here as everywhere."""
    table = passing(1)
    local = Cluster(endpoints=(Endpoint(address="localhost", port=1),), by_name=True)
    async with running_proxy(msgspec.structs.replace(table, clusters={**table.clusters, "c": local})) as proxy:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(proxy)


def test_the_test_authority_is_another_than_ours() -> None:
    """Else the certificates shown would tell nothing."""
    assert OWN.cert_pem.bytes() != AUTHORITY.cert_pem.bytes()
