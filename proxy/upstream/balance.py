"""The choice of an endpoint.

Every method has a fast path for a cluster without suspects and a request without failed tries, and one slow path that
all share: of the endpoints not tried yet, those that health admits; where none is left, any not tried yet, since a
doubtful answer beats a certain 503.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import exp
from random import Random
from time import monotonic
from typing import Final

from proxy.upstream.endpoint import EWMA_DECAY, EndpointState

__all__ = ["Chooser", "HashRing", "least_requests", "random_two", "round_robin", "smallest_latency"]

_POINTS: Final = 100
"""Points per endpoint on the hash ring: shares within about 10 % of each other."""

Chooser = Callable[[Sequence[EndpointState], int, Random], EndpointState]
"""Endpoints (at least one), a running number, a source of chance → the choice."""


def round_robin(endpoints: Sequence[EndpointState], turn: int, random: Random) -> EndpointState:
    """Each in turn."""
    return endpoints[turn % len(endpoints)]


def least_requests(endpoints: Sequence[EndpointState], turn: int, random: Random) -> EndpointState:
    """The one with the fewest requests under way; ties go round."""
    size = len(endpoints)
    start = turn % size
    best = endpoints[start]
    for step in range(1, size):
        candidate = endpoints[(start + step) % size]
        if candidate.active < best.active:
            best = candidate
    return best


def random_two(endpoints: Sequence[EndpointState], turn: int, random: Random) -> EndpointState:
    """The less loaded of two picked at random."""
    first, second = _two(endpoints, random)
    return first if first.active <= second.active else second


def smallest_latency(endpoints: Sequence[EndpointState], turn: int, random: Random) -> EndpointState:
    """Of two picked at random the one with the smaller latency × load ("peak EWMA"); unmeasured ones by load alone.

    A measurement counts for less the older it is: an endpoint that was slow once is asked again some time.
    """
    first, second = _two(endpoints, random)
    if not first.latency_at or not second.latency_at:
        return first if first.active <= second.active else second
    now = monotonic()
    return first if _cost(first, now) <= _cost(second, now) else second


def _cost(endpoint: EndpointState, now: float) -> float:
    return endpoint.latency * exp((endpoint.latency_at - now) / EWMA_DECAY) * (endpoint.active + 1)


def _two(endpoints: Sequence[EndpointState], random: Random) -> tuple[EndpointState, EndpointState]:
    size = len(endpoints)
    first = int(random.random() * size)
    if size == 1:
        return endpoints[0], endpoints[0]
    second = int(random.random() * (size - 1))
    return endpoints[first], endpoints[second + 1 if second >= first else second]


class HashRing:
    """Consistent hashing: an endpoint that comes or goes moves only its own share of the keys.

    The points depend on nothing but the endpoint's name, so every worker of every replica chooses the same.
    """

    __slots__ = ("_owners", "_points")

    def __init__(self, endpoints: Sequence[EndpointState]) -> None:
        points = sorted((point, index) for index, endpoint in enumerate(endpoints) for point in _points(endpoint.name))
        self._points = [point for point, _ in points]
        self._owners = [endpoints[index] for _, index in points]

    def walk(self, key: bytes) -> Sequence[EndpointState]:
        """All endpoints in the order in which ``key`` prefers them."""
        start = bisect_left(self._points, _hash(key))
        owners = self._owners
        return list(dict.fromkeys(owners[start:] + owners[:start]))

    def first(self, key: bytes) -> EndpointState:
        """The endpoint that ``key`` prefers; there must be one."""
        index = bisect_left(self._points, _hash(key))
        return self._owners[index if index < len(self._owners) else 0]


def _hash(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")


@lru_cache(maxsize=65536)
def _points(name: str) -> tuple[int, ...]:
    return tuple(_hash(f"{name}#{number}".encode()) for number in range(_POINTS))
