"""Why a request goes where it goes, in words.

The decision itself is made by the matcher that the proxy uses; this module only describes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from proxy.routing.hosts import BadHost, canonical_host
from proxy.routing.matcher import HostMatcher, Matcher
from proxy.routing.paths import BadPath, normalise_path, split_target
from proxy.table import Host, PathKind, Route, Table

__all__ = ["Candidate", "Explanation", "explain"]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One route that was considered, and why it won or lost."""

    pattern: str
    """The host pattern it stands under; empty for the table's default."""
    kind: PathKind | Literal["default", "host"]
    """``default``: serves what no path covers. ``host``: a pattern that does not cover the host, without a route."""
    path: str
    """As the table has it; empty for kinds ``default`` and ``host``."""
    route: Route | None
    won: bool
    reason: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to "who serves this request"."""

    host: str
    """Canonical; empty if the host is bad."""
    path: str
    """Normalised; empty if the path is bad."""
    problem: str | None = None
    """Why the request is refused with 400 before any routing; ``None``: it is not."""
    pattern: str | None = None
    """The host pattern that decides. ``None``: no pattern covers the host."""
    route: Route | None = None
    """What serves it. ``None``: 404, or 400 with ``problem``."""
    source: Literal["route", "host default", "table default", "nothing"] = "nothing"
    candidates: tuple[Candidate, ...] = ()
    """The winner first; then the other routes of the deciding host; then other hosts and defaults."""


class _Entry(msgspec.Struct, frozen=True, eq=False):
    """A route of a host with its own identity: equal routes stay apart."""

    route: Route
    is_default: bool


def explain(table: Table, host: str, path: str) -> Explanation:
    """Which route of ``table`` serves ``path`` (a query is ignored) on ``host``, and why no other does."""
    target, _ = split_target(path.encode(errors="surrogateescape"))
    name = spelled = ""
    try:
        name = canonical_host(host.encode(errors="surrogateescape"))
        spelled = normalise_path(target, merge_slashes=table.settings.merge_slashes).decode("ascii")
    except (BadHost, BadPath) as bad:
        return Explanation(host=name, path=spelled, problem=bad.reason)
    compiled = {pattern: _compiled(table.hosts[pattern], table) for pattern in _related(name) if pattern in table.hosts}
    matcher = Matcher({pattern: host_matcher for pattern, (host_matcher, _) in compiled.items()})
    decider = matcher.find(name)
    pattern = next((key for key, (host_matcher, _) in compiled.items() if host_matcher is decider), None)
    entry = None if decider is None else decider.match(spelled.encode())
    candidates: list[Candidate] = []
    if pattern is not None and decider is not None:
        candidates += _inside(pattern, decider, compiled[pattern][1], entry, spelled)
    candidates += _outside(name, spelled, pattern, compiled)
    candidates += _table_default(table, pattern, entry)
    candidates.sort(key=lambda candidate: not candidate.won)
    route = table.default if entry is None else entry.route
    source: Literal["route", "host default", "table default", "nothing"]
    if entry is not None:
        source = "host default" if entry.is_default else "route"
    else:
        source = "nothing" if route is None else "table default"
    return Explanation(
        host=name, path=spelled, pattern=pattern, route=route, source=source, candidates=tuple(candidates)
    )


def _related(name: str) -> Iterator[str]:
    """The host itself, every wildcard that users may think covers it, and ``*``; in order of precedence."""
    yield name
    yield from (f"*.{parent}" for parent in _ancestors(name))
    yield f"*.{name}"
    yield "*"


def _ancestors(name: str) -> Iterator[str]:
    _, _, parent = name.partition(".")
    while parent:
        yield parent
        _, _, parent = parent.partition(".")


def _compiled(host: Host, table: Table) -> tuple[HostMatcher[_Entry], list[_Entry]]:
    """The host's matcher, and its entries in the order of the table, the default last."""
    entries = [_Entry(route, False) for route in host.routes]
    default = None if host.default is None else _Entry(host.default, True)
    matcher = HostMatcher(
        [(entry.route.kind, entry.route.path, entry) for entry in entries],
        default,
        merge_slashes=table.settings.merge_slashes,
    )
    return matcher, entries if default is None else [*entries, default]


