"""Counters of one worker, drained into :class:`proxy.table.feed.Stats`.

Label values are bounded: hosts and paths are those of the table, never those of a request; methods are the common ones,
or ``other``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final
from weakref import WeakValueDictionary

from proxy.table import Labels
from proxy.table.feed import DURATION_BOUNDS, Histogram, RouteStats, Stats

__all__ = ["RouteCounters", "Telemetry"]

METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"))
OTHER: Final = b"other"

_FIRST_BOUND: Final = DURATION_BOUNDS[0]
_EMPTY: Final = (0,) * (len(DURATION_BOUNDS) + 1)


class RouteCounters:
    """What happened on one route since the last drain. Made by :meth:`Telemetry.route` only."""

    __slots__ = (
        "__weakref__",
        "_duration",
        "_duration_total",
        "_requests",
        "_touched",
        "_upstream",
        "_upstream_total",
        "host",
        "labels",
        "request_bytes",
        "response_bytes",
        "retries",
    )

    def __init__(self, host: str, labels: Labels, touched: list[RouteCounters]) -> None:
        self.host = host
        self.labels = labels
        self._touched = touched
        self._requests: dict[tuple[bytes, int], int] = {}
        self._clear()

    def record(
        self,
        method: bytes,
        status: int,
        duration: float,
        upstream_duration: float,
        request_bytes: int,
        response_bytes: int,
        retries: int,
    ) -> None:
        """One request ended. Durations are seconds; ``upstream_duration`` is negative where no upstream took part.

        Positional for speed: this runs once per request.
        """
        try:
            self._requests[method, status] += 1
        except KeyError:
            self._count_first(method, status)
        self._duration[0 if duration <= _FIRST_BOUND else bisect_left(DURATION_BOUNDS, duration)] += 1
        self._duration_total += duration
        if upstream_duration >= 0.0:
            self._upstream[
                0 if upstream_duration <= _FIRST_BOUND else bisect_left(DURATION_BOUNDS, upstream_duration)
            ] += 1
            self._upstream_total += upstream_duration
        self.response_bytes += response_bytes
        if request_bytes:
            self.request_bytes += request_bytes
        if retries:
            self.retries += retries

    def _count_first(self, method: bytes, status: int) -> None:
        """The first request of its kind since the drain, or one with a method that is not told apart."""
        requests = self._requests
        if not requests:
            # The strong reference keeps what was counted when the route leaves the table before the next drain.
            self._touched.append(self)
        key = (method if method in METHODS else OTHER, status)
        requests[key] = requests.get(key, 0) + 1

    def _clear(self) -> None:
        self._requests.clear()
        self._duration = list(_EMPTY)
        self._duration_total = 0.0
        self._upstream = list(_EMPTY)
        self._upstream_total = 0.0
        self.request_bytes = 0
        self.response_bytes = 0
        self.retries = 0

    def _drain(self) -> RouteStats:
        labels = self.labels
        stats = RouteStats(
            host=self.host,
            namespace=labels.namespace,
            ingress=labels.ingress,
            path=labels.path,
            service=labels.service,
            requests={
                f"{method.decode('ascii')} {status}": count for (method, status), count in self._requests.items()
            },
            duration=Histogram(counts=self._duration, total=self._duration_total),
            upstream_duration=(
                Histogram(counts=self._upstream, total=self._upstream_total) if any(self._upstream) else None
            ),
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
            retries=self.retries,
        )
        self._clear()
        return stats


class Telemetry:
    """All counters of a worker. The process counters are plain attributes: ``telemetry.accepted += 1``."""

    __slots__ = (
        "_routes",
        "_touched",
        "accepted",
        "bad_requests",
        "ejections",
        "http2_connections",
        "http2_floods",
        "http2_resets",
        "log_lines_dropped",
        "proxy_header_failures",
        "refused_limit",
        "retries_denied",
        "tls_handshake_failures",
        "tls_handshakes",
        "unrouted",
        "upstream_connect_failures",
        "upstream_connects",
        "upstream_reused",
    )

    COUNTERS: Final = tuple(sorted(name for name in __slots__ if not name.startswith("_")))
    """The names of the process counters, those of ``Stats.counters``."""

    def __init__(self) -> None:
        self.accepted = 0
        self.refused_limit = 0
        self.proxy_header_failures = 0
        self.bad_requests = 0
        self.tls_handshakes = 0
        self.unrouted = 0
        self.tls_handshake_failures = 0
        self.upstream_connects = 0
        self.upstream_connect_failures = 0
        self.upstream_reused = 0
        self.http2_connections = 0
        self.http2_resets = 0
        self.http2_floods = 0
        self.ejections = 0
        self.retries_denied = 0
        self.log_lines_dropped = 0
        # A route of the table, or of an exchange under way, holds its counters; when the last of them goes, and what
        # they counted was drained, they go too.
        self._routes: WeakValueDictionary[tuple[str, ...], RouteCounters] = WeakValueDictionary()
        self._touched: list[RouteCounters] = []

    def route(self, host: str, labels: Labels) -> RouteCounters:
        """The counters of a route of host pattern ``host``: the same object for the same labels (the port aside, which
        metrics do not carry), for as long as someone holds it."""
        key = (host, labels.namespace, labels.ingress, labels.path, labels.service)
        counters = self._routes.get(key)
        if counters is None:
            counters = self._routes[key] = RouteCounters(host, labels, self._touched)
        return counters

    def drain(self, gauges: Mapping[str, float], token: int = 0, *, codec: str = "") -> Stats:
        """What happened since the last drain; the cost grows with the routes that were used, not with the table."""
        routes = [counters._drain() for counters in self._touched]
        self._touched.clear()
        counted: dict[str, int] = {}
        for name in self.COUNTERS:
            value: int = getattr(self, name)
            if value:
                counted[name] = value
                setattr(self, name, 0)
        return Stats(token=token, routes=routes, counters=counted, gauges=dict(gauges), codec=codec)
