"""Parts of all Ingresses → hosts. Parts come oldest first, so that the first claim of a slot wins it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingress.resources import Problem
from ingress.translate.part import GOES_FIRST, Finding, IngressPart, RouteClaim
from proxy.table import Host, HostPattern, Route

__all__ = ["MergedHosts", "merge_hosts"]


class MergedHosts(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of the table, and the Problems of those who lost."""

    hosts: dict[HostPattern, Host]
    problems: tuple[Problem, ...] = ()


def merge_hosts(parts: Sequence[IngressPart]) -> MergedHosts:
    """Each host with the routes of all Ingresses that name it."""
    problems: list[Problem] = []
    owners: dict[tuple[HostPattern, str, str], IngressPart] = {}
    routes: dict[HostPattern, list[Route]] = {}
    for part in parts:
        for host in part.hosts:
            routes.setdefault(host, [])
        for claim in part.routes:
            owner = owners.setdefault(claim.slot, part)
            if owner is part:
                routes[claim.host].append(claim.route)
            else:
                problems.append(part.problem(claim.field, _lost_route(claim, owner)))
    defaults, lost = _host_defaults(parts)
    hosts = {
        host: Host(
            routes=tuple(sorted(of_host, key=lambda route: (route.path, route.kind))),
            default=defaults.get(host),
        )
        for host, of_host in routes.items()
    }
    return MergedHosts(hosts=hosts, problems=(*problems, *lost))


def _host_defaults(parts: Sequence[IngressPart]) -> tuple[dict[HostPattern, Route], list[Problem]]:
    """The default backend of each host: that of its oldest Ingress that has one."""
    problems: list[Problem] = []
    defaults: dict[HostPattern, Route] = {}
    owners: dict[HostPattern, IngressPart] = {}
    for part in parts:
        if not part.defaults:
            continue
        for host in part.hosts:
            owner = owners.setdefault(host, part)
            if owner is part:
                defaults[host] = part.defaults[host]
            elif defaults[host].action != part.defaults[host].action:
                message = f"{owner.ref} {GOES_FIRST} and decides the default backend of host {host}"
                finding = Finding(reason="DefaultBackendConflict", message=message, severity="warning")
                problems.append(part.problem("spec.defaultBackend", finding))
    return defaults, problems


def _lost_route(claim: RouteClaim, owner: IngressPart) -> Finding:
    route = claim.route
    kind = "Exact" if route.kind == "exact" else "Prefix"
    message = (
        f"{kind} {route.path} of host {claim.host} belongs to {owner.ref}, which {GOES_FIRST}; this path is not served"
    )
    return Finding(reason="PathConflict", message=message)
