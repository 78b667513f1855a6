"""The codecs for HTTP/2 with each other, in either role: what one sends comes out of the other, whoever waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http2 import CODEC, PREFACE, ConnectionFailed, DataReceived, HeadersReceived, Limits
from proxy.http2 import Http2Connection as Built
from proxy.http2.codes import CANCEL
from proxy.http2.connection import Http2Connection as Pure
from proxy.http2.events import (
    Drained,
    InformationalReceived,
    PingAnswered,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from proxy.http2.joined import join_fields, split_fields, take_path

native = pytest.mark.skipif(CODEC == "h2", reason="built without libnghttp2")
PAIRS = [
    pytest.param(Pure, Pure, id="h2 to h2"),
    pytest.param(Pure, Built, id="h2 to nghttp2", marks=native),
    pytest.param(Built, Pure, id="nghttp2 to h2", marks=native),
    pytest.param(Built, Built, id="nghttp2 to nghttp2", marks=native),
]
REQUEST = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a.org")]
RESPONSE = [(b":status", b"200"), (b"x-long", b"v" * 300)]
RESPONSE_HEAD = (200, b"X-Long:  %b\t\r\n" % (b"v" * 300))
TRAILERS = [(b"x-sum", b"1234")]
SMALL = Limits(stream_window=70_000, connection_window=100_000)


class Pair:
    """A client and a server. Bytes go from one to the other in pieces; bodies are released where they are read."""

    def __init__(self, client: Any, server: Any, piece: int = 1 << 20, limits: Limits = SMALL) -> None:
        self.client = client(client=True, limits=limits)
        self.server = server(client=False, limits=limits)
        self.piece = piece
        self.events: dict[Any, list[Any]] = {self.client: [], self.server: []}
        self.reads = True
        self.exchange()

    def exchange(self) -> None:
        """Until nobody has anything to say."""
        moved = True
        while moved:
            moved = False
            for source, target in ((self.client, self.server), (self.server, self.client)):
                data = source.data_to_send()
                for at in range(0, len(data), self.piece):
                    moved = True
                    for event in target.receive(data[at : at + self.piece]):
                        assert not isinstance(event, ConnectionFailed), event
                        self.events[target].append(event)
                        if isinstance(event, DataReceived) and self.reads:
                            target.release(event.stream, event.size)

    def body(self, side: Any, stream: int) -> bytes:
        return b"".join(
            each.data for each in self.events[side] if isinstance(each, DataReceived) and each.stream == stream
        )

    def of(self, side: Any, kind: type) -> list[Any]:
        return [each for each in self.events[side] if isinstance(each, kind)]


@pytest.mark.parametrize(("client", "server"), PAIRS)
@given(
    bodies=st.lists(st.lists(st.integers(0, 60_000), max_size=6), min_size=1, max_size=4),
    piece=st.sampled_from([7_001, 100_000]),
    hold=st.booleans(),
    trailers=st.booleans(),
)
def test_bodies_arrive_as_they_were_sent(
    client: Any, server: Any, bodies: list[list[int]], piece: int, hold: bool, trailers: bool
) -> None:
    """Both ways, on several streams at once, through windows smaller than they are, held back meanwhile or not."""
    pair = Pair(client, server, piece)
    numbers = [pair.client.open_stream(REQUEST, end=False) for _ in bodies]
    pair.exchange()
    for side in (pair.client, pair.server):
        if hold:
            side.hold()
        told = set()
        for number, sizes in zip(numbers, bodies, strict=True):
            if side is pair.server:
                side.send_head(number, 103, b"")
                side.send_head(number, *RESPONSE_HEAD)
            for index, size in enumerate(sizes):
                waiting = side.send_data(number, bytes([65 + index]) * size)
                assert waiting == side.waiting(number)
            if trailers:
                side.send_trailers(number, TRAILERS)
            else:
                side.send_data(number, b"", end=True)
            if side.is_sending(number):
                told.add(number)
        if hold:
            assert sum(map(side.waiting, numbers)) == sum(map(sum, bodies))
            pair.exchange()
            pair.events[side] += side.resume()
        pair.exchange()
        other = pair.server if side is pair.client else pair.client
        for number, sizes in zip(numbers, bodies, strict=True):
            assert pair.body(other, number) == b"".join(bytes([65 + index]) * size for index, size in enumerate(sizes))
            assert not side.is_sending(number)
        ends = TrailersReceived if trailers else StreamEnded
        assert {each.stream for each in pair.of(other, ends)} == set(numbers)
        assert {each.stream for each in pair.of(side, Drained)} == told
    assert [(each.path, split_fields(each.others)) for each in pair.of(pair.server, RequestReceived)] == [
        take_path(REQUEST)
    ] * len(numbers)
    assert [each.fields for each in pair.of(pair.client, HeadersReceived)] == [RESPONSE] * len(numbers)
    assert len(pair.of(pair.client, InformationalReceived)) == len(numbers)


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_what_is_not_released_keeps_the_sender_waiting(client: Any, server: Any) -> None:
    """Nothing is sent beyond the window of a stream, nor of the connection; a reset lets go of what waits."""
    pair = Pair(client, server)
    pair.reads = False
    first = pair.client.open_stream(REQUEST, end=False)
    second = pair.client.open_stream(REQUEST, end=False)
    assert pair.client.send_data(first, b"x" * 200_000) > 0
    assert pair.client.send_data(second, b"y" * 200_000) > 0
    pair.exchange()
    assert (len(pair.body(pair.server, first)), len(pair.body(pair.server, second))) == (70_000, 30_000)
    assert pair.client.waiting(first) + pair.client.waiting(second) == 300_000
    pair.client.reset(first, CANCEL)
    assert (pair.client.waiting(first), pair.client.waiting(second)) == (0, 170_000)
    pair.exchange()
    assert pair.of(pair.server, StreamReset) == [StreamReset(first, CANCEL, True)]
    assert pair.server.send_data(first, b"late") == 0
    # What a stream that is gone took of the connection's window can still be given back.
    pair.server.release(first, 70_000)
    pair.exchange()
    assert len(pair.body(pair.server, second)) == 70_000


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_the_end_comes_in_two_steps(client: Any, server: Any) -> None:
    """Streams behind the announcement are taken; those behind the last word are not, and those before it go on."""
    pair = Pair(client, server)
    first = pair.client.open_stream(REQUEST, end=True)
    pair.exchange()
    pair.server.ping(b"12345678")
    late = pair.client.open_stream(REQUEST, end=True)
    pair.server.announce_goaway()
    pair.exchange()
    assert not pair.client.can_open
    assert [each.data for each in pair.of(pair.server, PingAnswered)] == [b"12345678"]
    assert [each.stream for each in pair.of(pair.server, RequestReceived)] == [first, late]
    pair.server.goaway()
    for number in (first, late):
        pair.server.send_head(number, *RESPONSE_HEAD, end=True)
    pair.exchange()
    assert pair.client.peer_last_stream == late
    assert [each.stream for each in pair.of(pair.client, HeadersReceived)] == [first, late]


@pytest.mark.parametrize("codec", [pytest.param(Pure, id="h2"), pytest.param(Built, id="nghttp2", marks=native)])
@given(data=st.binary(max_size=400), cut=st.integers(0, 400))
def test_garbage_is_an_event_and_never_an_exception(codec: Any, data: bytes, cut: int) -> None:
    """Behind a proper beginning, in two reads; a connection that failed takes and gives nothing more."""
    connection = codec(client=False)
    events = connection.receive(PREFACE + bytes(3) + b"\x04" + bytes(5))
    for part in (data[:cut], data[cut:]):
        events += connection.receive(part)
    assert connection.failed == any(isinstance(each, ConnectionFailed) for each in events)
    assert connection.data_to_send()
    if connection.failed:
        assert connection.receive(b"x") == []
        assert connection.data_to_send() == b""


@pytest.mark.parametrize("server", [pytest.param(Pure, id="h2"), pytest.param(Built, id="nghttp2", marks=native)])
@pytest.mark.parametrize(
    "fields",
    [
        REQUEST,
        [(b"x", b"y")],
        [(b"x", b"y"), *REQUEST],
        [*REQUEST, (b":path", b"/second")],
        [(b":path", b""), *REQUEST],
        [(b"", b"nameless"), (b":path", b"/late")],
        [*REQUEST, (b"x-zero", b"\0"), (b"x-long", b"v" * 3000), (b"x-empty", b"")],
    ],
    ids=["usual", "bare", "late", "twice", "empty", "nameless", "odd"],
)
def test_a_server_is_told_a_request_in_one_piece(server: Any, fields: list[tuple[bytes, bytes]]) -> None:
    """Path and other fields are told apart in the same way by either codec, for one request after the other."""
    pair = Pair(Pure, server)
    for _ in range(2):
        pair.client.open_stream(fields, end=True)
        pair.client.open_stream([*REQUEST, (b"x-between", b"1")], end=True)
    pair.exchange()
    told = [(each.path, each.others) for each in pair.of(pair.server, RequestReceived)]
    path, others = take_path(fields)
    assert told[0] == told[2] == (path, join_fields(others))
    assert told[1] == told[3] == (b"/", join_fields(take_path([*REQUEST, (b"x-between", b"1")])[1]))


@pytest.mark.parametrize("server", [pytest.param(Pure, id="h2"), pytest.param(Built, id="nghttp2", marks=native)])
@pytest.mark.parametrize("body", [b"", b"short", b"x" * 200_000])
def test_a_whole_response_is_head_body_and_end(server: Any, body: bytes) -> None:
    """Lines become fields, however they are spelled and spaced; what does not fit the window waits, and says so."""
    pair = Pair(Pure, server)
    pair.reads = False
    number = pair.client.open_stream(REQUEST, end=True)
    pair.exchange()
    lines = b"Content-Type:text/plain\r\nX-Empty:\r\nx-colon: a:b \r\n" + b"X-Many: 1\r\n" * 100
    waits = pair.server.respond(number, 418, lines, body)
    assert waits == pair.server.is_sending(number) == (len(body) > 70_000)
    pair.exchange()
    [head] = pair.of(pair.client, HeadersReceived)
    assert head.fields == [
        (b":status", b"418"),
        (b"content-type", b"text/plain"),
        (b"x-empty", b""),
        (b"x-colon", b"a:b"),
        *[(b"x-many", b"1")] * 100,
    ]
    assert head.ended == (not body)
    pair.reads = True
    for event in pair.of(pair.client, DataReceived):
        pair.client.release(event.stream, event.size)
    pair.exchange()
    assert pair.body(pair.client, number) == body
    assert len(pair.of(pair.client, StreamEnded)) == (1 if body else 0)
    assert not pair.server.respond(number, 200, b"", b"again")


@pytest.mark.parametrize("codec", [pytest.param(Pure, id="h2"), pytest.param(Built, id="nghttp2", marks=native)])
def test_two_updates_for_each_small_message_are_no_flood(codec: Any) -> None:
    """gRPC's library answers each message so, for its stream and for the connection, as fast as they come; a peer that
    does much more than that is cut."""
    assert _answered(codec, 3, updates=2) is None
    assert _answered(codec, 3, updates=8) == "Http2Flood"


def _answered(codec: Any, seconds: int, *, updates: int) -> str | None:
    """Why a connection ended on which 3,000 messages a second were each answered so many times."""
    client, server = Pure(client=True, limits=SMALL), codec(client=False, limits=SMALL)
    stream = client.open_stream(REQUEST, end=False)
    server.receive(client.data_to_send())
    server.send_head(stream, *RESPONSE_HEAD)
    update = b"\0\0\x04\x08\0%b\0\0\0\x0a"
    answer = b"".join(update % (stream if turn % 2 else 0).to_bytes(4, "big") for turn in range(updates))
    for _ in range(seconds):
        for _ in range(3000):
            server.send_data(stream, bytes(10))
            server.data_to_send()
            for event in server.receive(answer):
                if isinstance(event, ConnectionFailed):
                    return event.reason
        server.tick()
    return None
