"""A cluster: its endpoints over updates, and the choice among them when some were tried or are suspect."""

from __future__ import annotations

from collections import Counter
from random import Random

import msgspec
import pytest

from proxy.http1.reader import RequestParser
from proxy.message.request import RequestHead
from proxy.table import Affinity, Balance, Cluster, Ejection, Endpoint, HashPart
from proxy.table.model import BalanceMethod, HashSource
from proxy.upstream.cluster import ClusterState

METHODS: list[BalanceMethod] = ["round_robin", "least_requests", "random_two", "ewma", "hash"]


class View:
    """A request as the choice sees it."""

    def __init__(self) -> None:
        self.head = RequestHead()
        RequestParser(self.head).parse(
            b"GET /a/b?x=1&user=7&user=8 HTTP/1.1\r\nHost: Foo.Example.com\r\nX-User: u1\r\nCookie: a=b; sid=s1\r\n\r\n"
        )
        self.head.path, self.head.query = b"/a/b", b"?x=1&user=7&user=8"
        self.client_address = "192.0.2.7"
        self.scheme = b"https"
        self.set_cookie = b""
        self.unusual = False


def _value(number: int, *, method: BalanceMethod = "round_robin", by_name: bool = False) -> Cluster:
    key = (HashPart(source="header", name="X-User"),) if method == "hash" else ()
    return Cluster(
        endpoints=tuple(Endpoint(address=f"10.0.0.{index}", port=80) for index in range(1, number + 1)),
        balance=Balance(method=method, hash_key=key),
        by_name=by_name,
    )


def _cluster(number: int, *, method: BalanceMethod = "round_robin", seed: int = 1) -> ClusterState:
    state = ClusterState("c", Random(seed))
    state.update(_value(number, method=method))
    return state


def _choices(cluster: ClusterState, number: int, now: float = 0.0) -> Counter[str]:
    view, seen = View(), Counter[str]()
    for _ in range(number):
        choice = cluster.choose(view, (), now)
        assert choice is not None
        seen[choice.name] += 1
    return seen


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_cluster_has_no_choice(method: BalanceMethod) -> None:
    """Before its first update, with no endpoints, and after its end."""
    cluster = ClusterState("c", Random(1))
    assert cluster.choose(View(), (), 0.0) is None
    cluster.update(_value(0, method=method))
    assert cluster.choose(View(), (), 0.0) is None
    cluster.update(_value(2, method=method))
    assert cluster.choose(View(), (), 0.0) is not None
    cluster.retire()
    assert cluster.choose(View(), (), 0.0) is None


def test_round_robin_is_fair_and_starts_anywhere() -> None:
    """Shares are equal; many workers together do not all begin with the first endpoint."""
    assert sorted(_choices(_cluster(3), 300).values()) == [100, 100, 100]
    firsts = Counter(next(iter(_choices(_cluster(3, seed=seed), 1))) for seed in range(300))
    assert all(60 < share < 140 for share in firsts.values())
    assert len(firsts) == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_full_cluster_takes_no_further_request_but_lets_tries_go_on(method: BalanceMethod) -> None:
    """A request that was let in is not refused at its second try, though another took its place meanwhile."""
    cluster = ClusterState("c", Random(1))
    cluster.update(msgspec.structs.replace(_value(2, method=method), max_requests=1))
    tried, other = cluster.endpoints
    assert cluster.choose(View(), (), 0.0) is not None
    other.active = 1
    assert cluster.choose(View(), (), 0.0) is None
    assert cluster.refusal().error == "Overloaded"
    assert cluster.choose(View(), (tried,), 0.0) is other
    other.active = 0
    assert cluster.choose(View(), (), 0.0) is not None
    assert cluster.refusal().error == "NoEndpoints"


