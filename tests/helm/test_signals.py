"""Alerts and the dashboard ask for metrics that exist, with labels that they have."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from ingress.admin.catalogue import METRICS
from tests.helm.rendering import CHART, VALUES, objects, render
from tests.support.tools import tool

ALERTS: list[dict[str, Any]] = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
DASHBOARD: dict[str, Any] = json.loads((CHART / "files/dashboard.json").read_text())

SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count"), "counter": ("",), "gauge": ("",)}
PROCESS = ("cpu_seconds_total", "resident_memory_bytes")
LABELS: dict[str, frozenset[str]] = {
    metric.full_name + suffix: frozenset(metric.labels) | ({"le"} if suffix == "_bucket" else frozenset())
    for metric in METRICS
    for suffix in SUFFIXES[metric.kind]
} | {
    f"{prefix}process_{name}": frozenset({"worker"} if "worker" in prefix else ())
    for prefix in ("", "pyngress_worker_")
    for name in PROCESS
}
"""Series → the labels that it has by itself."""
OF_THE_SCRAPE = {"job", "instance", "pod"}


def _queries() -> list[tuple[str, str]]:
    found = [(alert["alert"], alert["expr"]) for alert in ALERTS]
    for panel in DASHBOARD["panels"]:
        found += [(panel["title"], target["expr"]) for target in panel.get("targets", ())]
    found += [(each["name"], each["definition"]) for each in DASHBOARD["templating"]["list"] if "definition" in each]
    return found


QUERIES = _queries()


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[f"{title}-{at}" for at, (title, _) in enumerate(QUERIES)])
def test_a_query_asks_for_metrics_and_labels_that_exist(title: str, query: str) -> None:
    """A renamed metric would leave an alert silent for ever."""
    names = re.findall(r"\b(?:pyngress|process)_\w+", query)
    assert names
    assert set(names) <= LABELS.keys()
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", query):
        used = set(re.findall(r"(\w+)=~?\"", selector))
        assert used <= LABELS[name] | OF_THE_SCRAPE, name
    for group in re.findall(r"by \(([^)]*)\)", query):
        by = {label.strip() for label in group.split(",")}
        assert by <= frozenset.union(*(LABELS[name] for name in names)) | OF_THE_SCRAPE
    assert query.count("(") == query.count(")")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_it_is_about(alert: dict[str, Any]) -> None:
    """Each has a severity, a summary and a description, and names only labels that its expression keeps."""
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    text = alert["annotations"]["summary"] + alert["annotations"]["description"]
    kept = {label.strip() for group in re.findall(r"by \(([^)]*)\)", alert["expr"]) for label in group.split(",")}
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= kept | OF_THE_SCRAPE


def test_alert_names_are_their_own() -> None:
    """Two alerts of one name would be one in every notification."""
    names = [alert["alert"] for alert in ALERTS]
    assert len(set(names)) == len(names) > 10


def test_panels_do_not_overlap_and_have_their_own_ids() -> None:
    """Grafana would push them about."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_chart_delivers_them_as_they_are() -> None:
    """Their own templates ({{ $labels.host }}, {{ingress}}) pass through helm untouched."""
    tool("helm")
    manifests = render(VALUES / "production.yaml")
    (rule,) = objects(manifests, "PrometheusRule")
    assert rule["spec"]["groups"][0]["rules"][:-1] == ALERTS
    (dashboard,) = (each for each in objects(manifests, "ConfigMap"))
    assert json.loads(dashboard["data"]["pyngress.json"]) == DASHBOARD
