"""One HTTP/1.1 connection of a client.

It is always in one phase:

=========== =====================================================================================
``HEAD``    waiting for a request, or for the rest of its head
``COUNTED`` a request is under way; its body still comes, by length
``CHUNKED`` likewise, by chunks
``WAIT``    the request is whole, its response is not; what the client sends now is the next request
``TUNNEL``  bytes pass both ways
``DISCARD`` answered before its (small) body was whole; the rest is read and dropped, then ``HEAD``
``LINGER``  the last response was sent; what still comes is dropped, so that the client can read it
``CLOSED``  the transport ends
=========== =====================================================================================

Requests are answered one at a time and in order. Bytes behind the current request wait unparsed, and the client is not
read meanwhile; so a connection holds at most one read, one head and the transport's buffers.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from proxy.engine.exchange import Exchange
from proxy.engine.record import record_refusal
from proxy.http1.chunked import ChunkedDecoder
from proxy.http1.encode import CONTINUE, encode_response, encode_switch
from proxy.http1.reader import HEAD_END, RequestParser
from proxy.message.errors import BadRequest, MessageError
from proxy.message.fields import DATE, SERVER
from proxy.message.forwarding import ClientFacts
from proxy.message.local import ChangeLines, LocalResponse, local_response, render
from proxy.message.proxy_protocol import Ends
from proxy.message.request import CHUNKED, NO_BODY
from proxy.message.response import ResponseHead
from proxy.server.framing import check_head, check_partial_head, small_head, without_empty_lines
from proxy.server.http1_phases import (
    CHUNKED_PHASE,
    CLOSED_PHASE,
    COUNTED_PHASE,
    DISCARD_PHASE,
    HEAD_PHASE,
    LINGER_PHASE,
    TUNNEL_PHASE,
    WAIT_PHASE,
)
from proxy.server.http1_responses import Http1Responses

if TYPE_CHECKING:
    from proxy.engine.tunnel import Tunnel
    from proxy.server.connections import Connections

__all__ = ["Http1Connection"]

_BY_PIPELINE: Final = 1
_BY_EXCHANGE: Final = 2
_BY_WRITES: Final = 4

DISCARD_LIMIT: Final = 64 * 1024
"""Bytes of an unwanted body that are read for the sake of the connection; with more to come it is closed."""
FRESH_TIME: Final = 1.0
"""Seconds that a new connection has for the beginning of its first request when the worker drains."""
LINGER_TIME: Final = 5.0
"""Seconds, as nginx ``lingering_timeout``."""
_REQUESTS_PER_TURN: Final = 32
"""Pipelined requests started in one turn of the event loop; others get theirs in between."""
_HIGH_WATER: Final = 256 * 1024


class Http1Connection(Http1Responses):
    """Reads requests and decides what comes next; writing is its base's."""

    __slots__ = (
        "_accepted",
        "_body_left",
        "_buffer",
        "_client_eof",
        "_decoder",
        "_exchange",
        "_held",
        "_parser",
        "_paused",
        "_pumping",
        "_small_head",
        "_told",
        "_tunnel",
    )

    def __init__(self, connections: Connections, told: Ends | None = None) -> None:
        """``told``: by a PROXY protocol header that came before."""
        # Life of the connection.
        super().__init__(connections)
        self._told = told
        self._parser = RequestParser(self.head)
        self._accepted = False
        self._client_eof = False
        self._paused = 0
        self._pumping = False
        self._buffer = b""
        """The part of a head that has come."""
        self._held = b""
        """Bytes behind the current request."""
        # Life of a request.
        self._body_left = 0
        self._decoder: ChunkedDecoder | None = None

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.facts: ClientFacts = self._connections.client_facts(self.transport, self._told)
        self.head.allow_underscores = self._runtime.state.settings.allow_underscores
        self.head.trusted = self.facts.trusted
        self._small_head = small_head(self._runtime.state.settings)
        self._since = monotonic()
        self._accepted = self._connections.add(self)
        if not self._accepted:
            self._refuse(local_response(503, error="TooManyConnections", message="Too many connections.", close=True))
            return
        self._exchange = Exchange(self._runtime, self, self.head)

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase == HEAD_PHASE:
            self._read_head(data)
            if self._held:
                self._pump()
        elif phase == WAIT_PHASE:
            self._held += data
            self._pause(_BY_PIPELINE)
        elif phase == TUNNEL_PHASE:
            self._tunnel.client_data(data)
        elif phase in (COUNTED_PHASE, CHUNKED_PHASE, DISCARD_PHASE):
            self._read_body(data)
            if self._held:
                self._pump()

    def eof_received(self) -> bool:
        self._client_eof = True
        phase = self._phase
        if phase == WAIT_PHASE:
            # The client half-closed: it still reads. TLS has no such state that the event loop could keep.
            return not self.facts.is_tls
        if phase == TUNNEL_PHASE:
            self._tunnel.client_eof()
            return not self.facts.is_tls
        if phase in (COUNTED_PHASE, CHUNKED_PHASE):
            self._exchange.client_gone("RequestTruncated")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._phase = CLOSED_PHASE
        self._connections.discard(self)
        if self._accepted:
            self._exchange.client_gone()
        self._parser.close()
        self._drop_decoder()
        self._held = self._buffer = self._pending = b""

    def pause_writing(self) -> None:
        self._write_blocked = True
        self._watch_progress()
        if self._accepted and self._exchange.running:
            self._exchange.downstream_blocked()
        elif self._phase == HEAD_PHASE:
            self._pause(_BY_WRITES)

    def resume_writing(self) -> None:
        self._write_blocked = False
        self._resume(_BY_WRITES)
        if self._accepted and self._exchange.running:
            self._exchange.downstream_writable()
        elif self._held:
            self._pump()

    # ---- reading

    def _pump(self) -> None:
        """Work on the bytes held back, for as long as the phase wants bytes."""
        if self._pumping:
            return
        self._pumping = True
        turns = 0
        try:
            while self._held and not self._write_blocked:
                if self._phase == HEAD_PHASE:
                    if turns >= _REQUESTS_PER_TURN:
                        self._pause(_BY_PIPELINE)
                        self._connections.loop.call_soon(self._pump)
                        return
                    turns += 1
                    data, self._held = self._held, b""
                    self._read_head(data)
                elif self._phase in (COUNTED_PHASE, CHUNKED_PHASE, DISCARD_PHASE):
                    data, self._held = self._held, b""
                    self._read_body(data)
                else:
                    break
        finally:
            self._pumping = False
        if self._held:
            self._pause(_BY_PIPELINE)
        elif self._paused & _BY_PIPELINE:
            self._resume(_BY_PIPELINE)

    def _read_head(self, data: bytes) -> None:
        """Take one head from ``data``; what is behind it goes to ``_held``."""
        buffered = self._buffer
        seen = 0
        if buffered:
            data = buffered + data
            seen = len(buffered)
        try:
            if data[0] < 0x41:
                data = without_empty_lines(data)
                seen = 0
            end = data.find(HEAD_END, seen - 3 if seen > 3 else 0) + 4
            if end < 4:
                if not seen and data > b"\r":
                    # Empty lines are no beginning, and win no time.
                    self._since = monotonic()
                check_partial_head(data, seen, self._runtime.state.settings)
                self._buffer = data
                return
            if buffered:
                self._buffer = b""
            if end == len(data):
                whole = data
            else:
                whole = data[:end]
                self._held = data[end:]
            if end > self._small_head:
                check_head(whole, end, self._runtime.state.settings)
            self._parser.parse(whole)
            length = self.head.content_length
            if length == NO_BODY:
                self._phase = WAIT_PHASE
            elif length == CHUNKED:
                decoder = self._decoder = ChunkedDecoder()
                self._phase = CHUNKED_PHASE
                # What came with the head is decoded before a backend hears of it: if it is broken, none will.
                payload = decoder.feed(self._held)
                self._held = decoder.surplus
            else:
                self._body_left = length
                self._phase = COUNTED_PHASE
            self._exchange.start()
        except MessageError as error:
            self._runtime.telemetry.bad_requests += 1
            status = error.status if isinstance(error, BadRequest) else 400
            self._refuse(local_response(status, error=error.reason, close=True))
            return
        if self._decoder is not None:
            self._take_body(payload)

    def _read_body(self, data: bytes) -> None:
        """Take body bytes from ``data``; what is behind the body goes to ``_held``."""
        decoder = self._decoder
        if decoder is not None:
            try:
                payload = decoder.feed(data)
            except MessageError as error:
                self._runtime.telemetry.bad_requests += 1
                self._drop_decoder()
                self._exchange.body_failed(BadRequest(error.reason))
                return
            self._held = decoder.surplus
            self._take_body(payload)
            return
        left = self._body_left - len(data)
        if left < 0:
            data, self._held = data[:left], data[left:]
            left = 0
        self._body_left = left
        self._take_body(data)

    def _take_body(self, payload: bytes) -> None:
        exchange, decoder = self._exchange, self._decoder
        if payload and self._phase != DISCARD_PHASE:
            exchange.request_body(payload)
        if not (self._body_left == 0 if decoder is None else decoder.done):
            return
        self._drop_decoder()
        if self._phase == DISCARD_PHASE:
            self._next_request()
        elif self._phase in (COUNTED_PHASE, CHUNKED_PHASE):
            self._phase = WAIT_PHASE
            exchange.request_end([] if decoder is None else decoder.trailers)

    def _drop_decoder(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def _pause(self, by: int) -> None:
        if not self._paused and self._phase < LINGER_PHASE:
            self.transport.pause_reading()
        self._paused |= by

    def _resume(self, by: int) -> None:
        if self._paused:
            self._paused &= ~by
            if not self._paused and self._phase != CLOSED_PHASE:
                self.transport.resume_reading()

    # ---- Downstream

    def send_continue(self) -> None:
        if self._phase in (COUNTED_PHASE, CHUNKED_PHASE):
            self.transport.write(CONTINUE)

    def send_response(self, head: ResponseHead, body: bytes, close: bool, now: float) -> None:
        special = head.special
        if SERVER in special and DATE in special:
            own = b""
        else:
            own = self._runtime.own_fields(has_server=SERVER in special, has_date=DATE in special)
        minor = self.head.minor
        self.transport.write(encode_response(head, own, body, minor=minor, chunked=False, close=close))
        if (
            self._phase == WAIT_PHASE
            and not close
            and not self._held
            and not self._paused
            and not self._write_blocked
            and not self._client_eof
            and not self._connections.closing
        ):
            # The common case of what follows.
            self._phase = HEAD_PHASE
            self._since = now
            return
        self._close = close
        self._response_over()

    def send_local(
        self, response: LocalResponse, *, request_id: bytes, close: bool, change: ChangeLines | None
    ) -> None:
        head = self.head
        if not close and self._phase in (COUNTED_PHASE, CHUNKED_PHASE):
            # The body that nobody wants: read it if it is small and surely comes, else close behind the response.
            close = self._phase == CHUNKED_PHASE or self._body_left > DISCARD_LIMIT or head.expects_continue
        self._close = close
        data = render(
            response,
            request_id=request_id,
            accept=head.field(b"accept") or b"",
            own=self._runtime.server_and_date,
            head_only=head.method == b"HEAD",
            minor=head.minor,
            close=close,
            change=change,
        )
        self.transport.write(data)
        self._response_over()

    def takes_switch(self, head: ResponseHead) -> bool:
        return True

    def start_tunnel(self, head: ResponseHead, tunnel: Tunnel) -> bytes:
        self._tunnel = tunnel
        self.transport.write(encode_switch(head))
        self._phase = TUNNEL_PHASE
        early, self._held = self._held, b""
        self._resume(_BY_PIPELINE)
        if self._client_eof:
            self._connections.loop.call_soon(self._tunnel_eof)
        return early

    def _tunnel_eof(self) -> None:
        """The client had half-closed before there was a tunnel."""
        if self._phase == TUNNEL_PHASE:
            self._tunnel.client_eof()

    def pause_body(self) -> None:
        self._pause(_BY_EXCHANGE)

    def resume_body(self) -> None:
        self._resume(_BY_EXCHANGE)

    # ---- ends

    def _response_over(self) -> None:
        """The response was written whole; what is next depends on the request's body and on who wants to close."""
        phase = self._phase
        if phase == WAIT_PHASE:
            if not (self._close or self._connections.closing):
                self._next_request()
            elif self._paused or self._held:
                # There are requests behind this one that will not be served; they must not reset its response away.
                self._linger()
            else:
                self._end()
        elif phase in (COUNTED_PHASE, CHUNKED_PHASE):
            if self._close or self._connections.closing:
                self._linger()
            else:
                self._phase = DISCARD_PHASE
                self._since = monotonic()
                self._resume(_BY_EXCHANGE)

    def _next_request(self) -> None:
        if self._paused & _BY_EXCHANGE:
            self._resume(_BY_EXCHANGE)
        self._phase = HEAD_PHASE
        self._since = monotonic()
        if self._write_blocked:
            # The client has a response to read before it may ask for more.
            self._pause(_BY_WRITES)
        if self._held:
            self._pump()
        elif self._client_eof:
            self._end()
        elif self._paused:
            self._resume(_BY_PIPELINE)

    def _refuse(self, response: LocalResponse) -> None:
        """Answer something that never became an exchange, and close."""
        request_id = self._runtime.request_id()
        record_refusal(self._runtime, self.facts, self.head, response, request_id)
        own = self._runtime.server_and_date
        self.transport.write(render(response, request_id=request_id, accept=b"", own=own, head_only=False, close=True))
        self._held = self._buffer = b""
        self._linger()

    def _linger(self) -> None:
        """Bytes may still come, and closing on them would reset the response away: drop them for a while."""
        self._phase = LINGER_PHASE
        self._since = monotonic()
        self._held = b""
        self._drop_decoder()
        if self._client_eof:
            self._end()
            return
        if not self.facts.is_tls:
            self.transport.write_eof()
        if self._paused:
            self._paused = 0
            self.transport.resume_reading()

    # ---- time

    def check(self, now: float) -> None:
        """Called about once a second."""
        phase = self._phase
        settings = self._runtime.state.settings
        if phase == HEAD_PHASE:
            self._check_head(now)
        elif phase in (COUNTED_PHASE, CHUNKED_PHASE, WAIT_PHASE, TUNNEL_PHASE):
            self._exchange.check(now)
        elif phase == DISCARD_PHASE:
            if now - self._since > settings.body_timeout:
                self.transport.abort()
        elif phase == LINGER_PHASE:
            if self.is_stuck(now) or (now - self._since > LINGER_TIME and not self._progress.unsent):
                self.transport.abort()
        elif self.is_stuck(now) or (now - self._since > settings.write_timeout and not self._progress.unsent):
            self.transport.abort()

    def _check_head(self, now: float) -> None:
        settings = self._runtime.state.settings
        waited = now - self._since
        if self._buffer:
            if waited > settings.header_timeout:
                self._refuse(local_response(408, error="HeaderTimeout", close=True))
        elif self.transport.get_write_buffer_size():
            if self.is_stuck(now):
                self.transport.abort()
        else:
            # Before the first request the client owes one; after it, it may be idle.
            fresh = not self.head.method
            if waited > (settings.header_timeout if fresh else settings.keepalive_timeout):
                self._end()

    @property
    def is_busy(self) -> bool:
        """Its client still waits for something."""
        return self._phase < LINGER_PHASE

    def close_if_idle(self, now: float) -> None:
        """End a connection that waits for a request. One without any so far may be on its way through the network."""
        is_old = bool(self.head.method) or now - self._since > FRESH_TIME
        if is_old and self._phase == HEAD_PHASE and not self._buffer and not self._held:
            self._end()

    def kill(self) -> None:
        """End it whatever it does; true work is lost."""
        self.transport.abort()
