"""``pyngress explain``: which route serves a request, and why the others do not."""

from __future__ import annotations

from ingress.cli.render import columns, paint
from proxy.routing import Candidate, Explanation
from proxy.table import Forward, Redirect, Route, Table

__all__ = ["explanation_lines"]


def explanation_lines(table: Table, explanation: Explanation) -> list[str]:
    """The answer first, then every route that was considered."""
    lines = [_answer(table, explanation)]
    if explanation.candidates:
        lines += ["", "Considered:"]
        lines += columns([_row(candidate) for candidate in explanation.candidates], indent="  ")
    return lines


def _answer(table: Table, explanation: Explanation) -> str:
    asked = f"{explanation.host}{explanation.path}"
    if explanation.problem is not None:
        return f"{asked} is refused with {paint('400', 'red')}: {explanation.problem}"
    route = explanation.route
    if route is None:
        where = f"no path of host {explanation.pattern}" if explanation.pattern else "no host"
        return f"{asked} is answered with {paint('404', 'yellow')}: {where} covers it, and there is no default backend"
    redirect = "; over http: redirect to https" if route.https_redirect else ""
    return f"{asked} is served by {_target(table, route)}{_origin(route)}{redirect}"


def _target(table: Table, route: Route) -> str:
    if isinstance(route.action, Redirect):
        return paint(f"a redirect ({route.action.status})", "yellow")
    if not isinstance(route.action, Forward):
        reason = f" ({route.action.reason})" if route.action.reason else ""
        return paint(f"status {route.action.status}{reason}", "yellow")
    return ", and to clients over TLS by ".join(_cluster(table, key) for key in route.action.clusters)


def _cluster(table: Table, key: str) -> str:
    cluster = table.clusters.get(key)
    if cluster is None or not cluster.endpoints:
        return f"{key}, which has no endpoints: " + paint("503", "yellow")
    return paint(key, "green", bold=True)


def _origin(route: Route) -> str:
    labels = route.labels
    return f" (Ingress {labels.namespace}/{labels.ingress})" if labels.ingress else ""


def _row(candidate: Candidate) -> tuple[str, str, str, str, str, str]:
    route = candidate.route
    backend = "-"
    if route is not None:
        action = route.action
        backend = ", ".join(action.clusters) if isinstance(action, Forward) else f"status {action.status}"
    mark = paint("won", "green") if candidate.won else "lost"
    return mark, candidate.pattern or "(any other)", candidate.kind, candidate.path or "-", backend, candidate.reason
