"""All client connections of a worker: their number, their age, their end."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Final, Protocol

from proxy.engine.runtime import Runtime
from proxy.message.forwarding import ClientFacts
from proxy.message.proxy_protocol import Ends
from proxy.tls import shown_certificate

__all__ = ["Connections", "Member"]

logger = logging.getLogger("pyngress.worker")

_REFUSALS: Final = 128
"""Connections beyond the limit that are being told so; further ones are cut without a word."""


class Member(Protocol):
    """A client connection, whatever it speaks."""

    def check(self, now: float) -> None:
        """Called about once a second: is anything overdue?"""

    def close_if_idle(self, now: float) -> None:
        """End it if it waits for a request. One without any so far may be on its way through the network."""

    def kill(self) -> None:
        """End it whatever it does; true work is lost."""

    @property
    def is_busy(self) -> bool:
        """Its client still waits for something."""


class Connections:
    """The registry that listeners and connections share."""

    def __init__(self, runtime: Runtime, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self.runtime = runtime
        self.loop = loop
        self.limit = limit
        """Connections at once; more are refused with 503."""
        self.closing = False
        """The grace period is over: a connection ends with its response."""
        self._members: set[Member] = set()
        self._complained = 0.0

    def __len__(self) -> int:
        return len(self._members)

    def add(self, connection: Member) -> bool:
        """Register; false where the connection must refuse its client."""
        members = self._members
        members.add(connection)
        self.runtime.telemetry.accepted += 1
        if len(members) <= self._effective_limit():
            return True
        self.runtime.telemetry.refused_limit += 1
        if len(members) > self._effective_limit() + _REFUSALS:
            connection.kill()
        return False

    def hold(self, connection: Member) -> bool:
        """Register one that is not known to speak a protocol yet, until ``discard``; false where there is no room."""
        if not self.has_room():
            self.runtime.telemetry.refused_limit += 1
            return False
        self._members.add(connection)
        return True

    def discard(self, connection: Member) -> None:
        """The transport ended."""
        self._members.discard(connection)

    def replace(self, before: Member, after: Member) -> None:
        """``before`` turned out to speak what ``after`` does."""
        self._members.discard(before)
        self._members.add(after)

    def has_room(self, pending: int = 0) -> bool:
        """Whether a further connection would be served; ``pending`` ones are still in their handshake."""
        return len(self._members) + pending < self._effective_limit()

    def is_introduced(self, peer: object) -> bool:
        """Whether the connections of a peer (an address as the socket module gives it) begin with a PROXY header."""
        ranges = self.runtime.state.proxies
        return bool(ranges) and _host_of(peer) in ranges

    def bad_introduction(self, peer: object, reason: str) -> None:
        """A connection that should have begun with a PROXY header is closed; the log hears of one in a second."""
        self.runtime.telemetry.proxy_header_failures += 1
        now = monotonic()
        if now - self._complained >= 1.0:
            self._complained = now
            logger.warning("connection from %s is closed without an answer: %s", _host_of(peer), reason)

    def client_facts(self, transport: asyncio.Transport, told: Ends | None = None) -> ClientFacts:
        """What is known of the client behind ``transport``; ``told``: by a PROXY protocol header."""
        address = _host_of(transport.get_extra_info("peername")) if told is None else told.address
        tls = transport.get_extra_info("ssl_object")
        state = self.runtime.state
        port = state.settings.http_port if tls is None else state.settings.https_port
        version = "" if tls is None else str(tls.version() or "TLS")
        facts = ClientFacts(
            address=address,
            tls_version=version,
            port=port,
            trusted=address in state.trusted,
            shown=shown_certificate(tls) if state.asking else None,
        )
        facts.told, facts.wire = told, transport
        return facts

    def check(self, now: float) -> None:
        """Once a second: let each connection see whether it is overdue."""
        for connection in tuple(self._members):
            connection.check(now)

    def close_idle(self, now: float) -> None:
        """End every connection that waits for a request; one that is still new has some time to send its first."""
        for connection in tuple(self._members):
            connection.close_if_idle(now)

    def kill_all(self) -> int:
        """End what is left; returns how many were at work."""
        busy = sum(connection.is_busy for connection in self._members)
        for connection in tuple(self._members):
            connection.kill()
        return busy

    def _effective_limit(self) -> int:
        wanted = self.runtime.state.settings.max_connections
        return min(wanted, self.limit) if wanted else self.limit


def _host_of(peer: object) -> str:
    """An IPv4 address within IPv6 is an IPv4 one."""
    address = str(peer[0]) if isinstance(peer, tuple) and peer else "unknown"
    return address.removeprefix("::ffff:")
