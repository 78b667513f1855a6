"""Upgrades: WebSocket through the proxy, and everything that must not become a tunnel."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import msgspec
import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from proxy.server.http1 import TUNNEL_PHASE
from proxy.table import Certificate, Cluster, Settings
from tests.support.backend import Backend, Conversation, Script, fixed, raw_backend
from tests.support.clients import ask, get, half_close, parse_request, read_reply, slow_client, within
from tests.support.log import log_pipe
from tests.support.proxy import HOST, RunningProxy, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
)
UPGRADE = get("/ws", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k")


@asynccontextmanager
async def websocket_echo() -> AsyncIterator[int]:
    """A WebSocket server that echoes; its port."""

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port: int = next(iter(server.sockets)).getsockname()[1]
        yield port


def tunnel(script: Script) -> Script:
    """A backend that switches protocols and then does as ``script`` says."""

    async def switching(conversation: Conversation, backend: Backend) -> None:
        backend.heads.append(await conversation.read_head())
        conversation.send(SWITCH)
        await script(conversation, backend)

    return switching


def dialled(proxy: RunningProxy, *, path: str = "/chat") -> connect:
    """A WebSocket client of the proxy."""
    return connect(f"ws://{HOST}:{proxy.port}{path}", host="127.0.0.1", port=proxy.port, max_size=None, proxy=None)


def gauge(proxy: RunningProxy, name: str) -> float:
    return proxy.worker.stats().gauges[name]


def backdate(proxy: RunningProxy, seconds: float) -> None:
    """Let the worker look at its connections as it will in ``seconds``."""
    proxy.worker.connections.check(monotonic() + seconds)


async def test_a_websocket_echoes_through_the_proxy() -> None:
    """Text and binary messages of all sizes pass both ways, and the close handshake ends with its code."""
    async with websocket_echo() as port, running_proxy(one_route([port])) as proxy:
        async with dialled(proxy) as client:
            for message in ("hello", b"\x00\xff" * 10, "é" * 100_000, bytes(3 * 1024 * 1024)):
                await client.send(message)
                assert await within(client.recv()) == message
            assert gauge(proxy, "tunnels") == 1
            assert gauge(proxy, "active_requests") == 0
        assert client.close_code == 1000
        await asyncio.sleep(0.05)
        assert gauge(proxy, "tunnels") == 0
        assert gauge(proxy, "connections") == 0


async def test_a_websocket_runs_over_tls() -> None:
    """wss is ended here like any https, and forwarded as a plain WebSocket."""
    authority = trustme.CA()
    leaf = authority.issue_cert(HOST)
    certificate = Certificate(
        chain_pem="".join(blob.bytes().decode() for blob in leaf.cert_chain_pems),
        key_pem=leaf.private_key_pem.bytes().decode(),
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with websocket_echo() as port:
        table = one_route([port], certificates={"c": certificate}, server_names={HOST: "c"})
        async with running_proxy(table) as proxy:
            url = f"wss://{HOST}:{proxy.tls_port}/"
            async with connect(url, host="127.0.0.1", port=proxy.tls_port, ssl=context, proxy=None) as client:
                await client.send("x" * 300_000)
                assert await within(client.recv()) == "x" * 300_000


async def test_a_websocket_outlives_changes_of_the_table() -> None:
    """While one is open, its endpoint leaves, its cluster and its host go, settings change: it goes on."""
    async with websocket_echo() as port, running_proxy(one_route([port])) as proxy:
        async with dialled(proxy) as client:
            table = proxy.table
            for change in (
                msgspec.structs.replace(table, clusters={"default/backend:80": Cluster()}),
                msgspec.structs.replace(table, clusters={}),
                msgspec.structs.replace(table, clusters={}, hosts={}),
                msgspec.structs.replace(one_route([1]), settings=Settings(access_log="off", read_timeout=0.1)),
            ):
                proxy.publish(change)
                await client.send("still here")
                assert await within(client.recv()) == "still here"
            await proxy.tick()
            await client.send("and here")
            assert await within(client.recv()) == "and here"
        assert client.close_code == 1000


async def test_the_upgrade_request_tells_the_backend_what_it_needs() -> None:
    """Connection, Upgrade and the Sec-WebSocket fields arrive, with the forwarding fields; the 101 keeps its fields."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.reader.read()

    async with raw_backend(tunnel(script)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(UPGRADE)
        reply = await read_reply(client)
        client.close()
    sent = parse_request(backend.heads[0]).fields
    assert (sent["connection"], sent["upgrade"], sent["sec-websocket-key"]) == ("Upgrade", "websocket", "k")
    assert sent["x-forwarded-for"] == "127.0.0.1"
    assert reply.status == 101
    assert reply.fields["upgrade"] == "websocket"
    assert reply.fields["connection"].lower() == "upgrade"
    assert reply.fields["sec-websocket-accept"] == "x"


async def test_bytes_behind_the_upgrade_request_wait_for_the_switch() -> None:
    """What the client sends too early reaches the backend after the 101 and not before; what comes with it is kept."""
    before: list[bytes] = []
    gate = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        try:
            before.append(await asyncio.wait_for(conversation.reader.read(100), 0.1))
        except TimeoutError:
            gate.set()
        conversation.send(SWITCH + b"early from the backend")
        backend.bodies.append(await conversation.reader.readexactly(21))
        await conversation.reader.read()

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(UPGRADE + b"early from ")
        client.send(b"the client")
        assert (await read_reply(client)).status == 101
        assert await within(client.reader.readexactly(22)) == b"early from the backend"
        client.close()
        await asyncio.sleep(0.05)
    assert gate.is_set()
    assert before == []
    assert backend.bodies == [b"early from the client"]


@pytest.mark.parametrize(
    "request_head",
    [
        get("/"),
        get("/", "Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        get("/", "Upgrade: websocket"),
        get("/", "Connection: Upgrade", "Upgrade: websocket", version="1.0"),
        get("/", "Connection: Upgrade", "Upgrade: websocket", method="DELETE"),
    ],
)
async def test_a_switch_that_the_client_did_not_ask_for_is_an_error_of_the_backend(request_head: bytes) -> None:
    """An unsolicited 101 is answered by 502, nothing behind it is passed on, and its connection is not used again."""
    async with (
        raw_backend(fixed(SWITCH + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")) as backend,
        running_proxy(one_route([backend.port])) as proxy,
    ):
        reply = await ask(proxy, request_head)
        assert gauge(proxy, "upstream_idle") == 0
    assert reply.status == 502
    assert b"evil" not in reply.body


@pytest.mark.parametrize("protocol", [b"", b"Upgrade: h2c\r\n", b"Upgrade: websocket, h2c\r\n"])
async def test_a_switch_to_another_protocol_is_an_error_of_the_backend(protocol: bytes) -> None:
    """Whoever asks for WebSocket and is given something else gets 502 instead of a tunnel."""
    response = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n" + protocol + b"\r\n"
    async with raw_backend(fixed(response)) as backend, running_proxy(one_route([backend.port])) as proxy:
        assert (await ask(proxy, UPGRADE)).status == 502


@pytest.mark.parametrize("status", [b"200 OK", b"403 Forbidden", b"426 Upgrade Required"])
async def test_an_upgrade_that_is_declined_is_an_ordinary_exchange(status: bytes) -> None:
    """The response arrives as any, both connections go on, and what the client had sent behind is its next request."""
    response = b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok"
    async with raw_backend(fixed(response)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(UPGRADE + get("/next"))
        for _ in range(2):
            reply = await read_reply(client)
            assert (reply.status, reply.body) == (int(status[:3]), b"ok")
        client.close()
    assert parse_request(backend.heads[1]).line == "GET /next HTTP/1.1"
    assert backend.connections == 1


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        ("Connection: Upgrade", "Upgrade: TLS/1.0"),
        ("Connection: Upgrade", "Upgrade: websocket, h2c"),
        ("Upgrade: websocket",),
    ],
)
async def test_other_upgrades_are_taken_out_of_the_request(fields: tuple[str, ...]) -> None:
    """A server may ignore Upgrade (RFC 9110 section 7.8); what cannot be tunnelled safely is not even asked for."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        assert (await ask(proxy, get("/", *fields))).body == b"ok"
    assert not parse_request(backend.heads[0]).fields.keys() & {"upgrade", "connection", "http2-settings"}


async def test_an_idle_tunnel_ends() -> None:
    """After ``tunnel_timeout`` without a byte either way both sides are closed, and the log tells why."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        conversation.send(b"hello")
        backend.bodies.append(await conversation.reader.read())

    async with log_pipe() as log, raw_backend(tunnel(script)) as backend:
        table = one_route([backend.port], settings=Settings(access_log="json", tunnel_timeout=20.0))
        async with running_proxy(table, log_fd=log.fd) as proxy:
            client = await proxy.connect()
            client.send(UPGRADE)
            assert (await read_reply(client)).status == 101
            assert await within(client.reader.readexactly(5)) == b"hello"
            backdate(proxy, 19)
            await asyncio.sleep(0.02)
            assert gauge(proxy, "tunnels") == 1
            backdate(proxy, 21)
            assert await within(client.reader.read()) == b""
            entry = await log.entry(proxy)
            client.close()
    assert backend.bodies == [b""]
    assert (entry["status"], entry["error"], entry["response_bytes"]) == (101, "TunnelTimeout", 5)


async def test_a_tunnel_ends_from_the_backend_with_all_its_bytes() -> None:
    """A backend that sends megabytes and closes is heard to the end by a client that reads slowly and late."""
    size = 8 * 1024 * 1024

    async def script(conversation: Conversation, backend: Backend) -> None:
        conversation.send(bytes(size))
        await conversation.writer.drain()
        conversation.writer.close()
        await conversation.writer.wait_closed()

    async with raw_backend(tunnel(script)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(UPGRADE)
        assert (await read_reply(client)).status == 101
        received = 0
        while received < size:
            data = await within(client.reader.read(1 << 20))
            assert data
            received += len(data)
            await asyncio.sleep(0.005)
        assert await within(client.reader.read()) == b""
        client.close()
    assert received == size


async def test_the_end_of_an_old_tunnel_is_not_cut_off() -> None:
    """What a client has still to take when a long-lived tunnel ends gets its time, counted from the end."""
    size = 16 * 1024 * 1024

    async def script(conversation: Conversation, backend: Backend) -> None:
        conversation.send(bytes(size))
        await conversation.writer.drain()
        conversation.writer.close()
        await conversation.writer.wait_closed()

    settings = Settings(access_log="off", write_timeout=10.0)
    async with (
        raw_backend(tunnel(script)) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
    ):
        loop = asyncio.get_running_loop()
        client = await slow_client(proxy.port)
        await loop.sock_sendall(client, UPGRADE)
        await asyncio.sleep(0.1)
        (member,) = proxy.worker.connections._members
        received = 0
        while received < size:
            # The tunnel began long ago, and each turn of the sweep finds it so.
            member._since -= 1000 if member._phase == TUNNEL_PHASE else 0
            proxy.worker.connections.check(monotonic())
            data = await within(loop.sock_recv(client, 1 << 18))
            if not data:
                break
            received += len(data)
        client.close()
    assert received >= size


async def test_a_tunnel_ends_from_the_client_with_all_its_bytes() -> None:
    """A client that sends megabytes and goes is heard to the end by a backend that reads slowly and late."""
    size = 32 * 1024 * 1024

    async def script(conversation: Conversation, backend: Backend) -> None:
        received = 0
        while data := await conversation.reader.read(1 << 18):
            received += len(data)
            await asyncio.sleep(0.001)
        backend.bodies.append(b"%d" % received)

    async with raw_backend(tunnel(script)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(UPGRADE)
        assert (await read_reply(client)).status == 101
        client.send(bytes(size))
        client.writer.close()
        await client.writer.wait_closed()
        async with asyncio.timeout(10):
            while not backend.bodies:
                await asyncio.sleep(0.01)
    assert backend.bodies == [b"%d" % size]


async def test_what_a_client_sent_before_it_went_still_reaches_the_backend() -> None:
    """Over TLS a closed client is gone at once; what the backend had not taken by then is kept for it."""
    size = 200 * 1024
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    gate = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        conversation.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a whole Transport
        await gate.wait()
        conversation.writer.transport.resume_reading()  # type: ignore[attr-defined]
        backend.bodies.append(await conversation.reader.read())
        backend.bodies.append(await conversation.reader.read())

    async with raw_backend(tunnel(script)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect(tls_context=context, server_hostname=HOST)
        client.send(UPGRADE)
        assert (await read_reply(client)).status == 101
        (member,) = proxy.worker.connections._members
        upstream = member._exchange.upstream
        assert upstream is not None
        handle = upstream.transport.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        client.send(bytes(size))
        client.writer.close()
        async with asyncio.timeout(5):
            while len(proxy.worker.connections):
                await asyncio.sleep(0.005)
        assert upstream.transport.get_write_buffer_size() > 0
        gate.set()
        async with asyncio.timeout(5):
            while len(backend.bodies) < 2:
                await asyncio.sleep(0.005)
    assert [len(body) for body in backend.bodies] == [size, 0]


@pytest.mark.parametrize("when", ["before the switch", "in the tunnel"])
async def test_a_half_closed_tunnel_still_hears_the_backend(when: str) -> None:
    """The end of the client's direction is passed on; the other direction stays open until the backend ends it."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        await asyncio.sleep(0.05)
        conversation.send(SWITCH)
        backend.bodies.append(await conversation.reader.read())
        conversation.send(b"the last word")
        await conversation.writer.drain()

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(UPGRADE)
        if when == "before the switch":
            half_close(client)
        assert (await read_reply(client)).status == 101
        if when == "in the tunnel":
            client.send(b"bye")
            half_close(client)
        assert await within(client.reader.read()) == b"the last word"
        client.close()
    assert backend.bodies == [b"bye" if when == "in the tunnel" else b""]


async def test_a_tunnel_is_slowed_down_by_its_slower_side() -> None:
    """Neither direction piles up in the proxy while the other side does not read."""
    size = 64 * 1024 * 1024
    sent = [0]

    async def script(conversation: Conversation, backend: Backend) -> None:
        while sent[0] < size:
            conversation.send(bytes(65536))
            await conversation.writer.drain()
            sent[0] += 65536

    async with raw_backend(tunnel(script)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await slow_client(proxy.port)
        await asyncio.get_running_loop().sock_sendall(client, UPGRADE)
        await asyncio.sleep(0.4)
        (member,) = proxy.worker.connections._members
        assert 0 < sent[0] < size // 2
        assert member.transport.get_write_buffer_size() < 1024 * 1024
        client.close()
