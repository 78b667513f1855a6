"""One host: what the parts of all Ingresses that name it ask for → its routes. Oldest first; the first claim wins."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingress.resources import Problem
from ingress.translate.part import GOES_FIRST, Finding, IngressPart, RouteClaim
from proxy.table import Host, HostPattern, Route

__all__ = ["HostShare", "MergedHost", "merge_host", "shares_of"]


class HostShare(msgspec.Struct, frozen=True, kw_only=True):
    """What one Ingress asks for on one host."""

    part: IngressPart
    claims: tuple[RouteClaim, ...] = ()


class MergedHost(msgspec.Struct, frozen=True, kw_only=True):
    """The host in the table, and the Problems of those who lost."""

    host: Host
    problems: tuple[Problem, ...] = ()


def shares_of(part: IngressPart) -> dict[HostPattern, HostShare]:
    """The shares of a part, by host."""
    claims: dict[HostPattern, list[RouteClaim]] = {host: [] for host in part.hosts}
    for claim in part.routes:
        claims[claim.host].append(claim)
    return {host: HostShare(part=part, claims=tuple(own)) for host, own in claims.items()}


def merge_host(pattern: HostPattern, shares: Sequence[HostShare]) -> MergedHost:
    """One host of all who name it. ``shares`` come oldest first."""
    problems: list[Problem] = []
    owners: dict[tuple[HostPattern, str, str], IngressPart] = {}
    routes: list[Route] = []
    for share in shares:
        for claim in share.claims:
            owner = owners.setdefault(claim.slot, share.part)
            if owner is share.part:
                routes.append(claim.route)
            else:
                problems.append(share.part.problem(claim.field, _lost_route(claim, owner)))
    default, lost = _host_default(pattern, [share.part for share in shares])
    routes.sort(key=lambda route: (route.path, route.kind))
    return MergedHost(host=Host(routes=tuple(routes), default=default), problems=(*problems, *lost))


def _host_default(pattern: HostPattern, parts: Sequence[IngressPart]) -> tuple[Route | None, list[Problem]]:
    """The default backend of the host: that of its oldest Ingress that has one."""
    having = [part for part in parts if part.defaults]
    if not having:
        return None, []
    owner, *others = having
    default = owner.defaults[pattern]
    message = f"{owner.ref} {GOES_FIRST} and decides the default backend of host {pattern}"
    finding = Finding(reason="DefaultBackendConflict", message=message, severity="warning")
    return default, [
        part.problem("spec.defaultBackend", finding)
        for part in others
        if part.defaults[pattern].action != default.action
    ]


def _lost_route(claim: RouteClaim, owner: IngressPart) -> Finding:
    route = claim.route
    kind = "Exact" if route.kind == "exact" else "Prefix"
    message = (
        f"{kind} {route.path} of host {claim.host} belongs to {owner.ref}, which {GOES_FIRST}; this path is not served"
    )
    return Finding(reason="PathConflict", message=message)
