"""The beginning of a plain-text connection that may have a PROXY protocol header in front of everything else.

Made only where the settings name peers that send it. Once the header was read, or the peer is none of these, the
connection's real protocol takes the transport over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import cast

from proxy.message.proxy_protocol import BadProxyHeader, Ends, read_header
from proxy.server.connections import Connections
from proxy.server.http1 import FRESH_TIME

__all__ = ["IntroducedConnection"]


class IntroducedConnection(asyncio.Protocol):
    """Holds at most one read and one header."""

    def __init__(self, connections: Connections, serve: Callable[[Ends | None], asyncio.Protocol]) -> None:
        """``serve`` makes the protocol of a connection whose client is known; ``None``: it is the peer."""
        self._connections = connections
        self._serve = serve
        self._received = b""
        self._since = monotonic()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        if not self._connections.is_introduced(transport.get_extra_info("peername")):
            self._hand_over(None)
        elif not self._connections.hold(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        try:
            header = read_header(received)
        except BadProxyHeader as bad:
            self._refuse(bad.reason)
            return
        if header is None:
            self._received = received
            return
        self._received = b""
        self._connections.discard(self)
        protocol = self._hand_over(header.ends)
        if header.size < len(received):
            protocol.data_received(received[header.size :])

    def eof_received(self) -> bool:
        # Load balancers come and go to see whether the port is open.
        if self._received:
            self._refuse("ProxyHeaderMissing")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)

    def _hand_over(self, told: Ends | None) -> asyncio.Protocol:
        protocol = self._serve(told)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        return protocol

    def _refuse(self, reason: str) -> None:
        # Nobody is sure to be there whom an answer would reach: the peer is a load balancer.
        self._connections.bad_introduction(self._transport.get_extra_info("peername"), reason)
        self._connections.discard(self)
        self._transport.abort()

    # ---- as one of the client connections

    def check(self, now: float) -> None:
        """The head's deadline holds for the header alone too."""
        if now - self._since > self._connections.runtime.state.settings.header_timeout:
            self._refuse("ProxyHeaderMissing")

    def close_if_idle(self, now: float) -> None:
        if now - self._since > FRESH_TIME:
            self._transport.abort()

    def kill(self) -> None:
        self._transport.abort()

    @property
    def is_busy(self) -> bool:
        return False
