"""Routing against a brute-force reading of the Ingress API, and paths against the algorithm of RFC 3986."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.routing import BadHost, BadPath, HostMatcher, Matcher, canonical_host, compile_host, explain, normalise_path
from proxy.table import Forward, Host, PathKind, Route, Table

ELEMENTS = st.sampled_from(["", "a", "b", "aa", "%2F", "~"])
PLAIN_PATHS = st.lists(ELEMENTS.filter(bool), max_size=5).flatmap(
    lambda elements: st.sampled_from(["/" + "/".join(elements), "/" + "/".join(elements) + "/" if elements else "/"])
)
KINDS: st.SearchStrategy[PathKind] = st.sampled_from(["exact", "prefix"])
RULES = st.lists(st.tuples(KINDS, PLAIN_PATHS), max_size=8)
RAW_PATHS = st.lists(
    st.sampled_from(
        [b"/", b".", b"..", b";", b"%2e", b"%2E", b"%2f", b"%5c", b"%3b", b"a", b"%41", b"%", b"%25", b"\xe4"]
    ),
    max_size=12,
).map(b"".join) | st.binary(max_size=12).map(lambda tail: b"/" + tail)
NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(".".join)
PATTERNS = NAMES | NAMES.map("*.".__add__) | st.just("*")


def covers(kind: PathKind, rule: str, path: str) -> bool:
    """Does the rule match, element by element, as the API's words say?"""
    if kind == "exact":
        return rule == path
    wanted = [element for element in rule.split("/") if element]
    return [element for element in path.split("/") if element][: len(wanted)] == wanted


def brute_winner(rules: list[tuple[PathKind, str]], path: str) -> int | None:
    """Longest path first (one trailing slash of a prefix aside), then exact, then the longer text, then the first."""

    def rank(number: int) -> tuple[int, bool, int, int]:
        kind, rule = rules[number]
        length = len(rule.removesuffix("/")) if kind == "prefix" else len(rule)
        return length, kind == "exact", len(rule), -number

    matching = [number for number, (kind, rule) in enumerate(rules) if covers(kind, rule, path)]
    return max(matching, key=rank, default=None)


@settings(deadline=None)
@given(rules=RULES, path=PLAIN_PATHS)
@example(rules=[("prefix", "/a/"), ("exact", "/a/")], path="/a/")
@example(rules=[("prefix", "/a"), ("prefix", "/a/"), ("exact", "/a")], path="/a/")
def test_the_matcher_picks_what_the_words_of_the_api_pick(rules: list[tuple[PathKind, str]], path: str) -> None:
    """For any rules and any path, dictionary lookups and reading the rules one by one agree."""
    matcher = HostMatcher([(kind, rule, number) for number, (kind, rule) in enumerate(rules)])
    assert matcher.match(path.encode()) == brute_winner(rules, path)


def brute_host(patterns: list[str], host: str) -> str | None:
    """Exact, then one label in place of the star, then any."""
    for pattern in patterns:
        if pattern == host:
            return pattern
    for pattern in patterns:
        if pattern.startswith("*.") and re.fullmatch(r"[^.]+" + re.escape(pattern[1:]), host):
            return pattern
    return "*" if "*" in patterns else None


@settings(deadline=None)
@given(patterns=st.lists(PATTERNS, max_size=8, unique=True), hosts=st.lists(NAMES, max_size=4))
def test_the_host_is_chosen_as_the_words_of_the_api_say(patterns: list[str], hosts: list[str]) -> None:
    """Found by canonical name, by raw bytes, and by raw bytes again: always the brute-force choice."""
    known = {pattern: HostMatcher([("prefix", "/", pattern)]) for pattern in patterns}
    matcher = Matcher(known)
    for host in hosts:
        chosen = brute_host(patterns, host)
        expected = None if chosen is None else known[chosen]
        assert matcher.find(host) is expected
        for raw in (host.encode(), host.upper().encode() + b".:80", host.encode()):
            assert matcher.find_raw(raw) is expected


@settings(deadline=None)
@given(
    first=st.lists(PATTERNS, max_size=6, unique=True),
    changes=st.dictionaries(PATTERNS, st.booleans(), max_size=6),
    hosts=st.lists(NAMES, min_size=1, max_size=6),
)
def test_a_changed_matcher_equals_one_built_from_scratch(
    first: list[str], changes: dict[str, bool], hosts: list[str]
) -> None:
    """Deltas leave nothing behind: not a removed host, not a remembered spelling."""
    known = {pattern: HostMatcher([("prefix", "/", pattern)]) for pattern in first}
    old = Matcher(known)
    for host in hosts:
        old.find_raw(host.encode())
    delta = {pattern: HostMatcher([("prefix", "/", pattern)]) if there else None for pattern, there in changes.items()}
    whole = {pattern: host for pattern, host in (known | delta).items() if host is not None}
    new, scratch = old.updated(delta), Matcher(whole)
    for host in hosts:
        assert new.find_raw(host.encode()) is scratch.find_raw(host.encode())
    assert len(new) == len(scratch)


