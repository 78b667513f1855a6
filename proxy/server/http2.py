"""One HTTP/2 connection of a client: its streams, its windows, its end.

A connection ends in two steps, so that no request is lost (RFC 9113 section 6.8). First it says that it will end, and
asks for a sign that this was heard; requests that cross that on their way are served. Then it names the last stream
that it serves, and closes once that is done.
"""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from proxy.engine.progress import Progress
from proxy.engine.record import record_refusal
from proxy.http2 import (
    ConnectionFailed,
    DataReceived,
    Drained,
    Event,
    Http2Connection,
    Limits,
    PingAnswered,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from proxy.http2.codes import ENHANCE_YOUR_CALM, NO_ERROR
from proxy.http2.requests import RequestReader
from proxy.message.forwarding import ClientFacts
from proxy.message.local import local_response
from proxy.message.proxy_protocol import Ends
from proxy.message.request import RequestHead
from proxy.routing import BadHost, canonical_host
from proxy.server.http2_stream import Http2Stream
from proxy.server.kernel import unsent_bytes
from proxy.server.misdirected import is_misdirected

if TYPE_CHECKING:
    from proxy.server.connections import Connections, Member

__all__ = ["Http2ServerConnection"]

LIMITS: Final = Limits(extended_connect=True)
_HIGH_WATER: Final = 256 * 1024
"""Bytes unsent from which on bodies wait. Answers to PING and the like do not: what may be asked for bounds them."""
FRESH_TIME: Final = 1.0
"""Seconds that a new connection has for the beginning of its first request when the worker drains."""
_LINGER_TIME: Final = 5.0
_HEARD_TIME: Final = 1.0
"""Seconds to wait for the sign that the client heard of the end."""
_MAX_HOSTS: Final = 64
_MAX_SPARE: Final = 8
"""Streams kept for later requests of a connection, until it rests: a browser asks for some six things at a time."""
_MAX_GATHERED: Final = 64 * 1024
"""Bytes of bodies that are gathered before they are written."""
_SIGN: Final = b"goodbye!"

_SERVING: Final = 0
_ENDING: Final = 1
"""The end was announced."""
_LAST: Final = 2
"""The last stream was named."""
_LINGER: Final = 3
"""Everything was said; what still comes is dropped, so that the client can read it."""
_CLOSED: Final = 4


class Http2ServerConnection(asyncio.Protocol):
    """A :class:`~proxy.server.connections.Member`."""

    def __init__(self, connections: Connections, told: Ends | None = None) -> None:
        """``told``: by a PROXY protocol header that came before."""
        self.runtime = connections.runtime
        self.codec: Http2Connection = Http2Connection(client=False, limits=LIMITS)
        self.allow_underscores = False
        self.is_blocked = False
        """The transport takes no more."""
        self.reader = RequestReader()
        self.facts: ClientFacts
        self.transport: asyncio.Transport
        self._connections = connections
        self._told = told
        self._tls: ssl.SSLObject | None = None
        self._served_hosts: dict[bytes, bool] = {}
        """Those asked for so far, as the client wrote them."""
        self._streams: dict[int, Http2Stream] = {}
        self._spare: list[Http2Stream] = []
        self._call_soon = connections.loop.call_soon
        self._flushing = False
        """A write is due, still in this turn of the loop."""
        self._gathered = 0
        self._phase = _SERVING
        self._since = 0.0
        """When the last stream ended, or the phase began."""
        self._served = False
        """There was a request."""
        self._receiving = False
        self._progress = Progress()
        self._head = (0, 0.0)
        """The number of the header block that is being received, and since when."""

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._begin(transport)
        if not self._connections.add(self):
            self._fail(ENHANCE_YOUR_CALM, "TooManyConnections", 503)
            return
        self._write()

    def take_over(self, transport: asyncio.BaseTransport, before: Member) -> None:
        """As ``connection_made``, in place of a connection that is counted already."""
        self._begin(transport)
        self._connections.replace(before, self)
        self._write()

    def _begin(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.facts = self._connections.client_facts(self.transport, self._told)
        self.facts.protocols = ("HTTP/2.0", "HTTP/2.0")
        self.allow_underscores = self.runtime.state.settings.allow_underscores
        self._tls = self.transport.get_extra_info("ssl_object")
        self._since = monotonic()
        self.runtime.telemetry.http2_connections += 1

    def data_received(self, data: bytes) -> None:
        if self._phase >= _LINGER:
            return
        self._receiving = True
        for event in self.codec.receive(data):
            self._handle(event)
            if self._phase >= _LINGER:
                break
        self._receiving = False
        if self._phase < _LINGER:
            self._write()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._phase = _CLOSED
        self._connections.discard(self)
        self._drop_streams("ClientGone")

    def pause_writing(self) -> None:
        self.is_blocked = True
        self._progress.begin(monotonic(), unsent_bytes(self.transport))
        self.codec.hold()

    def resume_writing(self) -> None:
        self.is_blocked = False
        for event in self.codec.resume():
            self._handle(event)
        self._write()

    # ---- events

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._served = True
            number = event.stream
            stream = self._streams[number] = self._spare.pop() if self._spare else Http2Stream(self)
            stream.start(number, event.path, event.others, ended=event.ended)
        elif isinstance(event, ConnectionFailed):
            if event.code == ENHANCE_YOUR_CALM:
                self.runtime.telemetry.http2_floods += 1
            self._fail(event.code, event.reason)
        elif isinstance(event, PingAnswered):
            if event.data == _SIGN and self._phase == _ENDING:
                self._name_last()
        else:
            self._handle_stream(event)

    def _handle_stream(self, event: Event) -> None:
        number = getattr(event, "stream", 0)
        stream = self._streams.get(number)
        if stream is None:
            if isinstance(event, DataReceived):
                self.codec.release(number, event.size)
        elif isinstance(event, DataReceived):
            stream.body(event.data, event.size)
        elif isinstance(event, StreamEnded):
            stream.end([])
        elif isinstance(event, TrailersReceived):
            stream.end(event.fields)
        elif isinstance(event, Drained):
            stream.drained()
        elif isinstance(event, StreamReset):
            if event.by_peer:
                self.runtime.telemetry.http2_resets += 1
            else:
                self.runtime.telemetry.bad_requests += 1
            stream.gone("ClientReset" if event.by_peer else "Http2StreamError")

    # ---- for streams

    def flush(self, size: int = 0) -> None:
        """Write what is to be written, ``size`` bytes of a body among it, once for all that happens now: responses that
        come in the same turn of the loop share a TLS record and a call of the kernel."""
        self._gathered += size
        if self._gathered > _MAX_GATHERED:
            if self._phase < _LINGER:
                self._write()
        elif not self._flushing and not self._receiving:
            self._flushing = True
            self._call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._phase < _LINGER and not self.transport.is_closing():
            self._write()

    def _write(self) -> None:
        self._gathered = 0
        data = self.codec.data_to_send()
        if data:
            self.transport.write(data)

    def served(self, stream: Http2Stream) -> None:
        """The stream is over, and was nothing but a request and its response: it can serve another one."""
        if len(self._spare) < _MAX_SPARE:
            self._spare.append(stream)
        self._left(stream.number)

    def forget(self, stream: Http2Stream) -> None:
        """The stream is over."""
        stream.give_back()
        self._left(stream.number)

    def _left(self, number: int) -> None:
        if self._streams.pop(number, None) is not None and not self._streams:
            self._since = monotonic()
            if self._phase == _LAST:
                self._end()
            elif self._connections.closing and self._phase == _SERVING:
                self._announce()

    def mistake(self, number: int, code: int) -> None:
        """A stream was malformed; too many of them end the connection."""
        self.codec.mistake(number, code)
        if self.codec.failed:
            self.runtime.telemetry.http2_floods += 1
            self._fail(ENHANCE_YOUR_CALM, "Http2Flood")

    def serves(self, host: bytes) -> bool:
        """Whether requests for ``host`` (as the client wrote it) are served on this connection."""
        tls = self._tls
        if tls is None:
            return True
        served = self._served_hosts.get(host)
        if served is None:
            try:
                name = canonical_host(host)
            except BadHost:
                name = ""  # Refused a little later.
            served = not is_misdirected(tls, name)
            if len(self._served_hosts) < _MAX_HOSTS:
                self._served_hosts[host] = served
        return served

    def is_stuck(self, now: float) -> bool:
        """Whether what was written waits for a client that takes it too slowly."""
        settings = self.runtime.state.settings
        unsent = unsent_bytes(self.transport)
        return self._progress.is_stuck(
            now, unsent, time=settings.write_timeout, min_rate=settings.body_min_rate, since=0.0
        )

    # ---- ends

    def _fail(self, code: int, reason: str, status: int = 400) -> None:
        """Say GOAWAY, drop everything, close."""
        self.runtime.telemetry.bad_requests += status == 400
        response = local_response(status, error=reason)
        record_refusal(self.runtime, self.facts, RequestHead(), response, self.runtime.request_id())
        if not self.codec.failed:
            self.codec.fail(code)
        self._drop_streams(reason)
        self._end()

    def _drop_streams(self, reason: str) -> None:
        streams = tuple(self._streams.values())
        self._streams.clear()  # so that none of them ends the connection
        for stream in streams:
            stream.gone(reason)

    def _announce(self) -> None:
        """Say that the end is near."""
        self._phase = _ENDING
        self._since = monotonic()
        self.codec.announce_goaway()
        self.codec.ping(_SIGN)
        self.flush()

    def _name_last(self) -> None:
        """Say which streams are the last; nothing that comes later is acted on."""
        self._phase = _LAST
        self.codec.goaway(NO_ERROR)
        if self._streams:
            self.flush()
        else:
            self._end()

    def _end(self) -> None:
        """Everything was said: close once it is written."""
        if self._phase >= _LINGER:
            return
        self._write()
        self._since = monotonic()
        if self.facts.is_tls:
            self._phase = _CLOSED
            self.transport.close()
        else:
            # Closing on bytes that still come would reset the last words away.
            self._phase = _LINGER
            self.transport.write_eof()

    # ---- time

    def check(self, now: float) -> None:
        """Called about once a second."""
        self.codec.tick()
        phase = self._phase
        if phase >= _LINGER:
            if self.is_stuck(now) or (now - self._since > _LINGER_TIME and not unsent_bytes(self.transport)):
                self.transport.abort()
            return
        if self.is_blocked and self.is_stuck(now):
            self.transport.abort()
            return
        for stream in tuple(self._streams.values()):
            stream.check(now)
        self._check_head(now)
        if phase == _ENDING and now - self._since > _HEARD_TIME:
            self._name_last()
        elif phase == _SERVING:
            if self.runtime.draining:
                self._announce()
            elif not self._streams:
                self._spare.clear()
                self.reader.forget()
                settings = self.runtime.state.settings
                limit = settings.keepalive_timeout if self._served else settings.header_timeout
                if now - self._since > limit:
                    self._name_last()
        self.flush()

    def _check_head(self, now: float) -> None:
        """A header block has its deadline, whatever trickles in."""
        block = self.codec.unfinished_block
        if not block:
            self._head = (0, now)
        elif block != self._head[0]:
            self._head = (block, now)
        elif now - self._head[1] > self.runtime.state.settings.header_timeout:
            self._fail(ENHANCE_YOUR_CALM, "HeaderTimeout", 408)

    @property
    def is_busy(self) -> bool:
        """Its client still waits for something."""
        return bool(self._streams)

    def close_if_idle(self, now: float) -> None:
        """End a connection without requests under way, in two steps. One without any so far may be on its way."""
        if self._phase == _SERVING and not self._streams and (self._served or now - self._since > FRESH_TIME):
            self._announce()
        elif self._phase == _ENDING and now - self._since > _HEARD_TIME:
            self._name_last()
        elif self._phase == _LINGER and now - self._since > _HEARD_TIME and not unsent_bytes(self.transport):
            self.transport.abort()

    def kill(self) -> None:
        """End it whatever it does; true work is lost."""
        self.transport.abort()
