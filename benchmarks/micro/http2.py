"""The cost of one proxied request over HTTP/2, without the kernel: ``python -m benchmarks.micro.http2 [--profile]``.

A client connection that sends the GETs of a browser, each answered with 1 KiB: by the codec alone, and by the real
proxy with an upstream connection, on transports that write to nowhere.

Instructions, which a busy machine does not disturb, are the difference of two runs under
``valgrind --tool=callgrind``, divided by the difference of their requests:
``python -m benchmarks.micro.http2 --once (codec|proxy|cookies) REQUESTS``. In ``proxy`` only the paths differ, in
``cookies`` the cookies do, too.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
from collections.abc import Callable, Sequence
from time import perf_counter

from hpack import Encoder

from benchmarks.micro.exchange import RESPONSE, Nowhere, wired
from proxy.http2 import PREFACE, Http2Connection, Limits, RequestReceived
from proxy.server.http2 import Http2ServerConnection
from proxy.upstream.connection import UpstreamConnection
from proxy.worker.worker import Worker

REQUESTS = 1_000
"""On one connection."""
ROUNDS = 30
BROWSER = (
    (b":method", b"GET"),
    (b":authority", b"foo.mydomain.com"),
    (b":scheme", b"https"),
    (b":path", b"/shop/items?page=%d"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
    (b"accept", b"text/html,application/xhtml+xml"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"cookie", b"session=abcdef0123456789; seen=%d"),
    (b"cache-control", b"max-age=0"),
)
ANSWER = (
    b"Server: nginx/1.22.1\r\n"
    b"Date: Tue, 24 Nov 2026 18:55:09 GMT\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 1024\r\n"
    b"Last-Modified: Tue, 24 Nov 2026 18:54:49 GMT\r\n"
    b'ETag: "6b05dd79-400"\r\n'
    b"Accept-Ranges: bytes\r\n"
)
BODY = b"x" * 1024
PATHS = (b":path",)
NEW = {"cookies": (b":path", b"cookie")}
START = PREFACE + bytes.fromhex("000006040000000000 0004 00600000 000004080000000000 7f000000")
"""SETTINGS with windows as large as browsers have them, and WINDOW_UPDATE."""


def requests(number: int, new: tuple[bytes, ...] = PATHS) -> list[bytes]:
    """So many HEADERS frames of one connection; the fields named in ``new`` are new in each."""
    encoder = Encoder()
    frames = []
    for index in range(number):
        fields = [(name, value % (index if name in new else 0) if b"%d" in value else value) for name, value in BROWSER]
        block = encoder.encode(fields)
        # END_STREAM and END_HEADERS
        frames.append(len(block).to_bytes(3, "big") + b"\x01\x05" + (2 * index + 1).to_bytes(4, "big") + block)
    return frames


def run_codec(frames: Sequence[bytes]) -> None:
    """The codec alone answers them."""
    codec = Http2Connection(client=False, limits=Limits(extended_connect=True))
    codec.receive(START)
    written = 0
    for frame in frames:
        for event in codec.receive(frame):
            assert isinstance(event, RequestReceived), event
            codec.respond(event.stream, 200, ANSWER, BODY)
        written += len(codec.data_to_send())
    assert written > len(frames) * len(BODY)


def run_proxy(worker: Worker, upstream: UpstreamConnection, frames: Sequence[bytes]) -> None:
    """The proxy passes them on, and the answers back."""
    client = Http2ServerConnection(worker.connections)
    wire = Nowhere()
    client.connection_made(wire)  # type: ignore[arg-type]  # as much of a transport as is used
    client.data_received(START)
    for frame in frames:
        client.data_received(frame)
        upstream.data_received(RESPONSE)
    assert wire.written > len(frames) * len(BODY)
    client.connection_lost(None)


async def main() -> None:
    worker, upstream = wired()
    cases: dict[str, Callable[[Sequence[bytes]], None]] = {
        "codec": run_codec,
        "proxy": lambda frames: run_proxy(worker, upstream, frames),
        "cookies": lambda frames: run_proxy(worker, upstream, frames),
    }
    if "--once" in sys.argv:
        name, number = sys.argv[sys.argv.index("--once") + 1 :]
        # As many are made each time, so that the difference of two runs does not hold their making.
        cases[name](requests(REQUESTS, NEW.get(name, PATHS))[: int(number)])
    elif "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.runcall(cases["proxy"], requests(10 * REQUESTS))
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    else:
        print(f"{Http2Connection.__module__}, µs a request:")
        for name, run in cases.items():
            frames = requests(REQUESTS, NEW.get(name, PATHS))
            best = min(_time(run, frames) for _ in range(ROUNDS))
            print(f"{name:8} {best:6.2f} µs")
    await worker.close()


def _time(run: Callable[[Sequence[bytes]], None], frames: Sequence[bytes]) -> float:
    begun = perf_counter()
    run(frames)
    return (perf_counter() - begun) / len(frames) * 1e6


if __name__ == "__main__":
    asyncio.run(main())