def tables() -> st.SearchStrategy[Table]:
    """Small tables with colliding hosts and paths; every route has its own cluster."""
    hosts = st.dictionaries(PATTERNS, st.tuples(RULES, st.booleans()), max_size=5)

    def built(shape: tuple[dict[str, tuple[list[tuple[PathKind, str]], bool]], bool]) -> Table:
        described, has_default = shape
        return Table(
            hosts={
                pattern: Host(
                    routes=tuple(
                        Route(kind=kind, path=path, action=Forward(cluster=f"{pattern} {number}"))
                        for number, (kind, path) in enumerate(rules)
                    ),
                    default=Route(action=Forward(cluster=f"{pattern} default")) if own_default else None,
                )
                for pattern, (rules, own_default) in described.items()
            },
            default=Route(action=Forward(cluster="default")) if has_default else None,
        )

    return st.tuples(hosts, st.booleans()).map(built)


@settings(deadline=None)
@given(table=tables(), host=NAMES, path=PLAIN_PATHS)
def test_the_explanation_names_the_route_that_the_proxy_takes(table: Table, host: str, path: str) -> None:
    """``explain`` sees a part of the table only, and still says what the matcher over the whole table does."""
    matcher = Matcher({pattern: compile_host(value, lambda route: route) for pattern, value in table.hosts.items()})
    found = matcher.find_raw(host.encode())
    served = table.default if found is None else found.match(path.encode()) or table.default
    told = explain(table, host, path)
    assert told.route is served
    winners = [candidate for candidate in told.candidates if candidate.won]
    assert [winner.route for winner in winners] == ([] if served is None else [served])
    assert told.candidates[: len(winners)] == tuple(winners)
    assert all(candidate.reason for candidate in told.candidates)
    assert (told.source == "nothing") == (served is None)
    assert told.pattern == brute_host(list(table.hosts), host)


@settings(deadline=None)
@given(path=RAW_PATHS, merge=st.booleans())
def test_normalising_twice_changes_nothing(path: bytes, merge: bool) -> None:
    """The result is a fixed point, is ASCII, and holds nothing that another program could still resolve."""
    try:
        once = normalise_path(path, merge_slashes=merge)
    except BadPath:
        return
    assert normalise_path(once, merge_slashes=merge) == once
    assert once.startswith(b"/")
    assert re.fullmatch(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})*", once)
    assert not re.search(rb"(?:^|/|%2F|%5C)\.\.?(?:/|%2F|%5C|;|%3B|$)", once)
    assert not merge or b"//" not in once


def rfc3986_remove_dot_segments(path: str) -> str:
    """The algorithm of section 5.2.4, letter by letter; at the root it clamps."""
    output = ""
    while path:
        if path.startswith("/./"):
            path = path[2:]
        elif path == "/.":
            path = "/"
        elif path.startswith("/../") or path == "/..":
            path = "/" + path[4:]
            output = output[: output.rfind("/")] if "/" in output else ""
        else:
            end = path.find("/", 1)
            end = len(path) if end < 0 else end
            output += path[:end]
            path = path[end:]
    return output


@settings(deadline=None)
@given(st.lists(st.sampled_from(["", ".", "..", "a", "b", "..."]), min_size=1, max_size=8))
def test_dot_segments_go_as_in_the_rfc_or_are_refused_at_the_root(elements: list[str]) -> None:
    """Equal to RFC 3986 wherever the path stays below the root; refused exactly where it does not."""
    path = "/" + "/".join(elements)
    depth, climbs = 0, False
    for element in elements:
        depth += -1 if element == ".." else element != "."
        climbs = climbs or depth < 0
    try:
        normal = normalise_path(path.encode(), merge_slashes=False).decode()
    except BadPath:
        assert climbs
        return
    assert not climbs
    assert normal == rfc3986_remove_dot_segments(path)


@settings(deadline=None)
@given(st.binary(max_size=20) | st.text("aA.:-_[]0189", max_size=12).map(str.encode))
def test_a_host_is_refused_or_becomes_a_fixed_point(raw: bytes) -> None:
    """Canonicalising twice changes nothing, and case, port and trailing dot of the input do not matter."""
    try:
        host = canonical_host(raw)
    except BadHost:
        return
    assert canonical_host(host.encode()) == host
    assert canonical_host(host.upper().encode() + b":443") == host
    assert host.isascii()
    assert host == host.lower()
    assert not set(host) & set(" ,@/\\*%#?\t")
