"""One address of a cluster as a worker knows it: its idle connections, its load and its health.

Health is passive. A connection that cannot be made, a reset or a timeout before the response is a failure; one, or as
many in a row as the cluster says, eject the endpoint for a while that doubles with each ejection in a row. Afterwards
one request at a time tries it, and once one succeeded its share grows back over ``SLOW_RETURN`` seconds.
"""

from __future__ import annotations

from math import exp
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias

from proxy.table import Ejection, ProxyProtocol

if TYPE_CHECKING:
    import ssl

    from proxy.upstream.connection import UpstreamConnection
    from proxy.upstream.http2_stream import UpstreamStream
    from proxy.upstream.tls import ClientTls

__all__ = ["EWMA_DECAY", "SLOW_RETURN", "EndpointState", "Way"]

Way: TypeAlias = "UpstreamConnection | UpstreamStream"
"""What carries one request to an endpoint: an HTTP/1.1 connection, or a stream of an HTTP/2 connection."""

SLOW_RETURN: Final = 10.0
"""Seconds over which a returning endpoint gets its share back (HAProxy ``slowstart``)."""
EWMA_DECAY: Final = 10.0
"""Seconds, as ingress-nginx's ``ewma``."""
_MAX_DOUBLINGS: Final = 30
_USUAL_EJECTION: Final = Ejection()


class EndpointState:
    """Mutable; lives as long as its cluster names the address, and until its last request ended."""

    __slots__ = (
        "active",
        "address",
        "by_name",
        "cookie",
        "ejected_until",
        "ejection",
        "ejections",
        "failures",
        "idle",
        "latency",
        "latency_at",
        "name",
        "port",
        "retired",
        "returned_at",
        "send_proxy",
        "session",
        "session_at",
        "suspect",
        "tls",
    )

    def __init__(self, address: str, port: int, *, by_name: bool, tls: ClientTls | None = None) -> None:
        self.address = address
        self.port = port
        self.by_name = by_name
        self.name = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        self.idle: list[UpstreamConnection] = []
        """Oldest first; taken from the end, so that few connections stay warm and the rest age out."""
        self.active = 0
        """Requests under way."""
        self.send_proxy: ProxyProtocol = ""
        """Version of the PROXY protocol header that begins each connection; none of them is kept for another client."""
        self.retired = False
        """No longer in the cluster: what is under way ends, nothing is pooled."""
        self.cookie = b""
        """The value of the cookie that leads a client back here, where the cluster has such."""
        self.suspect = False
        """Failed last time, ejected or on its way back: the balancer must ask :meth:`admits`."""
        self.ejection = _USUAL_EJECTION
        self.failures = 0
        """In a row."""
        self.ejections = 0
        """In a row."""
        self.ejected_until = 0.0
        self.returned_at = 0.0
        """When the first request after an ejection succeeded; 0 until then."""
        self.latency = 0.0
        """Exponentially weighted moving average of response times, seconds."""
        self.latency_at = 0.0
        self.tls = tls
        """``None``: plain text."""
        self.session: ssl.SSLSession | None = None
        """The newest TLS session with this endpoint, and since when, as of ``time.monotonic``."""
        self.session_at = 0.0

    def take(self) -> Way | None:
        """An idle connection that is still open, or ``None``."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    def keep(self, connection: UpstreamConnection, limit: int, now: float) -> None:
        """Put a connection back, or close it where it cannot be of use. ``now`` as of ``time.monotonic``."""
        if self.retired or len(self.idle) >= limit:
            connection.close()
        else:
            connection.idle_since = now
            self.idle.append(connection)

    def connections_now(self) -> tuple[int, int]:
        """How many connections are idle, and how many are in use or being made."""
        return len(self.idle), self.active

    def expire(self, before: float) -> None:
        """Close connections that were idle since before that moment."""
        idle = self.idle
        while idle and idle[0].idle_since < before:
            idle.pop(0).close()

    def retire(self) -> None:
        """The cluster no longer names this address."""
        self.retired = True
        for connection in self.idle:
            connection.close()
        self.idle.clear()

    def admits(self, now: float, random: Random) -> bool:
        """Whether a suspect endpoint may be given a request."""
        # 0. It failed, not often enough. 1. Ejected. 2. Its time is over: one request at a time. 3. It answered: a
        # growing share. 4. Back.
        if not self.ejections:
            return True
        if now < self.ejected_until:
            return False
        if not self.returned_at:
            return self.active == 0
        share = (now - self.returned_at) / SLOW_RETURN
        if share >= 1.0:
            self.suspect = False
            self.failures = self.ejections = 0
            return True
        return random.random() < max(share, 0.1)

    def failed(self, now: float, *, may_eject: bool = True) -> bool:
        """Count a failure; true when it ejected the endpoint. ``may_eject``: not too many others are out already."""
        if now < self.ejected_until:
            return False
        rules = self.ejection
        self.failures += 1
        self.suspect = True
        # After an ejection the first failure ejects again.
        enough = self.ejections > 0 or self.failures >= rules.consecutive_failures
        if not (rules.consecutive_failures and may_eject and enough):
            return False
        self.returned_at = 0.0
        self.ejected_until = now + min(rules.base_time * 2 ** min(self.ejections, _MAX_DOUBLINGS), rules.max_time)
        self.ejections += 1
        return True

    @property
    def is_out(self) -> bool:
        """Ejected, and not answered since."""
        return self.ejections > 0 and not self.returned_at

    def succeeded(self, now: float) -> None:
        """A suspect endpoint answered."""
        if not self.ejections:
            self.failures = 0
            self.suspect = False
        elif not self.returned_at and now >= self.ejected_until:
            self.returned_at = now

    def observe(self, seconds: float, now: float) -> None:
        """Take a response time into the average; used by method ``ewma`` only."""
        weight = exp(-(now - self.latency_at) / EWMA_DECAY) if self.latency_at else 0.0
        self.latency = self.latency * weight + seconds * (1.0 - weight)
        self.latency_at = now
