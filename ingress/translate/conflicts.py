"""One host: what the parts of all Ingresses that name it ask for → its routes. Oldest first; the first claim wins."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import msgspec

from ingress.resources import ObjectRef, Problem
from ingress.translate.part import GOES_FIRST, REFUSED, Finding, IngressPart, RouteClaim
from proxy.table import ClientCertificates, Host, HostPattern, Route

__all__ = ["HostShare", "MergedHost", "merge_host", "shares_of"]


Slot = tuple[HostPattern, str, str]


class HostShare(msgspec.Struct, frozen=True, kw_only=True):
    """What one Ingress asks for on one host."""

    part: IngressPart
    claims: tuple[RouteClaim, ...] = ()


class MergedHost(msgspec.Struct, frozen=True, kw_only=True):
    """The host in the table, and the Problems of those who lost."""

    host: Host
    passes_to: str | None = None
    """The cluster that ends the TLS of the host; ``None``: it is ended here."""
    problems: tuple[Problem, ...] = ()


def shares_of(part: IngressPart) -> dict[HostPattern, HostShare]:
    """The shares of a part, by host."""
    claims: dict[HostPattern, list[RouteClaim]] = {host: [] for host in part.hosts}
    for claim in part.routes:
        claims[claim.host].append(claim)
    return {host: HostShare(part=part, claims=tuple(own)) for host, own in claims.items()}


def merge_host(pattern: HostPattern, shares: Sequence[HostShare]) -> MergedHost:
    """One host of all who name it. ``shares`` come oldest first."""
    asker, lost_askers, problems = _asker([share.part for share in shares])
    owners: dict[Slot, IngressPart] = {}
    routes: list[Route] = []
    for share in shares:
        for claim in share.claims:
            owner = owners.setdefault(claim.slot, share.part)
            if owner is share.part:
                routes.append(_refused(claim.route) if share.part.ref in lost_askers else claim.route)
            else:
                problems.append(share.part.problem(claim.field, _lost_route(claim, owner)))
    default, lost = _host_default(pattern, [share.part for share in shares], lost_askers)
    routes.sort(key=lambda route: (route.path, route.kind))
    host = Host(routes=tuple(routes), default=default)
    if asker is not None and asker.clients is not None:
        host = _asked(host, asker.clients.rules)
    passes_to, unread = _passed(shares, owners, asker)
    return MergedHost(host=host, passes_to=passes_to, problems=(*problems, *lost, *unread))


def _asker(parts: Sequence[IngressPart]) -> tuple[IngressPart | None, set[ObjectRef], list[Problem]]:
    """Who decides what the host asks of its clients: the oldest that asks anything. Others that ask something else
    lose, with all their routes: those must not be served under rules that may be weaker."""
    askers = [part for part in parts if part.clients is not None]
    if not askers:
        return None, set(), []
    owner, *others = askers
    problems = []
    lost = set()
    for part in others:
        assert part.clients is not None, "it is among those that ask"
        assert owner.clients is not None, "it is among those that ask"
        if part.clients.rules == owner.clients.rules:
            continue
        message = (
            f"{owner.ref} {GOES_FIRST} and decides what a host of both asks of its clients; there, the routes of this "
            "Ingress answer 503"
        )
        lost.add(part.ref)
        problems.append(part.problem(part.clients.field, Finding(reason="ClientCertificatesConflict", message=message)))
    return owner, lost, problems


def _passed(
    shares: Sequence[HostShare], owners: Mapping[Slot, IngressPart], asker: IngressPart | None
) -> tuple[str | None, list[Problem]]:
    """The cluster that gets the connections of the host, unread, and the Problems of those whom that leaves out."""
    passing = [(share.part, claim) for share in shares for claim in share.claims if claim.passes_to]
    winners = [(part, claim) for part, claim in passing if owners[claim.slot] is part]
    if not winners:
        return None, []
    owner, winner = winners[0]
    if asker is not None:
        message = f"{asker.ref} asks clients of this host for certificates, which needs the TLS to be ended here"
        finding = Finding(reason="PassthroughConflict", message=f"{message}; connections are not passed through")
        return None, [owner.problem(winner.field, finding)]
    message = f"{owner.ref} passes the connections of host {winner.host} through, unread; this path gets none over TLS"
    finding = Finding(reason="PassedThrough", message=message, severity="warning")
    others = [share for share in shares if share.part is not owner and share.claims]
    return winner.passes_to, [share.part.problem(claim.field, finding) for share in others for claim in share.claims]


def _asked(host: Host, rules: ClientCertificates | None) -> Host:
    """``host`` with what it asks; ``None``: that is not settled, and nobody is let in."""
    if rules is not None:
        return msgspec.structs.replace(host, client_certificates=rules)
    default = Route(action=REFUSED) if host.default is None else _refused(host.default)
    return Host(routes=tuple(_refused(route) for route in host.routes), default=default)


def _refused(route: Route) -> Route:
    return msgspec.structs.replace(route, action=REFUSED)


def _host_default(
    pattern: HostPattern, parts: Sequence[IngressPart], refused: Container[ObjectRef]
) -> tuple[Route | None, list[Problem]]:
    """The default backend of the host: that of its oldest Ingress that has one."""
    having = [part for part in parts if part.defaults]
    if not having:
        return None, []
    owner, *others = having
    default = owner.defaults[pattern]
    if owner.ref in refused:
        default = _refused(default)
    message = f"{owner.ref} {GOES_FIRST} and decides the default backend of host {pattern}"
    finding = Finding(reason="DefaultBackendConflict", message=message, severity="warning")
    return default, [
        part.problem("spec.defaultBackend", finding)
        for part in others
        if part.defaults[pattern].action != owner.defaults[pattern].action
    ]


def _lost_route(claim: RouteClaim, owner: IngressPart) -> Finding:
    route = claim.route
    kind = "Exact" if route.kind == "exact" else "Prefix"
    message = (
        f"{kind} {route.path} of host {claim.host} belongs to {owner.ref}, which {GOES_FIRST}; this path is not served"
    )
    return Finding(reason="PathConflict", message=message)
