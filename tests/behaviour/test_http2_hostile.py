"""Clients that use HTTP/2 to hurt: each ends at a bound, while another client's requests keep their pace."""

from __future__ import annotations

import asyncio
from time import thread_time

import pytest
from hpack import Encoder

from proxy.http2 import CODEC
from proxy.http2.codes import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, NO_ERROR, STREAM_CLOSED
from proxy.table import Settings
from tests.support.backend import fixed, raw_backend
from tests.support.failing import OK, endpoint_of, eventually, hangs, quiet
from tests.support.http2 import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    WINDOW_UPDATE,
    block,
    frame,
    headers,
    http2_client,
    read_frames,
    request_fields,
    settings,
    start,
)
from tests.support.proxy import RunningProxy, one_route, running_proxy

H2C = Settings(h2c=True, access_log="off")
END_STREAM, END_HEADERS = 0x1, 0x4
CALM = frame(RST_STREAM, 0, 1, b"\0\0\0\x08")


def goaway_of(data: bytes) -> int:
    """The code of the last GOAWAY."""
    return int.from_bytes([each for each in read_frames(data) if each.kind == GOAWAY][-1].payload[4:8], "big")


async def _flood(proxy: RunningProxy, pieces: list[bytes]) -> bytes:
    """Send everything, reading all the while; what came until the proxy closed."""
    raw = await proxy.connect()
    reading = asyncio.get_running_loop().create_task(raw.read_to_end())
    try:
        for piece in pieces:
            if reading.done():
                break
            raw.send(piece)
            await raw.writer.drain()
            await asyncio.sleep(0)
    except ConnectionError:
        pass
    data = await asyncio.wait_for(reading, 10)
    raw.close()
    return data


