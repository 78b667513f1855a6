"""Why a request goes where it goes."""

from __future__ import annotations

from proxy.routing import Explanation, explain
from proxy.table import Forward, Host, PathKind, Route, Settings, Table


def route(kind: PathKind, path: str, cluster: str = "c") -> Route:
    return Route(kind=kind, path=path, action=Forward(cluster=cluster))


TABLE = Table(
    hosts={
        "foo.com": Host(
            routes=(
                route("prefix", "/"),
                route("prefix", "/api"),
                route("prefix", "/api/"),
                route("prefix", "/api", "later"),
                route("exact", "/api/x"),
                route("exact", "/api/x", "later"),
                route("exact", "/api/x/"),
                route("prefix", "/API"),
                route("prefix", "/ap"),
                route("prefix", "/other"),
                route("prefix", "/a%zz"),
            )
        ),
        "a.foo.com": Host(routes=(route("prefix", "/only"),)),
        "b.foo.com": Host(routes=(route("prefix", "/only"),), default=route("prefix", "/", "own")),
        "*.foo.com": Host(routes=(route("prefix", "/"),)),
        "*": Host(routes=(route("prefix", "/any"),), default=route("prefix", "/", "fallback")),
    },
    default=route("prefix", "/", "global"),
)


def reasons(explanation: Explanation) -> list[tuple[str, str, str, str]]:
    return [(each.pattern, each.kind, each.path, each.reason) for each in explanation.candidates]


def test_each_route_of_the_host_says_why_it_lost() -> None:
    """Every kind of loss has its own words, the winner stands first, and other hosts are named too."""
    told = explain(TABLE, "FOO.com:80", "/api/./x?q=1")
    assert (told.host, told.path, told.pattern, told.source) == ("foo.com", "/api/x", "foo.com", "route")
    assert told.route is TABLE.hosts["foo.com"].routes[4]
    assert told.candidates[0].won
    assert not any(candidate.won for candidate in told.candidates[1:])
    assert reasons(told) == [
        ("foo.com", "exact", "/api/x", "the exact path"),
        ("foo.com", "prefix", "/", "an exact path goes before a prefix"),
        ("foo.com", "prefix", "/api", "an exact path goes before a prefix"),
        ("foo.com", "prefix", "/api/", "an exact path goes before a prefix"),
        ("foo.com", "prefix", "/api", "an exact path goes before a prefix"),
        ("foo.com", "exact", "/api/x", "the same path stands before it"),
        ("foo.com", "exact", "/api/x/", "an exact path differs by its trailing slash"),
        ("foo.com", "prefix", "/API", "upper and lower case differ"),
        ("foo.com", "prefix", "/ap", "a prefix takes whole path elements only"),
        ("foo.com", "prefix", "/other", "the request's path does not begin with it"),
        (
            "foo.com",
            "prefix",
            "/a%zz",
            "no request can match it: path holds an escape that is not % and two hex digits",
        ),
        ("*.foo.com", "host", "", "a wildcard stands for exactly one label"),
        ("*", "default", "", "host foo.com is nearer, and decides alone"),
        ("", "default", "", "host foo.com serves the request"),
    ]


def test_prefixes_lose_to_longer_ones_and_to_the_trailing_slash() -> None:
    """Length decides between prefixes, then the slash, then the order."""
    told = explain(TABLE, "foo.com", "/api/y")
    by_route = {id(each.route): each.reason for each in told.candidates}
    routes = TABLE.hosts["foo.com"].routes
    assert by_route[id(routes[2])] == "the longest path that covers the request"
    assert by_route[id(routes[0])] == "/api/ is longer"
    assert by_route[id(routes[1])] == "the same prefix with a trailing slash goes first"
    assert by_route[id(routes[4])] == "an exact path takes that path only"


def test_a_host_without_a_matching_path_uses_the_tables_default_and_not_the_wildcard() -> None:
    """The one rule that surprises users is said in words."""
    told = explain(TABLE, "a.foo.com", "/x")
    assert (told.pattern, told.source, told.route) == ("a.foo.com", "table default", TABLE.default)
    assert reasons(told) == [
        ("", "default", "", "no path of a.foo.com covers the request, and it has no default of its own"),
        ("a.foo.com", "prefix", "/only", "the request's path does not begin with it"),
        ("*.foo.com", "prefix", "/", "host a.foo.com is nearer, and decides alone"),
        ("*", "default", "", "host a.foo.com is nearer, and decides alone"),
    ]


def test_a_hosts_own_default_is_named_as_such() -> None:
    """It wins where no path does, and loses where one does."""
    told = explain(TABLE, "b.foo.com", "/x")
    assert (told.source, told.route) == ("host default", TABLE.hosts["b.foo.com"].default)
    assert reasons(told)[0] == ("b.foo.com", "default", "", "no path of b.foo.com covers the request")
    lost = {each.kind: each.reason for each in explain(TABLE, "b.foo.com", "/only").candidates if "b." in each.pattern}
    assert lost["default"] == "a path of b.foo.com covers the request"


def test_wildcards_of_farther_parents_are_named_with_the_reason() -> None:
    """Users expect ``*.foo.com`` to cover deeper names; it is told that it does not, at any distance."""
    told = explain(TABLE, "x.y.z.foo.com", "/")
    assert (told.pattern, told.source) == ("*", "host default")
    assert ("*.foo.com", "host", "", "a wildcard stands for exactly one label") in reasons(told)


def test_a_route_equal_to_the_hosts_default_is_still_a_route() -> None:
    """Even if both are the very same object, what a path serves is not called the default."""
    same = route("prefix", "/")
    told = explain(Table(hosts={"foo.com": Host(routes=(same,), default=same)}), "foo.com", "/x")
    assert told.source == "route"
    assert [(each.kind, each.won) for each in told.candidates] == [("prefix", True), ("default", False)]


def test_no_host_at_all_is_the_tables_default_or_nothing() -> None:
    """404 is a source of its own."""
    bare = Table(hosts={"foo.com": Host()})
    told = explain(bare, "bar.com", "/")
    assert (told.pattern, told.source, told.route, told.candidates) == (None, "nothing", None, ())
    default = route("prefix", "/")
    told = explain(Table(default=default), "bar.com", "/")
    assert (told.source, told.route) == ("table default", default)
    assert reasons(told) == [("", "default", "", "no host covers the request")]


def test_a_bad_host_or_path_is_told_as_the_problem() -> None:
    """Such a request is refused before routing, and nothing is chosen."""
    told = explain(TABLE, "foo.com,bar.com", "/x")
    assert (told.host, told.path, told.route, told.candidates) == ("", "", None, ())
    assert told.problem == "host holds a character that no host name has"
    told = explain(TABLE, "foo.com", "/../x")
    assert (told.host, told.problem) == ("foo.com", "path climbs above the root")


def test_the_setting_of_the_table_decides_about_double_slashes() -> None:
    """Explaining normalises as the proxy would under that table."""
    kept = Table(hosts=TABLE.hosts, settings=Settings(merge_slashes=False))
    assert explain(TABLE, "foo.com", "/api//x").path == "/api/x"
    assert explain(kept, "foo.com", "/api//x").path == "/api//x"
