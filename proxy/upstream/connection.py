"""One HTTP/1.1 connection to an endpoint: the upstream half of an exchange, again and again."""

from __future__ import annotations

import asyncio
import os
from typing import Final, cast

from proxy.http1.chunked import encode_chunk, encode_last_chunk
from proxy.message.errors import MessageError
from proxy.upstream.delivery import is_undelivered
from proxy.upstream.endpoint import EndpointState
from proxy.upstream.responses import HEAD_MODE, Receiver, ResponseReader

__all__ = ["UpstreamConnection"]

_HIGH_WATER: Final = 256 * 1024
_LAST_READ: Final = 64 * 1024
_LAST_READS: Final = 16
"""Reads from a connection that is lost already; more would go past the client's back-pressure."""
FINISH_TIME: Final = 10.0
"""Seconds in which a backend may take the last bytes of a tunnel."""
_ONE_WRITE: Final = 16 * 1024
"""Bytes of a request that surely left before its response came."""


class UpstreamConnection(ResponseReader, asyncio.Protocol):
    """``usable`` until the transport ends; ``exchange`` is set while a request is under way."""

    __slots__ = (
        "_keep_limit",
        "_paused",
        "_written",
        "_written_before",
        "endpoint",
        "idle_since",
        "request_sent",
        "served",
        "transport",
        "undelivered",
        "usable",
    )

    def __init__(self, endpoint: EndpointState, keep_limit: int) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.idle_since = 0.0
        self.served = 0
        """Requests answered on this connection before."""
        self.usable = True
        self.request_sent = False
        """The exchange wrote the whole request: without it the connection is not pooled."""
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens
        self._keep_limit = keep_limit
        self._paused = False
        self._written = 0
        self._written_before = 0
        self.undelivered = False
        """After a failure: the peer took no byte of the request, so that it can be sent again whatever its method."""

    # ---- for the exchange

    def send(self, exchange: Receiver, data: bytes, is_head: bool, whole: bool) -> None:
        """Begin a request with ``data``, its head. ``is_head``: its response has no body; ``whole``: no body follows.

        Positional for speed: this runs once per request.
        """
        self.exchange = exchange
        self.request_sent = whole
        self.responded = False
        self._written_before = self._written
        self._written += len(data)
        self._is_head = is_head
        self.transport.write(data)

    def write(self, data: bytes) -> None:
        """Send bytes of the request, or of the tunnel."""
        self._written += len(data)
        self.transport.write(data)

    def write_body(self, data: bytes, chunked: bool) -> None:
        """Send bytes of the request body, in that coding."""
        self.write(encode_chunk(data) if chunked else data)

    def end_body(self, trailers: list[tuple[bytes, bytes]], chunked: bool) -> None:
        """The request body is whole."""
        if chunked:
            self.write(encode_last_chunk(trailers))
        self.request_sent = True

    def write_eof(self) -> None:
        """Half-close, in a tunnel."""
        if self.usable and self.transport.can_write_eof():
            self.transport.write_eof()

    def finish(self) -> None:
        """End it once everything was written; the exchange hears nothing more."""
        self.exchange = None
        if self.usable:
            self.usable = False
            self.transport.close()
            if self.transport.get_write_buffer_size():
                asyncio.get_running_loop().call_later(FINISH_TIME, self.transport.abort)

    def pause_reading(self) -> None:
        """The client takes no more for now."""
        if self.usable:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """The client takes more again."""
        if self.usable:
            self._paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        """End it now; the exchange, if any, hears nothing more."""
        self.exchange = None
        if self.usable:
            self.usable = False
            self.transport.abort()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            # Bytes that nobody asked for: the next response could not be trusted (SECURITY class "surplus bytes").
            self.close()
            return
        try:
            if self._mode == HEAD_MODE:
                self._read_head(exchange, data)
            else:
                self._read_rest(exchange, data)
        except MessageError as error:
            self._fail(error.reason)

    def eof_received(self) -> bool:
        if self.exchange is not None:
            return self._read_eof()
        self.usable = False
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None and self.exchange is not None:
            self._read_what_came_before()
        if self.exchange is not None:
            # A write to a connection that the peer had closed, and then reset, breaks the pipe.
            closed = error is None or isinstance(error, BrokenPipeError)
            self._fail("UpstreamClosed" if closed else "UpstreamReset")
        elif self in self.endpoint.idle:
            self.endpoint.idle.remove(self)
        self.usable = False
        self._drop_decoder()

    def _read_what_came_before(self) -> None:
        """A backend that refuses a body answers and closes, which resets: our next write fails, and the response is
        still unread. The kernel gives it out, and the socket is open until this call returns."""
        handle = self.transport.get_extra_info("socket")
        self.request_sent = False  # So that it is not pooled, and taken by the next request, before this call ends.
        for _ in range(_LAST_READS):
            try:
                data = os.read(handle.fileno(), _LAST_READ)
            except OSError:
                return
            if not data:
                return
            self.data_received(data)
            if self.exchange is None:
                return

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_blocked()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_writable()

    def _free(self, surplus: bytes, now: float) -> None:
        self.exchange = None
        self.served += 1
        if surplus or not self.head.keep_alive or not self.request_sent:
            self.close()
        elif self._written - self._written_before > _ONE_WRITE and self.transport.get_write_buffer_size():
            # A body is still on its way that the peer did not wait for: the next request would wait behind it.
            self.close()
        else:
            if self._paused:
                # The client still has to take the end of this response; the next one is another's.
                self.resume_reading()
            self.endpoint.keep(self, self._keep_limit, now)

    def _is_undelivered(self) -> bool:
        return is_undelivered(self.transport, self._written_before)

    def _fail(self, reason: str) -> None:
        exchange = self.exchange
        self.exchange = None
        self.undelivered = reason == "UpstreamClosed" and not self.responded and self._is_undelivered()
        self.usable = False
        self.transport.abort()
        if exchange is not None:
            exchange.upstream_failed(self, reason)
