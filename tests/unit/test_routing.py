"""Host and path → route: every row of the Ingress API's tables, and our own choices."""

from __future__ import annotations

import pytest

from proxy.routing import BadHost, HostMatcher, Matcher, compile_host
from proxy.table import Host, PathKind, Respond, Route

Paths = list[tuple[PathKind, str, str]]


def prefix(*paths: str) -> Paths:
    return [("prefix", path, f"prefix {path}") for path in paths]


def exact(*paths: str) -> Paths:
    return [("exact", path, f"exact {path}") for path in paths]


@pytest.mark.parametrize(
    ("routes", "path", "winner"),
    [
        # The table of the Kubernetes documentation, row by row.
        (prefix("/"), "/", "prefix /"),
        (prefix("/"), "/any/thing", "prefix /"),
        (exact("/foo"), "/foo", "exact /foo"),
        (exact("/foo"), "/bar", None),
        (exact("/foo"), "/foo/", None),
        (exact("/foo/"), "/foo", None),
        (prefix("/foo"), "/foo", "prefix /foo"),
        (prefix("/foo"), "/foo/", "prefix /foo"),
        (prefix("/foo/"), "/foo", "prefix /foo/"),
        (prefix("/foo/"), "/foo/", "prefix /foo/"),
        (prefix("/aaa/bb"), "/aaa/bbb", None),
        (prefix("/aaa/bbb"), "/aaa/bbb", "prefix /aaa/bbb"),
        (prefix("/aaa/bbb/"), "/aaa/bbb", "prefix /aaa/bbb/"),
        (prefix("/aaa/bbb"), "/aaa/bbb/", "prefix /aaa/bbb"),
        (prefix("/aaa/bbb"), "/aaa/bbb/ccc", "prefix /aaa/bbb"),
        (prefix("/aaa/bbb"), "/aaa/bbbxyz", None),
        (prefix("/", "/aaa"), "/aaa/ccc", "prefix /aaa"),
        (prefix("/", "/aaa", "/aaa/bbb"), "/aaa/bbb", "prefix /aaa/bbb"),
        (prefix("/", "/aaa", "/aaa/bbb"), "/ccc", "prefix /"),
        (prefix("/aaa"), "/ccc", None),
        (prefix("/foo") + exact("/foo"), "/foo", "exact /foo"),
        # What the text around it says, and our choices.
        (exact("/Foo"), "/foo", None),
        (prefix("/Foo"), "/foo/x", None),
        (exact("/"), "/", "exact /"),
        (exact("/"), "/x", None),
        (exact("/foo/"), "/foo/", "exact /foo/"),
        (prefix("/foo", "/foo/"), "/foo", "prefix /foo/"),
        (prefix("/foo", "/foo/"), "/foo/", "prefix /foo/"),
        (prefix("/foo", "/foo/"), "/foo/x", "prefix /foo/"),
        (prefix("/foo/") + exact("/foo"), "/foo", "exact /foo"),
        (prefix("/foo") + exact("/foo/"), "/foo", "prefix /foo"),
        (prefix("/foo") + exact("/foo/"), "/foo/", "exact /foo/"),
        (prefix("/foo") + exact("/foo"), "/foo/x", "prefix /foo"),
        (prefix("/a/b") + exact("/a"), "/a/b", "prefix /a/b"),
        (prefix("/a/b/c/d"), "/a/b/c", None),
        (prefix("/a/b/c/d", "/a"), "/a/b/c", "prefix /a"),
        (prefix("/", "/a/b/c/d"), "/x/b/c/d/e/f/g", "prefix /"),
        (prefix("/a%2Fb"), "/a%2Fb/c", "prefix /a%2Fb"),
        (prefix("/a%2Fb", "/a"), "/a/b", "prefix /a"),
        (prefix("/%7Eme"), "/~me/x", "prefix /%7Eme"),
        (prefix("/café"), "/caf%C3%A9/x", "prefix /café"),
        (prefix("/a//b/"), "/a/b", "prefix /a//b/"),
        ([], "/", None),
    ],
)
def test_the_path_that_wins_is_the_one_the_api_names(routes: Paths, path: str, winner: str | None) -> None:
    """Neither the order of the routes nor a default of the host changes the winner."""
    for order in (routes, routes[::-1]):
        assert HostMatcher(order).match(path.encode()) == winner
        assert HostMatcher(order, "default").match(path.encode()) == (winner or "default")


