"""``pyngress routes``: the routing table of manifests; and the same table as ``run`` prints it at its start."""

from __future__ import annotations

from collections.abc import Iterator

from ingress.cli.render import columns
from proxy.table import Cluster, Host, Redirect, Respond, Route, Table

__all__ = ["route_lines"]

_HEAD = ("HOST", "PATH", "KIND", "BACKEND", "ENDPOINTS", "TLS", "REDIRECT")
_SHOWN_ENDPOINTS = 3


def route_lines(table: Table) -> list[str]:
    """One aligned line per route, a head line first; hosts in the order in which they are looked up."""
    rows = [_HEAD]
    for pattern in sorted(table.hosts, key=_lookup_order):
        tls = _tls(table, pattern)
        for kind, route in _routes(table.hosts[pattern]):
            rows.append(
                (pattern, route.path if kind != "default" else "", kind, *_target(table, route), tls, _redirect(route))
            )
    if table.default is not None:
        rows.append(("(any other)", "", "default", *_target(table, table.default), "default", _redirect(table.default)))
    if len(rows) == 1:
        return ["No routes."]
    return columns(rows)


def _lookup_order(pattern: str) -> tuple[int, str]:
    if pattern == "*":
        return (2, pattern)
    return (1 if pattern.startswith("*.") else 0, pattern)


def _routes(host: Host) -> Iterator[tuple[str, Route]]:
    """Longest path first, exact before prefix, the host's default last: about as they win."""
    for route in sorted(host.routes, key=lambda route: (-len(route.path.rstrip("/")), route.kind, route.path)):
        yield route.kind, route
    if host.default is not None:
        yield "default", host.default


def _target(table: Table, route: Route) -> tuple[str, str]:
    """Backend and endpoints of ``route``."""
    if isinstance(route.action, Respond):
        reason = f": {route.action.reason}" if route.action.reason else ""
        return f"answers {route.action.status}{reason}", "-"
    if isinstance(route.action, Redirect):
        return f"redirects with {route.action.status}", "-"
    endpoints = [_endpoints(table.clusters.get(key)) for key in route.action.clusters]
    # Normally the same in plain text and over TLS.
    return ", ".join(route.action.clusters), ", ".join(dict.fromkeys(endpoints))


def _endpoints(cluster: Cluster | None) -> str:
    if cluster is None or not cluster.endpoints:
        return "none (503)"
    shown = [_address(endpoint.address, endpoint.port) for endpoint in cluster.endpoints[:_SHOWN_ENDPOINTS]]
    more = len(cluster.endpoints) - len(shown)
    return ",".join(shown) + (f" and {more} more" if more else "")


def _address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _tls(table: Table, pattern: str) -> str:
    """The certificate that a client of ``pattern`` is shown."""
    name = table.server_names.get(pattern)
    if name is None and not pattern.startswith("*"):
        _, _, parent = pattern.partition(".")
        name = table.server_names.get(f"*.{parent}")
    return name or "default"


def _redirect(route: Route) -> str:
    return "to https" if route.https_redirect else "-"
