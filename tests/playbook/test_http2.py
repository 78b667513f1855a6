"""What a server must answer to a client that breaks the rules: RFC 9113 and RFC 7541, section by section.

The cases are those of the public conformance suites for HTTP/2, told as the bytes that a client sends behind its
preface. An answer is ``goaway(code)``, ``reset(stream, code)``, or what the server must still do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hpack import Decoder, Encoder

from proxy.http2 import PREFACE
from proxy.http2.codes import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
)
from proxy.server.http2 import Http2ServerConnection
from proxy.table import Cluster, Endpoint, Forward, Host, Respond, Route, Settings, Table
from proxy.table.feed import difference
from proxy.upstream.connection import UpstreamConnection
from proxy.worker.worker import Worker
from tests.support.http2 import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frame,
    block,
    frame,
    headers,
    read_frames,
    request_fields,
    settings,
    start,
)
from tests.support.proxy import HOST
from tests.support.wires import Wire

END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

Check = Callable[[list[Frame]], None]

pytestmark = pytest.mark.usefixtures("http2_codec")


class Peer:
    """A server connection of the real proxy, and what it wrote. ``/`` never answers; ``/here`` does at once."""

    def __init__(self, worker: Worker) -> None:
        self.connection = Http2ServerConnection(worker.connections)
        self.wire = Wire()
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]  # as much of a transport as is used

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    @property
    def frames(self) -> list[Frame]:
        return read_frames(bytes(self.wire.written))


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    worker = Worker(asyncio.get_running_loop(), log=None)
    routes = (
        Route(action=Forward(cluster="c")),
        Route(path="/here", action=Respond(status=200, reason="Here.", body="0123456789")),
    )
    table = Table(
        hosts={HOST: Host(routes=routes)},
        clusters={"c": Cluster(endpoints=(Endpoint(address="127.0.0.1", port=9),))},
        settings=Settings(access_log="off"),
    )
    assert worker.apply(difference(Table(), table, generation=1)) is None
    try:
        yield Peer(worker)
    finally:
        await worker.close()


def goaway(code: int) -> Check:
    """The connection ends with this code, and nothing more is written."""

    def check(frames: list[Frame]) -> None:
        last = frames[-1]
        assert last.kind == GOAWAY, frames
        assert int.from_bytes(last.payload[4:8], "big") == code, last

    return check


def reset(stream: int, code: int) -> Check:
    """The stream ends with this code; the connection does not."""

    def check(frames: list[Frame]) -> None:
        resets = [(each.stream, each.number) for each in frames if each.kind == RST_STREAM]
        assert resets == [(stream, code)], frames
        assert not [each for each in frames if each.kind == GOAWAY], frames

    return check


def served(stream: int = 1, body: bytes = b"0123456789") -> Check:
    """The request of the stream was answered whole."""

    def check(frames: list[Frame]) -> None:
        assert [each for each in frames if each.kind == HEADERS and each.stream == stream], frames
        data = [each for each in frames if each.kind == DATA and each.stream == stream]
        assert b"".join(each.payload for each in data) == body
        assert data[-1].flags & END_STREAM
        assert not [each for each in frames if each.kind in (GOAWAY, RST_STREAM)], frames

    return check


def answered_status(status: bytes, stream: int = 1) -> Check:
    """A response of this status (by its static index or its digits) began."""

    def check(frames: list[Frame]) -> None:
        (head,) = [each for each in frames if each.kind == HEADERS and each.stream == stream]
        assert (b":status", status) in [tuple(field) for field in Decoder().decode(head.payload, raw=True)]

    return check


def open_still(frames: list[Frame]) -> None:
    """Nothing was reset and nothing ended."""
    assert not [each for each in frames if each.kind in (GOAWAY, RST_STREAM)], frames


def pings(*answers: bytes) -> Check:
    """These pings, and no others, were answered."""

    def check(frames: list[Frame]) -> None:
        assert [each.payload for each in frames if each.kind == PING] == list(answers)
        assert all(each.flags == ACK for each in frames if each.kind == PING)
        open_still(frames)

    return check


def data_sizes(*sizes: int) -> Check:
    """The response body came in frames of these sizes so far."""

    def check(frames: list[Frame]) -> None:
        assert [len(each.payload) for each in frames if each.kind == DATA] == list(sizes)
        open_still(frames)

    return check


HERE = request_fields("/here")
POST = request_fields(method="POST")


def malformed(*fields: tuple[bytes, bytes]) -> bytes:
    return headers(1, list(fields))


def with_field(name: bytes, value: bytes) -> bytes:
    return headers(1, request_fields("/here", (name, value)))


METHOD, SCHEME, PATH, AUTHORITY = request_fields("/here")


def body(*parts: bytes, length: bytes | None = None) -> bytes:
    """A request with a body on stream 1; ``length``: what it says of itself."""
    fields = POST if length is None else [*POST, (b"content-length", length)]
    frames = [frame(DATA, END_STREAM if part is parts[-1] else 0, 1, part) for part in parts]
    return headers(1, fields, end=False) + b"".join(frames)


def trailers(*fields: tuple[bytes, bytes], end: bool = True) -> bytes:
    return headers(1, POST, end=False) + headers(1, list(fields), end=end)


def indexed(*raw: int) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, block(HERE) + bytes(raw))


# A tuple: what comes in separate reads, since the answer to the first must be out when the second is read.
CASES: dict[str, tuple[bytes | tuple[bytes, ...], Check]] = {
    # ---- frames (4.1, 4.2, 5.5)
    "4.1 unknown frame types are ignored": (frame(0xEE, 0, 0, b"12345678") + headers(1, HERE), served()),
    "4.1 unknown flags are ignored": (frame(PING, 0xFE, 0, b"12345678"), pings(b"12345678")),
    "4.1 the reserved bit is ignored": (frame(PING, 0, 0x80000000, b"12345678"), pings(b"12345678")),
    "4.2 a DATA frame of the largest size": (body(b"x" * 16384), open_still),
    "4.2 a DATA frame above it": (
        headers(1, POST, end=False) + frame(DATA, 0, 1, b"x" * 16385),
        goaway(FRAME_SIZE_ERROR),
    ),
    "4.2 a frame above it is refused at its head": (frame(0xEE, 0, 0, b"", length=16385), goaway(FRAME_SIZE_ERROR)),
    "4.2 a HEADERS frame above it": (frame(HEADERS, END_HEADERS, 1, b"x" * 16385), goaway(FRAME_SIZE_ERROR)),
    "5.5 an unknown frame within a header block": (
        frame(HEADERS, END_STREAM, 1, block(HERE)) + frame(0xEE, 0, 0, b""),
        goaway(PROTOCOL_ERROR),
    ),
    # ---- header blocks (4.3, 6.10)
    "4.3 a block that does not decode": (
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x40\x05"),
        goaway(COMPRESSION_ERROR),
    ),
    "4.3 PRIORITY within a block": (
        frame(HEADERS, END_STREAM, 1, block(HERE)) + frame(PRIORITY, 0, 1, b"\0\0\0\0\xff"),
        goaway(PROTOCOL_ERROR),
    ),
    "4.3 HEADERS of another stream within a block": (
        frame(HEADERS, END_STREAM, 1, block(HERE)) + headers(3, HERE),
        goaway(PROTOCOL_ERROR),
    ),
    "6.10 a block in several CONTINUATION frames": (
        frame(HEADERS, END_STREAM, 1, block(HERE)[:5])
        + frame(CONTINUATION, 0, 1, block(HERE)[5:9])
        + frame(CONTINUATION, 0, 1)
        + frame(CONTINUATION, END_HEADERS, 1, block(HERE)[9:]),
        served(),
    ),
    "6.10 CONTINUATION behind another frame": (
        frame(HEADERS, END_STREAM, 1, block(HERE)) + headers(1, HERE) + frame(CONTINUATION, END_HEADERS, 1),
        goaway(PROTOCOL_ERROR),
    ),
    "6.10 CONTINUATION of stream 0": (
        frame(HEADERS, 0, 1, block(HERE)) + frame(CONTINUATION, 4, 0),
        goaway(PROTOCOL_ERROR),
    ),
    "6.10 CONTINUATION behind a whole block": (
        headers(1, POST, end=False) + frame(CONTINUATION, END_HEADERS, 1),
        goaway(PROTOCOL_ERROR),
    ),
    "6.10 DATA within a block": (
        frame(HEADERS, 0, 1, block(POST)) + frame(DATA, END_STREAM, 1, b"x"),
        goaway(PROTOCOL_ERROR),
    ),
    # ---- streams (5.1)
    "5.1 idle: DATA": (frame(DATA, END_STREAM, 1, b"x"), goaway(PROTOCOL_ERROR)),
    "5.1 idle: RST_STREAM": (frame(RST_STREAM, 0, 1, b"\0\0\0\x08"), goaway(PROTOCOL_ERROR)),
    "5.1 idle: WINDOW_UPDATE": (frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x64"), goaway(PROTOCOL_ERROR)),
    "5.1 idle: CONTINUATION": (frame(CONTINUATION, END_HEADERS, 1, block(HERE)), goaway(PROTOCOL_ERROR)),
    "5.1 idle: PRIORITY": (frame(PRIORITY, 0, 1, b"\0\0\0\0\xff") + headers(3, HERE), served(3)),
    "5.1 half closed: DATA": (headers(1) + frame(DATA, END_STREAM, 1, b"x"), reset(1, STREAM_CLOSED)),
    "5.1 half closed: HEADERS": (headers(1) + headers(1), reset(1, STREAM_CLOSED)),
    "5.1 half closed: WINDOW_UPDATE and PRIORITY": (
        headers(1) + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x64") + frame(PRIORITY, 0, 1, b"\0\0\0\0\xff"),
        open_still,
    ),
    "5.1 closed by its end: DATA": ((headers(1, HERE), frame(DATA, END_STREAM, 1, b"x")), goaway(STREAM_CLOSED)),
    "5.1 closed by its end: HEADERS": ((headers(1, HERE), headers(1, HERE)), goaway(STREAM_CLOSED)),
    "5.1 closed by its end: WINDOW_UPDATE and RST_STREAM": (
        (headers(1, HERE), frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x64") + frame(RST_STREAM, 0, 1, b"\0\0\0\x08")),
        served(),
    ),
    "5.1 closed by a reset: DATA": (
        headers(1, POST, end=False) + frame(RST_STREAM, 0, 1, b"\0\0\0\x08") + frame(DATA, END_STREAM, 1, b"x"),
        reset(1, STREAM_CLOSED),
    ),
    "5.1 closed by a reset: HEADERS": (
        headers(1, POST, end=False) + frame(RST_STREAM, 0, 1, b"\0\0\0\x08") + headers(1, [(b"a", b"b")]),
        reset(1, STREAM_CLOSED),
    ),
    "5.1.1 an even number": (headers(2), goaway(PROTOCOL_ERROR)),
    "5.1.1 a number below the last": (headers(5) + headers(3), goaway(PROTOCOL_ERROR)),
    "5.1.2 a stream above the limit": (
        b"".join(headers(2 * each + 1) for each in range(129)),
        reset(257, REFUSED_STREAM),
    ),
    "5.1.2 a stream above the limit that was acknowledged": (
        settings(flags=ACK) + b"".join(headers(2 * each + 1) for each in range(129)),
        reset(257, REFUSED_STREAM),
    ),
    "5.3.1 HEADERS that depend on themselves": (
        frame(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, b"\0\0\0\x01\xff" + block(HERE)),
        reset(1, PROTOCOL_ERROR),
    ),
    "5.3.1 PRIORITY that depends on itself": (frame(PRIORITY, 0, 1, b"\0\0\0\x01\xff"), goaway(PROTOCOL_ERROR)),
    # ---- DATA, HEADERS, PRIORITY, RST_STREAM (6.1 to 6.4)
    "6.1 DATA of stream 0": (frame(DATA, 0, 0, b"x"), goaway(PROTOCOL_ERROR)),
    "6.1 padding longer than the frame": (
        headers(1, POST, end=False) + frame(DATA, PADDED | END_STREAM, 1, b"\x06hello"),
        goaway(PROTOCOL_ERROR),
    ),
    "6.2 HEADERS with padding and priority": (
        frame(
            HEADERS, END_HEADERS | END_STREAM | PADDED | WITH_PRIORITY, 1, b"\x02\0\0\0\0\x0f" + block(HERE) + b"\0\0"
        ),
        served(),
    ),
    "6.2 HEADERS of stream 0": (headers(0), goaway(PROTOCOL_ERROR)),
    "6.2 padding longer than the HEADERS frame": (
        frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\xff" + block(HERE)),
        goaway(PROTOCOL_ERROR),
    ),
    "6.3 PRIORITY of stream 0": (frame(PRIORITY, 0, 0, b"\0\0\0\x01\xff"), goaway(PROTOCOL_ERROR)),
    "6.3 PRIORITY that is no five bytes": (frame(PRIORITY, 0, 1, b"\0\0\0\x01"), goaway(FRAME_SIZE_ERROR)),
    "6.4 RST_STREAM of stream 0": (frame(RST_STREAM, 0, 0, b"\0\0\0\x08"), goaway(PROTOCOL_ERROR)),
    "6.4 RST_STREAM that is no four bytes": (
        headers(1) + frame(RST_STREAM, 0, 1, b"\0\0\x08"),
        goaway(FRAME_SIZE_ERROR),
    ),
    # ---- SETTINGS, PING, GOAWAY (6.5 to 6.8)
    "6.5 an acknowledgement with a payload": (frame(SETTINGS, ACK, 0, b"\0"), goaway(FRAME_SIZE_ERROR)),
    "6.5 SETTINGS of a stream": (frame(SETTINGS, 0, 1, b"\0\x03\0\0\0\x64"), goaway(PROTOCOL_ERROR)),
    "6.5 SETTINGS that are no multiple of six": (frame(SETTINGS, 0, 0, b"\0\x03\0\0\0"), goaway(FRAME_SIZE_ERROR)),
    "6.5.2 ENABLE_PUSH that is no flag": (settings((2, 2)), goaway(PROTOCOL_ERROR)),
    "6.5.2 INITIAL_WINDOW_SIZE above its maximum": (settings((4, 2**31)), goaway(FLOW_CONTROL_ERROR)),
    "6.5.2 MAX_FRAME_SIZE below its minimum": (settings((5, 16383)), goaway(PROTOCOL_ERROR)),
    "6.5.2 MAX_FRAME_SIZE above its maximum": (settings((5, 2**24)), goaway(PROTOCOL_ERROR)),
    "6.5.2 an unknown setting": (settings((0xFF, 1)) + headers(1, HERE), served()),
    "6.5.3 of two values the last holds": (settings((4, 100), (4, 3)) + headers(1, HERE), data_sizes(3)),
    "6.7 PING is answered": (frame(PING, 0, 0, b"h2specsp"), pings(b"h2specsp")),
    "6.7 an answer is not": (frame(PING, ACK, 0, b"invalid!") + frame(PING, 0, 0, b"h2specsp"), pings(b"h2specsp")),
    "6.7 PING of a stream": (frame(PING, 0, 1, b"h2specsp"), goaway(PROTOCOL_ERROR)),
    "6.7 PING that is no eight bytes": (frame(PING, 0, 0, b"\0" * 6), goaway(FRAME_SIZE_ERROR)),
    "6.8 GOAWAY of a stream": (frame(GOAWAY, 0, 1, b"\0" * 8), goaway(PROTOCOL_ERROR)),
    "6.8 after GOAWAY the streams go on": (headers(1, HERE) + frame(GOAWAY, 0, 0, b"\0" * 8), served()),
    "7 an unknown code in GOAWAY": (
        frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\xff") + frame(PING, 0, 0, b"12345678"),
        pings(b"12345678"),
    ),
    "7 an unknown code in RST_STREAM": (
        headers(1) + frame(RST_STREAM, 0, 1, b"\0\0\0\xff") + frame(PING, 0, 0, b"12345678"),
        pings(b"12345678"),
    ),
    # ---- windows (6.9)
    "6.9 an increment of 0": (frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), goaway(PROTOCOL_ERROR)),
    "6.9 an increment of 0 for a stream": (
        headers(1) + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\0"),
        goaway(PROTOCOL_ERROR),
    ),
    "6.9 WINDOW_UPDATE that is no four bytes": (frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01"), goaway(FRAME_SIZE_ERROR)),
    "6.9.1 nothing is sent beyond the window": (settings((4, 1)) + headers(1, HERE), data_sizes(1)),
    "6.9.1 a window above its maximum": (
        frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
        goaway(FLOW_CONTROL_ERROR),
    ),
    "6.9.1 a window above its maximum for a stream": (
        headers(1) + frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff") * 2,
        reset(1, FLOW_CONTROL_ERROR),
    ),
    "6.9.2 a larger initial window lets go on": (settings((4, 0)) + headers(1, HERE) + settings((4, 1)), data_sizes(1)),
    "6.9.2 a window may be below zero": (
        (settings((4, 3)) + headers(1, HERE), settings((4, 2)) + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x02")),
        data_sizes(3, 1),
    ),
    "6.9.2 settings that lift a window above its maximum": (
        headers(1) + frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\0\0") + settings((4, 2**31 - 1)),
        goaway(FLOW_CONTROL_ERROR),
    ),
    "6.9 more DATA than the window of a stream": (
        headers(1, POST, end=False) + frame(DATA, 0, 1, b"x" * 16384) * 17,
        goaway(FLOW_CONTROL_ERROR),
    ),
    # ---- messages (8.1 to 8.3)
    "8.1 a second HEADERS that does not end the stream": (
        trailers((b"x-test", b"ok"), end=False),
        reset(1, PROTOCOL_ERROR),
    ),
    "8.2.1 an upper-case name": (with_field(b"X-TEST", b"ok"), reset(1, PROTOCOL_ERROR)),
    "8.2.1 a name with a space": (with_field(b"x test", b"ok"), reset(1, PROTOCOL_ERROR)),
    "8.2.1 a name with a colon": (with_field(b"x:test", b"ok"), reset(1, PROTOCOL_ERROR)),
    "8.2.1 an empty name": (with_field(b"", b"ok"), reset(1, PROTOCOL_ERROR)),
    "8.2.1 a value with a line end": (with_field(b"x", b"a\r\nb: c"), reset(1, PROTOCOL_ERROR)),
    "8.2.1 a value with a line feed": (with_field(b"x", b"a\nb"), reset(1, PROTOCOL_ERROR)),
    "8.2.1 a value with NUL": (with_field(b"x", b"a\0b"), reset(1, PROTOCOL_ERROR)),
    "8.2.1 a value that begins with a space": (with_field(b"x", b" a"), reset(1, PROTOCOL_ERROR)),
    "8.2.1 a value that ends with a tab": (with_field(b"x", b"a\t"), reset(1, PROTOCOL_ERROR)),
    "8.2.2 Connection": (with_field(b"connection", b"keep-alive"), reset(1, PROTOCOL_ERROR)),
    "8.2.2 Transfer-Encoding": (with_field(b"transfer-encoding", b"chunked"), reset(1, PROTOCOL_ERROR)),
    "8.2.2 Upgrade": (with_field(b"upgrade", b"websocket"), reset(1, PROTOCOL_ERROR)),
    "8.2.2 TE other than trailers": (with_field(b"te", b"trailers, deflate;q=0.5"), reset(1, PROTOCOL_ERROR)),
    "8.2.2 TE trailers": (with_field(b"te", b"trailers"), served()),
    "8.3 an unknown pseudo-header field": (
        malformed(METHOD, SCHEME, PATH, AUTHORITY, (b":test", b"ok")),
        reset(1, PROTOCOL_ERROR),
    ),
    "8.3 one of responses": (
        malformed(METHOD, SCHEME, PATH, AUTHORITY, (b":status", b"200")),
        reset(1, PROTOCOL_ERROR),
    ),
    "8.3 one in trailers": (trailers((b":method", b"GET")), reset(1, PROTOCOL_ERROR)),
    "8.3 one behind a field": (malformed(METHOD, SCHEME, AUTHORITY, (b"x", b"y"), PATH), reset(1, PROTOCOL_ERROR)),
    "8.3.1 an empty path": (malformed(METHOD, SCHEME, (b":path", b""), AUTHORITY), reset(1, PROTOCOL_ERROR)),
    "8.3.1 no method": (malformed(SCHEME, PATH, AUTHORITY), reset(1, PROTOCOL_ERROR)),
    "8.3.1 no scheme": (malformed(METHOD, PATH, AUTHORITY), reset(1, PROTOCOL_ERROR)),
    "8.3.1 no path": (malformed(METHOD, SCHEME, AUTHORITY), reset(1, PROTOCOL_ERROR)),
    "8.3.1 two methods": (malformed(METHOD, METHOD, SCHEME, PATH, AUTHORITY), reset(1, PROTOCOL_ERROR)),
    "8.3.1 two schemes": (malformed(METHOD, SCHEME, SCHEME, PATH, AUTHORITY), reset(1, PROTOCOL_ERROR)),
    "8.3.1 two paths": (malformed(METHOD, SCHEME, PATH, PATH, AUTHORITY), reset(1, PROTOCOL_ERROR)),
    "8.3.1 two authorities": (malformed(METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY), reset(1, PROTOCOL_ERROR)),
    "8.3.1 a path that is a URL": (
        malformed(METHOD, SCHEME, (b":path", b"http://a/"), AUTHORITY),
        reset(1, PROTOCOL_ERROR),
    ),
    "8.3.1 a path with a space": (malformed(METHOD, SCHEME, (b":path", b"/a b"), AUTHORITY), reset(1, PROTOCOL_ERROR)),
    "8.3.1 a path with a line end": (
        malformed(METHOD, SCHEME, (b":path", b"/ HTTP/1.1\r\nx: y"), AUTHORITY),
        reset(1, PROTOCOL_ERROR),
    ),
    "8.3.1 a method with a space": (
        malformed((b":method", b"GET /"), SCHEME, PATH, AUTHORITY),
        reset(1, PROTOCOL_ERROR),
    ),
    "8.3.1 an authority with a user": (
        malformed(METHOD, SCHEME, PATH, (b":authority", b"a@" + AUTHORITY[1])),
        reset(1, PROTOCOL_ERROR),
    ),
    "8.3.1 a Host that is another": (with_field(b"host", b"other.org"), reset(1, PROTOCOL_ERROR)),
    "8.3.1 a Host that is the same": (with_field(b"host", AUTHORITY[1].upper()), served()),
    "8.3.1 a Host alone": (malformed(METHOD, SCHEME, PATH, (b"host", AUTHORITY[1])), served()),
    "8.3.1 neither Host nor authority": (malformed(METHOD, SCHEME, PATH), answered_status(b"400")),
    "8.5 CONNECT": (malformed((b":method", b"CONNECT"), (b":authority", b"a:443")), answered_status(b"405")),
    "8.5 CONNECT with a path": (malformed((b":method", b"CONNECT"), SCHEME, PATH, AUTHORITY), reset(1, PROTOCOL_ERROR)),
    "8.1.1 more DATA than Content-Length": (body(b"test", b"x", length=b"4"), reset(1, PROTOCOL_ERROR)),
    "8.1.1 less DATA than Content-Length": (body(b"t", b"e", length=b"4"), reset(1, PROTOCOL_ERROR)),
    "8.1.1 no DATA for Content-Length": (headers(1, [*POST, (b"content-length", b"4")]), reset(1, PROTOCOL_ERROR)),
    "8.1.1 two Content-Lengths": (
        headers(1, [*POST, (b"content-length", b"4"), (b"content-length", b"5")], end=False),
        reset(1, PROTOCOL_ERROR),
    ),
    "8.4 PUSH_PROMISE of a client": (
        headers(1) + frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + block(HERE)),
        goaway(PROTOCOL_ERROR),
    ),
    # ---- HPACK (RFC 7541)
    "7541 2.3.3 an index beyond the tables": (indexed(0x80 | 0x46), goaway(COMPRESSION_ERROR)),
    "7541 2.3.3 a literal with such an index": (indexed(0x40 | 0x3F, 0x0F, 0x01, 0x61), goaway(COMPRESSION_ERROR)),
    "7541 4.2 a table size behind fields": (indexed(0x21), goaway(COMPRESSION_ERROR)),
    "7541 5.2 Huffman padding above seven bits": (
        indexed(0x00, 0x82, 0xFF, 0xFF, 0x01, 0x61),
        goaway(COMPRESSION_ERROR),
    ),
    "7541 5.2 Huffman padding of zeroes": (indexed(0x00, 0x81, 0x18, 0x01, 0x61), goaway(COMPRESSION_ERROR)),
    "7541 5.2 Huffman with the end symbol": (
        indexed(0x00, 0x85, 0xFF, 0xFF, 0xFF, 0xFC, 0x3F, 0x01, 0x61),
        goaway(COMPRESSION_ERROR),
    ),
    "7541 6.1 the index 0": (indexed(0x80), goaway(COMPRESSION_ERROR)),
    "7541 6.3 a table size above the limit": (
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe2\x1f" + block(HERE)),
        goaway(COMPRESSION_ERROR),
    ),
    "7541 an integer without end": (indexed(0xFF, *[0xFF] * 20), goaway(COMPRESSION_ERROR)),
}

OTHERWISE: dict[str, Check] = {
    # An error of a stream may be one of the connection (RFC 9113 section 5.4).
    "5.1 half closed: DATA": goaway(STREAM_CLOSED),
    "5.1 half closed: HEADERS": goaway(STREAM_CLOSED),
    "5.1 closed by a reset: DATA": goaway(STREAM_CLOSED),
    "5.1 closed by a reset: HEADERS": goaway(STREAM_CLOSED),
    "5.1.2 a stream above the limit that was acknowledged": goaway(PROTOCOL_ERROR),
    "5.3.1 HEADERS that depend on themselves": goaway(PROTOCOL_ERROR),
    # Streams below the last are closed; what comes on them is dropped (section 5.1).
    "5.1.1 a number below the last": open_still,
    # Section 6.9.2 asks for an end of the connection; the library resets the stream.
    "6.9.2 settings that lift a window above its maximum": reset(1, FLOW_CONTROL_ERROR),
    "6.9 more DATA than the window of a stream": reset(1, FLOW_CONTROL_ERROR),
    # A client that said GOAWAY and waits for nothing is not listened to.
    "7 an unknown code in GOAWAY": open_still,
}
"""Where libnghttp2 answers otherwise."""
DEAF = ("6.8 after GOAWAY the streams go on", "7 an unknown code in GOAWAY")
"""Cases behind which it answers no PING."""


@pytest.mark.parametrize("case", CASES)
async def test_each_rule_has_its_answer(case: str, http2_codec: str) -> None:
    """Whole, byte by byte, and where nothing is broken also with the connection still alive."""
    given, check = CASES[case]
    native = http2_codec == "nghttp2"
    if native:
        check = OTHERWISE.get(case, check)
    reads = given if isinstance(given, tuple) else (given,)
    single = b"".join(reads)
    for pieces in (reads, tuple(single[index : index + 1] for index in range(len(single)))):
        async with peer() as other:
            other.send(start())
            for piece in pieces:
                other.send(piece)
            check(other.frames)
            if not any(each.kind == GOAWAY for each in other.frames) and not (native and case in DEAF):
                other.send(frame(PING, 0, 0, b"alive?!?"))
                assert other.frames[-1] == (PING, ACK, 0, b"alive?!?")


FLOODS: dict[str, bytes] = {
    "PING": frame(PING, 0, 0, b"12345678") * 2100,
    "SETTINGS": settings((4, 70000)) * 2100,
    "PRIORITY": frame(PRIORITY, 0, 1, b"\0\0\0\0\xff") * 2100,
    "unknown frames": frame(0xEE, 0, 0) * 2100,
    "WINDOW_UPDATE": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01") * 2100,
    "empty DATA": headers(1, POST, end=False) + frame(DATA, 0, 1) * 2100,
    "streams that are reset": b"".join(
        headers(2 * each + 1) + frame(RST_STREAM, 0, 2 * each + 1, b"\0\0\0\x08") for each in range(300)
    ),
    "malformed requests": b"".join(headers(2 * each + 1, [METHOD]) for each in range(300)),
    "streams above the limit": b"".join(headers(2 * each + 1) for each in range(128 + 300)),
    "empty CONTINUATION": frame(HEADERS, 0, 1, block(HERE)) + frame(CONTINUATION, 0, 1) * 2100,
    "CONTINUATION": frame(HEADERS, 0, 1, block(HERE))
    + frame(CONTINUATION, 0, 1, block([(b"x", b"y" * 1000)] * 15)) * 5,
    "a header list that grows as it is decoded": frame(
        HEADERS, END_HEADERS | END_STREAM, 1, Encoder().encode([*HERE, *[(b"x", b"y" * 1000)] * 80])
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_ends_the_connection(flood: str, http2_codec: str) -> None:
    """What only costs is counted or bounded, in one read and in reads of 100 bytes."""
    data = FLOODS[flood]
    # The h2 library has a bound of its own for these, and its own word for it.
    code = PROTOCOL_ERROR if (flood, http2_codec) == ("empty CONTINUATION", "h2") else ENHANCE_YOUR_CALM
    for size in (len(data), 100):
        async with peer() as other:
            other.send(start())
            for at in range(0, len(data), size):
                other.send(data[at : at + size])
            goaway(code)(other.frames)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"X", PREFACE + headers(1, HERE), PREFACE + settings(flags=ACK)],
    ids=["HTTP/1.1", "one byte off", "no SETTINGS", "an acknowledgement for SETTINGS"],
)
async def test_a_wrong_preface_ends_the_connection(data: bytes) -> None:
    """RFC 9113 section 3.4: the preface is exact, and SETTINGS follow it."""
    async with peer() as other:
        other.send(data)
        goaway(PROTOCOL_ERROR)(other.frames)
        assert other.wire.ended


async def test_the_server_begins_with_its_settings_and_acknowledges_others() -> None:
    """Its limits are announced before anything is asked; the client's settings are acknowledged once each."""
    async with peer() as other:
        first, window = other.frames
        assert first.kind == SETTINGS
        pairs = {
            int.from_bytes(first.payload[at : at + 2], "big"): int.from_bytes(first.payload[at + 2 : at + 6], "big")
            for at in range(0, len(first.payload), 6)
        }
        assert pairs[3] == 128, "concurrent streams"
        assert pairs[4] == 256 * 1024, "window of a stream"
        assert pairs[6] == 64 * 1024, "header list"
        assert pairs[8] == 1, "extended CONNECT"
        assert (window.kind, window.stream, window.number) == (WINDOW_UPDATE, 0, 1024 * 1024 - 65535)
        other.send(start((3, 100)) + settings((4, 70000)))
        assert [(each.kind, each.flags) for each in other.frames[2:]] == [(SETTINGS, ACK)] * 2


