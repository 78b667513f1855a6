"""Clients do not keep the proxy waiting for ever: each wait for them has its limit, and its own answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress

import pytest

from proxy.table import Settings
from tests.support.backend import raw_backend
from tests.support.clients import silent
from tests.support.failing import answers, client_of, endpoint_of, eventually, hangs, quiet, request, status
from tests.support.proxy import RawClient, RunningProxy, one_route, running_proxy


async def _wait(proxy: RunningProxy, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await proxy.tick()


async def _drip(proxy: RunningProxy, client: RawClient, pieces: Iterable[bytes]) -> float:
    """Send one after the other, 20 ms apart, until the proxy says something; the seconds that it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    for piece in pieces:
        client.send(piece)
        await _wait(proxy, 0.02)
        if not await silent(client, 0.001):
            break
    return loop.time() - started


async def test_a_client_that_says_nothing_is_closed_silently() -> None:
    """From accept on the header timeout runs; there is no request to answer."""
    async with running_proxy(one_route([], settings=Settings(header_timeout=0.2))) as proxy, client_of(proxy) as client:
        await _wait(proxy, 0.1)
        assert await silent(client, 0.01)
        await _wait(proxy, 0.15)
        assert await client.read_to_end() == b""
        await quiet(proxy)


async def test_half_a_head_is_answered_408() -> None:
    """A head that does not end in time is refused, and the connection closed."""
    async with running_proxy(one_route([], settings=Settings(header_timeout=0.2))) as proxy, client_of(proxy) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: ")
        await _wait(proxy, 0.25)
        answer = await client.read_to_end()
        assert status(answer) == 408
        assert b"\r\nConnection: close\r\n" in answer
        client.close()
        await quiet(proxy)


@pytest.mark.alone
async def test_dripping_a_head_wins_no_time() -> None:
    """The limit counts from the first byte of the head, however steadily further ones come."""
    async with running_proxy(one_route([], settings=Settings(header_timeout=0.3))) as proxy, client_of(proxy) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        assert 0.25 < await _drip(proxy, client, [b"X-%d: y\r\n" % number for number in range(40)]) < 0.6
        client.close()
        await quiet(proxy)


async def test_the_second_head_has_its_own_time() -> None:
    """Between requests the keep-alive timeout holds; from the first byte of the next one, the header timeout."""
    settings = Settings(header_timeout=0.2, keepalive_timeout=0.6)
    async with (
        raw_backend(answers()) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        await client.read_response()
        await _wait(proxy, 0.3)
        assert await silent(client, 0.01)
        client.send(b"GET / HT")
        await _wait(proxy, 0.25)
        assert status(await client.read_to_end()) == 408


async def test_an_idle_connection_is_closed_after_the_keep_alive_time() -> None:
    """Silently: there is nothing to answer."""
    settings = Settings(keepalive_timeout=0.2)
    async with (
        raw_backend(answers()) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        await client.read_response()
        await _wait(proxy, 0.1)
        client.send(request())
        await client.read_response()
        await _wait(proxy, 0.15)
        assert await silent(client, 0.01)
        await _wait(proxy, 0.1)
        assert await client.read_to_end() == b""
        await quiet(proxy)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_stops_is_answered_408(chunked: bool) -> None:
    """The client owes the rest of its body; the endpoint is not blamed, its connection not pooled."""
    settings = Settings(body_timeout=0.2)
    async with (
        raw_backend(hangs()) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
        client_of(proxy) as client,
    ):
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: 100\r\n"
        client.send(request("POST", fields=framing) + b"5\r\nhello\r\n")
        await eventually(lambda: bool(backend.connections), "the request is under way")
        await _wait(proxy, 0.25)
        answer = await client.read_to_end()
        assert status(answer) == 408
        client.close()
        await quiet(proxy)
        assert not endpoint_of(proxy).suspect
        assert not endpoint_of(proxy).idle


@pytest.mark.alone
async def test_a_body_that_drips_is_answered_408() -> None:
    """Each byte comes in time, but all together too slowly: after the body timeout a minimum rate holds."""
    settings = Settings(body_timeout=0.2, body_min_rate=1000)
    async with (
        raw_backend(hangs()) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request("POST", fields=b"Content-Length: 1000000\r\n"))
        assert 0.15 < await _drip(proxy, client, [b"x"] * 40) < 0.5
        client.close()
        await quiet(proxy)


async def test_a_steady_body_may_take_longer_than_the_timeout() -> None:
    """Above the minimum rate an upload is as long as it is."""
    settings = Settings(body_timeout=0.1, body_min_rate=1000)
    async with (
        raw_backend(answers()) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request("POST", fields=b"Content-Length: 20000\r\n"))
        for _ in range(20):
            client.send(b"x" * 1000)
            await _wait(proxy, 0.02)
        assert status((await client.read_response())[0]) == 200
    assert backend.bodies == [b"x" * 20000]


async def test_a_handshake_that_does_not_end_is_cut_and_counted() -> None:
    """Half-open handshakes have a time limit of their own, and leave nothing behind."""
    async with running_proxy(one_route([], settings=Settings(tls_handshake_timeout=0.2))) as proxy:
        clients = [socket.create_connection(("127.0.0.1", proxy.tls_port)) for _ in range(5)]
        clients[0].send(b"\x16\x03\x01\x02\x00\x01\x00")  # The beginning of a ClientHello, and no more.
        await eventually(lambda: proxy.worker._listeners.handshakes == 5, "the handshakes have begun")
        assert len(proxy.worker.connections) == 0
        await eventually(lambda: proxy.worker._listeners.handshakes == 0, "they are over", limit=1.0)
        assert proxy.worker.telemetry.tls_handshake_failures == 5
        for client in clients:
            client.settimeout(1)
            with suppress(ConnectionResetError):
                assert client.recv(100) == b""
            client.close()
