"""Which HTTP a connection speaks.

Over TLS both sides agreed in the handshake (ALPN, RFC 7301); in plain text the first bytes tell (RFC 9113 section 3.3).
"""

from __future__ import annotations

import asyncio
from typing import cast

from proxy.http2 import PREFACE
from proxy.message.proxy_protocol import Ends
from proxy.server.connections import Connections
from proxy.server.http1 import Http1Connection
from proxy.server.http1_phases import HEAD_PHASE
from proxy.server.http2 import Http2ServerConnection

__all__ = ["NegotiatedConnection", "PriorKnowledgeConnection"]


class NegotiatedConnection(asyncio.Protocol):
    """A TLS connection until its handshake is over; then the protocol that was agreed on takes its transport."""

    def __init__(self, connections: Connections, told: Ends | None) -> None:
        self._connections = connections
        self._told = told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        agreed = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        make = Http2ServerConnection if agreed == "h2" else Http1Connection
        protocol = make(self._connections, self._told)
        cast(asyncio.Transport, transport).set_protocol(protocol)
        protocol.connection_made(transport)


class PriorKnowledgeConnection(Http1Connection):
    """HTTP/1.1, unless the first bytes are the preface of HTTP/2."""

    __slots__ = ("_decided",)

    def __init__(self, connections: Connections, told: Ends | None = None) -> None:
        super().__init__(connections, told)
        self._decided = False

    def data_received(self, data: bytes) -> None:
        if self._decided or self._phase != HEAD_PHASE:
            super().data_received(data)
            return
        data = self._buffer + data
        self._buffer = b""
        if data.startswith(PREFACE):
            after = Http2ServerConnection(self._connections, self._told)
            self.transport.set_protocol(after)
            after.take_over(self.transport, self)
            after.data_received(data)
        elif PREFACE.startswith(data):
            # Kept where the deadline of a head sees it.
            self._buffer = data
        else:
            self._decided = True
            super().data_received(data)
