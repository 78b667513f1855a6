"""One HTTP/2 connection of either role, without its socket: bytes in and events out, calls in and bytes out.

The user of it owns the transport:

1. After construction, and after each batch of calls, ``data_to_send()`` is what to write.
2. Whatever the transport reads goes to ``receive()``; its events are worked on in their order.
3. While the transport takes no more, ``hold()``; then ``resume()``.
4. Once a second, ``tick()``.

Bodies are sent with ``send_data``, whose bytes wait here while the windows of the peer are closed: it returns how many
wait, and ``Drained`` tells when none do any more. Bodies that come are given back with ``release`` as they are used up;
until then they count against our windows. So each side can stop the other, per stream.

Calls on a stream that is gone do nothing: the event that says so may still be on its way to the caller.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from h2.exceptions import ProtocolError
from h2.stream import H2Stream

from proxy.http2 import codes
from proxy.http2.engine import Engine
from proxy.http2.events import ConnectionFailed, Drained, Event, Fields, GoAwayReceived, StreamReset
from proxy.http2.fields import fields_of
from proxy.http2.limits import Limits

__all__ = ["Http2Connection"]

_ALL_STREAMS: Final = 2**31 - 1


class _Waiting:
    """What of a stream could not be sent yet, in its order: bytes, then trailers or the bare end."""

    __slots__ = ("end", "parts", "size", "trailers")

    def __init__(self) -> None:
        self.parts: deque[bytes | memoryview] = deque()
        self.size = 0
        self.end = False
        self.trailers: Fields | None = None


class Http2Connection:
    """``failed``: the peer broke the connection; nothing is received any more."""

    def __init__(self, *, client: bool, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.failed = False
        self.peer_last_stream = _ALL_STREAMS
        """The last of our streams that the peer acts on; lower once it said GOAWAY."""
        self._engine = Engine(self.limits, client=client)
        self._waiting: dict[int, _Waiting] = {}
        self._held = False
        self._peer_leaves = False
        """It said GOAWAY."""

    # ---- the transport

    def data_to_send(self) -> bytes:
        """What is to be written now; forgotten here."""
        return self._engine.data_to_send()

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer. Where they break the connection, ``ConnectionFailed`` is the only event: what came
        with them is in doubt."""
        if self.failed:
            return []
        engine = self._engine
        out = engine.out = []
        try:
            engine.receive_data(data)
        except ProtocolError as error:
            code = int(error.error_code)
            self.fail(code)
            return [ConnectionFailed(code, codes.reason(code))]
        for event in out:
            if isinstance(event, StreamReset):
                self._waiting.pop(event.stream, None)
            elif isinstance(event, GoAwayReceived):
                self._peer_leaves = True
                self.peer_last_stream = min(self.peer_last_stream, event.last_stream)
        if self._waiting and not self._held:
            out += self._flush()
        return out

    def hold(self) -> None:
        """The transport takes no more for now: keep bodies back."""
        self._held = True

    def resume(self) -> list[Event]:
        """The transport takes more again; the events are ``Drained``."""
        self._held = False
        return self._flush() if self._waiting else []

    def tick(self) -> None:
        """A second went by: the peer may again do what only costs."""
        self._engine.patience.tick()

    @property
    def unfinished_block(self) -> int:
        """The number of the header block whose beginning came and whose end did not; 0: there is none. Bytes of any
        frame that is not whole count as the beginning of one."""
        return self._engine.unfinished_block

    # ---- streams

    @property
    def can_open(self) -> bool:
        """Whether ``open_stream`` may be called (by a client)."""
        engine = self._engine
        return (
            not self.failed
            and not self._peer_leaves
            and engine.highest_outbound_stream_id < _ALL_STREAMS - 2
            and engine.open_outbound_streams < engine.remote_settings.max_concurrent_streams
        )

    def open_stream(self, fields: Fields, *, end: bool) -> int:
        """Send a request head; the number of its stream. ``end``: nothing follows it. See ``can_open``."""
        number = self._engine.get_next_available_stream_id()
        self._engine.send_headers(number, fields, end_stream=end)
        return number

    def send_head(self, stream: int, status: int, lines: bytes, *, end: bool = False) -> None:
        """Send a response head, an informational one or the final one, from header lines as heads keep them."""
        if self._open(stream) is not None:
            self._engine.send_headers(stream, [(b":status", b"%d" % status), *fields_of(lines)], end_stream=end)
            if end:
                self._engine.patience.stream_served()

    def respond(self, stream: int, status: int, lines: bytes, body: bytes) -> bool:
        """Send a whole response; true where something of it waits (see ``is_sending``)."""
        self.send_head(stream, status, lines, end=not body)
        return bool(body) and self.send_data(stream, body, end=True) > 0

    def send_data(self, stream: int, data: bytes, *, end: bool = False) -> int:
        """Send bytes of a body; how many of the stream's wait. ``end``: nothing follows them (they may be none)."""
        state = self._open(stream)
        if state is None:
            return 0
        waiting = self._waiting.get(stream)
        size = len(data)
        engine = self._engine
        if waiting is None:
            if not self._held and (
                size <= engine.max_outbound_frame_size and (size <= engine.send_window(state) or not size)
            ):
                engine.write_data(state, data, end=end)
                if end:
                    engine.patience.stream_served()
                return 0
            waiting = self._waiting[stream] = _Waiting()
        if size:
            # Its pieces are no copies.
            waiting.parts.append(memoryview(data))
            waiting.size += size
        waiting.end = waiting.end or end
        if not self._held:
            self._send_waiting(stream, waiting, _ALL_STREAMS)
        return waiting.size

    def send_trailers(self, stream: int, fields: Fields) -> None:
        """End a body with trailer fields."""
        if self._open(stream) is None:
            return
        waiting = self._waiting.get(stream)
        if waiting is None:
            self._engine.send_headers(stream, fields, end_stream=True)
            self._engine.patience.stream_served()
        else:
            waiting.trailers = fields

    def waiting(self, stream: int) -> int:
        """Bytes of the stream's body that wait for the peer's windows."""
        waiting = self._waiting.get(stream)
        return 0 if waiting is None else waiting.size

    def is_sending(self, stream: int) -> bool:
        """Whether something of the stream waits: bytes, trailers or its end."""
        return stream in self._waiting

    def release(self, stream: int, size: int) -> None:
        """So many bytes of ``DataReceived`` are used up: the peer may send as many more."""
        if not self.failed and size:
            self._engine.acknowledge_received_data(size, stream)

    def reset(self, stream: int, code: int) -> None:
        """End a stream now, whatever of it is under way."""
        self._waiting.pop(stream, None)
        if self._open(stream) is not None:
            self._engine.reset_stream(stream, code)

    def mistake(self, stream: int, code: int) -> None:
        """As ``reset``, for a mistake of the peer; ``failed`` where it made too many (GOAWAY is written)."""
        self.reset(stream, code)
        if not self.failed and not self._engine.patience.reset():
            self.fail(codes.ENHANCE_YOUR_CALM)

    # ---- the connection

    def announce_goaway(self) -> None:
        """Say that the end is near; streams that are on their way are still taken (RFC 9113 section 6.8)."""
        if not self.failed:
            self._engine.write_goaway(codes.NO_ERROR, _ALL_STREAMS)

    def goaway(self, code: int = codes.NO_ERROR) -> None:
        """Say that no stream beyond those received is acted on; those that are there go on."""
        engine = self._engine
        if not self.failed:
            engine.last_accepted = engine.highest_inbound_stream_id
            engine.refuses = True
            engine.write_goaway(code, engine.last_accepted)

    def fail(self, code: int) -> None:
        """Say GOAWAY and take nothing more."""
        self.goaway(code)
        self.failed = True

    def ping(self, data: bytes) -> None:
        """Ask for a sign of life; ``data`` are eight bytes."""
        if not self.failed:
            self._engine.ping(data)

    # ---- inside

    def _open(self, stream: int) -> H2Stream | None:
        """The stream, as far as something can still be sent on it."""
        state = self._engine.streams.get(stream)
        return None if state is None or state.closed or self.failed else state

    def _flush(self) -> list[Event]:
        """Send what waits, in turns, as far as the windows allow."""
        drained: list[Event] = []
        moved = True
        while moved:
            moved = False
            for stream, waiting in tuple(self._waiting.items()):
                if self._send_waiting(stream, waiting, 1):
                    moved = True
                if stream not in self._waiting:
                    drained.append(Drained(stream))
        return drained

    def _send_waiting(self, stream: int, waiting: _Waiting, frames: int) -> bool:
        """Send up to so many frames of what waits; whether there was one."""
        state = self._open(stream)
        if state is None:
            del self._waiting[stream]
            return False
        engine, parts = self._engine, waiting.parts
        moved = False
        while parts and frames:
            room = min(engine.send_window(state), engine.max_outbound_frame_size)
            if room <= 0:
                return moved
            data = parts.popleft()
            if len(data) > room:
                parts.appendleft(data[room:])
                data = data[:room]
            waiting.size -= len(data)
            frames -= 1
            moved = True
            last = waiting.end and not parts and waiting.trailers is None
            engine.write_data(state, data, end=last)
            if last:
                self._sent_all(stream)
                return True
        if not parts:
            if waiting.trailers is not None:
                engine.send_headers(stream, waiting.trailers, end_stream=True)
                self._sent_all(stream)
            elif waiting.end:
                engine.write_data(state, b"", end=True)
                self._sent_all(stream)
            else:
                del self._waiting[stream]
        return moved

    def _sent_all(self, stream: int) -> None:
        del self._waiting[stream]
        self._engine.patience.stream_served()
