"""The bodies of the admin pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ingress.admin.view import View
from ingress.resources import Problem
from ingress.translate import redact
from ingress.version import VERSION
from proxy.table import Forward, Route, Table

__all__ = ["index_html", "problems_json", "problems_text", "table_json"]

PAGES = {
    "/healthz": "200 while the control process lives",
    "/readyz": "200 when requests may come here, else 503 with the reason",
    "/metrics": "Prometheus metrics",
    "/table": "the routing table as JSON, keys redacted; ?host=NAME for one host",
    "/problems": "what is wrong with which object; JSON for Accept: application/json",
}


def index_html(view: View) -> str:
    """Links to the other pages, and how things stand."""
    links = "\n".join(f'<li><a href="{path}">{path}</a>: {what}</li>' for path, what in PAGES.items())
    state = view.unready or "ready"
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8><title>Pyngress</title>\n"
        f"<h1>Pyngress {VERSION}</h1>\n"
        f"<p>{state}; table {view.publisher.current.generation}; {len(view.problems)} problems</p>\n"
        f"<ul>\n{links}\n</ul>\n"
    )


def table_json(table: Table, host: str | None) -> bytes:
    """``table`` without private keys; with ``host`` (a pattern of the table) only what concerns that."""
    shown = redact(table if host is None else _only(table, host))
    return msgspec.json.format(msgspec.json.encode(shown, order="sorted"), indent=2) + b"\n"


def problems_text(problems: Sequence[Problem]) -> str:
    """A line per problem."""
    return "".join(f"{_line(problem)}\n" for problem in problems) or "No problems.\n"


def problems_json(problems: Sequence[Problem]) -> bytes:
    """The problems as a JSON array."""
    return msgspec.json.format(msgspec.json.encode(problems), indent=2) + b"\n"


def _line(problem: Problem) -> str:
    place = f" [{problem.source}]" if problem.source else ""
    field = f" {problem.field}" if problem.field else ""
    return f"{problem.severity} {problem.object}{place}{field}: {problem.message} ({problem.reason})"


def _only(table: Table, pattern: str) -> Table:
    host = table.hosts.get(pattern)
    routes = () if host is None else (*host.routes, host.default)
    clusters = set(_clusters((*routes, table.default)))
    certificate = table.server_names.get(pattern)
    return msgspec.structs.replace(
        table,
        hosts={} if host is None else {pattern: host},
        clusters={name: cluster for name, cluster in table.clusters.items() if name in clusters},
        certificates={name: each for name, each in table.certificates.items() if name == certificate},
        server_names={} if certificate is None else {pattern: certificate},
    )


def _clusters(routes: Sequence[Route | None]) -> Iterator[str]:
    for route in routes:
        if route is not None and isinstance(route.action, Forward):
            yield from route.action.clusters