def test_of_two_equal_routes_the_first_wins() -> None:
    """Translation puts the older object first; the matcher keeps its word."""
    matcher = HostMatcher([("prefix", "/a", "1"), ("prefix", "/%61", "2"), ("exact", "/b", "3"), ("exact", "/b", "4")])
    assert (matcher.match(b"/a"), matcher.match(b"/b")) == ("1", "3")


def test_empty_elements_count_when_slashes_are_not_merged() -> None:
    """Without merging, ``//`` is an element of its own in routes and requests alike."""
    matcher = HostMatcher(prefix("/a", "/a//b", "/c//"), merge_slashes=False)
    assert matcher.match(b"/a//b/x") == "prefix /a//b"
    assert matcher.match(b"/a/b") == "prefix /a"
    assert matcher.match(b"/c//x") == "prefix /c//"
    assert matcher.match(b"/c/x") is None


def test_a_route_that_no_request_can_reach_is_listed_and_stops_no_other() -> None:
    """One impossible path costs its own route only, and is named with the reason."""
    matcher = HostMatcher([*prefix("/a%zz", "relative", "/../x"), *exact("/a\n", "/ok")])
    assert matcher.match(b"/ok") == "exact /ok"
    assert [(kind, path) for kind, path, _ in matcher.unmatchable] == [
        ("prefix", "/a%zz"),
        ("prefix", "relative"),
        ("prefix", "/../x"),
        ("exact", "/a\n"),
    ]
    assert all(reason for _, _, reason in matcher.unmatchable)


class CountingDict(dict[bytes, str]):
    """Counts what the matcher asks for."""

    lookups = 0

    def get(self, key: bytes, default: object = None) -> object:  # type: ignore[override]  # narrower than dict's
        self.lookups += 1
        return super().get(key, default)


@pytest.mark.parametrize(
    "path", [b"/" * 4000, b"/x" * 4000, b"/a/b/c" * 1000, b"/a/b/c/d", b"/" + b"x" * 4000, b"/a/b//" + b"/" * 100]
)
def test_lookups_are_bounded_by_the_deepest_prefix_and_not_by_the_path(path: bytes) -> None:
    """A path of thousands of slashes costs no more than one as deep as the routes are."""
    matcher = HostMatcher(prefix("/", "/a/b/c", "/" + "long" * 2000), merge_slashes=False)
    counting = CountingDict(matcher._prefixes)
    matcher._prefixes = counting
    assert matcher.match(path) is not None
    assert 1 <= counting.lookups <= 3


ANY: HostMatcher[str] = HostMatcher(prefix("/"), "any")
HOSTS = {name: HostMatcher([("prefix", "/", name)]) for name in ("foo.com", "bar.foo.com", "*.foo.com", "*.com", "*")}


@pytest.mark.parametrize(
    ("host", "winner"),
    [
        ("foo.com", "foo.com"),
        ("bar.foo.com", "bar.foo.com"),
        ("qux.foo.com", "*.foo.com"),
        ("baz.bar.foo.com", "*"),
        ("qux.com", "*.com"),
        ("com", "*"),
        ("10.0.0.1", "*"),
        ("[::1]", "*"),
    ],
)
def test_hosts_go_exact_then_wildcard_of_one_label_then_any(host: str, winner: str) -> None:
    """The host table of the Kubernetes documentation, with every pattern present and with the pattern alone."""
    assert Matcher(HOSTS).find(host) is HOSTS[winner]
    assert Matcher(HOSTS).find_raw(host.encode()) is HOSTS[winner]
    assert Matcher({winner: HOSTS[winner]}).find(host) is HOSTS[winner]


