"""One HTTP/1.1 connection to an endpoint: the upstream half of an exchange, again and again."""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import Final, Protocol, cast

from proxy.http1.chunked import ChunkedDecoder
from proxy.http1.reader import HEAD_END, ResponseParser
from proxy.message.errors import BadResponse, MessageError
from proxy.message.request import CHUNKED, NO_BODY
from proxy.message.response import UNTIL_CLOSE, ResponseHead
from proxy.upstream.delivery import is_undelivered
from proxy.upstream.endpoint import EndpointState

__all__ = ["Receiver", "UpstreamConnection"]

MAX_HEAD: Final = 64 * 1024
"""Bytes of a response head; nginx fails at ``proxy_buffer_size`` 4–8 KiB, Envoy at 60 KiB."""
_MAX_INFORMATIONAL: Final = 16
"""1xx responses before the final one."""
_HIGH_WATER: Final = 256 * 1024
_LAST_READ: Final = 64 * 1024
_LAST_READS: Final = 16
"""Reads from a connection that is lost already; more would go past the client's back-pressure."""
FINISH_TIME: Final = 10.0
"""Seconds in which a backend may take the last bytes of a tunnel."""
_ONE_WRITE: Final = 16 * 1024
"""Bytes of a request that surely left before its response came."""

_HEAD: Final = 0
_COUNTED: Final = 1
_CHUNKED: Final = 2
_TO_EOF: Final = 3
_TUNNEL: Final = 4


class Receiver(Protocol):
    """The exchange, as its upstream connection sees it."""

    def informational(self, head: ResponseHead) -> None: ...

    def response_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        """The whole response at once; the connection is free already. ``now`` as of ``time.monotonic``."""

    def response_head(self, head: ResponseHead) -> None: ...

    def response_flush(self) -> None:
        """The head came alone: the client must not wait for the body to see it."""

    def response_body(self, data: bytes) -> None: ...

    def response_end(self, trailers: list[tuple[bytes, bytes]]) -> None: ...

    def switched(self, head: ResponseHead, rest: bytes) -> TunnelEnd | None:
        """The upstream switched protocols; ``None``: nobody asked it to."""

    def upstream_failed(self, connection: UpstreamConnection, reason: str) -> None:
        """The connection is gone before the response was whole."""

    def upstream_blocked(self) -> None: ...

    def upstream_writable(self) -> None: ...


