"""A cluster as a worker knows it: the endpoints of a backend and the way to choose among them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, Protocol

from proxy.message.request import RequestHead
from proxy.table import Balance, Cluster, HashPart
from proxy.upstream.balance import Chooser, HashRing, least_requests, random_two, round_robin, smallest_latency
from proxy.upstream.endpoint import EndpointState

__all__ = ["ClusterState", "RequestView"]

_CHOOSERS: Final[dict[str, Chooser]] = {
    "round_robin": round_robin,
    "least_requests": least_requests,
    "random_two": random_two,
    "ewma": smallest_latency,
}

RETRY_TOKENS_MAX: Final = 100.0
"""A full purse: what a burst may spend before the budget's percentage holds."""


class RequestView(Protocol):
    """What the choice may depend on."""

    head: RequestHead

    @property
    def client_address(self) -> str: ...

    @property
    def scheme(self) -> bytes: ...


class ClusterState:
    """Mutable: a delta replaces its endpoints between two requests. Counters and turn survive that."""

    __slots__ = (
        "_chooser",
        "_hash_key",
        "_in_turn",
        "_random",
        "_ring",
        "_turn",
        "endpoints",
        "key",
        "measures",
        "retry_tokens",
    )

    def __init__(self, key: str, random: Random) -> None:
        self.key = key
        self.endpoints: tuple[EndpointState, ...] = ()
        self.retry_tokens = RETRY_TOKENS_MAX
        self.measures = False
        """Whether response times matter to the choice."""
        self._random = random
        # Not 0: the workers and replicas together would all begin with the first endpoint.
        self._turn = random.randrange(1 << 16)
        self._chooser: Chooser = round_robin
        self._in_turn = True
        """The chooser is ``round_robin``: not worth a call."""
        self._hash_key: tuple[HashPart, ...] = ()
        self._ring: HashRing | None = None

    def update(self, cluster: Cluster) -> None:
        """Take the new value; endpoints that stay keep their connections and their health."""
        known = {(state.address, state.port, state.by_name): state for state in self.endpoints}
        endpoints: list[EndpointState] = []
        for endpoint in cluster.endpoints:
            state = known.pop((endpoint.address, endpoint.port, cluster.by_name), None)
            endpoints.append(state or EndpointState(endpoint.address, endpoint.port, by_name=cluster.by_name))
        for gone in known.values():
            gone.retire()
        self.endpoints = tuple(endpoints)
        self._set_balance(cluster.balance)

    def retire(self) -> None:
        """The table no longer names this cluster."""
        for state in self.endpoints:
            state.retire()
        self.endpoints = ()
        self._ring = None

    def choose(self, view: RequestView, tried: Sequence[EndpointState], now: float) -> EndpointState | None:
        """The endpoint for the next try; ``None`` where every one was tried or there is none."""
        endpoints = self.endpoints
        if not endpoints:
            return None
        self._turn += 1
        ring = self._ring
        if ring is None:
            if self._in_turn:
                choice = endpoints[self._turn % len(endpoints)]
            else:
                choice = self._chooser(endpoints, self._turn, self._random)
            if not choice.suspect and not tried:
                return choice
            left: Sequence[EndpointState] = [state for state in endpoints if state not in tried]
        else:
            key = self._key_of(view)
            choice = ring.first(key)
            if not choice.suspect and not tried:
                return choice
            left = [state for state in ring.walk(key) if state not in tried]
        if not left:
            return None
        admitted = [state for state in left if not state.suspect or state.admits(now, self._random)]
        pool = admitted or left
        return pool[0] if ring is not None else self._chooser(pool, self._turn, self._random)

    def has_healthy(self, tried: Sequence[EndpointState]) -> bool:
        """Whether an endpoint is left that no failure speaks against.

        A retry there is none that the budget is for: the failure took its endpoint out, so only the requests that
        were under way at that moment come again. Without a healthy one, retries would multiply an outage.
        """
        return any(not state.suspect and state not in tried for state in self.endpoints)

    def _set_balance(self, balance: Balance) -> None:
        if balance.method == "hash" and balance.hash_key:
            self._ring = HashRing(self.endpoints) if self.endpoints else None
            self._hash_key = balance.hash_key
            self._chooser = round_robin
        else:
            self._ring = None
            self._hash_key = ()
            self._chooser = _CHOOSERS.get(balance.method, round_robin)
        self._in_turn = self._chooser is round_robin
        self.measures = balance.method == "ewma"

    def _key_of(self, view: RequestView) -> bytes:
        return b"".join(_part(part, view) for part in self._hash_key)


def _part(part: HashPart, view: RequestView) -> bytes:
    head = view.head
    match part.source:
        case "text":
            return part.name.encode()
        case "remote_addr":
            return view.client_address.encode()
        case "host":
            return head.host.lower()
        case "request_uri":
            return head.path + head.query
        case "uri":
            return head.path
        case "args":
            return head.query[1:]
        case "method":
            return head.method
        case "scheme":
            return view.scheme
        case "header":
            return head.field(part.name.lower().encode()) or b""
        case "cookie":
            return head.cookie(part.name.encode()) or b""
        case "arg":
            wanted = part.name.encode() + b"="
            for pair in head.query[1:].split(b"&"):
                if pair.startswith(wanted):
                    return pair[len(wanted) :]
            return b""
