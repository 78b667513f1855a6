"""Shutting down so that nothing is lost."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct

import pytest
import trustme

from proxy.table import Settings
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.clients import silent
from tests.support.failing import Gate, answers, client_of, endpoint_of, eventually, hangs, quiet, request, status
from tests.support.proxy import HOST, RawClient, RunningProxy, one_route, running_proxy

UPGRADE = request("GET", fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\n")


async def _is_refused(proxy: RunningProxy) -> bool:
    try:
        client = await proxy.connect()
    except ConnectionRefusedError:
        return True
    client.close()
    return False


async def test_during_the_delay_everything_is_served_and_told_to_close() -> None:
    """Known and new clients get their answers, each with ``Connection: close``; then the port is closed."""
    async with (
        raw_backend(answers()) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as known,
    ):
        known.send(request())
        assert b"Connection: close" not in (await known.read_response())[0]
        draining = asyncio.get_running_loop().create_task(proxy.worker.drain(0.3, 5))
        await asyncio.sleep(0.05)
        for client in (known, await proxy.connect(), await proxy.connect()):
            client.send(request())
            answer = await client.read_to_end()
            assert status(answer) == 200
            assert b"\r\nConnection: close\r\n" in answer
            client.close()
        assert not draining.done()
        assert await draining == 0
        assert await _is_refused(proxy)
        await quiet(proxy)


async def test_answers_made_here_say_close_too() -> None:
    """A 404 or a redirect is a response like any other."""
    async with running_proxy(one_route([])) as proxy, client_of(proxy) as client:
        await eventually(lambda: len(proxy.worker.connections) == 1, "the client is there")
        draining = asyncio.get_running_loop().create_task(proxy.worker.drain(0.2, 5))
        await asyncio.sleep(0.02)
        client.send(b"GET / HTTP/1.1\r\nHost: unknown\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in await client.read_to_end()
        assert await draining == 0


async def test_idle_connections_are_closed_after_the_delay_and_not_before() -> None:
    """A client that has nothing to ask is not kept waiting, nor cut off early."""
    async with (
        raw_backend(answers()) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        await client.read_response()
        draining = asyncio.get_running_loop().create_task(proxy.worker.drain(0.2, 5))
        assert await silent(client, 0.1)
        assert await client.read_to_end() == b""
        assert await draining == 0


async def test_what_is_under_way_finishes() -> None:
    """A response that takes longer than the delay comes whole, and the drain waits for it."""
    gate = Gate()
    async with (
        raw_backend(gate) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        await eventually(lambda: bool(backend.heads), "the request is under way")
        draining = asyncio.get_running_loop().create_task(proxy.worker.drain(0.0, 5))
        await asyncio.sleep(0.15)
        assert not draining.done()
        gate.open.set()
        answer = await client.read_to_end()
        assert status(answer) == 200
        assert answer.endswith(b"ok")
        assert await draining == 0
        await quiet(proxy)


async def test_a_half_sent_request_is_taken_to_its_end() -> None:
    """Its client began before the stop: the rest of head and body is still read, and answered."""
    async with (
        raw_backend(answers()) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as head_only,
        client_of(proxy) as body_only,
    ):
        text = request("POST", body=b"0123456789")
        head_only.send(text[:20])
        body_only.send(text[:-5])
        await eventually(lambda: endpoint_of(proxy).active == 1, "one request is under way")
        draining = asyncio.get_running_loop().create_task(proxy.worker.drain(0.0, 5))
        await asyncio.sleep(0.12)
        head_only.send(text[20:])
        body_only.send(text[-5:])
        assert status(await head_only.read_to_end()) == 200
        assert status(await body_only.read_to_end()) == 200
        assert await draining == 0
    assert backend.bodies == [b"0123456789"] * 2


async def test_at_the_time_limit_the_rest_is_cut_and_counted() -> None:
    """A request that hangs and a tunnel do not hold the worker up for ever."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        head = await conversation.read_head()
        backend.heads.append(head)
        if b"Upgrade" in head:
            conversation.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await conversation.reader.read()

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as tunnel,
        client_of(proxy) as hanging,
    ):
        tunnel.send(UPGRADE)
        assert status(await tunnel.read_head()) == 101
        hanging.send(request())
        await eventually(lambda: len(backend.heads) == 2, "both are under way")
        assert await proxy.worker.drain(0.0, 0.2) == 2
        assert await tunnel.read_to_end() == b""
        assert await hanging.read_to_end() == b""
        await quiet(proxy)
        assert not endpoint_of(proxy).idle


async def test_a_tunnel_that_ends_in_time_is_not_cut() -> None:
    """During the time limit a tunnel goes on as before."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        conversation.send(await conversation.reader.readexactly(4))

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as tunnel,
    ):
        tunnel.send(UPGRADE)
        await tunnel.read_head()
        draining = asyncio.get_running_loop().create_task(proxy.worker.drain(0.0, 5))
        await asyncio.sleep(0.1)
        tunnel.send(b"ping")
        assert await tunnel.read_to_end() == b"ping"
        assert await draining == 0


def _queued(port: int, text: bytes, number: int) -> list[socket.socket]:
    """Clients whose connection and request are in the kernel's queue, without a turn of the event loop between."""
    clients = []
    for _ in range(number):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(text)
        client.setblocking(False)
        clients.append(client)
    return clients


