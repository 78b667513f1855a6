"""All client connections of a worker: their number, their age, their end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.engine.runtime import Runtime
from proxy.message.forwarding import ClientFacts

if TYPE_CHECKING:
    from proxy.server.http1 import Http1Connection

__all__ = ["Connections"]

_REFUSALS: Final = 128
"""Connections beyond the limit that are being told so; further ones are cut without a word."""


class Connections:
    """The registry that listeners and connections share."""

    def __init__(self, runtime: Runtime, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self.runtime = runtime
        self.loop = loop
        self.limit = limit
        """Connections at once; more are refused with 503."""
        self.closing = False
        """The grace period is over: a connection ends with its response."""
        self._members: set[Http1Connection] = set()

    def __len__(self) -> int:
        return len(self._members)

    def add(self, connection: Http1Connection) -> bool:
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

    def discard(self, connection: Http1Connection) -> None:
        """The transport ended."""
        self._members.discard(connection)

    def has_room(self, pending: int = 0) -> bool:
        """Whether a further connection would be served; ``pending`` ones are still in their handshake."""
        return len(self._members) + pending < self._effective_limit()

    def client_facts(self, transport: asyncio.Transport) -> ClientFacts:
        """What is known of the client behind ``transport``."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) and peer else "unknown"
        address = address.removeprefix("::ffff:")
        tls = transport.get_extra_info("ssl_object")
        state = self.runtime.state
        port = state.settings.http_port if tls is None else state.settings.https_port
        version = "" if tls is None else str(tls.version() or "TLS")
        return ClientFacts(address=address, tls_version=version, port=port, trusted=address in state.trusted)

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
