"""One request on an HTTP/2 connection to an endpoint: for the exchange, what a connection is in HTTP/1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.http2 import Fields
from proxy.http2.codes import CANCEL, PROTOCOL_ERROR
from proxy.http2.fields import trailers_of
from proxy.message.errors import MessageError
from proxy.message.request import NO_BODY
from proxy.message.response import ResponseHead
from proxy.upstream.http2_heads import read_head, request_fields
from proxy.upstream.responses import Receiver

if TYPE_CHECKING:
    from proxy.upstream.http2 import Http2Upstream

__all__ = ["UpstreamStream"]

_HIGH_WATER: Final = 256 * 1024
"""Bytes of a request that may wait for the endpoint's windows."""
_MAX_INFORMATIONAL: Final = 16


class UpstreamStream:
    """``usable`` until its response is whole or it failed. See ``UpstreamConnection``."""

    __slots__ = (
        "_blocked",
        "_connection",
        "_head",
        "_held",
        "_informational",
        "_is_head",
        "_paused",
        "exchange",
        "number",
        "request_sent",
        "responded",
        "served",
        "undelivered",
        "usable",
    )

    def __init__(self, connection: Http2Upstream) -> None:
        self.exchange: Receiver | None = None
        self.number = 0
        """0: not open yet."""
        self.served = connection.served
        """Requests answered on its connection before."""
        self.request_sent = False
        self.responded = False
        self.undelivered = False
        self.usable = True
        self._connection = connection
        self._head = ResponseHead()
        self._is_head = False
        self._informational = 0
        self._blocked = False
        """The exchange was told that the endpoint takes no more."""
        self._paused = False
        self._held = 0
        """Bytes to give back to the endpoint's window once the client takes more."""

    # ---- for the exchange

    def send(self, exchange: Receiver, data: bytes, is_head: bool, whole: bool) -> None:
        """Begin the request. ``data``: its HTTP/1.1 head."""
        self.exchange = exchange
        self.request_sent = whole
        self._is_head = is_head
        connection = self._connection
        connection.open(self, request_fields(data, connection.scheme), end=whole)

    def write_body(self, data: bytes, chunked: bool) -> None:
        """Send bytes of the request body; ``chunked`` is a matter of HTTP/1.1."""
        connection = self._connection
        if connection.codec.send_data(self.number, data) > _HIGH_WATER and not self._blocked:
            self._blocked = True
            if self.exchange is not None:
                self.exchange.upstream_blocked()
        connection.flush_soon()

    def end_body(self, trailers: list[tuple[bytes, bytes]], chunked: bool) -> None:
        """The request body is whole."""
        self.request_sent = True
        codec = self._connection.codec
        if trailers:
            codec.send_trailers(self.number, [(name.lower(), value) for name, value in trailers])
        else:
            codec.send_data(self.number, b"", end=True)
        self._connection.flush_soon()

    def pause_reading(self) -> None:
        """The client takes no more for now."""
        self._paused = True

    def resume_reading(self) -> None:
        """The client takes more again."""
        self._paused = False
        self._give_back()

    def close(self) -> None:
        """End it now; the exchange hears nothing more."""
        self._end(CANCEL)

    # ---- from the connection

    def informational(self, fields: Fields) -> None:
        """A 1xx response came."""
        exchange = self.exchange
        if exchange is None:
            return
        self.responded = True
        self._informational += 1
        try:
            read_head(self._head, fields, is_head=self._is_head, ended=False)
        except MessageError as error:
            self._malformed(error.reason)
            return
        if self._informational > _MAX_INFORMATIONAL:
            self._malformed("TooManyInformational")
        elif self._head.status != 100:
            # The proxy answered 100-continue itself.
            exchange.informational(self._head)

    def headers(self, fields: Fields, *, ended: bool) -> None:
        """The response begins."""
        exchange = self.exchange
        if exchange is None:
            return
        self.responded = True
        head = self._head
        try:
            read_head(head, fields, is_head=self._is_head, ended=ended)
        except MessageError as error:
            self._malformed(error.reason)
            return
        exchange.response_head(head)
        if ended:
            self.ended([])

    def body(self, data: bytes, size: int) -> None:
        """Bytes of the response body, and what of our window they took."""
        exchange = self.exchange
        if exchange is None or self._head.content_length == NO_BODY:
            self._connection.codec.release(self.number, size)
            if exchange is not None and data:
                self._malformed("UnexpectedBody")
            return
        self._held += size
        if data:
            exchange.response_body(data)
        if not self._paused:
            self._give_back()

    def flush(self) -> None:
        """The head came without a body yet."""
        if self.exchange is not None:
            self.exchange.response_flush()

    def ended(self, trailers: Fields) -> None:
        """The response is whole."""
        exchange = self.exchange
        if exchange is None:
            return
        try:
            passed = trailers_of(trailers) if trailers else []
        except MessageError as error:
            self._malformed(error.reason)
            return
        self._connection.served += 1
        # What of the request was not sent by now, nobody waits for.
        self._end(0 if self.request_sent else CANCEL)
        exchange.response_end(passed)

    def drained(self) -> None:
        """What waited of the request was sent."""
        if self._blocked:
            self._blocked = False
            if self.exchange is not None:
                self.exchange.upstream_writable()

    def failed(self, reason: str, *, unprocessed: bool = False) -> None:
        """The stream is gone before its response was whole. ``unprocessed``: the endpoint says that it did nothing of
        the request (RFC 9113 section 8.7)."""
        exchange = self.exchange
        self._end(0)
        if exchange is not None:
            self.undelivered = unprocessed and not self.responded
            if self.undelivered and self.number > 1:
                # Its connection is full or at its end, which is no fault of the endpoint. A first stream that is not
                # taken is: else there were no end of new connections.
                self.served = self.served or 1
            exchange.upstream_failed(self, reason)

    # ---- inside

    def _malformed(self, reason: str) -> None:
        exchange = self.exchange
        self._end(PROTOCOL_ERROR)
        if exchange is not None:
            exchange.upstream_failed(self, reason)

    def _give_back(self) -> None:
        if self._held:
            self._connection.codec.release(self.number, self._held)
            self._held = 0
            self._connection.flush_soon()

    def _end(self, code: int) -> None:
        """Leave the connection, with a reset unless ``code`` is 0."""
        self.exchange = None
        if not self.usable:
            return
        self.usable = False
        self._give_back()
        connection = self._connection
        if code and self.number:
            connection.codec.reset(self.number, code)
            connection.flush_soon()
        connection.forget(self)
