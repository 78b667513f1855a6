"""The Python cost of one proxied request, without the kernel: ``python -m benchmarks.micro.exchange [--profile]``.

A client connection and an upstream connection of the real proxy, on transports that write to nowhere.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from proxy.server.http1 import Http1Connection
from proxy.table import Cluster, Endpoint, Forward, Host, Labels, Route, Settings, Table
from proxy.table.feed import difference
from proxy.upstream.connection import UpstreamConnection
from proxy.worker.worker import Worker

REQUEST = b"GET /1k HTTP/1.1\r\nHost: foo.mydomain.com\r\n\r\n"
BROWSER = (
    b"GET /shop/items?page=2 HTTP/1.1\r\nHost: foo.mydomain.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
    b"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\n"
    b"Connection: keep-alive\r\nCookie: session=abcdef0123456789\r\nCache-Control: max-age=0\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 24 Nov 2026 18:55:09 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 1024\r\nLast-Modified: Tue, 24 Nov 2026 18:54:49 GMT\r\nConnection: keep-alive\r\n"
    b'ETag: "6b05dd79-400"\r\nAccept-Ranges: bytes\r\n\r\n' + b"x" * 1024
)


def _with_field(request: bytes, number: int) -> bytes:
    return request[:-2] + b"X-Number: %d\r\n\r\n" % number


CASES = {
    "bare, same lines each time": [REQUEST],
    "bare, other lines each time": [_with_field(REQUEST, number) for number in range(10)],
    "browser, same lines each time": [BROWSER],
    "browser, other lines each time": [_with_field(BROWSER, number) for number in range(10)],
}
"""A head that repeats the lines of the one before it is not parsed again."""


class Nowhere:
    """As much of a transport as the proxy uses; counts the bytes written."""

    written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def abort(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int) -> None:
        pass


def wired() -> tuple[Worker, UpstreamConnection]:
    """The proxy with one route, and the connection to its endpoint. A loop must run; the worker is to be closed."""
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
    upstream.connection_made(Nowhere())  # type: ignore[arg-type]  # as much of a transport as is used
    endpoint.keep(upstream, 100, 0.0)
    return worker, upstream


async def main() -> None:
    worker, upstream = wired()
    client = Http1Connection(worker.connections)
    client.connection_made(Nowhere())  # type: ignore[arg-type]  # as much of a transport as is used

    def run(requests: Sequence[bytes], rounds: int) -> float:
        begun = perf_counter()
        for _ in range(rounds // len(requests)):
            for request in requests:
                client.data_received(request)
                upstream.data_received(RESPONSE)
        return (perf_counter() - begun) / rounds * 1e6

    for name, requests in CASES.items():
        best = min(run(requests, 1_000) for _ in range(200))
        print(f"{name:32} {best:6.2f} µs")
    if "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.runcall(run, CASES["browser, other lines each time"], 50_000)
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    await worker.close()


if __name__ == "__main__":
    asyncio.run(main())
