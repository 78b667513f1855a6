"""Counters of all workers together, since the control process began.

Workers tell what happened since they last told, so a sum here survives any worker and never goes back.
The series are those of the table's routes. A route that left the table keeps its series for ``KEPT_AFTER_ROUTE``:
changes that take a route away and bring it back, and requests that still end, count on; then the series goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Final, NamedTuple

from proxy.table import Route, Table
from proxy.table.feed import DURATION_BOUNDS, Histogram, RouteStats, Stats

__all__ = ["KEPT_AFTER_ROUTE", "RouteKey", "RouteTotals", "Totals", "route_keys"]

KEPT_AFTER_ROUTE: Final = 600.0
"""Seconds; several scrapes at any usual interval."""


class RouteKey(NamedTuple):
    """The labels of a route."""

    host: str
    namespace: str
    ingress: str
    service: str
    path: str


class _HistogramTotal:
    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BOUNDS) + 1)
        self.total = 0.0

    def add(self, part: Histogram | None) -> None:
        if part is None:
            return
        for index, count in enumerate(part.counts[: len(self.counts)]):
            self.counts[index] += count
        self.total += part.total


class RouteTotals:
    """Sums of one route. ``requests``: by method and status code."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], int] = {}
        self.duration = _HistogramTotal()
        self.upstream_duration = _HistogramTotal()
        self.request_bytes = 0
        self.response_bytes = 0
        self.retries = 0
        self.gone_since: float | None = None

    def add(self, part: RouteStats) -> None:
        for request, count in part.requests.items():
            method, _, status = request.partition(" ")
            self.requests[method, status] = self.requests.get((method, status), 0) + count
        self.duration.add(part.duration)
        self.upstream_duration.add(part.upstream_duration)
        self.request_bytes += part.request_bytes
        self.response_bytes += part.response_bytes
        self.retries += part.retries


class Totals:
    """Sums over workers, and each worker's gauges as it told them last."""

    def __init__(self) -> None:
        self.routes: dict[RouteKey, RouteTotals] = {}
        self.counters: dict[str, int] = {}
        self.gauges: dict[int, dict[str, float]] = {}
        self.codecs: dict[int, str] = {}
        """What reads and writes HTTP/2 in each worker."""

    def add(self, worker: int, stats: Stats) -> None:
        """Take in what ``worker`` counted."""
        for part in stats.routes:
            key = RouteKey(part.host, part.namespace, part.ingress, part.service, part.path)
            self.routes.setdefault(key, RouteTotals()).add(part)
        for name, count in stats.counters.items():
            self.counters[name] = self.counters.get(name, 0) + count
        self.gauges[worker] = stats.gauges
        self.codecs[worker] = stats.codec

    def forget_gauges(self, worker: int) -> None:
        """The worker's process has ended; what it counted stays."""
        self.gauges.pop(worker, None)
        self.codecs.pop(worker, None)

    def drop_gone(self, keys: Set[RouteKey], now: float) -> None:
        """Drop routes that were not among ``keys`` for long enough; ``now`` in seconds of a clock that only goes on."""
        for key, totals in list(self.routes.items()):
            if key in keys:
                totals.gone_since = None
            elif totals.gone_since is None:
                totals.gone_since = now
            elif now - totals.gone_since > KEPT_AFTER_ROUTE:
                del self.routes[key]


def route_keys(table: Table) -> frozenset[RouteKey]:
    """The keys of every route of ``table``, under which workers count."""
    keys = {
        _key(pattern, route) for pattern, host in table.hosts.items() for route in (*host.routes, *_some(host.default))
    }
    keys.update(_key("", route) for route in _some(table.default))
    return frozenset(keys)


def _key(pattern: str, route: Route) -> RouteKey:
    labels = route.labels
    return RouteKey(pattern, labels.namespace, labels.ingress, labels.service, labels.path)


def _some(route: Route | None) -> Iterable[Route]:
    return () if route is None else (route,)
