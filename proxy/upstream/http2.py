"""An HTTP/2 connection to an endpoint, shared by many exchanges.

1. Streams are opened within the endpoint's limit, and none before it told one: see ``Http2Upstream.greeting``. Some
   servers answer what is above it by a reset that does not say that nothing was done.
2. Windows follow the exchanges: what a client does not take is not given back to its stream. The window of the whole
   connection never closes, so that no client holds up another's response.
3. What the endpoint says it did not process (REFUSED_STREAM, streams above the last one of a GOAWAY) may be sent again
   whatever its method; all else follows the rules of a broken connection (RFC 9113 section 8.7).
"""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic
from typing import Final, cast

from proxy.http2 import (
    ConnectionFailed,
    DataReceived,
    Drained,
    Event,
    Fields,
    GoAwayReceived,
    HeadersReceived,
    Http2Connection,
    InformationalReceived,
    Limits,
    SettingsReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from proxy.http2.codes import REFUSED_STREAM
from proxy.upstream.connection import FINISH_TIME
from proxy.upstream.http2_stream import UpstreamStream
from proxy.upstream.multiplexed import MultiplexedEndpoint

__all__ = ["Http2Upstream"]

_LIMITS: Final = Limits(connection_window=1 << 30)
_HIGH_WATER: Final = 256 * 1024
_TICK: Final = 1.0
_MAX_TICKS: Final = 10


class Http2Upstream(asyncio.Protocol):
    """``usable`` while new streams may be opened, now or later."""

    def __init__(self, endpoint: MultiplexedEndpoint) -> None:
        self.endpoint = endpoint
        self.codec = Http2Connection(client=True, limits=_LIMITS)
        self.scheme = b"http" if endpoint.tls is None else b"https"
        self.served = 0
        """Requests answered."""
        self.usable = True
        self.idle_since = monotonic()
        self.greeting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Empty: the endpoint told its limits (SETTINGS, RFC 9113 section 3.4) and takes a stream. Else the reason why
        it never will."""
        self.missing = "ConnectNoSettings"
        """The reason, where the greeting takes too long."""
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens
        self._streams: dict[int, UpstreamStream] = {}
        self._promised = 0
        """Streams that were given out and not opened yet."""
        self._closed = False
        self._receiving = False
        self._flushing = False
        self._ticked = monotonic()

    # ---- for the endpoint

    @property
    def has_room(self) -> bool:
        """Whether a stream can be opened now; asked only once the greeting came."""
        return self.usable and self.codec.can_open

    @property
    def is_idle(self) -> bool:
        """No stream is open."""
        return not self._streams and not self._promised

    def new_stream(self) -> UpstreamStream:
        """A stream, to be opened before anything else happens."""
        self._promised += 1
        return UpstreamStream(self)

    def leave(self) -> None:
        """Take no new streams; end with the last one."""
        self.usable = False
        if self in self.endpoint.connections:
            self.endpoint.connections.remove(self)
        if self.is_idle:
            self.close()

    def close(self) -> None:
        """Say goodbye and close. Streams must be over."""
        self.usable = False
        if self in self.endpoint.connections:
            self.endpoint.connections.remove(self)
        if not self._closed:
            self._closed = True
            self.codec.goaway()
            self._write()
            self.transport.close()
            if self.scheme == b"https":
                # Its close_notify is on its way; nobody waits for the other side's.
                self.transport.abort()
            elif self.transport.get_write_buffer_size():
                asyncio.get_running_loop().call_later(FINISH_TIME, self.transport.abort)

    # ---- for streams

    def open(self, stream: UpstreamStream, fields: Fields, *, end: bool) -> None:
        """Send the head of a request."""
        self._promised -= 1
        stream.number = self.codec.open_stream(fields, end=end)
        self._streams[stream.number] = stream
        self.flush_soon()

    def forget(self, stream: UpstreamStream) -> None:
        """The stream is over, or was never opened."""
        if stream.number:
            self._streams.pop(stream.number, None)
        else:
            self._promised -= 1
        if not self._streams:
            self.idle_since = monotonic()
            if not self.usable or self.endpoint.send_proxy:
                asyncio.get_running_loop().call_soon(self.leave)

    def flush_soon(self) -> None:
        """Write what is to be written, once for all that happens now."""
        if not self._receiving and not self._flushing and not self._closed:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._write()

    def _write(self) -> None:
        data = self.codec.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._write()

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self._tick()
        self._receiving = True
        begun: dict[int, UpstreamStream] = {}
        for event in self.codec.receive(data):
            self._handle(event, begun)
        for stream in begun.values():
            stream.flush()
        self._receiving = False
        if not self._closed:
            self._write()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        if isinstance(error, ssl.SSLError):
            reason = "UpstreamTlsFailed"
        else:
            reason = "UpstreamClosed" if error is None or isinstance(error, BrokenPipeError) else "UpstreamReset"
        self._fail(reason)

    def pause_writing(self) -> None:
        self.codec.hold()

    def resume_writing(self) -> None:
        for event in self.codec.resume():
            self._handle(event, {})
        self._write()

    # ---- events

    def _handle(self, event: Event, begun: dict[int, UpstreamStream]) -> None:
        """``begun``: streams whose heads came without a body yet."""
        if isinstance(event, SettingsReceived):
            self.missing = "ConnectNoStreams"
            if self.has_room:
                self._greet("")
        elif isinstance(event, GoAwayReceived):
            self._refused_above(event.last_stream)
        elif isinstance(event, ConnectionFailed):
            self._write()
            self._closed = True
            self.transport.abort()
            self._greet("ConnectNoHttp2")
            self._fail(event.reason)
        else:
            self._handle_stream(event, begun)

    def _handle_stream(self, event: Event, begun: dict[int, UpstreamStream]) -> None:
        number = getattr(event, "stream", 0)
        stream = self._streams.get(number)
        if stream is None:
            if isinstance(event, DataReceived):
                self.codec.release(number, event.size)
            return
        if isinstance(event, DataReceived):
            begun.pop(number, None)
            stream.body(event.data, event.size)
        elif isinstance(event, HeadersReceived):
            self._keep_session()
            if not event.ended:
                begun[number] = stream
            stream.headers(event.fields, ended=event.ended)
        elif isinstance(event, StreamEnded):
            begun.pop(number, None)
            stream.ended([])
        elif isinstance(event, TrailersReceived):
            begun.pop(number, None)
            stream.ended(event.fields)
        elif isinstance(event, Drained):
            stream.drained()
        elif isinstance(event, InformationalReceived):
            stream.informational(event.fields)
        elif isinstance(event, StreamReset):
            refused = event.by_peer and event.code == REFUSED_STREAM
            stream.failed("UpstreamReset" if event.by_peer else "Http2StreamError", unprocessed=refused)

    def _refused_above(self, last: int) -> None:
        """The endpoint takes no more streams, and acts on none above ``last``."""
        self.leave()
        for number, stream in tuple(self._streams.items()):
            if number > last:
                stream.failed("UpstreamClosed", unprocessed=True)

    def _fail(self, reason: str) -> None:
        """The connection is gone, and every stream with it."""
        self._greet(reason)
        self.usable = False
        if self in self.endpoint.connections:
            self.endpoint.connections.remove(self)
        for stream in tuple(self._streams.values()):
            stream.failed(reason)

    def _greet(self, reason: str) -> None:
        if not self.greeting.done():
            self.greeting.set_result(reason)

    def _tick(self) -> None:
        now = monotonic()
        ticks = int((now - self._ticked) / _TICK)
        if ticks:
            self._ticked = now
            for _ in range(min(ticks, _MAX_TICKS)):
                self.codec.tick()

    def _keep_session(self) -> None:
        if self.endpoint.tls is None or self.served:
            return
        connection: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        if connection is not None and connection.session is not None:
            self.endpoint.session = connection.session
            self.endpoint.session_at = monotonic()
