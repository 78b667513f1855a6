"""HTTP/2 clients: one made of frames, for what no library would send, and one on a socket, made of the h2 library."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.settings
from hpack import Encoder

from proxy.http2 import PREFACE
from tests.support.proxy import HOST, RunningProxy

__all__ = [
    "CONTINUATION",
    "DATA",
    "GOAWAY",
    "HEADERS",
    "PING",
    "PRIORITY",
    "PUSH_PROMISE",
    "RST_STREAM",
    "SETTINGS",
    "WINDOW_UPDATE",
    "Answer",
    "Frame",
    "Http2Client",
    "block",
    "frame",
    "headers",
    "http2_client",
    "read_frames",
    "request_fields",
    "settings",
    "start",
]

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

Fields = list[tuple[bytes, bytes]]


class Frame(NamedTuple):
    """One frame as it stands on the wire."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def number(self) -> int:
        """The last four bytes: the code of RST_STREAM, the increment of WINDOW_UPDATE."""
        return int.from_bytes(self.payload[-4:], "big")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """A frame; ``length``: what its head says, whatever the payload is."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int], flags: int = 0) -> bytes:
    """A SETTINGS frame."""
    return frame(
        SETTINGS, flags, 0, b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs)
    )


def start(*pairs: tuple[int, int]) -> bytes:
    """What a client begins with."""
    return PREFACE + settings(*pairs)


def request_fields(path: str = "/", *more: tuple[bytes, bytes], method: str = "GET", host: str = HOST) -> Fields:
    """A request head."""
    return [
        (b":method", method.encode()),
        (b":scheme", b"https"),
        (b":path", path.encode()),
        (b":authority", host.encode()),
        *more,
    ]


def block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block that leaves no trace in the peer's table."""
    return _block(tuple(fields))


@cache
def _block(fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Encoded once: floods are made of thousands of the same."""
    return bytes(Encoder().encode([(name, value, True) for name, value in fields]))


def headers(stream: int, fields: Fields | None = None, *, end: bool = True) -> bytes:
    """A HEADERS frame that is a whole block."""
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(HEADERS, flags, stream, block(request_fields() if fields is None else fields))


def read_frames(data: bytes) -> list[Frame]:
    """The frames in ``data``, which must hold whole ones."""
    frames: list[Frame] = []
    while data:
        size = int.from_bytes(data[:3], "big")
        assert len(data) >= 9 + size, "half a frame"
        frames.append(Frame(data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]))
        data = data[9 + size :]
    return frames


class Answer:
    """What came on a stream so far."""

    def __init__(self) -> None:
        self.informational: list[int] = []
        self.fields: dict[str, str] = {}
        self.received = bytearray()
        self.trailers: dict[str, str] = {}
        self.ended = False
        self.reset: int | None = None
        self.changed = asyncio.Event()

    @property
    def body(self) -> bytes:
        """As far as it came."""
        return bytes(self.received)

    @property
    def status(self) -> int:
        """Of the final response; 0: none came."""
        return int(self.fields.get(":status", "0"))


class _Patient(h2.connection.H2Connection):
    """GOAWAY is no end of what is under way (RFC 9113 section 6.8); the library takes it for one."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        event = h2.events.ConnectionTerminated()
        event.error_code, event.last_stream_id = frame.error_code, frame.last_stream_id
        return [], [event]


class Http2Client:
    """A client on a socket. It gives windows back by itself unless ``greedy`` is off."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, greedy: bool, window: int
    ) -> None:
        self.reader, self.writer = reader, writer
        self.connection = _Patient(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
        )
        if window != 65535:
            self.connection.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = window
            self.connection.local_settings.acknowledge()
        self.connection.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.goaways: list[tuple[int, int]] = []
        """Code and last stream of each."""
        self.changed = asyncio.Event()
        self.ended = False
        self._greedy = greedy

    async def run(self) -> None:
        """Read until the proxy closes."""
        while data := await self.reader.read(65536):
            for event in self.connection.receive_data(data):
                self._take(event)
            self.flush()
            self.changed.set()
        self.ended = True
        self.writer.close()
        self.changed.set()

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append((int(event.error_code or 0), event.last_stream_id or 0))
            return
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0)
        if answer is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            answer.informational.append(int(dict(event.headers or ())[":status"]))
        elif isinstance(event, h2.events.ResponseReceived):
            answer.fields = {str(name): str(value) for name, value in event.headers or ()}
        elif isinstance(event, h2.events.DataReceived):
            answer.received += event.data or b""
            if self._greedy and event.flow_controlled_length:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = {str(name): str(value) for name, value in event.headers or ()}
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code or 0)
        answer.changed.set()

    def flush(self) -> None:
        """Send what the library wants to send."""
        self.writer.write(self.connection.data_to_send())

    def ask(self, fields: Fields | None = None, *, end: bool = True) -> int:
        """Begin a request; its stream."""
        number = self.connection.get_next_available_stream_id()
        self.answers[number] = Answer()
        self.connection.send_headers(number, request_fields() if fields is None else fields, end_stream=end)
        self.flush()
        return number

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Bytes of a request body, within window and frame size."""
        self.connection.send_data(stream, data, end_stream=end)
        self.flush()

    async def send_all(self, stream: int, data: bytes, *, end: bool = True) -> None:
        """Bytes of a request body, as fast as the proxy takes them."""
        while data:
            room = min(self.connection.local_flow_control_window(stream), self.connection.max_outbound_frame_size)
            if room <= 0:
                await self.until(lambda: self.connection.local_flow_control_window(stream) > 0)
                continue
            self.connection.send_data(stream, data[:room], end_stream=end and len(data) <= room)
            data = data[room:]
            self.flush()
            await self.writer.drain()

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until something that is read makes ``condition`` true."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def answer(self, stream: int) -> Answer:
        """The whole answer, or what there is of it when the stream is reset or the connection ends."""
        answer = self.answers[stream]
        await self.until(lambda: answer.ended or answer.reset is not None or self.ended)
        return answer

    async def get(self, path: str = "/", *more: tuple[bytes, bytes], method: str = "GET", host: str = HOST) -> Answer:
        """One request without a body, and its answer."""
        return await self.answer(self.ask(request_fields(path, *more, method=method, host=host)))


@asynccontextmanager
async def http2_client(
    proxy: RunningProxy,
    *,
    tls_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    greedy: bool = True,
    window: int = 65535,
) -> AsyncIterator[Http2Client]:
    """A client that is connected for as long as the block lasts; over TLS where a context is given."""
    port = proxy.port if tls_context is None else proxy.tls_port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls_context, server_hostname=server_hostname)
    client = Http2Client(reader, writer, greedy=greedy, window=window)
    client.flush()
    reading = asyncio.get_running_loop().create_task(client.run())
    try:
        yield client
    finally:
        reading.cancel()
        writer.transport.abort()
        await asyncio.gather(reading, return_exceptions=True)