def _many(piece: bytes, count: int) -> list[bytes]:
    """So many of the same, some hundreds at a time, behind a preface."""
    return [start(), *[piece * 250] * (count // 250)]


def _rapid_reset(count: int) -> list[bytes]:
    pieces = [start()]
    for first in range(1, 2 * count, 400):
        pieces.append(
            b"".join(
                headers(stream) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08") for stream in range(first, first + 400, 2)
            )
        )
    return pieces


def _made_reset(count: int) -> list[bytes]:
    """Mistakes that make the server reset its streams ("made you reset")."""
    pieces = [start()]
    for first in range(1, 2 * count, 400):
        pieces.append(
            b"".join(headers(stream) + frame(DATA, END_STREAM, stream, b"x") for stream in range(first, first + 400, 2))
        )
    return pieces


def _malformed(count: int) -> list[bytes]:
    pieces = [start()]
    for first in range(1, 2 * count, 400):
        pieces.append(b"".join(headers(stream, [(b"X", b"y")]) for stream in range(first, first + 400, 2)))
    return pieces


UPLOAD = headers(1, request_fields(method="POST"), end=False)

FLOODS: dict[str, list[bytes]] = {
    "rapid reset": _rapid_reset(20_000),
    "made-you-reset": _made_reset(20_000),
    "malformed requests": _malformed(20_000),
    "PING": _many(frame(PING, 0, 0, b"12345678"), 100_000),
    "SETTINGS": _many(settings((3, 100)), 100_000),
    "PRIORITY": _many(frame(PRIORITY, 0, 3, b"\0\0\0\0\x10"), 100_000),
    "unknown frames": _many(frame(0xEE, 0, 0, b""), 100_000),
    "WINDOW_UPDATE": [start(), UPLOAD, *[frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x01") * 250] * 400],
    "empty DATA": [start(), UPLOAD, *[frame(DATA, 0, 1) * 250] * 400],
    "DATA for a stream that was reset": [start(), UPLOAD, CALM, *[frame(DATA, 0, 1, b"x") * 250] * 400],
    "RST_STREAM again and again": [start(), UPLOAD, *[CALM * 250] * 400],
    "CONTINUATION without end": [
        start(),
        frame(HEADERS, END_STREAM, 1, block(request_fields())),
        *[frame(CONTINUATION, 0, 1, block([(b"x-filler", b"y" * 16000)]))] * 100,
    ],
    "an HPACK bomb": [
        start(),
        frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            Encoder().encode([*request_fields(), (b"x-bomb", b"y" * 3900)]) + b"\xbe" * 10_000,
        ),
    ],
}


STRICTER = {"made-you-reset", "DATA for a stream that was reset"}
"""libnghttp2 ends the connection at the first frame for a stream that is reset (RFC 9113 section 5.1)."""


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_ends_in_enhance_your_calm(name: str) -> None:
    """Long before it is through, with nothing left behind, and without slowing another client down."""
    async with (
        raw_backend(hangs()) as backend,
        raw_backend(fixed(OK)),
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as other,
    ):
        worst = 0.0  # CPU time: the attacker, the proxy and the other client all run in this thread
        stop = asyncio.Event()

        async def watch() -> None:
            nonlocal worst
            while not stop.is_set():
                begun = thread_time()
                assert (await other.get(host="unknown.org")).status == 404
                worst = max(worst, thread_time() - begun)
                await asyncio.sleep(0.005)

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            data = await _flood(proxy, FLOODS[name])
            stop.set()
        stricter = CODEC != "h2" and name in STRICTER
        assert goaway_of(data) == (STREAM_CLOSED if stricter else ENHANCE_YOUR_CALM)
        assert len(data) < 200_000, "it was let go on"
        assert worst < 0.2, f"{worst:.3f} s"
        assert proxy.worker.telemetry.http2_floods == (0 if stricter else 1)
        await quiet(proxy, connections=1)


async def test_a_block_that_no_context_survives_ends_the_connection() -> None:
    """A frame above the announced size, and a table above the announced size, cost the connection at once."""
    async with running_proxy(one_route([], settings=H2C)) as proxy:
        data = await _flood(proxy, [start() + frame(DATA, 0, 1, b"", length=2**24 - 1)])
        assert goaway_of(data) == FRAME_SIZE_ERROR
        data = await _flood(proxy, [start() + frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xff\xff\x7f")])
        assert goaway_of(data) == COMPRESSION_ERROR
        await quiet(proxy)


async def test_streams_above_the_limit_are_refused_not_queued() -> None:
    """Of 200 at once, 128 reach a backend; the rest are told to come again, and the connection goes on."""
    async with (
        raw_backend(hangs()) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
    ):
        raw = await proxy.connect()
        raw.send(start() + b"".join(headers(stream) for stream in range(1, 400, 2)))
        await eventually(lambda: endpoint_of(proxy).active == 128, "the requests are under way")
        data = await asyncio.wait_for(raw.reader.readuntil(frame(RST_STREAM, 0, 399, b"\0\0\0\x07")), 5)
        refused = [each.stream for each in read_frames(data) if each.kind == RST_STREAM and each.number == 7]
        assert refused == list(range(257, 400, 2))
        assert proxy.worker.runtime.active == 128
        raw.close()
        await quiet(proxy)


async def test_a_browser_that_leaves_pages_is_no_attacker() -> None:
    """Requests that are served earn what cancelled ones cost: a thousand of each on one connection are fine."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        for _ in range(20):
            streams = [client.ask() for _ in range(50)]
            for stream in streams:
                client.connection.reset_stream(stream, 8)
            client.flush()
            for answer in await asyncio.gather(*(client.get() for _ in range(50))):
                assert answer.status == 200
        assert not client.goaways
        await quiet(proxy, connections=1)


async def test_zero_windows_hold_a_bounded_part_of_each_response() -> None:
    """128 streams that take nothing: what waits here is a read of each, and their backends wait."""
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000
    async with (
        raw_backend(fixed(big)) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
    ):
        raw = await proxy.connect()
        raw.send(start((4, 0)) + b"".join(headers(stream) for stream in range(1, 256, 2)))
        await eventually(lambda: endpoint_of(proxy).active == 128, "the requests are under way")
        (member,) = proxy.worker.connections._members
        streams = member._streams  # type: ignore[attr-defined]  # it is an HTTP/2 connection
        await eventually(
            lambda: len(streams) == 128 and all(each.exchange.blocked_at for each in streams.values()), "all wait", 10
        )
        await asyncio.sleep(0.2)
        waiting = sum(map(member.codec.waiting, streams))  # type: ignore[attr-defined]  # likewise
        assert waiting <= 128 * 256 * 1024, waiting
        raw.close()
        await quiet(proxy)


async def test_tiny_windows_make_tiny_frames_for_a_while_only() -> None:
    """A client that opens its window byte by byte, thousands of times, has used its patience up."""
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000
    async with (
        raw_backend(fixed(big)) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
    ):
        update = frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x01")
        pieces = [start((4, 1)) + headers(1), *[update * 50] * 2000]
        data = await _flood(proxy, pieces)
        assert goaway_of(data) == ENHANCE_YOUR_CALM
        await quiet(proxy)


async def test_frames_of_one_byte_are_a_body_like_any_other() -> None:
    """Tiny DATA frames are slow for their sender, not an attack: the body arrives whole."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = client.ask([*request_fields(method="POST"), (b"content-length", b"5000")], end=False)
        for index in range(5000):
            client.send(stream, b"x", end=index == 4999)
        assert (await client.answer(stream)).status == 200
        assert backend.bodies[0] == b"x" * 5000


async def test_a_client_that_pings_and_reads_nothing_is_cut() -> None:
    """Answers that nobody takes do not pile up."""
    async with running_proxy(one_route([], settings=H2C)) as proxy:
        raw = await proxy.connect()
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
        raw.send(start())
        for _ in range(600):
            raw.send(frame(PING, 0, 0, b"12345678") * 100)
            await asyncio.sleep(0)
        await eventually(lambda: proxy.worker.telemetry.http2_floods == 1, "it is cut")
        (member,) = proxy.worker.connections._members
        assert member.transport.get_write_buffer_size() < 100_000
        raw.close()
        await quiet(proxy)


async def test_a_polite_end_is_no_flood() -> None:
    """A client that says GOAWAY and leaves is counted nowhere."""
    async with running_proxy(one_route([], settings=H2C)) as proxy, http2_client(proxy) as client:
        await client.get()
        client.connection.close_connection(NO_ERROR)
        client.flush()
        client.writer.close()
        await quiet(proxy)
        assert proxy.worker.telemetry.http2_floods == 0
        assert proxy.worker.telemetry.bad_requests == 0