class TunnelEnd(Protocol):
    """What reads a connection that switched protocols. All else still concerns the exchange."""

    def tunnel_data(self, data: bytes) -> None: ...

    def tunnel_eof(self) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """``usable`` until the transport ends; ``exchange`` is set while a request is under way."""

    __slots__ = (
        "_buffer",
        "_decoder",
        "_informational",
        "_is_head",
        "_keep_limit",
        "_left",
        "_mode",
        "_parser",
        "_paused",
        "_tunnel",
        "_written",
        "_written_before",
        "endpoint",
        "exchange",
        "head",
        "idle_since",
        "request_sent",
        "responded",
        "served",
        "transport",
        "undelivered",
        "usable",
    )

    def __init__(self, endpoint: EndpointState, keep_limit: int) -> None:
        self.endpoint = endpoint
        self.exchange: Receiver | None = None
        self.head = ResponseHead()
        self.idle_since = 0.0
        self.served = 0
        """Requests answered on this connection before."""
        self.usable = True
        self.request_sent = False
        """The exchange wrote the whole request: without it the connection is not pooled."""
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens
        self._parser = ResponseParser(self.head)
        self._keep_limit = keep_limit
        self._buffer = b""
        self._decoder: ChunkedDecoder | None = None
        self._is_head = False
        self._informational = 0
        self._left = 0
        self._mode = _HEAD
        self._paused = False
        self._written = 0
        self._written_before = 0
        self.responded = False
        """A byte of the response came."""
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
        mode = self._mode
        try:
            if mode == _HEAD:
                self._read_head(exchange, data)
            elif mode == _COUNTED:
                self._read_counted(data)
            elif mode == _CHUNKED:
                self._read_chunked(data)
            elif mode == _TO_EOF:
                exchange.response_body(data)
            else:
                self._tunnel.tunnel_data(data)
        except MessageError as error:
            self._fail(error.reason)

    def eof_received(self) -> bool:
        exchange = self.exchange
        if exchange is not None:
            if self._mode == _TO_EOF:
                self._end(b"")
                return False
            if self._mode == _TUNNEL:
                self._tunnel.tunnel_eof()
                return True
        else:
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
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

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

    # ---- reading

    def _read_head(self, exchange: Receiver, data: bytes) -> None:
        buffered = self._buffer
        if buffered:
            data = buffered + data
        self.responded = True
        head = self.head
        while True:
            end = data.find(HEAD_END)
            if end < 0:
                if len(data) > MAX_HEAD:
                    raise BadResponse("HeadTooLarge")
                self._buffer = data
                return
            end += 4
            if end == len(data):
                whole, data = data, b""
            else:
                whole, data = data[:end], data[end:]
            if end > MAX_HEAD:
                raise BadResponse("HeadTooLarge")
            self._parser.parse(whole, is_head=self._is_head)
            if head.status >= 200:
                break
            self._buffer = b""
            if head.status == 101:
                self._switch(data)
                return
            self._informational += 1
            if self._informational > _MAX_INFORMATIONAL:
                raise BadResponse("TooManyInformational")
            if head.status != 100:
                # The proxy answered 100-continue itself; anything else (103) is for the client.
                exchange.informational(head)
                if self.exchange is not exchange:
                    return
            if not data:
                return
        if buffered:
            self._buffer = b""
        if self._informational:
            self._informational = 0
        length = head.content_length
        if length == len(data):
            now = monotonic()
            self._free(b"", now)
            exchange.response_whole(head, data, now)
            return
        exchange.response_head(head)
        if self.exchange is not exchange:
            return
        if length == NO_BODY:
            self._end(data)
            return
        if not data:
            exchange.response_flush()
        if length > 0:
            self._left = length
            self._mode = _COUNTED
            if data:
                self._read_counted(data)
        elif length == CHUNKED:
            self._decoder = ChunkedDecoder()
            self._mode = _CHUNKED
            if data:
                self._read_chunked(data)
        else:
            assert length == UNTIL_CLOSE
            self._mode = _TO_EOF
            head.keep_alive = False
            if data:
                exchange.response_body(data)

    def _read_counted(self, data: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None
        left = self._left - len(data)
        if left > 0:
            self._left = left
            exchange.response_body(data)
            return
        surplus = b""
        if left < 0:
            data, surplus = data[:left], data[left:]
        exchange.response_body(data)
        if self.exchange is exchange:
            self._end(surplus)

    def _read_chunked(self, data: bytes) -> None:
        exchange, decoder = self.exchange, self._decoder
        assert exchange is not None
        assert decoder is not None
        body = decoder.feed(data)
        if body:
            exchange.response_body(body)
            if self.exchange is not exchange:
                return
        elif not decoder.done:
            # The beginning of a chunk came with the head.
            exchange.response_flush()
        if decoder.done:
            self._decoder = None
            decoder.close()
            self._end(decoder.surplus, decoder.trailers)

    def _switch(self, rest: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None
        tunnel = exchange.switched(self.head, rest)
        if tunnel is None:
            raise BadResponse("UnexpectedSwitch")
        self._tunnel = tunnel
        self._mode = _TUNNEL

    def _end(self, surplus: bytes, trailers: list[tuple[bytes, bytes]] | None = None) -> None:
        """The response is whole: free the connection, then tell the exchange (it may at once want one again)."""
        exchange = self.exchange
        assert exchange is not None
        self._mode = _HEAD
        self._free(surplus, monotonic())
        exchange.response_end(trailers if trailers is not None else [])

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

    def _fail(self, reason: str) -> None:
        exchange = self.exchange
        self.exchange = None
        self.undelivered = (
            reason == "UpstreamClosed" and not self.responded and is_undelivered(self.transport, self._written_before)
        )
        self.usable = False
        self.transport.abort()
        if exchange is not None:
            exchange.upstream_failed(self, reason)
