"""HTTP/2 connections under any input: they mean the same however they are cut, and nothing breaks them from inside."""

from __future__ import annotations

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.http2 import ConnectionFailed, DataReceived, Event, Http2Connection, RequestReceived
from proxy.http2.fields import Malformed
from proxy.http2.requests import read_request
from proxy.message.errors import BadRequest
from proxy.message.request import RequestHead
from proxy.server.http2 import Http2ServerConnection
from proxy.table import Settings
from tests.support.http2 import DATA, HEADERS, block, frame, headers, read_frames, request_fields, settings, start
from tests.support.wires import Wire, wired

FIELD = st.tuples(
    st.one_of(
        st.sampled_from([b":method", b":path", b":authority", b"host", b"cookie", b"te"]), st.binary(max_size=20)
    ),
    st.binary(max_size=40),
)
FRAMES = st.one_of(
    st.builds(
        frame,
        st.integers(0, 12),
        st.integers(0, 255),
        st.sampled_from([0, 1, 2, 3, 5, 7, 2**31 - 1]),
        st.one_of(st.binary(max_size=40), st.just(block(request_fields()))),
    ),
    st.builds(
        lambda stream, end: headers(stream, end=end),
        st.sampled_from([1, 3, 5, 7, 9]),
        st.booleans(),
    ),
    st.builds(lambda stream, fields: headers(stream, fields), st.sampled_from([1, 3, 5]), st.lists(FIELD, max_size=6)),
    st.builds(lambda stream, data: frame(DATA, 0, stream, data), st.sampled_from([1, 3, 5]), st.binary(max_size=100)),
    st.binary(max_size=30),
)
CUTS = st.lists(st.integers(1, 200), max_size=30)


def _pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in (*pieces, data) if piece]


@given(frames=st.lists(FRAMES, max_size=12), sizes=CUTS)
def test_a_codec_survives_anything_in_either_role(frames: list[bytes], sizes: list[int]) -> None:
    """Every input ends in events or in ConnectionFailed as the last of them; what it writes is whole frames."""
    data = b"".join(frames)
    for client in (False, True):
        connection = Http2Connection(client=client)
        connection.data_to_send()
        if client:
            for _ in range(3):
                connection.open_stream(request_fields(), end=False)
            connection.data_to_send()
        failed = False
        for piece in _pieces((settings() if client else start()) + data, sizes):
            events = connection.receive(piece)
            assert not (failed and events)
            for event in events:
                if isinstance(event, ConnectionFailed):
                    failed = True
                    assert events == [event]
                elif isinstance(event, RequestReceived):
                    connection.respond(event.stream, 200, b"", b"x" * 100)
                elif isinstance(event, DataReceived):
                    connection.release(event.stream, event.size)
        assert failed == connection.failed
        read_frames(connection.data_to_send())


@given(fields=st.lists(FIELD, max_size=8), ended=st.booleans(), complete=st.booleans())
@example(fields=[(b"x", b"a\r\nb: c")], ended=True, complete=True)
@example(fields=[(b"x", b"a\rb")], ended=True, complete=True)
def test_no_fields_make_more_lines_than_there_are_fields(
    fields: list[tuple[bytes, bytes]], ended: bool, complete: bool
) -> None:
    """What passes is one line for each field, at most, and without a control character; the rest is refused."""
    head = RequestHead()
    given_fields = [*request_fields(), *fields] if complete else fields
    try:
        read_request(head, given_fields, ended=ended, settings=Settings())
    except (Malformed, BadRequest):
        return
    lines = head.lines.split(b"\r\n")
    assert lines.pop() == b""
    assert len(lines) <= len(given_fields)
    for line in lines:
        assert b":" in line
        assert not any(byte < 0x20 and byte != 0x09 for byte in line)
    assert head.target.isascii()
    assert not any(byte <= 0x20 for byte in head.target + head.method + head.host)


@given(frames=st.lists(FRAMES, max_size=10), sizes=CUTS)
def test_a_connection_leaves_nothing_behind(frames: list[bytes], sizes: list[int]) -> None:
    """Whatever a client sends, cut however: no exception, and once it is gone no exchange is under way."""

    async def talk() -> None:
        wires = await wired()
        upstream, _ = wires.upstream()
        connection, wire = Http2ServerConnection(wires.worker.connections), Wire()
        connection.connection_made(wire)  # type: ignore[arg-type]  # as much of a transport as is used
        for piece in _pieces(start() + b"".join(frames), sizes):
            connection.data_received(piece)
        if upstream.exchange is not None:
            upstream.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        read_frames(bytes(wire.written))
        connection.connection_lost(None)
        assert wires.worker.runtime.active == 0
        assert wires.endpoint.active == 0
        await wires.worker.close()

    asyncio.run(talk())


@given(sizes=CUTS)
def test_a_conversation_means_the_same_however_it_is_cut(sizes: list[int]) -> None:
    """Requests with bodies and trailers come out as the same events, DATA and all."""
    post = request_fields(method="POST")
    data = start() + headers(1) + headers(3, post, end=False) + frame(DATA, 0x8, 3, b"\x02hello\0\0")
    data += frame(HEADERS, 0x1 | 0x4, 3, block([(b"x-sum", b"1")])) + headers(5, post, end=False) + frame(DATA, 1, 5)

    def told(pieces: list[bytes]) -> list[object]:
        connection = Http2Connection(client=False)
        return _joined([event for piece in pieces for event in connection.receive(piece)])

    assert told(_pieces(data, sizes)) == told([data])
    assert len(told([data])) == 7


def _joined(events: list[Event]) -> list[object]:
    """With the pieces of one body in one: libnghttp2 tells of DATA as it comes, h2 frame by frame."""
    joined: list[object] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, DataReceived) and isinstance(last, DataReceived) and last.stream == event.stream:
            joined[-1] = DataReceived(last.stream, last.data + event.data, last.size + event.size)
        else:
            joined.append(event)
    return joined
