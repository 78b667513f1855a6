"""The admin server: what it shows, and what it never shows."""

from __future__ import annotations

import socket
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingress.admin import AdminServer, Totals, View, WebhookCounts
from ingress.admin.catalogue import METRICS
from ingress.admin.expiry import Expiry
from ingress.admin.reference import metrics_page
from ingress.admin.totals import KEPT_AFTER_ROUTE, RouteKey, route_keys
from ingress.publish import Publisher
from ingress.publish.certificate import self_signed
from ingress.resources import ObjectRef, Problem, Source
from proxy.table import Certificate, Cluster, Endpoint, Forward, Host, Labels, Route, Table
from proxy.table.feed import DURATION_BOUNDS, Histogram, RouteStats, Stats

LABELS = Labels(namespace="shop", ingress="web", path="/", service="front", port="80")
FRONT = Route(action=Forward(cluster="shop/front:80"), labels=LABELS)
CERTIFICATE = self_signed()
TABLE = Table(
    hosts={"a.example.com": Host(routes=(FRONT,)), "b.example.com": Host(routes=(FRONT,))},
    clusters={"shop/front:80": Cluster(endpoints=(Endpoint(address="10.0.0.1", port=80),)), "shop/other:80": Cluster()},
    certificates={"shop/tls": CERTIFICATE, "shop/bad": Certificate(chain_pem="rubbish", key_pem="SECRET")},
    server_names={"a.example.com": "shop/tls", "b.example.com": "shop/bad"},
    default_certificate="shop/tls",
)
KEY = RouteKey("a.example.com", "shop", "web", "front", "/")
PROBLEM = Problem(
    object=ObjectRef(kind="Ingress", namespace="shop", name="web"),
    field="spec.rules[0].host",
    reason="BadHost",
    message="the host is bad",
    source=Source(file="web.yaml", document=1, line=3),
)


def stats(requests: dict[str, int], **more: Any) -> Stats:
    counts = [0] * (len(DURATION_BOUNDS) + 1)
    counts[0], counts[-1] = 1, 1
    return Stats(
        routes=[
            RouteStats(
                host="a.example.com",
                namespace="shop",
                ingress="web",
                path="/",
                service="front",
                requests=requests,
                duration=Histogram(counts=counts, total=12.5),
                request_bytes=10,
                response_bytes=100,
                retries=1,
            )
        ],
        **more,
    )


class Supervisor:
    """Stands for the supervisor: two workers, and what a scrape asks of them."""

    def __init__(self) -> None:
        self.workers = [types.SimpleNamespace(number=n, generation=0, pid=None, restarts=n) for n in range(2)]
        self.refreshed: list[float] = []

    async def refresh_stats(self, limit: float) -> None:
        self.refreshed.append(limit)

    def serve(self, *numbers: int) -> None:
        for worker in self.workers:
            worker.generation, worker.pid = (1, 2**22 + worker.number) if worker.number in numbers else (0, None)


class ClusterSide:
    """What the conversation with an API server came to."""

    is_leader = True
    silence = 2.5
    status_writes, event_writes, write_errors = 3, 4, 1

    def __init__(self) -> None:
        self.reviews = WebhookCounts()
        self.reviews.allowed, self.reviews.refused = 7, 2
        self.reviews.add_duration(0.002)


