"""The writing half of an HTTP/1.1 connection: responses in the form that its client reads."""

from __future__ import annotations

import asyncio
import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.engine.progress import Progress
from proxy.http1.chunked import encode_chunk, encode_last_chunk
from proxy.http1.encode import encode_informational, encode_response
from proxy.message.forwarding import ClientFacts
from proxy.message.request import NO_BODY, RequestHead
from proxy.message.response import ResponseHead
from proxy.server.http1_phases import CLOSED_PHASE, HEAD_PHASE
from proxy.server.kernel import unsent_bytes

if TYPE_CHECKING:
    from proxy.server.connections import Connections

__all__ = ["Http1Responses"]

_RESET: Final = struct.pack("ii", 1, 0)
"""``SO_LINGER`` on and 0 seconds: closing sends a reset."""


class Http1Responses(asyncio.Protocol):
    """Most of the :class:`~proxy.engine.downstream.Downstream` of an exchange."""

    __slots__ = (
        "_chunked_out",
        "_close",
        "_connections",
        "_ends_by_close",
        "_pending",
        "_phase",
        "_progress",
        "_runtime",
        "_since",
        "_write_blocked",
        "facts",
        "head",
        "transport",
    )

    facts: ClientFacts
    transport: asyncio.Transport

    def __init__(self, connections: Connections) -> None:
        # Life of the connection.
        self._connections = connections
        self._runtime = connections.runtime
        self.head = RequestHead()
        """Of the request under way."""
        self._phase = HEAD_PHASE
        self._since = 0.0
        """When the phase (or in ``HEAD``, the present wait) began."""
        self._write_blocked = False
        self._progress = Progress()
        # Life of a response.
        self._pending = b""
        """The response head, until it can leave together with the first bytes of the body."""
        self._chunked_out = False
        self._ends_by_close = False
        """The response body has neither length nor chunks: closing is its end."""
        self._close = False

    def _response_over(self) -> None:
        """The response was written whole; the reading half decides what is next."""
        raise AssertionError("the reading half overrides this")

    def send_informational(self, head: ResponseHead) -> None:
        self.transport.write(encode_informational(head))

    def begin_response(self, head: ResponseHead, *, close: bool) -> None:
        length = head.content_length
        minor = self.head.minor
        chunked = self._ends_by_close = False
        if length < NO_BODY:
            if minor == 1:
                chunked = True
            else:
                close = self._ends_by_close = True
        self._chunked_out = chunked
        self._close = close
        own = self._runtime.own_fields(has_server=head.has_server, has_date=head.has_date)
        self._pending = encode_response(head, own, b"", minor=minor, chunked=chunked, close=close)

    def flush_response(self) -> None:
        if self._pending:
            self.transport.write(self._pending)
            self._pending = b""

    def send_body(self, data: bytes) -> None:
        if self._chunked_out:
            data = encode_chunk(data)
        if self._pending:
            data = self._pending + data
            self._pending = b""
        self.transport.write(data)

    def end_response(self, trailers: list[tuple[bytes, bytes]]) -> None:
        data = self._pending
        if self._chunked_out:
            data += encode_last_chunk(trailers)
            self._chunked_out = False
        if data:
            self._pending = b""
            self.transport.write(data)
        self._response_over()

    def abort_response(self) -> None:
        if self._phase == CLOSED_PHASE:
            return
        if self._write_blocked or self._ends_by_close:
            if self._ends_by_close:
                # A clean end would pass for the end of the body.
                _reset_on_close(self.transport)
            self._phase = CLOSED_PHASE
            self.transport.abort()
        else:
            # What came so far still reaches the client, who sees by length or chunks that it is not all.
            self.flush_response()
            self._end()

    def send_tunnel(self, data: bytes) -> None:
        self.transport.write(data)

    def end_tunnel(self) -> None:
        if self._phase != CLOSED_PHASE:
            self._end()

    # ---- what the client takes

    def is_stuck(self, now: float) -> bool:
        """Whether what was written waits for a client that takes it too slowly."""
        settings = self._runtime.state.settings
        return self._progress.is_stuck(
            now, self._unsent(), time=settings.write_timeout, min_rate=settings.body_min_rate, since=self._since
        )

    def _watch_progress(self) -> None:
        self._progress.begin(monotonic(), self._unsent())

    def _unsent(self) -> int:
        return unsent_bytes(self.transport)

    def _end(self) -> None:
        """Everything was read that will be: close once it is written."""
        self._phase = CLOSED_PHASE
        self._since = monotonic()
        self.transport.close()


def _reset_on_close(transport: asyncio.Transport) -> None:
    handle = transport.get_extra_info("socket")
    if handle is not None:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