@pytest.mark.parametrize("method", METHODS)
def test_what_was_tried_is_not_tried_again(method: BalanceMethod) -> None:
    """Each further choice is another endpoint; then there is none."""
    cluster = _cluster(4, method=method)
    tried = []
    for _ in range(4):
        choice = cluster.choose(View(), tried, 0.0)
        assert choice is not None
        assert choice not in tried
        tried.append(choice)
    assert cluster.choose(View(), tried, 0.0) is None


@pytest.mark.parametrize("method", METHODS)
def test_an_ejected_endpoint_is_skipped(method: BalanceMethod) -> None:
    """Whatever the method; and when all are out, all are used."""
    cluster = _cluster(3, method=method)
    preferred = cluster.choose(View(), (), 1000.0)
    assert preferred is not None
    preferred.failed(1000.0)
    assert preferred.name not in _choices(cluster, 100, 1001.0)
    for endpoint in cluster.endpoints:
        endpoint.failed(1001.0)
    assert sum(_choices(cluster, 100, 1002.0).values()) == 100
    if method != "hash":
        assert len(_choices(cluster, 100, 1002.0)) == 3


def test_the_share_of_an_ejected_endpoint_is_spread_evenly() -> None:
    """Round robin does not give it all to the neighbour."""
    cluster = _cluster(4)
    cluster.endpoints[1].failed(1000.0)
    shares = _choices(cluster, 1200, 1001.0)
    assert all(380 <= share <= 420 for share in shares.values()), shares


def test_a_hash_prefers_the_same_endpoint_before_and_after_an_ejection() -> None:
    """While its endpoint is out a key goes to one other, and returns afterwards."""
    cluster = _cluster(5, method="hash")
    (usual,) = _choices(cluster, 20)
    endpoint = next(each for each in cluster.endpoints if each.name == usual)
    endpoint.failed(1000.0)
    (other,) = _choices(cluster, 20, 1001.0)
    assert other != usual
    endpoint.suspect = False
    assert set(_choices(cluster, 20, 1100.0)) == {usual}


def test_whether_a_healthy_endpoint_is_left() -> None:
    """Neither suspect nor tried."""
    cluster = _cluster(2)
    first, second = cluster.endpoints
    assert cluster.has_healthy([])
    assert cluster.has_healthy([first])
    assert not cluster.has_healthy([first, second])
    second.failed(1000.0)
    assert not cluster.has_healthy([first])


def test_an_update_keeps_what_stays_and_retires_what_goes() -> None:
    """Health, load and pool of an endpoint belong to its address; a name is not the address that looks like it."""
    cluster = _cluster(3)
    before = cluster.endpoints
    before[0].failures = 2
    cluster.update(Cluster(endpoints=(Endpoint(address="10.0.0.1", port=80), Endpoint(address="10.0.0.9", port=80))))
    assert cluster.endpoints[0] is before[0]
    assert [endpoint.retired for endpoint in before] == [False, True, True]
    assert cluster.endpoints[0].failures == 2
    cluster.update(_value(1, by_name=True))
    assert before[0].retired
    assert cluster.endpoints[0] is not before[0]


def test_an_endpoint_that_comes_back_begins_anew() -> None:
    """Its connections were closed and its failures were another pod's."""
    cluster = _cluster(2)
    gone = cluster.endpoints[1]
    gone.failed(1000.0)
    cluster.update(_value(1))
    cluster.update(_value(2))
    assert cluster.endpoints[1] is not gone
    assert not cluster.endpoints[1].suspect
    assert not cluster.endpoints[1].retired


def test_a_change_of_method_holds_at_once() -> None:
    """From round robin to hash and back, and to the one that measures times."""
    cluster = _cluster(3)
    assert len(_choices(cluster, 30)) == 3
    cluster.update(_value(3, method="hash"))
    assert len(_choices(cluster, 30)) == 1
    assert not cluster.measures
    cluster.update(_value(3, method="ewma"))
    assert cluster.measures
    cluster.update(_value(3))
    assert not cluster.measures
    assert len(_choices(cluster, 30)) == 3