@pytest.mark.parametrize(
    ("pattern", "host", "covers"),
    [
        ("*.foo.com", "bar.foo.com", True),
        ("*.foo.com", "baz.bar.foo.com", False),
        ("*.foo.com", "foo.com", False),
        ("*.foo.com", "barfoo.com", False),
        ("foo.com", "bar.foo.com", False),
    ],
)
def test_a_wildcard_covers_a_single_label(pattern: str, host: str, covers: bool) -> None:
    """The rows of the wildcard table."""
    matcher = Matcher({pattern: ANY})
    assert (matcher.find(host) is ANY) == covers


def test_a_known_host_never_falls_through_to_the_wildcard() -> None:
    """An exact host whose paths match nothing decides alone: its default, or nothing."""
    matcher = Matcher({"a.foo.com": HostMatcher(prefix("/x")), "*.foo.com": HostMatcher(prefix("/"))})
    host = matcher.find("a.foo.com")
    assert host is not None
    assert host.match(b"/y") is None


@pytest.mark.parametrize("raw", [b"FOO.com", b"foo.com.", b"foo.com:8443", b"Foo.Com.:80"])
def test_spellings_of_a_host_reach_the_same_routes_each_time(raw: bytes) -> None:
    """The first time by canonicalising, the second from memory: the answer is the same."""
    matcher = Matcher(HOSTS)
    assert matcher.find_raw(raw) is HOSTS["foo.com"]
    assert matcher.find_raw(raw) is HOSTS["foo.com"]


def test_a_bad_host_is_refused_each_time() -> None:
    """Nothing bad is remembered as good."""
    matcher = Matcher(HOSTS)
    for _ in range(2):
        with pytest.raises(BadHost):
            matcher.find_raw(b"foo.com,bar.com")


def test_made_up_hosts_take_no_memory_and_spellings_of_known_ones_are_bounded() -> None:
    """Random names are not remembered; playing with case and port stays within the bound, and hits again after it."""
    matcher = Matcher(HOSTS)
    for number in range(1000):
        matcher.find_raw(b"x%d.foo.com" % number)
        matcher.find_raw(b"x%d" % number)
    assert len(matcher._spellings) == 0
    for port in range(1000):
        assert matcher.find_raw(b"foo.com:%d" % port) is HOSTS["foo.com"]
        assert len(matcher._spellings) <= matcher._max_spellings == 64
    assert matcher.find_raw(b"foo.com:999") is HOSTS["foo.com"]


def test_a_delta_changes_the_named_hosts_and_shares_the_rest() -> None:
    """Changed, added and removed patterns are seen by the new matcher only, remembered spellings included."""
    old = Matcher(HOSTS)
    assert old.find_raw(b"foo.com") is HOSTS["foo.com"]
    assert old.find_raw(b"bar.foo.com") is HOSTS["bar.foo.com"]
    new = old.updated({"foo.com": ANY, "bar.foo.com": None, "*.new.com": ANY, "gone.com": None})
    assert new.find_raw(b"foo.com") is ANY
    assert new.find_raw(b"bar.foo.com") is HOSTS["*.foo.com"]
    assert new.find_raw(b"x.new.com") is ANY
    assert new.find_raw(b"x.com") is HOSTS["*.com"]
    assert old.find_raw(b"foo.com") is HOSTS["foo.com"]
    assert old.find_raw(b"bar.foo.com") is HOSTS["bar.foo.com"]
    assert old.find("foo.com") is HOSTS["foo.com"]
    assert old.find("bar.foo.com") is HOSTS["bar.foo.com"]
    assert old.find("x.new.com") is HOSTS["*"]
    assert (len(old), len(new)) == (5, 5)


def test_a_host_of_the_table_compiles_each_route_once() -> None:
    """``make`` sees every route and the default, and what it returns is what matches."""
    action = Respond(status=503, reason="down")
    routes = (Route(path="/a", action=action), Route(kind="exact", path="/b", action=action))
    matcher = compile_host(Host(routes=routes, default=Route(path="/d", action=action)), lambda route: route.path)
    assert [matcher.match(path) for path in (b"/a/x", b"/b", b"/b/x")] == ["/a", "/b", "/d"]
    assert compile_host(Host(routes=routes), lambda route: route.path).match(b"/b/x") is None
