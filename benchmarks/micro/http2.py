"""The Python cost of one proxied HTTP/2 request, without the kernel: ``python -m benchmarks.micro.http2 [--profile]``.

As :mod:`benchmarks.micro.exchange`, with a client connection that speaks HTTP/2 to an HTTP/1.1 upstream.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
from time import perf_counter

from hpack import Encoder

from benchmarks.micro.exchange import RESPONSE, Nowhere
from proxy.http2 import PREFACE, Fields
from proxy.server.http2 import Http2ServerConnection
from proxy.table import Cluster, Endpoint, Forward, Host, Labels, Route, Settings, Table
from proxy.table.feed import difference
from proxy.upstream.connection import UpstreamConnection
from proxy.worker.worker import Worker

BARE: Fields = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/1k"),
    (b":authority", b"foo.mydomain.com"),
]
BROWSER: Fields = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/shop/items?page=2"),
    (b":authority", b"foo.mydomain.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
    (b"accept", b"text/html,application/xhtml+xml"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"cookie", b"session=abcdef0123456789"),
    (b"cache-control", b"max-age=0"),
]
REQUESTS = 2_000
_START = PREFACE + b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff" + b"\0\0\x04\x08\0\0\0\0\0\x7f\x00\x00\x00"
"""SETTINGS and WINDOW_UPDATE that open all windows."""


def requests_of(fields: Fields, *, numbered: bool) -> list[bytes]:
    """The frames of many requests on one connection; ``numbered``: one field differs each time."""
    encoder = Encoder()
    frames = []
    for index in range(REQUESTS):
        block = encoder.encode([*fields, (b"x-number", b"%d" % index)] if numbered else fields)
        frames.append(len(block).to_bytes(3, "big") + b"\x01\x05" + (2 * index + 1).to_bytes(4, "big") + block)
    return frames


async def main() -> None:
    worker = Worker(asyncio.get_running_loop(), log=None)
    route = Route(action=Forward(cluster="c"), labels=Labels(namespace="d", ingress="i", path="/", service="s"))
    table = Table(
        hosts={"foo.mydomain.com": Host(routes=(route,))},
        clusters={"c": Cluster(endpoints=(Endpoint(address="127.0.0.1", port=9),))},
        settings=Settings(access_log="off"),
    )
    assert worker.apply(difference(Table(), table, generation=1)) is None
    endpoint = worker.runtime.state.clusters["c"].endpoints[0]
    upstream = UpstreamConnection(endpoint, 100)
    upstream.connection_made(Nowhere())  # type: ignore[arg-type]
    endpoint.keep(upstream, 100, 0.0)

    def run(requests: list[bytes]) -> float:
        client = Http2ServerConnection(worker.connections)
        client.connection_made(Nowhere())  # type: ignore[arg-type]
        client.data_received(_START)
        begun = perf_counter()
        for request in requests:
            client.data_received(request)
            upstream.data_received(RESPONSE)
        taken = (perf_counter() - begun) / len(requests) * 1e6
        client.connection_lost(None)
        return taken

    cases = {
        "bare, same fields each time": requests_of(BARE, numbered=False),
        "browser, same fields each time": requests_of(BROWSER, numbered=False),
        "browser, one other field each time": requests_of(BROWSER, numbered=True),
    }
    for name, requests in cases.items():
        best = min(run(requests) for _ in range(int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else 20))
        print(f"{name:36} {best:6.2f} µs")
    if "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.runcall(lambda: [run(cases["browser, same fields each time"]) for _ in range(5)])
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
    await worker.close()


if __name__ == "__main__":
    asyncio.run(main())