def test_a_hash_without_a_key_is_round_robin() -> None:
    """There is nothing to hash."""
    cluster = ClusterState("c", Random(1))
    cluster.update(Cluster(endpoints=_value(3).endpoints, balance=Balance(method="hash")))
    assert len(_choices(cluster, 30)) == 3


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        ("text", "abc", b"abc"),
        ("remote_addr", "", b"192.0.2.7"),
        ("host", "", b"foo.example.com"),
        ("request_uri", "", b"/a/b?x=1&user=7&user=8"),
        ("uri", "", b"/a/b"),
        ("args", "", b"x=1&user=7&user=8"),
        ("method", "", b"GET"),
        ("scheme", "", b"https"),
        ("header", "x-user", b"u1"),
        ("header", "X-None", b""),
        ("cookie", "sid", b"s1"),
        ("cookie", "none", b""),
        ("arg", "user", b"7"),
        ("arg", "use", b""),
    ],
)
def test_the_parts_of_a_hash_key(source: HashSource, name: str, expected: bytes) -> None:
    """Each source gives its piece of the request; what is absent gives nothing."""
    cluster = ClusterState("c", Random(1))
    key = (HashPart(source=source, name=name), HashPart(source="text", name="|"), HashPart(source="method"))
    cluster.update(Cluster(endpoints=_value(2).endpoints, balance=Balance(method="hash", hash_key=key)))
    assert cluster._key_of(View()) == expected + b"|GET"


def _with_share(percent: int, number: int) -> ClusterState:
    state = ClusterState("c", Random(1))
    state.update(msgspec.structs.replace(_value(number), ejection=Ejection(max_percent=percent)))
    return state


@pytest.mark.parametrize(("percent", "number", "out"), [(100, 4, 4), (50, 4, 2), (50, 5, 2), (25, 3, 0), (0, 4, 0)])
def test_no_more_than_a_share_of_the_endpoints_is_ejected(percent: int, number: int, out: int) -> None:
    """However many fail; one that answered again makes room for another."""
    cluster = _with_share(percent, number)
    for _ in range(3):
        for endpoint in cluster.endpoints:
            cluster.failed(endpoint, 1000.0)
    ejected = [endpoint for endpoint in cluster.endpoints if endpoint.is_out]
    assert len(ejected) == out
    if 0 < out < number:
        ejected[0].succeeded(2000.0)
        (waiting, *_) = [endpoint for endpoint in cluster.endpoints if not endpoint.ejections]
        assert cluster.failed(waiting, 2000.0)


def test_new_rules_of_ejection_reach_endpoints_that_stay() -> None:
    """From the next failure on; what is out stays out for its time."""
    cluster = _cluster(2)
    first = cluster.endpoints[0]
    cluster.update(msgspec.structs.replace(_value(2), ejection=Ejection(consecutive_failures=0)))
    assert cluster.endpoints[0] is first
    assert not cluster.failed(first, 1000.0)
    cluster.update(_value(2))
    assert cluster.failed(first, 1000.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_cookie_goes_before_the_method_of_balancing(method: BalanceMethod) -> None:
    """Of every method; and no longer, once the table says so."""
    cluster = ClusterState("c", Random(1))
    value = msgspec.structs.replace(_value(3, method=method), affinity=Affinity(cookie="sid"))
    cluster.update(value)
    view = View()
    for wanted in cluster.endpoints:
        cookie = b"GET / HTTP/1.1\r\nHost: a\r\nX-User: u1\r\nCookie: a=b; sid=%b\r\n\r\n" % wanted.cookie
        RequestParser(view.head).parse(cookie)
        assert [cluster.choose(view, (), 0.0) for _ in range(5)] == [wanted] * 5
        assert view.set_cookie == b""
        other = cluster.choose(view, [wanted], 0.0)
        assert other is not None
        assert other is not wanted
        assert other.cookie in view.set_cookie
    cluster.update(_value(3, method=method))
    view = View()
    assert cluster.choose(view, (), 0.0) is not None
    assert view.set_cookie == b""