async def _read_all(client: socket.socket) -> bytes:
    loop, parts = asyncio.get_running_loop(), []
    while part := await asyncio.wait_for(loop.sock_recv(client, 65536), 5):
        parts.append(part)
    client.close()
    return b"".join(parts)


async def test_connections_in_the_queue_are_served_at_the_stop() -> None:
    """The kernel had accepted them for us: 100 clients that came just before the stop get their answers."""
    async with raw_backend(answers()) as backend, running_proxy(one_route([backend.port])) as proxy:
        clients = _queued(proxy.port, request(), 100)
        draining = asyncio.get_running_loop().create_task(proxy.worker.drain(0.0, 5))
        answered = [status(await _read_all(client)) for client in clients]
        assert await draining == 0
        await quiet(proxy)
    assert answered == [200] * 100


async def test_a_queued_connection_whose_request_is_late_is_served_too() -> None:
    """It takes a round trip from the connection to its request: a new connection is not idle at once."""
    async with raw_backend(answers()) as backend, running_proxy(one_route([backend.port])) as proxy:
        (client,) = _queued(proxy.port, b"", 1)
        draining = asyncio.get_running_loop().create_task(proxy.worker.drain(0.0, 5))
        await asyncio.sleep(0.2)
        client.send(request())
        assert status(await _read_all(client)) == 200
        assert await draining == 0


async def test_a_new_connection_without_a_request_holds_nobody_up() -> None:
    """After a second without a byte it counts as idle."""
    async with running_proxy(one_route([])) as proxy:
        (client,) = _queued(proxy.port, b"", 1)
        started = asyncio.get_running_loop().time()
        assert await proxy.worker.drain(0.0, 5) == 0
        assert 0.9 < asyncio.get_running_loop().time() - started < 2
        assert await _read_all(client) == b""


async def test_a_request_in_the_kernel_is_no_idle_connection() -> None:
    """A kept connection's next request has arrived, unread, when idle connections are closed: it is served."""
    async with raw_backend(answers()) as backend, running_proxy(one_route([backend.port])) as proxy:
        clients = _queued(proxy.port, request(), 20)
        heads = [await asyncio.get_running_loop().sock_recv(client, 65536) for client in clients]
        assert all(status(head) == 200 for head in heads)
        for client in clients:
            client.send(request())
        assert await proxy.worker.drain(0.0, 5) == 0  # It begins before the event loop looks at the sockets again.
        assert [status(await _read_all(client)) for client in clients] == [200] * 20


async def test_a_client_that_left_the_queue_disturbs_nobody() -> None:
    """Connections that were reset while they waited are nothing to fail at."""
    async with raw_backend(answers()) as backend, running_proxy(one_route([backend.port])) as proxy:
        clients = _queued(proxy.port, request(), 6)
        for client in clients[::2]:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        draining = asyncio.get_running_loop().create_task(proxy.worker.drain(0.0, 5))
        assert [status(await _read_all(client)) for client in clients[1::2]] == [200] * 3
        assert await draining == 0


@pytest.fixture
def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    trustme.CA().configure_trust(context)
    return context


async def test_handshakes_under_way_at_the_stop_are_finished(client_context: ssl.SSLContext) -> None:
    """More queued TLS clients than one turn takes: each finishes its handshake and is served."""
    async with raw_backend(answers()) as backend, running_proxy(one_route([backend.port])) as proxy:
        clients: list[socket.socket] = []

        async def drain() -> int:
            clients.extend(_queued(proxy.tls_port, b"", 80))
            return await proxy.worker.drain(0.0, 10)  # It begins before the event loop looks at the sockets again.

        draining = asyncio.get_running_loop().create_task(drain())
        await eventually(lambda: proxy.worker._listeners.handshakes > 0, "the handshakes have begun")

        async def ask(client: socket.socket) -> int:
            reader, writer = await asyncio.open_connection(sock=client, ssl=client_context, server_hostname=HOST)
            raw = RawClient(reader, writer)
            raw.send(request())
            answer = status(await raw.read_to_end())
            raw.close()
            return answer

        assert await asyncio.gather(*(ask(client) for client in clients)) == [200] * 80
        assert await draining == 0
        await quiet(proxy)


async def test_a_handshake_that_never_ends_is_cut_at_the_time_limit() -> None:
    """A client that says nothing does not hold the worker up, and leaves no task behind."""
    async with running_proxy(one_route([], settings=Settings(tls_handshake_timeout=60))) as proxy:
        (client,) = _queued(proxy.tls_port, b"", 1)
        await eventually(lambda: proxy.worker._listeners.handshakes == 1, "the handshake has begun")
        assert await proxy.worker.drain(0.0, 0.1) == 1
        await eventually(lambda: proxy.worker._listeners.handshakes == 0, "it is over")
        client.close()
        await quiet(proxy)


async def test_the_end_at_once_leaves_nothing() -> None:
    """``close`` ends requests, dials, handshakes and listeners, whatever they do."""
    async with raw_backend(hangs()) as backend, running_proxy(one_route([backend.port])) as proxy:
        (handshake,) = _queued(proxy.tls_port, b"", 1)
        async with client_of(proxy) as client:
            client.send(request())
            await eventually(lambda: bool(backend.heads), "a request is under way")
            await proxy.worker.close()
            assert await client.read_to_end() == b""
        handshake.close()
        await eventually(lambda: proxy.worker._listeners.handshakes == 0, "no handshake is left")
        await quiet(proxy)
        assert await _is_refused(proxy)
