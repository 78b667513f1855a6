"""What Prometheus scrapes: names and labels that dashboards know, no series for what clients make up, every panel."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.certificates import tls_secret
from tests.support.clients import ask, get
from tests.support.cluster import Cluster, until
from tests.support.controller import Controller
from tests.support.pods import Pod, pods
from tests.support.site import ingress_of, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = Path(__file__).parents[2] / "helm" / "pyngress" / "files"
DASHBOARD: dict[str, Any] = json.loads((FILES / "dashboard.json").read_text())
ALERTS: list[dict[str, Any]] = yaml.safe_load((FILES / "alerts.yaml").read_text())
SITE = "metrics.example.com"
ROUTE = {"host", "namespace", "ingress", "service", "path"}
KNOWN = {
    "requests_total": ROUTE | {"method", "status"},
    "request_duration_seconds_bucket": ROUTE | {"le"},
    "request_duration_seconds_count": ROUTE,
    "response_duration_seconds_bucket": ROUTE | {"le"},
    "response_duration_seconds_sum": ROUTE,
    "request_size_sum": ROUTE,
    "response_size_sum": ROUTE,
    "response_size_count": ROUTE,
    "config_last_reload_successful": set(),
    "config_last_reload_successful_timestamp_seconds": set(),
    "ssl_expire_time_seconds": {"host", "namespace", "secret_name"},
    "build_info": set(),
}
"""What dashboards of ingress-nginx ask for, behind our prefix."""


OF_THE_SCRAPE = {"job", "instance", "pod"}
"""Labels that Prometheus adds."""


class Series(NamedTuple):
    """One line of a scrape."""

    name: str
    labels: dict[str, str]
    value: float


async def scrape(running: Controller) -> list[Series]:
    status, text = await running.ask("/metrics")
    assert status == 200
    families = text_string_to_metric_families(text)
    return [Series(each.name, each.labels, each.value) for family in families for each in family.samples]


def chosen(series: list[Series], name: str, selector: str) -> list[Series]:
    """What ``name{selector}`` of a query chooses, with every variable of a dashboard at "All"."""
    found = [each for each in series if each.name == name]
    for label, operator, wanted in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', selector):
        if label in OF_THE_SCRAPE:
            continue
        pattern = re.compile(".*" if wanted.startswith("$") else wanted if "~" in operator else re.escape(wanted))
        found = [
            each
            for each in found
            if bool(pattern.fullmatch(each.labels.get(label, ""))) is not operator.startswith("!")
        ]
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(cluster: Cluster, pyngress: Controller, pod: Pod) -> AsyncIterator[Controller]:
    """A controller that has answered 200, 404, 308, 502 and, after a second try, 200, and has a certificate."""
    await cluster.apply(tls_secret("metrics", f"tls.{SITE}"))
    async with pods(cluster.address, "gone") as (gone,):
        pass
    await serve(cluster, "web", [pod])
    await serve(cluster, "gone", [gone])
    paths = ("Prefix", "/", "web"), ("Prefix", "/gone", "gone")
    await cluster.apply(ingress_of("web", SITE, *paths))
    tls = [{"hosts": [f"tls.{SITE}"], "secretName": "metrics"}]
    await cluster.apply(ingress_of("secure", f"tls.{SITE}", ("Prefix", "/", "web"), tls=tls))
    await pyngress.becomes(SITE, 200)
    await pyngress.becomes(f"tls.{SITE}", 308)
    await pyngress.becomes(SITE, 502, path="/gone")
    assert (await pyngress.get_tls(f"tls.{SITE}")).status == 200
    yield pyngress


async def test_series_have_the_names_and_labels_that_dashboards_know(site: Controller) -> None:
    """Those of ingress-nginx behind our prefix; a request is told by its route, method and status."""
    series = await scrape(site)
    for name, labels in KNOWN.items():
        found = [each for each in series if each.name == f"pyngress_{name}"]
        assert found, name
        assert all(labels <= each.labels.keys() for each in found), name
    told = {"host": SITE, "namespace": "default", "ingress": "web", "path": "/", "service": "web"}
    before = count(series, told)
    assert (await ask(site, get("/a/b?c=d", host=SITE, method="PUT"))).status == 200

    async def is_counted() -> bool:
        return count(await scrape(site), told | {"method": "PUT", "status": "200"}) == 1

    await until(is_counted, what="the request is counted")
    assert count(await scrape(site), told) == before + 1


def count(series: list[Series], labels: dict[str, str]) -> float:
    """Requests with these labels."""
    return sum(
        each.value
        for each in series
        if each.name == "pyngress_requests_total" and labels.items() <= each.labels.items()
    )


async def test_clients_cannot_make_series(site: Controller) -> None:
    """Hosts, paths, queries, methods and fields at random: as many series after as before, and none repeats them."""
    for method in ("PROPFIND", "GET"):
        await ask(site, get("/", host=SITE, method=method))
    await ask(site, get(host="nobody.example.com"))
    before = await settled(site)
    word = secrets.token_hex(4)
    for number in range(100):
        made_up = f"{word}{number}"
        await ask(site, get(f"/{made_up}?{made_up}=1", f"User-Agent: {made_up}", host=SITE))
        await ask(site, get(f"/{made_up}", host=f"{made_up}.example.com"))
        await ask(site, get(f"/{made_up}", f"X-Forwarded-Host: {made_up}", host=SITE, method="PROPFIND"))
        assert (await ask(site, get(host=SITE, method=made_up.upper()))).status >= 400
    after = await settled(site)
    assert value(after, "pyngress_unrouted_requests_total") == value(before, "pyngress_unrouted_requests_total") + 100
    assert {(name, *labels.items()) for name, labels, _ in after} == {
        (name, *labels.items()) for name, labels, _ in before
    }
    assert not [each for each in after if word in str(each.labels).lower()]


async def settled(site: Controller) -> list[Series]:
    """A scrape that has all requests so far: the next one says the same."""
    found: list[Series] = []

    async def is_still() -> bool:
        last = value(found, "pyngress_unrouted_requests_total") + count(found, {})
        found[:] = await scrape(site)
        return value(found, "pyngress_unrouted_requests_total") + count(found, {}) == last

    await until(is_still, what="the counts stand still")
    return found


def value(series: list[Series], name: str) -> float:
    return sum(each.value for each in series if each.name == name)


def _queries() -> dict[str, str]:
    found = {f"alert {alert['alert']}": alert["expr"] for alert in ALERTS}
    for panel in DASHBOARD["panels"]:
        for number, target in enumerate(panel.get("targets", ())):
            found[f"panel {panel['title']} {number}"] = target["expr"]
    for each in DASHBOARD["templating"]["list"]:
        if "definition" in each:
            found[f"variable {each['name']}"] = each["definition"]
    return found


async def test_every_query_of_the_dashboard_and_the_alerts_chooses_series(site: Controller) -> None:
    """After some traffic, each selector finds at least one; a panel without is one that nobody sees is broken."""
    series = await scrape(site)
    queries = _queries()
    assert len(queries) > 40
    empty = [
        (title, name, selector)
        for title, query in queries.items()
        for name, selector in re.findall(r"\b((?:pyngress|process)_\w+)(?:\{([^}]*)\})?", query)
        if not chosen(series, name, selector)
    ]
    assert empty == []
    labels = {label for each in series for label in each.labels}
    by = {
        label.strip()
        for query in queries.values()
        for group in re.findall(r"by \(([^)]*)\)", query)
        for label in group.split(",")
    }
    assert by <= labels | OF_THE_SCRAPE