def _inside(
    pattern: str, matcher: HostMatcher[_Entry], entries: list[_Entry], winner: _Entry | None, path: str
) -> Iterator[Candidate]:
    """The routes of the deciding host."""
    for entry in entries:
        route, won = entry.route, entry is winner
        if entry.is_default:
            reason = f"no path of {pattern} covers the request" if won else f"a path of {pattern} covers the request"
            yield Candidate(pattern=pattern, kind="default", path="", route=route, won=won, reason=reason)
            continue
        reason = _why_won(route) if won else _why_lost(route, matcher, winner, path)
        yield Candidate(pattern=pattern, kind=route.kind, path=route.path, route=route, won=won, reason=reason)


def _why_won(route: Route) -> str:
    return "the exact path" if route.kind == "exact" else "the longest path that covers the request"


def _why_lost(route: Route, matcher: HostMatcher[_Entry], winner: _Entry | None, path: str) -> str:
    for kind, unmatchable, reason in matcher.unmatchable:
        if (kind, unmatchable) == (route.kind, route.path):
            return f"no request can match it: {reason}"
    own = _alone(route, matcher)
    if own.match(path.encode()) is None:
        return _why_not_covering(route, path)
    assert winner is not None, "a route that covers the request alone has at least one winner beside it"
    if winner.route.kind == "exact":
        return "an exact path goes before a prefix" if route.kind == "prefix" else "the same path stands before it"
    if winner.route.path.rstrip("/") == route.path.rstrip("/"):
        same = winner.route.path == route.path
        return "the same path stands before it" if same else "the same prefix with a trailing slash goes first"
    return f"{winner.route.path} is longer"


def _alone(route: Route, matcher: HostMatcher[_Entry]) -> HostMatcher[Route]:
    return HostMatcher([(route.kind, route.path, route)], merge_slashes=matcher.merge_slashes)


def _why_not_covering(route: Route, path: str) -> str:
    if route.kind == "exact":
        if route.path.rstrip("/") == path.rstrip("/"):
            return "an exact path differs by its trailing slash"
        return "an exact path takes that path only"
    if path.startswith(route.path.rstrip("/")):
        return "a prefix takes whole path elements only"
    if path.lower().startswith(route.path.lower()):
        return "upper and lower case differ"
    return "the request's path does not begin with it"


def _outside(
    name: str, path: str, decider: str | None, compiled: dict[str, tuple[HostMatcher[_Entry], list[_Entry]]]
) -> Iterator[Candidate]:
    """The hosts that cover the request too but come later, and the wildcards that only seem to cover it."""
    covering = (name, f"*.{name.partition('.')[2]}", "*")
    for pattern, (matcher, _) in compiled.items():
        if pattern == decider:
            continue
        if pattern not in covering:
            reason = "a wildcard stands for exactly one label"
            yield Candidate(pattern=pattern, kind="host", path="", route=None, won=False, reason=reason)
            continue
        entry = matcher.match(path.encode())
        if entry is None:
            continue
        kind: PathKind | Literal["default"] = "default" if entry.is_default else entry.route.kind
        yield Candidate(
            pattern=pattern,
            kind=kind,
            path="" if entry.is_default else entry.route.path,
            route=entry.route,
            won=False,
            reason=f"host {decider} is nearer, and decides alone",
        )


def _table_default(table: Table, decider: str | None, winner: _Entry | None) -> Iterator[Candidate]:
    if table.default is None:
        return
    if winner is not None:
        reason = f"host {decider} serves the request"
    elif decider is not None:
        reason = f"no path of {decider} covers the request, and it has no default of its own"
    else:
        reason = "no host covers the request"
    yield Candidate(pattern="", kind="default", path="", route=table.default, won=winner is None, reason=reason)
