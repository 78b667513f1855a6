"""A connection to an endpoint over TLS. What differs from plain text is what its end looks like.

The event loop knows no half-close over TLS: once the peer's ``close_notify`` came, or its TCP stream ended, the
connection ends. A response that lasts until the connection closes is whole only with a ``close_notify`` (RFC 9112
section 9.8).
"""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic

from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.delivery import acknowledged
from proxy.upstream.endpoint import EndpointState
from proxy.upstream.responses import Receiver

__all__ = ["TlsConnection"]


class TlsConnection(UpstreamConnection):
    """As its plain form, for the exchange."""

    __slots__ = ("_acknowledged_before", "_at_end", "_held")

    def __init__(self, endpoint: EndpointState, keep_limit: int) -> None:
        super().__init__(endpoint, keep_limit)
        self._acknowledged_before = -1
        self._held: list[bytes] = []
        """The beginning of a request, for a moment."""
        self._at_end = False
        """The peer's ``close_notify`` came."""

    def send(self, exchange: Receiver, data: bytes, is_head: bool, whole: bool) -> None:
        """See :class:`UpstreamConnection`."""
        if whole:
            super().send(exchange, data, is_head, True)
            return
        # TLS adds bytes of its own: the kernel's count is noted, where it may be needed.
        self._acknowledged_before = acknowledged(self.transport) if self.served else -1
        super().send(exchange, b"", is_head, False)
        self._held.append(data)
        asyncio.get_running_loop().call_soon(self._write_held)

    def write(self, data: bytes) -> None:
        """See :class:`UpstreamConnection`. A head waits for what is there of its body: one record, one write. A second
        write to a connection that the peer has closed would fail before its ``close_notify`` is read."""
        if self._held:
            self._held.append(data)
        else:
            super().write(data)

    def _write_held(self) -> None:
        data = b"".join(self._held)
        self._held.clear()
        if self.usable:
            super().write(data)

    def close(self) -> None:
        """See :class:`UpstreamConnection`. An idle connection ends with a ``close_notify``: without it, OpenSSL forgets
        the session on the other side."""
        if self.exchange is None and self.usable:
            # Sends it at once; nobody waits for the peer's.
            self.transport.close()
        super().close()

    def eof_received(self) -> bool:
        self._at_end = True
        super().eof_received()
        if self.exchange is not None:
            # While the socket can still be asked what of the request arrived.
            self._fail("UpstreamClosed")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if isinstance(error, ssl.SSLError) and self.exchange is not None:
            self._fail("UpstreamTlsFailed")
        super().connection_lost(error)

    def _read_what_came_before(self) -> None:
        """Nothing: what the kernel still holds is encrypted."""

    def _is_undelivered(self) -> bool:
        """As an end of stream, a ``close_notify`` acknowledges all that came before it."""
        before = self._acknowledged_before
        return self._at_end and before >= 0 and acknowledged(self.transport) == before

    def _free(self, surplus: bytes, now: float) -> None:
        if not self.served:
            self._keep_session()
        super()._free(surplus, now)

    def _keep_session(self) -> None:
        """For the next connection; TLS 1.3 brings its tickets only behind the handshake."""
        connection: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        if connection is not None and connection.session is not None:
            self.endpoint.session = connection.session
            self.endpoint.session_at = monotonic()