async def test_nothing_that_came_with_a_fatal_frame_reaches_a_backend() -> None:
    """A request in the same read as garbage is not begun: what came over this connection is in doubt."""
    async with peer() as other:
        other.send(start())
        other.send(headers(1) + frame(PING, 0, 1, b"12345678"))
        goaway(PROTOCOL_ERROR)(other.frames)
        assert other.connection.runtime.active == 0


async def test_fields_in_the_dynamic_table_come_out_as_they_went_in() -> None:
    """Requests that refer to fields of earlier ones, with table size updates in between, are the same requests."""
    async with peer() as other:
        encoder = Encoder()
        other.send(start())
        for index, size in enumerate((4096, 4096, 64, 0, 4096)):
            encoder.header_table_size = size
            payload = encoder.encode([*HERE, (b"x-long", b"v" * 100), (b"x-number", b"%d" % index)])
            other.send(frame(HEADERS, END_HEADERS | END_STREAM, 2 * index + 1, payload))
            served(2 * index + 1)(other.frames)


async def test_responses_of_one_turn_of_the_loop_are_written_together() -> None:
    """Two backends that answer at once cost one write to their client, and none later."""
    async with peer() as other:
        endpoint = other.connection.runtime.state.clusters["c"].endpoints[0]
        backends = [UpstreamConnection(endpoint, 100), UpstreamConnection(endpoint, 100)]
        for backend in backends:
            backend.connection_made(Wire())  # type: ignore[arg-type]  # as much of a transport as is used
            endpoint.keep(backend, 100, 0.0)
        other.send(start() + headers(1) + headers(3))
        before = len(other.wire.written)
        for backend in backends:
            backend.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert len(other.wire.written) == before
        await asyncio.sleep(0)
        assert [each.kind for each in read_frames(bytes(other.wire.written[before:]))] == [HEADERS, DATA] * 2


def test_the_page_lists_every_case() -> None:
    """docs/http2.md tells what is held to, case by case."""
    page = (Path(__file__).parents[2] / "docs/http2.md").read_text()
    assert [line[2:] for line in page.splitlines() if line.startswith("- ")] == list(CASES)
