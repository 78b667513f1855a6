"""From the view to Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from ingress.admin.catalogue import COUNTERS, GAUGES, PREFIX, metric
from ingress.admin.expiry import Expiry
from ingress.admin.view import ClusterView, View
from ingress.version import VERSION
from proxy.table.feed import DURATION_BOUNDS

__all__ = ["MetricsText"]

Row = tuple[Sequence[str], float]
_BOUNDS = (*(str(bound) for bound in DURATION_BOUNDS), "+Inf")


class MetricsText:
    """The text that Prometheus scrapes."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, view: View) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_ViewCollector(view))
        self._registry.register(_WorkerProcesses(view))
        ProcessCollector(registry=self._registry)

    def generate(self) -> bytes:
        """The state of this moment."""
        return generate_latest(self._registry)


class _ViewCollector(Collector):
    def __init__(self, view: View) -> None:
        self._view = view
        self._expiry = Expiry()

    def describe(self) -> Iterable[Metric]:
        """Nothing: names do not clash, and asking would collect at start."""
        return ()

    def collect(self) -> Iterator[Metric]:
        self._view.drop_gone()
        yield from self._routes()
        yield from self._counted()
        yield from self._control()
        if self._view.cluster is not None:
            yield from _cluster(self._view.cluster)

    def _routes(self) -> Iterator[Metric]:
        routes = self._view.totals.routes
        yield _counter(
            "requests",
            (
                ((*key, method, status, f"{status[:1]}xx"), count)
                for key, totals in routes.items()
                for (method, status), count in totals.requests.items()
            ),
        )
        durations = _histogram("request_duration_seconds")
        upstream = _histogram("response_duration_seconds")
        for key, totals in routes.items():
            durations.add_metric(key, _buckets(totals.duration.counts), totals.duration.total)
            if any(totals.upstream_duration.counts):
                upstream.add_metric(key, _buckets(totals.upstream_duration.counts), totals.upstream_duration.total)
        yield durations
        yield upstream
        sizes = {"request_size": "request_bytes", "response_size": "response_bytes"}
        for name, field in sizes.items():
            declared = metric(name)
            family = SummaryMetricFamily(PREFIX + name, declared.help, labels=declared.labels)
            for key, totals in routes.items():
                family.add_metric(key, count_value=sum(totals.requests.values()), sum_value=getattr(totals, field))
            yield family
        yield _counter("retries", ((key, totals.retries) for key, totals in routes.items()))

    def _counted(self) -> Iterator[Metric]:
        totals = self._view.totals
        for name, declared in COUNTERS.items():
            yield _counter(declared.name, [((), totals.counters.get(name, 0))])
        for name, declared in GAUGES.items():
            yield _gauge(declared.name, (((str(w),), told.get(name, 0.0)) for w, told in sorted(totals.gauges.items())))

    def _control(self) -> Iterator[Metric]:
        view, workers = self._view, self._view.supervisor.workers
        yield _gauge("table_generation", [((), view.publisher.current.generation)])
        yield _gauge("worker_table_generation", (((str(each.number),), each.generation) for each in workers))
        yield _gauge("workers", [((), len(workers))])
        yield _gauge("workers_up", [((), sum(each.generation > 0 and each.pid is not None for each in workers))])
        yield _counter("worker_restarts", (((str(each.number),), each.restarts) for each in workers))
        yield _gauge("config_last_reload_successful", [((), 0 if view.refused else 1)])
        yield _gauge("config_last_reload_successful_timestamp_seconds", [((), view.table_changed_at)])
        severities = [problem.severity for problem in view.problems]
        yield _gauge("problems", (((each,), severities.count(each)) for each in ("error", "warning")))
        ends = self._expiry.of(view.table)
        yield _gauge("ssl_expire_time_seconds", (((host, space, secret), end) for host, space, secret, end in ends))
        yield _gauge("build_info", [((VERSION,), 1)])
        yield _gauge("worker_info", (((str(w), codec), 1) for w, codec in sorted(view.totals.codecs.items())))


def _cluster(cluster: ClusterView) -> Iterator[Metric]:
    yield _gauge("leader", [((), cluster.is_leader)])
    yield _gauge("api_server_silence_seconds", [((), cluster.silence)])
    yield _counter("status_writes", [((), cluster.status_writes)])
    yield _counter("event_writes", [((), cluster.event_writes)])
    yield _counter("write_errors", [((), cluster.write_errors)])
    reviews = cluster.reviews
    if reviews is None:
        return
    results = {"allowed": reviews.allowed, "refused": reviews.refused, "failed": reviews.failed}
    yield _counter("admission_reviews", (((result,), count) for result, count in results.items()))
    durations = _histogram("admission_review_duration_seconds")
    durations.add_metric((), _buckets(reviews.duration_counts), reviews.duration_total)
    yield durations


class _WorkerProcesses(Collector):
    """CPU, memory and files of each worker: the ``process_*`` metrics with a prefix and the label ``worker``."""

    def __init__(self, view: View) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for worker in self._view.supervisor.workers:
            pid = worker.pid
            if pid is None:
                continue
            for found in _process_metrics(pid):
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                for sample in found.samples:
                    family.add_sample(sample.name, {**sample.labels, "worker": str(worker.number)}, sample.value)
        yield from families.values()


def _process_metrics(pid: int) -> Iterable[Metric]:
    return ProcessCollector(namespace=f"{PREFIX}worker", pid=lambda: pid, registry=None).collect()


def _counter(name: str, rows: Iterable[Row]) -> Metric:
    declared = metric(name)
    family = CounterMetricFamily(PREFIX + name, declared.help, labels=declared.labels)
    for labels, value in rows:
        family.add_metric(labels, value)
    return family


def _gauge(name: str, rows: Iterable[Row]) -> Metric:
    declared = metric(name)
    family = GaugeMetricFamily(PREFIX + name, declared.help, labels=declared.labels)
    for labels, value in rows:
        family.add_metric(labels, value)
    return family


def _histogram(name: str) -> HistogramMetricFamily:
    declared = metric(name)
    return HistogramMetricFamily(PREFIX + name, declared.help, labels=declared.labels)


def _buckets(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Prometheus counts cumulatively."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip(_BOUNDS, counts, strict=True):
        below += count
        buckets.append((bound, below))
    return buckets
