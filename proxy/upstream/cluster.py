"""A cluster as a worker knows it: the endpoints of a backend and the way to choose among them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, Protocol

from proxy.message.local import OVERLOADED, LocalResponse, local_response
from proxy.message.request import RequestHead
from proxy.table import Balance, Cluster, Ejection, HashPart
from proxy.upstream.affinity import CookieAffinity
from proxy.upstream.balance import Chooser, HashRing, least_requests, random_two, round_robin, smallest_latency
from proxy.upstream.endpoint import EndpointState
from proxy.upstream.multiplexed import MultiplexedEndpoint
from proxy.upstream.tls import ClientTls

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
    """What the choice may depend on, and what comes of it."""

    head: RequestHead
    set_cookie: bytes
    unusual: bool

    @property
    def client_address(self) -> str: ...

    @property
    def scheme(self) -> bytes: ...


class ClusterState:
    """Mutable: a delta replaces its endpoints between two requests. Counters and turn survive that."""

    __slots__ = (
        "_affinity",
        "_chooser",
        "_ejection",
        "_hash_key",
        "_in_turn",
        "_max_requests",
        "_random",
        "_ring",
        "_turn",
        "endpoints",
        "key",
        "measures",
        "retry_tokens",
        "why_none",
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
        self._max_requests = 0
        self._chooser: Chooser = round_robin
        self._in_turn = True
        """Each in turn, and nothing else matters: not worth a call."""
        self._hash_key: tuple[HashPart, ...] = ()
        self._ring: HashRing | None = None
        self._affinity: CookieAffinity | None = None
        self._ejection = Ejection()
        self.why_none = "NoEndpoints"
        """The reason, where there is no endpoint."""

    def update(self, cluster: Cluster, tls: ClientTls | None = None, fault: str = "") -> None:
        """Take the new value; endpoints that stay keep their connections and their health.

        ``tls`` is made of ``cluster.tls``; with other settings an endpoint is another one. ``fault``: the reason why
        the cluster cannot be used at all.
        """
        self.why_none = fault or "NoEndpoints"
        known = {
            (type(state), state.address, state.port, state.by_name, state.tls, state.send_proxy): state
            for state in self.endpoints
        }
        endpoints: list[EndpointState] = []
        kind = EndpointState if cluster.protocol == "http1" else MultiplexedEndpoint
        for endpoint in () if fault else cluster.endpoints:
            where = (endpoint.address, endpoint.port, cluster.by_name, tls, cluster.send_proxy)
            state = known.pop((kind, *where), None)
            state = state or kind(endpoint.address, endpoint.port, by_name=cluster.by_name, tls=tls)
            state.ejection = cluster.ejection
            state.send_proxy = cluster.send_proxy
            endpoints.append(state)
        for gone in known.values():
            gone.retire()
        self.endpoints = tuple(endpoints)
        self._ejection = cluster.ejection
        self._set_balance(cluster.balance)
        if cluster.affinity is None:
            self._affinity = None
        else:
            self._affinity = CookieAffinity(cluster.affinity, cluster.affinity.cluster or self.key, self.endpoints)
            self._in_turn = False
        self._max_requests = cluster.max_requests
        if cluster.max_requests:
            self._in_turn = False

    def retire(self) -> None:
        """The table no longer names this cluster."""
        for state in self.endpoints:
            state.retire()
        self.endpoints = ()
        self._ring = None
        self._affinity = None

    def choose(self, view: RequestView, tried: Sequence[EndpointState], now: float) -> EndpointState | None:
        """The endpoint for the next try; ``None`` where every one was tried or there is none."""
        endpoints = self.endpoints
        if not endpoints:
            return None
        self._turn += 1
        if self._in_turn:
            choice = endpoints[self._turn % len(endpoints)]
            if not choice.suspect and not tried:
                return choice
        elif not tried and self._is_full():
            return None
        elif self._affinity is not None:
            return self._choose_again(self._affinity, view, tried, now)
        return self._choose_any(view, tried, now)

    def _choose_again(
        self, affinity: CookieAffinity, view: RequestView, tried: Sequence[EndpointState], now: float
    ) -> EndpointState | None:
        """The endpoint that the client was sent to before, or one to come back to."""
        asked = affinity.asked(view.head)
        if asked is not None and asked not in tried and (not asked.suspect or asked.admits(now, self._random)):
            view.set_cookie = b""
            return asked
        choice = self._choose_any(view, tried, now)
        if choice is not None:
            view.set_cookie = b"" if choice is asked else affinity.set_cookie(choice, view.scheme)
            view.unusual = True
        return choice

    def _choose_any(self, view: RequestView, tried: Sequence[EndpointState], now: float) -> EndpointState | None:
        """As the method of balancing says."""
        endpoints = self.endpoints
        ring = self._ring
        if ring is None:
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

    def _is_full(self) -> bool:
        """As many requests are under way as may be."""
        limit = self._max_requests
        return limit > 0 and sum(state.active for state in self.endpoints) >= limit

    def refusal(self) -> LocalResponse:
        """What a request hears for which there is no endpoint."""
        return OVERLOADED if self._is_full() else local_response(503, error=self.why_none)

    def failed(self, endpoint: EndpointState, now: float) -> bool:
        """A try of ``endpoint`` failed; true where that ejected it."""
        share = self._ejection.max_percent
        if share >= 100:
            return endpoint.failed(now)
        out = 1 + sum(state.is_out for state in self.endpoints if state is not endpoint)
        return endpoint.failed(now, may_eject=out * 100 <= share * len(self.endpoints))

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
        self._in_turn = self._chooser is round_robin and self._ring is None
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
