"""Clients that take or give bytes slowly: they get their time, a bounded amount of memory, and an end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.table import Settings
from tests.support.backend import Backend, fixed, raw_backend
from tests.support.clients import slow_client
from tests.support.failing import client_of, endpoint_of, eventually, quiet, request, status
from tests.support.proxy import RunningProxy, one_route, running_proxy

SIZE = 30_000_000
BIG = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE
MODEST = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000


@asynccontextmanager
async def _squeezed(response: bytes, **settings: float) -> AsyncIterator[tuple[RunningProxy, Backend, socket.socket]]:
    """A backend that sends ``response``, and a client for which the kernel takes hardly anything; nothing is left."""
    async with (
        raw_backend(fixed(response)) as backend,
        running_proxy(one_route([backend.port], settings=Settings(**settings))) as proxy,  # type: ignore[arg-type]
    ):
        handle = await slow_client(proxy.port)
        await eventually(lambda: len(proxy.worker.connections) == 1, "the client is there")
        (member,) = proxy.worker.connections._members
        member.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        yield proxy, backend, handle
        handle.close()
        await quiet(proxy)


async def _drain_slowly(handle: socket.socket, proxy: RunningProxy, step: int, seconds: float) -> int:
    """Read ``step`` bytes every 20 ms for a while, with the worker's clock ticking; returns how many came."""
    loop, total = asyncio.get_running_loop(), 0
    end = loop.time() + seconds
    while loop.time() < end:
        data = await loop.sock_recv(handle, step)
        if not data:
            break
        total += len(data)
        await asyncio.sleep(0.02)
        await proxy.tick()
    return total


async def test_a_client_that_reads_nothing_is_cut_after_the_write_timeout() -> None:
    """Its response stops at the endpoint meanwhile; then both connections end and nothing is left."""
    settings = Settings(write_timeout=0.3)
    async with (
        raw_backend(fixed(BIG)) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
    ):
        handle = await slow_client(proxy.port)
        handle.send(request())
        await eventually(lambda: proxy.worker.runtime.active == 1, "the request is under way")
        (member,) = proxy.worker.connections._members
        await eventually(lambda: member._exchange.blocked_at > 0, "the client takes no more")
        await asyncio.sleep(0.1)
        assert member.transport.get_write_buffer_size() < 2_000_000
        assert member._exchange.response_bytes < SIZE
        await proxy.tick()
        assert proxy.worker.runtime.active == 1
        await asyncio.sleep(0.3)
        await proxy.tick()
        await quiet(proxy)
        assert not endpoint_of(proxy).suspect
        assert not endpoint_of(proxy).idle
        handle.close()


async def test_a_client_that_does_not_take_the_end_is_cut_too() -> None:
    """The response is handed over whole, the endpoint free again: what the client leaves untaken has its time limit."""
    async with _squeezed(MODEST, write_timeout=0.3) as (proxy, backend, handle):
        handle.send(request())
        await eventually(lambda: len(backend.heads) == 1 and proxy.worker.runtime.active == 0, "the response is whole")
        (member,) = proxy.worker.connections._members
        assert member.transport.get_write_buffer_size() > 0
        await proxy.tick()
        await asyncio.sleep(0.2)
        await proxy.tick()
        assert len(proxy.worker.connections) == 1
        await asyncio.sleep(0.2)
        await proxy.tick()
        await quiet(proxy)


async def test_a_client_that_closes_its_request_side_and_reads_nothing_is_cut() -> None:
    """``Connection: close`` with an untaken response is no way to stay for ever either."""
    async with _squeezed(MODEST, write_timeout=0.3) as (proxy, backend, handle):
        handle.send(request("GET", fields=b"Connection: close\r\n"))
        await eventually(lambda: len(backend.heads) == 1 and proxy.worker.runtime.active == 0, "the response is whole")
        await proxy.tick()
        await asyncio.sleep(0.35)
        await proxy.tick()
        await asyncio.sleep(0.35)
        await proxy.tick()
        await quiet(proxy)


async def test_a_slow_client_that_keeps_reading_keeps_its_response() -> None:
    """Well above the minimum rate nobody is cut, however often the write timeout goes by."""
    async with _squeezed(BIG, write_timeout=0.2, body_min_rate=10_000) as (proxy, _, handle):
        handle.send(request())
        assert await _drain_slowly(handle, proxy, 65536, 1.0) > 500_000
        assert proxy.worker.runtime.active == 1


async def test_a_client_that_takes_bytes_one_by_one_is_cut() -> None:
    """Below the minimum rate progress does not count."""
    async with _squeezed(BIG, write_timeout=0.2, body_min_rate=1_000_000) as (proxy, _, handle):
        handle.send(request())
        await eventually(lambda: proxy.worker.runtime.active == 1, "the request is under way")
        await _drain_slowly(handle, proxy, 100, 0.6)
        await quiet(proxy)


async def test_a_slow_client_costs_another_nothing() -> None:
    """While one client reads nothing, another gets its answers from the same endpoint at once."""
    async with raw_backend(fixed(BIG)) as backend, running_proxy(one_route([backend.port])) as proxy:
        handle = await slow_client(proxy.port)
        handle.send(request())
        await eventually(lambda: proxy.worker.runtime.active == 1, "the request is under way")
        async with client_of(proxy) as other:
            for _ in range(2):
                other.send(b"GET / HTTP/1.1\r\nHost: unknown\r\n\r\n")
                assert status((await other.read_response())[0]) == 404
            other.send(request())
            head = await other.read_head()
            assert status(head) == 200
            assert len(await asyncio.wait_for(other.reader.readexactly(SIZE), 10)) == SIZE
        handle.close()
        await quiet(proxy)


async def test_requests_behind_an_untaken_response_wait() -> None:
    """A client that asks and asks without reading gets no second response into memory."""
    async with _squeezed(MODEST) as (proxy, backend, handle):
        (member,) = proxy.worker.connections._members
        for _ in range(50):
            handle.send(request())
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.1)
        assert member.transport.get_write_buffer_size() < 1_000_000
        assert len(backend.heads) < 6
