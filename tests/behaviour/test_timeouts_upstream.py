"""Endpoints do not keep requests waiting for ever: each wait for them has its limit, and its own answer."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.table import Policy, Settings
from proxy.upstream import connection
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.clients import reset, silent
from tests.support.failing import OK, client_of, endpoint_of, eventually, hangs, quiet, request, status
from tests.support.proxy import RunningProxy, one_route, running_proxy


async def _wait(proxy: RunningProxy, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await proxy.tick()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_endpoint_that_does_not_answer_is_504(method: str) -> None:
    """The read timeout runs from the end of the request."""
    settings = Settings(read_timeout=0.2)
    async with (
        raw_backend(hangs()) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request(method, body=b"abc" if method == "POST" else None))
        await eventually(lambda: bool(backend.heads), "the request is under way")
        await _wait(proxy, 0.1)
        assert await silent(client, 0.01)
        await _wait(proxy, 0.15)
        assert status((await client.read_response())[0]) == 504
        await quiet(proxy, connections=1)
        assert endpoint_of(proxy).suspect


async def test_a_route_has_timeouts_of_its_own() -> None:
    """What the policy of a route says holds instead of the settings."""
    async with raw_backend(hangs()) as backend:
        table = one_route([backend.port], settings=Settings(read_timeout=60), policy=Policy(read_timeout=0.1))
        async with running_proxy(table) as proxy, client_of(proxy) as client:
            client.send(request())
            await eventually(lambda: bool(backend.heads), "the request is under way")
            await _wait(proxy, 0.15)
            assert status((await client.read_response())[0]) == 504


async def test_a_response_that_stops_is_truncated() -> None:
    """After the head nothing can be answered any more: the connection ends without the end of the body."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await conversation.reader.read()

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=Settings(read_timeout=0.2))) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        await client.read_head()
        await _wait(proxy, 0.25)
        assert await client.read_to_end() == b"4\r\nhalf\r\n"
        await quiet(proxy)


async def test_a_response_that_trickles_is_no_timeout() -> None:
    """The read timeout is for one wait, not for the whole response."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.05)
            conversation.send(b"x")
        await conversation.reader.read()

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=Settings(read_timeout=0.2))) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        for _ in range(9):
            await _wait(proxy, 0.05)
        assert (await client.read_response())[1] == b"x" * 8


async def test_an_informational_response_renews_the_wait() -> None:
    """103 shows that the endpoint is at work."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        for _ in range(4):
            await asyncio.sleep(0.08)
            conversation.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        conversation.send(OK)
        await conversation.reader.read()

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=Settings(read_timeout=0.2))) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        for _ in range(8):
            await _wait(proxy, 0.05)
        heads = [status(await client.read_head()) for _ in range(5)]
        assert heads == [103] * 4 + [200]


async def test_an_endpoint_that_takes_no_body_is_504() -> None:
    """The send timeout runs while the endpoint's buffers are full; reading from the client has stopped meanwhile."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        conversation.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(10)

    settings = Settings(send_timeout=0.2, body_timeout=30, read_timeout=30)
    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request("POST", fields=b"Content-Length: 100000000\r\n") + b"x" * 30_000_000)
        (member,) = proxy.worker.connections._members
        await eventually(lambda: member._exchange.upstream_blocked_at > 0, "the endpoint takes no more")
        upstream = member._exchange.upstream
        assert upstream is not None
        await asyncio.sleep(0.05)
        assert upstream.transport.get_write_buffer_size() < 1_000_000
        await _wait(proxy, 0.25)
        assert status(await client.read_head()) == 504
        client.close()
        await quiet(proxy)


async def test_back_pressure_holds_when_the_first_read_was_large() -> None:
    """The first bytes of a body wait for the dial; an endpoint that takes them slowly is not sent more meanwhile."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        conversation.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(10)

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        await eventually(lambda: len(proxy.worker.connections) == 1, "the client is there")
        (member,) = proxy.worker.connections._members
        member.data_received(request("POST", fields=b"Content-Length: 100000000\r\n") + b"x" * 8_000_000)
        await eventually(lambda: member._exchange.upstream_blocked_at > 0, "the endpoint takes no more")
        received = member._exchange.request_bytes
        client.send(b"x" * 10_000_000)
        await asyncio.sleep(0.1)
        assert member._exchange.request_bytes == received
        client.close()


async def test_a_tunnel_that_is_idle_ends() -> None:
    """Traffic in either direction renews its time."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await conversation.reader.read(100):
            conversation.send(data)

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=Settings(tunnel_timeout=0.2))) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request("GET", fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\n"))
        await client.read_head()
        for _ in range(5):
            client.send(b"ping")
            assert await client.reader.readexactly(4) == b"ping"
            await _wait(proxy, 0.08)
        await _wait(proxy, 0.2)
        assert await client.read_to_end() == b""
        await quiet(proxy)


async def test_a_backend_has_limited_time_for_the_last_bytes_of_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client wrote and left; a backend that does not read keeps neither the bytes nor the connection alive."""
    monkeypatch.setattr(connection, "FINISH_TIME", 0.2)

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        conversation.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(10)

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        async with client_of(proxy) as client:
            client.send(request("GET", fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\n"))
            await client.read_head()
            (member,) = proxy.worker.connections._members
            upstream = member._exchange.upstream
            assert upstream is not None
            upstream.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            client.send(b"x" * 250_000)
            await eventually(lambda: member._tunnel._sent == 250_000, "all is under way")
            reset(client)
        await quiet(proxy)
        assert upstream.transport.get_write_buffer_size() > 0
        await eventually(lambda: _is_closed(upstream), "the upstream connection is gone", limit=1.0)


def _is_closed(upstream: connection.UpstreamConnection) -> bool:
    # A connection that is lost has forgotten its last bytes.
    return upstream.transport.get_write_buffer_size() == 0