class Admin:
    def __init__(self, view: View, supervisor: Supervisor, client: aiohttp.ClientSession) -> None:
        self.view, self.supervisor, self.client = view, supervisor, client

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.client.get(path, headers=headers) as response:
            return response.status, await response.text()

    async def samples(self) -> dict[str, float]:
        """Every sample of /metrics, keyed as it is written: name and sorted labels."""
        _, text = await self.get("/metrics")
        return {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
async def admin() -> AsyncIterator[Admin]:
    """A server with a published table."""
    supervisor: Any = Supervisor()
    publisher = Publisher()
    publisher.publish(TABLE)
    view = View(publisher=publisher, supervisor=supervisor, totals=Totals(), cluster=ClusterSide())
    listening = socket.create_server(("127.0.0.1", 0))
    server = AdminServer(view, [listening])
    await server.start()
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with aiohttp.ClientSession(base) as client:
        yield Admin(view, supervisor, client)
    await server.close()


async def test_ready_when_every_worker_serves_and_then_while_one_does(admin: Admin) -> None:
    """A worker that is replaced does not take the whole pod out; draining does at once."""
    assert await admin.get("/readyz") == (503, "0 of 2 workers are serving\n")
    admin.supervisor.serve(0)
    assert await admin.get("/readyz") == (503, "1 of 2 workers are serving\n")
    admin.supervisor.serve(0, 1)
    assert await admin.get("/readyz") == (200, "ok\n")
    admin.supervisor.serve(1)
    assert await admin.get("/readyz") == (200, "ok\n")
    admin.supervisor.serve()
    assert await admin.get("/readyz") == (503, "no worker is serving\n")
    admin.supervisor.serve(0, 1)
    admin.view.draining = True
    assert await admin.get("/readyz") == (503, "shutting down\n")
    assert await admin.get("/healthz") == (200, "ok\n")


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/table", "/problems"])
async def test_nothing_can_be_changed(admin: Admin, path: str) -> None:
    """GET and HEAD only."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        async with admin.client.request(method, path) as response:
            assert response.status == 405
    async with admin.client.head(path) as response:
        assert response.status in (200, 503)
        assert await response.read() == b""


async def test_no_page_shows_a_private_key(admin: Admin) -> None:
    """Nor a part of one."""
    secret = CERTIFICATE.key_pem.splitlines()[1]
    for path in ("/", "/metrics", "/table", "/table?host=a.example.com", "/problems"):
        status, text = await admin.get(path)
        assert status == 200
        assert secret not in text
        assert "SECRET" not in text


async def test_the_table_of_one_host(admin: Admin) -> None:
    """Only what concerns it; the whole table without a host; an unknown one is 404."""
    _, text = await admin.get("/table?host=a.example.com")
    table = msgspec.json.decode(text, type=Table)
    assert table.hosts == {"a.example.com": TABLE.hosts["a.example.com"]}
    assert set(table.clusters) == {"shop/front:80"}
    assert set(table.certificates) == {"shop/tls"}
    _, text = await admin.get("/table")
    assert set(msgspec.json.decode(text, type=Table).clusters) == set(TABLE.clusters)
    assert (await admin.get("/table?host=<script>"))[0] == 404


async def test_problems_as_text_and_json(admin: Admin) -> None:
    """By what the reader accepts."""
    assert await admin.get("/problems") == (200, "No problems.\n")
    admin.view.problems = (PROBLEM,)
    assert (await admin.get("/problems"))[1] == (
        "error Ingress shop/web [web.yaml:3 (document 1)] spec.rules[0].host: the host is bad (BadHost)\n"
    )
    _, text = await admin.get("/problems", Accept="application/json")
    assert msgspec.json.decode(text, type=list[Problem]) == [PROBLEM]


async def test_the_index_links_to_every_page(admin: Admin) -> None:
    """And says whether all is well."""
    _, text = await admin.get("/")
    for path in ("/healthz", "/readyz", "/metrics", "/table", "/problems"):
        assert f'href="{path}"' in text
    assert "0 of 2 workers are serving" in text


async def test_a_scrape_asks_for_fresh_counters(admin: Admin) -> None:
    """For a quarter of a second at most."""
    await admin.get("/metrics")
    assert admin.supervisor.refreshed == [0.25]


async def test_requests_are_counted_by_route_and_status(admin: Admin) -> None:
    """Over workers and over time; histograms are cumulative and keep ingress-nginx's buckets."""
    admin.view.totals.add(0, stats({"GET 200": 3, "POST 503": 1}, counters={"accepted": 2}))
    admin.view.totals.add(1, stats({"GET 200": 4}, counters={"accepted": 5}, gauges={"connections": 7.0}))
    samples = await admin.samples()
    route = [("host", "a.example.com"), ("ingress", "web"), ("namespace", "shop"), ("path", "/"), ("service", "front")]

    def of(name: str, *more: tuple[str, str]) -> float:
        return samples[f"pyngress_{name}{sorted([*route, *more])}"]

    assert of("requests_total", ("method", "GET"), ("status", "200"), ("status_class", "2xx")) == 7
    assert of("requests_total", ("method", "POST"), ("status", "503"), ("status_class", "5xx")) == 1
    assert of("request_duration_seconds_bucket", ("le", "0.005")) == 2
    assert of("request_duration_seconds_bucket", ("le", "10.0")) == 2
    assert of("request_duration_seconds_bucket", ("le", "+Inf")) == of("request_duration_seconds_count") == 4
    assert of("request_duration_seconds_sum") == 25.0
    assert (of("request_size_sum"), of("response_size_sum"), of("response_size_count")) == (20, 200, 8)
    assert of("retries_total") == 2
    assert samples["pyngress_connections_accepted_total[]"] == 7
    assert samples["pyngress_connections[('worker', '1')]"] == 7


async def test_each_worker_says_what_reads_its_http2(admin: Admin) -> None:
    """As it told last; a worker whose process ended says nothing."""
    admin.view.totals.add(0, stats({}, codec="h2"))
    admin.view.totals.add(1, stats({}, codec="nghttp2 1.52.0"))
    admin.view.totals.forget_gauges(0)
    samples = await admin.samples()
    told = {name: value for name, value in samples.items() if name.startswith("pyngress_worker_info")}
    assert told == {"pyngress_worker_info[('http2_codec', 'nghttp2 1.52.0'), ('worker', '1')]": 1}


async def test_the_state_of_control_and_workers(admin: Admin) -> None:
    """Generations, restarts, problems, refusals."""
    admin.supervisor.serve(1)
    admin.view.problems = (PROBLEM,)
    admin.view.refused[0] = "no"
    samples = await admin.samples()
    assert samples["pyngress_table_generation[]"] == 1
    assert samples["pyngress_worker_table_generation[('worker', '0')]"] == 0
    assert samples["pyngress_worker_table_generation[('worker', '1')]"] == 1
    assert (samples["pyngress_workers[]"], samples["pyngress_workers_up[]"]) == (2, 1)
    assert samples["pyngress_worker_restarts_total[('worker', '1')]"] == 1
    assert samples["pyngress_problems[('severity', 'error')]"] == 1
    assert samples["pyngress_problems[('severity', 'warning')]"] == 0
    assert samples["pyngress_config_last_reload_successful[]"] == 0


async def test_certificate_ends_by_host(admin: Admin) -> None:
    """One series per server name; a certificate that does not parse has none and stops no scrape."""
    samples = await admin.samples()
    hosts = {name for name in samples if name.startswith("pyngress_ssl_expire_time_seconds")}
    assert {text.split("'")[3] for text in hosts} == {"a.example.com", "_"}


async def test_the_conversation_with_the_cluster_is_counted(admin: Admin) -> None:
    """Leadership, silence, writes and reviews; without a cluster none of it is exposed."""
    samples = await admin.samples()
    assert samples["pyngress_leader[]"] == 1
    assert samples["pyngress_api_server_silence_seconds[]"] == 2.5
    assert samples["pyngress_write_errors_total[]"] == 1
    assert samples["pyngress_admission_reviews_total[('result', 'refused')]"] == 2
    assert samples["pyngress_admission_review_duration_seconds_count[]"] == 1
    admin.view.cluster = None
    assert not [name for name in await admin.samples() if name.startswith(("pyngress_leader", "pyngress_admission"))]


async def test_every_metric_is_exposed_under_its_name_and_labels(admin: Admin) -> None:
    """The catalogue, which the docs are made from, says what the page says."""
    admin.supervisor.serve(0, 1)
    histogram = Histogram(counts=[1] * (len(DURATION_BOUNDS) + 1), total=1.0)
    full = stats({"GET 200": 1}, gauges={"connections": 1.0}, codec="h2")
    full.routes[0] = msgspec.structs.replace(full.routes[0], upstream_duration=histogram)
    admin.view.totals.add(0, full)
    _, text = await admin.get("/metrics")
    exposed = {
        sample.name: set(sample.labels) - {"le"}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("pyngress_") and not sample.name.startswith("pyngress_worker_process_")
    }
    for metric in METRICS:
        name = metric.full_name + {"histogram": "_bucket", "summary": "_sum"}.get(metric.kind, "")
        assert exposed.pop(name) == set(metric.labels), name
    assert all(name.endswith(("_sum", "_count")) for name in exposed), exposed


def test_routes_that_are_gone_lose_their_series_after_a_while() -> None:
    """Bounded by the table: gone for ten minutes is gone; back before that counts on."""
    totals = Totals()
    totals.add(0, stats({"GET 200": 1}))
    totals.drop_gone({KEY}, 0.0)
    totals.drop_gone(frozenset(), 10.0)
    totals.drop_gone({KEY}, 10.0 + KEPT_AFTER_ROUTE)
    totals.drop_gone(frozenset(), 5000.0)
    totals.add(0, stats({"GET 200": 1}))
    totals.drop_gone(frozenset(), 5000.0 + KEPT_AFTER_ROUTE)
    assert totals.routes[KEY].requests == {("GET", "200"): 2}
    totals.drop_gone(frozenset(), 5000.1 + KEPT_AFTER_ROUTE)
    assert totals.routes == {}


def test_route_keys_are_those_that_workers_count_under() -> None:
    """Routes, defaults of hosts under their pattern, the table's default under no host."""
    table = Table(hosts={"*.x": Host(routes=(FRONT,), default=Route(action=Forward(cluster="d")))}, default=FRONT)
    assert route_keys(table) == {
        RouteKey("*.x", "shop", "web", "front", "/"),
        RouteKey("*.x", "", "", "", ""),
        RouteKey("", "shop", "web", "front", "/"),
    }


def test_certificates_are_parsed_once() -> None:
    """What left the table is forgotten, what stays is remembered."""
    expiry = Expiry()
    list(expiry.of(TABLE))
    assert set(expiry._ends) == {CERTIFICATE.chain_pem, "rubbish"}
    list(expiry.of(Table(certificates={"shop/tls": CERTIFICATE})))
    assert set(expiry._ends) == {CERTIFICATE.chain_pem}


def test_the_page_of_metrics_is_current() -> None:
    """docs/metrics.md is what the catalogue gives; ``make docs`` rewrites it."""
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == metrics_page()
