"""The choice among endpoints."""

from __future__ import annotations

from collections import Counter
from random import Random
from time import monotonic

import pytest

from proxy.upstream.balance import (
    Chooser,
    HashRing,
    least_requests,
    random_two,
    round_robin,
    smallest_latency,
)
from proxy.upstream.endpoint import EndpointState

CHOOSERS: list[Chooser] = [round_robin, least_requests, random_two, smallest_latency]


def _endpoints(number: int) -> list[EndpointState]:
    return [EndpointState(f"10.0.0.{index}", 80, by_name=False) for index in range(1, number + 1)]


def _shares(chooser: Chooser, endpoints: list[EndpointState], turns: int) -> list[int]:
    random = Random(7)
    seen = Counter(chooser(endpoints, turn, random).name for turn in range(turns))
    return [seen[endpoint.name] for endpoint in endpoints]


@pytest.mark.parametrize("chooser", CHOOSERS)
def test_a_single_endpoint_is_always_chosen(chooser: Chooser) -> None:
    """One endpoint needs no luck."""
    endpoints = _endpoints(1)
    assert _shares(chooser, endpoints, 20) == [20]


def test_round_robin_is_exactly_fair() -> None:
    """Each endpoint gets the same number, in turn."""
    assert _shares(round_robin, _endpoints(3), 300) == [100, 100, 100]


def test_least_requests_takes_the_least_loaded_and_ties_go_round() -> None:
    """Load decides first; among equals nobody is preferred."""
    endpoints = _endpoints(3)
    assert _shares(least_requests, endpoints, 300) == [100, 100, 100]
    endpoints[0].active, endpoints[1].active, endpoints[2].active = 5, 1, 2
    assert _shares(least_requests, endpoints, 30) == [0, 30, 0]
    endpoints[2].active = 1
    shares = _shares(least_requests, endpoints, 300)
    assert shares[0] == 0
    assert min(shares[1:]) >= 100


def test_random_two_never_takes_the_most_loaded_of_its_two() -> None:
    """The most loaded endpoint never wins against another; equal ones share evenly."""
    endpoints = _endpoints(4)
    shares = _shares(random_two, endpoints, 4000)
    assert all(abs(share - 1000) < 150 for share in shares)
    endpoints[3].active = 9
    assert _shares(random_two, endpoints, 1000)[3] == 0


def test_ewma_prefers_the_fast() -> None:
    """Measured latency times load decides between the two picked."""
    endpoints = _endpoints(3)
    now = monotonic()
    for endpoint, seconds in zip(endpoints, (0.5, 0.01, 0.01), strict=True):
        endpoint.observe(seconds, now)
    shares = _shares(smallest_latency, endpoints, 1000)
    assert shares[0] == 0
    assert min(shares[1:]) > 300
    endpoints[1].active = endpoints[2].active = 60
    assert _shares(smallest_latency, endpoints, 1000)[0] > 500


def test_ewma_asks_an_endpoint_again_that_was_slow_once() -> None:
    """An old measurement fades: without that, the slow start of a pod would keep it without requests for ever."""
    endpoints = _endpoints(2)
    now = monotonic()
    endpoints[0].observe(1.0, now - 100)
    endpoints[1].observe(0.01, now)
    assert _shares(smallest_latency, endpoints, 100) == [100, 0]


def test_ewma_gives_a_new_endpoint_its_chance() -> None:
    """An endpoint that was never measured is judged by its load."""
    endpoints = _endpoints(2)
    endpoints[0].observe(0.001, monotonic())
    endpoints[0].active = 1
    assert _shares(smallest_latency, endpoints, 100) == [0, 100]


def test_the_average_follows_the_times() -> None:
    """The first time counts whole; later ones by how long ago the last was."""
    (endpoint,) = _endpoints(1)
    endpoint.observe(1.0, 100.0)
    assert endpoint.latency == 1.0
    endpoint.observe(0.0, 100.0)
    assert endpoint.latency == 1.0
    endpoint.observe(0.0, 110.0)
    assert 0.36 < endpoint.latency < 0.37
    endpoint.observe(2.0, 1000.0)
    assert endpoint.latency == pytest.approx(2.0)


def _owners(ring: HashRing, keys: int) -> list[str]:
    return [ring.first(b"key-%d" % number).name for number in range(keys)]


def test_the_hash_ring_shares_evenly() -> None:
    """No endpoint has more than one and a half times its share."""
    endpoints = _endpoints(5)
    shares = Counter(_owners(HashRing(endpoints), 10_000))
    assert len(shares) == 5
    assert all(1300 < share < 3000 for share in shares.values())


def test_the_hash_ring_depends_on_names_alone() -> None:
    """Every worker, in whatever order it learnt of the endpoints, chooses the same."""
    endpoints = _endpoints(5)
    shuffled = list(endpoints)
    Random(3).shuffle(shuffled)
    assert _owners(HashRing(endpoints), 500) == _owners(HashRing(shuffled), 500)
    assert _owners(HashRing(_endpoints(5)), 500) == _owners(HashRing(endpoints), 500)


def test_an_endpoint_that_comes_or_goes_moves_only_its_share() -> None:
    """Of 10 endpoints one goes: only its keys move, about a tenth."""
    endpoints = _endpoints(10)
    before = _owners(HashRing(endpoints), 5000)
    gone = endpoints.pop(4).name
    after = _owners(HashRing(endpoints), 5000)
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {gone}
    assert len(moved) == before.count(gone)
    assert 300 < len(moved) < 800


def test_a_walk_begins_with_the_first_and_names_each_once() -> None:
    """The order in which a key prefers the endpoints is a permutation that starts where ``first`` says."""
    endpoints = _endpoints(6)
    ring = HashRing(endpoints)
    for number in range(200):
        key = b"key-%d" % number
        walk = ring.walk(key)
        assert walk[0] is ring.first(key)
        assert sorted(each.name for each in walk) == sorted(each.name for each in endpoints)


def test_a_key_behind_the_last_point_wraps_around() -> None:
    """Keys are spread over the whole ring, its seam included: with one endpoint every key finds it."""
    endpoints = _endpoints(1)
    ring = HashRing(endpoints)
    assert {ring.first(b"%d" % number).name for number in range(5000)} == {"10.0.0.1:80"}
