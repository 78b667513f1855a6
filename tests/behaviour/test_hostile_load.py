"""While one client attacks, another keeps its pace, and the worker's memory stays bounded.

The bounds of each attack by itself are tested where they belong; here they are all at work in a process of its own.
The pace of a client is told by what the worker computes between a request and its answer: that is what an attack puts
ahead of it, however busy the machine is with attackers and all else.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.table import Settings
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.failing import eventually
from tests.support.process import ProxyProcess, proxy_process
from tests.support.proxy import HOST, one_route

MEBIBYTE = 1 << 20
BIG = b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 20_000_000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = f"Host: {HOST}\r\n".encode()
TIME = 0.6
"""Seconds of an attack."""
AHEAD = 0.05
"""Seconds of CPU time that the worker may spend between a request and its answer, 19 times of 20. Undisturbed it is a
tenth of a millisecond. A worker that dealt with all that an attacker has sent at once would spend half a second."""
MOST_AHEAD = 0.25
"""Seconds that it may spend at the most."""
LATEST = 2.0
"""Seconds on the clock that a request may take, which is computed for and waited for."""

Attack = Callable[[int], Awaitable[None]]


async def backend(conversation: Conversation, backend: Backend) -> None:
    """Takes bodies whole; ``/big`` is more than a client should read at once."""
    while head := await conversation.read_head():
        body = await conversation.read_body(head)
        backend.bodies = [body]
        conversation.send(BIG if head.startswith(b"GET /big") else OK)


@asynccontextmanager
async def attacked(folder: Path, **settings: object) -> AsyncIterator[tuple[ProxyProcess, Backend]]:
    values = {"access_log": "off", "header_timeout": 30.0, "body_timeout": 30.0, "write_timeout": 30.0, **settings}
    async with (
        raw_backend(backend) as server,
        proxy_process(one_route([server.port], settings=Settings(**values)), folder) as process,  # type: ignore[arg-type]
    ):
        yield process, server


async def slowest(port: int, seconds: float) -> float:
    """How long the slowest request of a well-behaved client took; none failed."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = 0.0
    with contextlib.closing(writer):
        end = loop.time() + seconds
        while loop.time() < end:
            begun = loop.time()
            writer.write(b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"ok"), 10)).startswith(b"HTTP/1.1 200")
            taken = max(taken, loop.time() - begun)
            await asyncio.sleep(0.005)
    return taken


def computed_ahead(proxy: ProxyProcess, seconds: float) -> list[float]:
    """What the worker computed between each request and its answer, sorted.

    For a thread: the event loop is busy with the attack. The worker answers these requests by itself.
    """
    ahead = []
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = proxy.computed()
            client.sendall(b"GET / HTTP/1.1\r\nHost: unknown\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 404")
            ahead.append(proxy.computed() - before)
            time.sleep(0.002)
    return sorted(ahead)


