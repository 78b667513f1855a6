"""Requests per second of one client address (ingress-nginx ``limit-rps``)."""

from __future__ import annotations

from math import ceil
from time import monotonic

from proxy.filters.api import ExchangeView, Filter
from proxy.message.local import LocalResponse, local_response
from proxy.message.networks import Networks, address_number
from proxy.table import RateLimit as Rules
from proxy.table import Route, Settings

__all__ = ["RateLimit"]


class RateLimit(Filter):
    """Refuses what comes too early, and says when it would not."""

    __slots__ = ("_exempt", "_interval", "_key", "_status", "_tolerance")

    def __init__(self, rules: Rules) -> None:
        """Raises ``ValueError`` on a rate or a status that makes no sense."""
        if not rules.rate > 0.0 or rules.burst < 0 or not 400 <= rules.status <= 599:
            raise ValueError("a rate limit needs a positive rate, no negative burst, and an error status")
        self._interval = 1.0 / rules.rate
        self._tolerance = rules.burst * self._interval
        self._status = rules.status
        self._key = rules.key.encode() + b"\0"
        self._exempt = Networks(rules.exempt)

    @classmethod
    def compile(cls, route: Route, settings: Settings) -> Filter | None:
        return None if route.policy.rate_limit is None else cls(route.policy.rate_limit)

    def request_head(self, view: ExchangeView) -> LocalResponse | None:
        address = view.client_address
        if address in self._exempt:
            return None
        wait = view.allowances.take(self._key + _client(address), self._interval, self._tolerance, monotonic())
        if wait <= 0.0:
            return None
        return local_response(self._status, error="RateLimited", fields=b"Retry-After: %d\r\n" % ceil(wait))


def _client(address: str) -> bytes:
    """Who counts as one: an IPv4 address, or an IPv6 network of 64 bits, in which a single host is free to choose."""
    parsed = address_number(address)
    if parsed is None:
        return address.encode()
    version, number = parsed
    return number.to_bytes(4, "big") if version == 4 else (number >> 64).to_bytes(8, "big")
