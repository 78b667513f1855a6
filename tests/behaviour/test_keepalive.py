"""How long a connection lives, for clients of both versions."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic

import pytest

from proxy.table import Settings
from tests.support.backend import fixed, raw_backend
from tests.support.clients import ask, curl, get, read_reply, silent, slow_client, within
from tests.support.proxy import HOST, RunningProxy, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


def age(proxy: RunningProxy, seconds: float) -> None:
    """Make every connection as old as if ``seconds`` had passed."""
    proxy.worker.connections.check(monotonic() + seconds)


async def test_connection_close_is_honoured_and_said() -> None:
    """A client that says Connection: close gets it back, and the end of the connection behind the response."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        answer = await proxy.ask(get("/", "Connection: Close"))
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nok")


async def test_the_end_of_a_client_connection_leaves_the_upstream_one_open() -> None:
    """Ten clients that close after one request share one upstream connection."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        for _ in range(10):
            assert (await ask(proxy, get("/", "Connection: close"))).body == b"ok"
    assert backend.connections == 1


@pytest.mark.parametrize(
    ("fields", "response", "kept"),
    [
        ((), OK, False),
        (("Connection: keep-alive",), OK, True),
        (("Connection: Keep-Alive, TE",), OK, True),
        (("Connection: keep-alive, close",), OK, False),
        (("Connection: keep-alive",), CHUNKED, False),
    ],
)
async def test_an_http10_connection_is_kept_where_the_client_asks_and_can_tell_the_end(
    fields: tuple[str, ...], response: bytes, kept: bool
) -> None:
    """HTTP/1.0 closes by default; with keep-alive and a length the connection serves on, and says so."""
    async with raw_backend(fixed(response)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(get("/", *fields, version="1.0"))
        first = await read_reply(client)
        assert first.body == b"ok"
        assert first.fields["connection"] == ("keep-alive" if kept else "close")
        if kept:
            client.send(get("/", *fields, version="1.0"))
            assert (await read_reply(client)).body == b"ok"
        else:
            assert await within(client.reader.read()) == b""
        client.close()


async def test_an_http10_connection_is_kept_behind_a_page_of_the_proxy() -> None:
    """Responses made here follow the same rule, or a keep-alive client would wait for a close that does not come."""
    async with running_proxy(one_route([])) as proxy:
        client = await proxy.connect()
        for _ in range(2):
            client.send(get("/", "Connection: keep-alive", version="1.0"))
            reply = await read_reply(client)
            assert reply.status == 503
            assert reply.fields["connection"] == "keep-alive"
        client.close()
        closed = await proxy.ask(get(version="1.0"))
    assert b"\r\nConnection: close\r\n" in closed


async def test_an_old_client_without_a_host_is_served_by_the_default() -> None:
    """HTTP/1.0 needs no Host: such a request goes where requests of unknown hosts go."""
    table = one_route([])
    async with running_proxy(table) as proxy:
        reply = await ask(proxy, b"GET / HTTP/1.0\r\n\r\n")
    assert reply.status == 404


async def test_curl_reuses_its_connection() -> None:
    """curl makes three requests over one connection, in HTTP/1.1 and in HTTP/1.0 with keep-alive."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        urls = [f"http://127.0.0.1:{proxy.port}/{number}" for number in range(3)]
        for flags in ((), ("--http1.0", "-H", "Connection: keep-alive")):
            code, out, _ = await curl(*flags, "-H", f"Host: {HOST}", "-w", "%{num_connects} ", *urls)
            assert code == 0
            assert out == b"ok1 ok0 ok0 "


async def test_an_idle_connection_ends_after_its_time() -> None:
    """Between two requests a connection may be idle for ``keepalive_timeout``, then it is closed, not reset."""
    settings = Settings(keepalive_timeout=30.0, header_timeout=5.0)
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
    ):
        client = await proxy.connect()
        client.send(get())
        await read_reply(client)
        age(proxy, 29)
        assert await silent(client, 0.05)
        age(proxy, 31)
        assert await within(client.reader.read()) == b""
        client.close()


async def test_a_connection_without_a_first_request_ends_sooner() -> None:
    """A client that connected owes a request within ``header_timeout``; one in the middle of a head is told 408."""
    settings = Settings(keepalive_timeout=100.0, header_timeout=5.0)
    async with running_proxy(one_route([], settings=settings)) as proxy:
        mute = await proxy.connect()
        halfway = await proxy.connect()
        halfway.send(b"GET / HTTP/1.1\r\nHo")
        await asyncio.sleep(0.05)
        age(proxy, 4)
        assert await silent(mute, 0.05)
        age(proxy, 6)
        assert await within(mute.reader.read()) == b""
        assert (await halfway.read_to_end()).startswith(b"HTTP/1.1 408 ")
        mute.close()
        halfway.close()


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
@pytest.mark.parametrize("size", [300 * 1024, 5 * 1024 * 1024])
async def test_a_slow_but_steady_reader_gets_the_end_of_its_response(size: int, connection: str) -> None:
    """After ``write_timeout`` a client that still takes bytes keeps its connection; one that takes none loses it.

    The smaller response is over for the backend while the client still reads, the larger one is not.
    """
    settings = Settings(access_log="off", write_timeout=10.0, body_min_rate=100)
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    async with (
        raw_backend(fixed(response)) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
    ):
        loop = asyncio.get_running_loop()
        client = await slow_client(proxy.port)
        await asyncio.sleep(0.02)
        (member,) = proxy.worker.connections._members
        if size < 1024 * 1024:
            handle = member.transport.get_extra_info("socket")
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
        await loop.sock_sendall(client, get("/", f"Connection: {connection}"))
        await asyncio.sleep(0.2)
        assert member._exchange.running == (size > 1024 * 1024)
        start = monotonic()
        for step in range(5):
            # Each 5 seconds of the proxy's clock the client takes a little.
            proxy.worker.connections.check(start + 5 * step)
            assert len(proxy.worker.connections) == 1
            assert member.transport.get_write_buffer_size() > 0
            for _ in range(8):
                await within(loop.sock_recv(client, 4096))
            await asyncio.sleep(0.02)
        for step in range(5, 12):
            proxy.worker.connections.check(start + 5 * step)
        await asyncio.sleep(0.02)
        assert len(proxy.worker.connections) == 0
        client.close()