@contextlib.contextmanager
def crowd(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections that are reset at the end."""
    handles = []
    try:
        for _ in range(count):
            handle = socket.socket()
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handle.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                handle.connect(("127.0.0.1", port))
            handles.append(handle)
        yield handles
    finally:
        for handle in handles:
            handle.close()


async def drip(handles: list[socket.socket], begin: bytes, more: bytes) -> None:
    """Send ``begin`` on each, then ``more`` again and again, until cancelled."""
    for handle in handles:
        with contextlib.suppress(OSError):
            handle.send(begin)
    while True:
        await asyncio.sleep(0.05)
        for handle in handles:
            with contextlib.suppress(OSError):
                handle.send(more)


async def slow_heads(port: int) -> None:
    with crowd(port, 300) as handles:
        await asyncio.sleep(0.1)
        await drip(handles, b"GET / HTTP/1.1\r\n" + HEAD, b"X-A: b\r\n")


async def slow_bodies(port: int) -> None:
    with crowd(port, 300) as handles:
        await asyncio.sleep(0.1)
        await drip(handles, b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 100000\r\n\r\n", b"x")


async def slow_readers(port: int) -> None:
    """Zero windows: the kernel's buffers of these clients fill up, and nobody reads them."""
    with crowd(port, 12) as handles:
        await asyncio.sleep(0.1)
        await drip(handles, b"GET /big HTTP/1.1\r\n" + HEAD + b"\r\n", b"")


async def idle_horde(port: int) -> None:
    with crowd(port, 1000):
        await asyncio.sleep(60)


async def connection_flood(port: int) -> None:
    while True:
        with crowd(port, 50):
            await asyncio.sleep(0.01)


async def header_flood(port: int) -> None:
    fields = b"".join(b"X-%d: %b\r\n" % (number, b"y" * 300) for number in range(98))
    await again(port, b"GET /nowhere HTTP/1.1\r\n" + HEAD + fields + b"\r\n")


async def too_many_headers(port: int) -> None:
    await again(
        port, b"GET / HTTP/1.1\r\n" + HEAD + b"".join(b"X%d:y\r\n" % number for number in range(3000)) + b"\r\n"
    )


async def giant_extensions(port: int) -> None:
    await again(port, b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"e" * 200_000)


async def tiny_chunks(port: int) -> None:
    await again(
        port,
        b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n",
    )


async def endless_trailers(port: int) -> None:
    trailers = b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
    await again(port, b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + trailers)


async def pipelines(port: int) -> None:
    """Thousands of requests in one go, none of whose answers is read."""
    await again(port, (b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n") * 2000)


async def bombs(port: int) -> None:
    """100 KB that would be 100 MB, to whoever undoes its coding."""
    body = gzip.compress(bytes(100_000_000))
    head = b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    await again(port, head + body)


async def again(port: int, data: bytes) -> None:
    """Eight clients send ``data`` on ever new connections."""

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(data)
                    async with asyncio.timeout(0.3):
                        await reader.read(100)
                except TimeoutError:
                    pass
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(one())


ATTACKS: list[tuple[Attack, int]] = [
    (slow_heads, 10),
    (slow_bodies, 20),
    (slow_readers, 40),
    (idle_horde, 20),
    (connection_flood, 10),
    (header_flood, 10),
    (too_many_headers, 10),
    (giant_extensions, 20),
    (tiny_chunks, 20),
    (endless_trailers, 20),
    (pipelines, 20),
    (bombs, 20),
]
"""Each with the memory that it may cost, in MiB."""


@pytest.mark.parametrize(("attack", "memory"), ATTACKS, ids=lambda value: getattr(value, "__name__", ""))
async def test_an_attack_costs_bounded_memory_and_others_keep_their_pace(
    attack: Attack, memory: int, tmp_path: Path
) -> None:
    """The worker does little between requests of another client and their answers; none is late, none fails."""
    async with attacked(tmp_path) as (proxy, _):
        await slowest(proxy.port, 0.1)
        before = proxy.peak()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(attack(proxy.port))
            await asyncio.sleep(0.3)
            taken, ahead = await asyncio.gather(
                slowest(proxy.port, TIME), asyncio.to_thread(computed_ahead, proxy, TIME)
            )
            assert not task.done()
            grown = (proxy.peak() - before) / MEBIBYTE
            task.cancel()
        assert grown < memory
        assert ahead[len(ahead) * 19 // 20] < AHEAD
        assert ahead[-1] < MOST_AHEAD
        assert taken < LATEST


async def test_a_coded_body_passes_as_it_came(tmp_path: Path) -> None:
    """What is decoded by nobody here can blow up nobody here."""
    body = gzip.compress(bytes(1_000_000))
    async with attacked(tmp_path) as (proxy, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(
            b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        assert server.bodies == [body]
        writer.close()


async def test_idle_connections_cost_a_few_kibibytes(tmp_path: Path) -> None:
    """10,000 that have had a request before fit into 150 MiB: here 2,000, scaled; and their memory is used again."""
    count = 2000
    async with attacked(tmp_path, max_connections=count + 50) as (proxy, _):
        await slowest(proxy.port, 0.1)
        before = proxy.resident()
        few = proxy.open_files() + 20  # its own, and the backend's
        sizes = []
        for _ in range(8):
            with crowd(proxy.port, count) as handles:
                await eventually(lambda: proxy.open_files() >= count, "all are accepted", 10)
                for handle in handles:
                    handle.send(b"GET /nowhere HTTP/1.1\r\nHost: unknown\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n")
                await answered(handles)
                sizes.append(proxy.resident())
            await eventually(lambda: proxy.open_files() <= few, "they are gone", 10)
        assert before + (sizes[0] - before) * 10_000 / count < 150 * MEBIBYTE
        # What is gone refers to itself, and goes when the collector of garbage comes round: after a few thousand, so
        # that two crowds may differ by half of one.
        assert sizes[7] - sizes[4] < 8 * MEBIBYTE, sizes  # 6,000 that stayed would be 36


async def answered(handles: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    for handle in handles:
        assert (await asyncio.wait_for(loop.sock_recv(handle, 4096), 10)).startswith(b"HTTP/1.1 404")


async def test_memory_does_not_grow_with_the_number_of_requests(tmp_path: Path) -> None:
    """A soak, compressed: after a first share of every kind of request and failure, four more leave nothing behind."""
    kinds = [
        b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 50000\r\n\r\n" + b"x" * 50_000,
        b"GET / HTTP/1.1\r\nHost: nowhere-%d\r\n\r\n",
        b"GET /%d HTTP/1.1\r\n" + HEAD + b"X-%d: %d\r\n\r\n",
        b"BROKEN %d\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nz%d\r\n",
        b"GET /big HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HEAD,
    ]

    async def one(port: int, number: int) -> None:
        data = kinds[number % len(kinds)].replace(b"%d", b"%d" % number)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        if number % len(kinds) < 7:
            await reader.read(100)
        writer.transport.abort()

    async with attacked(tmp_path) as (proxy, _):
        few = proxy.open_files() + 20  # its own, and the backend's
        sizes = []
        for share in range(5):
            for number in range(0, 450, 15):
                await asyncio.gather(*(one(proxy.port, share * 450 + number + extra) for extra in range(15)))
            await eventually(lambda: proxy.open_files() <= few, "the clients are gone", 10)
            sizes.append(proxy.resident())
        assert sizes[-1] - sizes[0] < 4 * MEBIBYTE, sizes
