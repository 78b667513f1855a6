"""One request on an HTTP/2 connection: the :class:`~proxy.engine.downstream.Downstream` of its exchange.

A stream is over once its response was sent whole, or it was reset. Where the response comes before the request is
whole, the rest of the request is cancelled (RST_STREAM with NO_ERROR, RFC 9113 section 8.1).
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.engine.exchange import Exchange
from proxy.engine.progress import Progress
from proxy.engine.record import record_refusal
from proxy.http2 import Fields
from proxy.http2.codes import CANCEL, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR
from proxy.http2.fields import Malformed, trailers_of
from proxy.message.errors import BadRequest, MessageError
from proxy.message.grpc import error_fields
from proxy.message.lines import cut_named, values
from proxy.message.local import ChangeLines, LocalResponse, local_response, render
from proxy.message.request import RequestHead
from proxy.message.response import ResponseHead

if TYPE_CHECKING:
    from proxy.engine.tunnel import Tunnel
    from proxy.server.http2 import Http2ServerConnection

__all__ = ["Http2Stream"]

_WEBSOCKET: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What a server of WebSocket adds to the key (RFC 6455 section 1.3)."""


class Http2Stream:
    """Serves one request; its connection forgets it when it is over.

    Where nothing unusual happened it is used again for a later request (see ``send_response``), as the exchange of an
    HTTP/1.1 connection is.
    """

    __slots__ = (
        "_blocked",
        "_codec",
        "_connection",
        "_deadline",
        "_held",
        "_is_grpc",
        "_key",
        "_paused",
        "_pending",
        "_progress",
        "_responded_at",
        "_tunnel",
        "_websocket",
        "exchange",
        "facts",
        "head",
        "number",
        "request_ended",
        "response_ended",
    )

    def __init__(self, connection: Http2ServerConnection) -> None:
        self.number = 0
        self.facts = connection.facts
        self.head = head = RequestHead()
        head.allow_underscores = connection.allow_underscores
        head.trusted = self.facts.trusted
        self.request_ended = False
        self.response_ended = False
        self._connection = connection
        self._codec = connection.codec
        self._blocked = False
        """The exchange was told that the client takes no more."""
        self._paused = False
        """The exchange takes no more of the request."""
        self._held = 0
        """Bytes of the request to give back to the client's window once it does."""
        self._pending: tuple[int, bytes] | None = None
        """The response head, as status and lines, until it can leave together with the first bytes of the body."""
        self._is_grpc = False
        self._websocket = False
        self._key = b""
        self._deadline = 0.0
        self._tunnel: Tunnel | None = None
        self._progress = Progress()
        self._responded_at = 0.0
        self.exchange = Exchange(connection.runtime, self, head)

    # ---- from the connection

    def start(self, number: int, path: bytes, others: bytes, *, ended: bool) -> None:
        """The request head came; see ``RequestReceived``."""
        self.number = number
        self.request_ended = ended
        head = self.head
        connection = self._connection
        runtime = connection.runtime
        try:
            request = connection.reader.read(head, path, others, ended=ended, settings=runtime.state.settings)
            if request.is_grpc:
                self._is_grpc = True
                if request.timeout:
                    self._deadline = monotonic() + request.timeout
            elif request.protocol:
                self._websocket = True
                key = self._key = b64encode(runtime.random_bits(128).to_bytes(16, "big"))
                head.lines = b"%bSec-WebSocket-Key: %b\r\n" % (cut_named(head.lines, (b"sec-websocket-key",)), key)
            if not connection.serves(head.host):
                raise BadRequest("MisdirectedRequest", 421)
            self.exchange.start()
        except Malformed as error:
            self._malformed(error.reason)
        except MessageError as error:
            runtime.telemetry.bad_requests += 1
            status = error.status if isinstance(error, BadRequest) else 400
            response = local_response(status, error=error.reason)
            request_id = runtime.request_id()
            record_refusal(runtime, self.facts, head, response, request_id)
            self.send_local(response, request_id=request_id, close=False, change=None)

    def body(self, data: bytes, size: int) -> None:
        """Bytes of the request body, or of the tunnel, and what of the window they took."""
        if self._tunnel is not None:
            if data:
                self._tunnel.client_data(data)
        elif data and self.exchange.running:
            self.exchange.request_body(data)
        if self._paused:
            self._held += size
        else:
            self._codec.release(self.number, size)

    def end(self, trailers: Fields) -> None:
        """The request is whole."""
        self.request_ended = True
        try:
            passed = trailers_of(trailers) if trailers else trailers
        except Malformed as error:
            self.exchange.client_gone(error.reason)
            self._malformed(error.reason)
            return
        if self._tunnel is not None:
            self._tunnel.client_eof()
        elif self.exchange.running:
            self.exchange.request_end(passed)

    def gone(self, reason: str) -> None:
        """The client gave the stream up, or its connection ended."""
        self._connection.forget(self)
        self.exchange.client_gone(reason)

    def give_back(self) -> None:
        """What the request took of the windows is wanted no more."""
        self._paused = False
        if self._held:
            self._codec.release(self.number, self._held)
            self._held = 0

    def drained(self) -> None:
        """What waited for the client was sent."""
        if self.response_ended:
            self._over()
        elif self._blocked:
            self._blocked = False
            if self.exchange.running:
                self.exchange.downstream_writable()

    def check(self, now: float) -> None:
        """Called about once a second."""
        exchange = self.exchange
        if exchange.running:
            if self._deadline and now > self._deadline and not exchange.response_started:
                self._deadline = 0.0
                exchange.cut_short(local_response(504, error="GrpcDeadline"))
            else:
                exchange.check(now)
        elif self.response_ended and self.is_stuck(now):
            self._codec.reset(self.number, CANCEL)
            self._connection.forget(self)

    def _malformed(self, reason: str) -> None:
        connection = self._connection
        connection.runtime.telemetry.bad_requests += 1
        record_refusal(
            connection.runtime,
            self.facts,
            self.head,
            local_response(400, error=reason),
            connection.runtime.request_id(),
        )
        connection.forget(self)
        connection.mistake(self.number, PROTOCOL_ERROR)

    # ---- Downstream

    def send_continue(self) -> None:
        self._codec.send_head(self.number, 100, b"")
        self._connection.flush()

    def send_informational(self, head: ResponseHead) -> None:
        self._codec.send_head(self.number, head.status, head.lines)
        self._connection.flush()

    def send_response(self, head: ResponseHead, body: bytes, close: bool, now: float) -> None:
        connection = self._connection
        if self._websocket:
            self.begin_response(head, close=close)
            if body:
                self.send_body(body)
            self.end_response([])
            return
        number = self.number
        own = connection.runtime.own_fields(has_server=head.has_server, has_date=head.has_date)
        waits = self._codec.respond(number, head.status, head.lines + own, body)
        if waits or not self.request_ended or self._held or self._paused or self._is_grpc:
            self._response_over()
        else:
            connection.served(self)
        connection.flush(len(body))

    def begin_response(self, head: ResponseHead, *, close: bool) -> None:
        if self._websocket and 200 <= head.status < 300:
            # The client would take it for its WebSocket (RFC 8441 section 5).
            self._pending = (502, b"")
            return
        own = self._connection.runtime.own_fields(has_server=head.has_server, has_date=head.has_date)
        self._pending = (head.status, head.lines + own)

    def _send_pending(self, *, end: bool = False) -> bool:
        """Whether there was a head to send."""
        pending = self._pending
        if pending is None:
            return False
        self._pending = None
        self._codec.send_head(self.number, *pending, end=end)
        return True

    def flush_response(self) -> None:
        if self._send_pending():
            self._connection.flush()

    def send_body(self, data: bytes) -> None:
        self._send_pending()
        if self._codec.send_data(self.number, data) and not self._blocked:
            self._block()
        self._connection.flush(len(data))

    def _block(self) -> None:
        self._blocked = True
        self._progress.begin(monotonic(), self._codec.waiting(self.number))
        self.exchange.downstream_blocked()

    def end_response(self, trailers: list[tuple[bytes, bytes]]) -> None:
        if trailers:
            self._send_pending()
            self._codec.send_trailers(self.number, [(name.lower(), value) for name, value in trailers])
        elif not self._send_pending(end=True):
            self._codec.send_data(self.number, b"", end=True)
        self._response_over()

    def send_local(
        self, response: LocalResponse, *, request_id: bytes, close: bool, change: ChangeLines | None
    ) -> None:
        own = self._connection.runtime.server_and_date
        body = b""
        status = response.status
        if self._is_grpc and response.body is None:
            status = 200
            lines = error_fields(response, request_id=request_id, own=own)
            if change is not None:
                lines = change(lines)
        else:
            data = render(
                response,
                request_id=request_id,
                accept=self.head.field(b"accept") or b"",
                own=own,
                head_only=self.head.method == b"HEAD",
                close=False,
                change=change,
            )
            block, _, body = data.partition(b"\r\n\r\n")
            lines = block.partition(b"\r\n")[2] + b"\r\n"
        self._codec.respond(self.number, status, lines, body)
        self._response_over()

    def abort_response(self) -> None:
        self._codec.reset(self.number, INTERNAL_ERROR)
        self._connection.forget(self)
        self._connection.flush()

    def takes_switch(self, head: ResponseHead) -> bool:
        """The key was ours, so the proof is ours to check (RFC 6455 section 4.1, item 4 of the client's)."""
        proof = b64encode(sha1(self._key + _WEBSOCKET, usedforsecurity=False).digest())
        return [*values(head.lines, b"sec-websocket-accept")] == [proof]

    def start_tunnel(self, head: ResponseHead, tunnel: Tunnel) -> bytes:
        self._tunnel = tunnel
        lines = cut_named(head.lines, (b"sec-websocket-accept", b"content-length"))
        own = self._connection.runtime.own_fields(has_server=head.has_server, has_date=head.has_date)
        self._codec.send_head(self.number, 200, lines + own)
        self._connection.flush()
        self.resume_body()
        return b""

    def send_tunnel(self, data: bytes) -> None:
        if self._codec.send_data(self.number, data) and not self._blocked:
            self._block()
        self._connection.flush(len(data))

    def end_tunnel(self) -> None:
        self._tunnel = None
        if not self.response_ended:
            self._codec.send_data(self.number, b"", end=True)
            self._response_over()

    def pause_body(self) -> None:
        self._paused = True

    def resume_body(self) -> None:
        self.give_back()
        self._connection.flush()

    def is_stuck(self, now: float) -> bool:
        """Judged by the bytes that wait for the stream's window, or with the whole connection where that is blocked."""
        if self._connection.is_blocked:
            return self._connection.is_stuck(now)
        settings = self._connection.runtime.state.settings
        return self._progress.is_stuck(
            now,
            self._codec.waiting(self.number),
            time=settings.write_timeout,
            min_rate=settings.body_min_rate,
            since=self._responded_at,
        )

    # ---- the end

    def _response_over(self) -> None:
        self.response_ended = True
        self.resume_body()
        if self._codec.is_sending(self.number):
            if not self._blocked:
                self._progress.begin(monotonic(), self._codec.waiting(self.number))
            self._connection.flush()
        else:
            self._over()

    def _over(self) -> None:
        if not self.request_ended:
            self._codec.reset(self.number, NO_ERROR)
        self._connection.forget(self)
        self._connection.flush()
