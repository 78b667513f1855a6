"""A connection that switched protocols (RFC 9110 section 7.8): bytes pass both ways, unread.

It takes the place of the exchange that opened it, until either side ends.
"""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from proxy.engine.downstream import Downstream
from proxy.message.response import ResponseHead
from proxy.upstream.connection import UpstreamConnection

__all__ = ["Tunnel"]


class TunnelOwner(Protocol):
    """The exchange, as its tunnel sees it."""

    def tunnel_over(self, request_bytes: int, response_bytes: int, error: str) -> None: ...


class Tunnel:
    """Back-pressure is the exchange's: it pauses whichever side is ahead, as it does for bodies."""

    __slots__ = ("_activity", "_downstream", "_owner", "_received", "_sent", "_upstream")

    def __init__(self, upstream: UpstreamConnection, downstream: Downstream, owner: TunnelOwner) -> None:
        self._upstream = upstream
        self._downstream = downstream
        self._owner = owner
        self._activity = monotonic()
        self._sent = 0
        """Bytes from the client to the backend."""
        self._received = 0

    def begin(self, head: ResponseHead, rest: bytes) -> None:
        """Pass the 101 on, and what either side already sent behind its head."""
        early = self._downstream.start_tunnel(head, self)
        if early:
            self.client_data(early)
        if rest and self._upstream.usable:
            self.tunnel_data(rest)

    # ---- from the client

    def client_data(self, data: bytes) -> None:
        """Bytes for the backend."""
        self._activity = monotonic()
        self._sent += len(data)
        self._upstream.write(data)

    def client_eof(self) -> None:
        """The client half-closed."""
        self._upstream.write_eof()

    def client_gone(self) -> None:
        """The client's connection ended; what it sent last still goes to the backend."""
        self._upstream.finish()
        self._over("")

    # ---- from the backend

    def tunnel_data(self, data: bytes) -> None:
        """Bytes for the client."""
        self._activity = monotonic()
        self._received += len(data)
        self._downstream.send_tunnel(data)

    def tunnel_eof(self) -> None:
        """The backend ended the tunnel; what it sent last still goes to the client."""
        self._end("")

    def upstream_gone(self, reason: str) -> None:
        """The backend's connection ended."""
        self._end("" if reason == "UpstreamClosed" else reason)

    # ---- ends

    def check(self, now: float, timeout: float) -> None:
        """End it if nothing passed for ``timeout`` seconds."""
        if now - self._activity > timeout:
            self._end("TunnelTimeout")

    def _end(self, error: str) -> None:
        self._upstream.close()
        self._over(error)
        self._downstream.end_tunnel()

    def _over(self, error: str) -> None:
        self._owner.tunnel_over(self._sent, self._received, error)
