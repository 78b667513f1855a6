"""However the bytes of a client or of a backend are cut, the other side sees the same."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http1.chunked import ChunkedDecoder, encode_chunk, encode_last_chunk
from proxy.http1.reader import RequestParser, ResponseParser
from proxy.message.errors import BadRequest, BadResponse, MessageError
from proxy.message.request import RequestHead
from proxy.message.response import ResponseHead
from tests.support.wires import Wire, Wires, wired

GET = b"GET /ok HTTP/1.1\r\nHost: foo.example.com\r\nX-Request-ID: 1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nServer: s\r\nDate: d\r\nContent-Length: 2\r\n\r\nok"

tokens = st.text("abcXYZ-.", min_size=1, max_size=8).map(lambda text: b"x" + text.encode())
values = st.binary(max_size=12).map(lambda data: bytes(byte for byte in data if 0x20 < byte != 0x7F))
bodies = st.one_of(
    st.binary(max_size=300), st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n", GET, b"\r", b"\r\n0\r\n\r\n" * 3])
)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """Wire, body and trailers; sizes in odd spellings, extensions in between."""
    wire, body = b"", b""
    for part in draw(st.lists(bodies.filter(bool), max_size=4)):
        size = draw(st.sampled_from([b"%x", b"%X", b"00%x"])) % len(part)
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b;c";d']))
        wire += size + extension + b"\r\n" + part + b"\r\n"
        body += part
    trailers = draw(st.lists(st.tuples(tokens, values), max_size=2))
    wire += b"0" + draw(st.sampled_from([b"", b"00", b";z"])) + b"\r\n"
    wire += b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n"
    return wire, body, trailers


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A valid request, and the body that it carries."""
    kind = draw(st.sampled_from(["bare", "counted", "chunked"]))
    lines = [b"Host: foo.example.com", b"X-Request-ID: 1"]
    lines += [b"%b: %b" % field for field in draw(st.lists(st.tuples(tokens, values), max_size=3))]
    body = wire = b""
    if kind == "counted":
        body = wire = draw(bodies)
        lines.append(b"Content-Length: %d" % len(body))
    elif kind == "chunked":
        wire, body, _ = draw(chunked_bodies())
        lines.append(b"Transfer-Encoding: chunked")
    method = b"GET" if kind == "bare" else b"POST"
    head = method + b" /p HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in draw(st.permutations(lines)))
    empty = draw(st.sampled_from([b"", b"", b"\r\n"]))
    return empty + head + b"\r\n" + wire, body


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """``data`` cut at the given places, modulo its length."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


class Message(NamedTuple):
    """``trailers`` as on the wire, with the empty line."""

    head: bytes
    body: bytes
    trailers: bytes


def run(work: Coroutine[Any, Any, None]) -> None:
    """In an event loop that nothing waits for."""
    asyncio.run(work)


def converse(wires: Wires, parts: list[bytes]) -> tuple[list[Message], bytes]:
    """The requests that a backend saw, and what the client got."""
    upstream, seen = wires.upstream()
    client, got = wires.client()
    messages: list[Message] = []
    for part in parts:
        if got.ended:
            break
        client.data_received(part)
        while upstream.exchange is not None and upstream.request_sent:
            messages.append(understood(bytes(seen.written)))
            seen.written.clear()
            upstream.data_received(OK)
    assert not seen.written, "part of a request was left over"
    client.connection_lost(None)
    return messages, bytes(got.written)


def understood(message: bytes) -> Message:
    """Exactly one message. How a body is cut into chunks means nothing; its trailers do."""
    head, _, rest = message.partition(b"\r\n\r\n")
    if b"\r\nTransfer-Encoding: chunked" not in head:
        return Message(head, rest, b"")
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return Message(head, body, rest)
        body, rest = body + rest[:length], rest[length + 2 :]


@settings(max_examples=120, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=3), st.lists(st.integers(0, 4000), max_size=12))
def test_requests_mean_the_same_however_they_are_cut(stream: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    """Whole, byte by byte and cut at random: the same requests reach the backend, one answer each comes back."""

    async def work() -> None:
        wires = await wired()
        data = b"".join(wire for wire, _ in stream)
        whole, answers = converse(wires, [data])
        assert [message.body for message in whole] == [body for _, body in stream]
        assert answers == OK * len(stream)
        assert converse(wires, pieces(data, cuts)) == (whole, answers)
        assert converse(wires, [data[index : index + 1] for index in range(len(data))]) == (whole, answers)
        await wires.worker.close()

    run(work())


@settings(max_examples=300, deadline=None)
@given(chunked_bodies(), st.binary(max_size=20), st.lists(st.integers(0, 2000), max_size=10))
def test_chunks_decode_to_what_was_encoded(
    body: tuple[bytes, bytes, list[tuple[bytes, bytes]]], behind: bytes, cuts: list[int]
) -> None:
    """Any cut gives body, trailers and surplus to the byte; encoding what was decoded, and decoding that, likewise."""
    wire, data, trailers = body
    for parts in (pieces(wire + behind, cuts), [wire + behind]):
        decoder = ChunkedDecoder()
        decoded = b""
        rest = b""
        for part in parts:
            if decoder.done:
                rest += part
            else:
                decoded += decoder.feed(part)
        assert (decoded, decoder.trailers, decoder.surplus + rest) == (data, trailers, behind)
        again = ChunkedDecoder()
        encoded = (encode_chunk(decoded) if decoded else b"") + encode_last_chunk(trailers)
        assert (again.feed(encoded), again.trailers, again.done) == (data, trailers, True)


FRAGMENTS = [
    b"GET ", b"/", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Host: foo.example.com", b"Content-Length: ",
    b"Transfer-Encoding: ", b"5", b"chunked", b": ", b" ", b"\0", b"HTTP/1.1 200 OK", b"HTTP/1.1 101 x",
    b"0\r\n\r\n", b";",
    b"Upgrade: websocket", b"Connection: upgrade", b"Connection: close", b"POST ", b"CONNECT ", b"http://", b"hello",
    b"Expect: 100-continue", b"HTTP/1.1 204 ", b"HTTP/1.0", b",", b"\xff", GET,
]  # fmt: skip
garbage = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=3)), max_size=25).map(b"".join),
)


@settings(max_examples=400, deadline=None)
@given(garbage, st.booleans())
def test_garbage_raises_nothing_but_verdicts(data: bytes, is_head: bool) -> None:
    """Each parser either takes the bytes or says what is wrong with them, and is fresh for a head that is right."""
    requests_of, responses_of = RequestParser(RequestHead()), ResponseParser(ResponseHead())
    try:
        requests_of.parse(data + b"\r\n\r\n")
    except BadRequest as error:
        assert error.status in (400, 405, 417, 501)
        assert error.reason.isalnum()
    requests_of.parse(GET)
    assert requests_of.head.host == b"foo.example.com"
    try:
        responses_of.parse(data + b"\r\n\r\n", is_head=is_head)
    except BadResponse as error:
        assert error.reason.isalnum()
    responses_of.parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", is_head=False)
    assert responses_of.head.content_length == 2
    decoder = ChunkedDecoder()
    try:
        decoder.feed(data or b"x")
    except MessageError as error:
        assert error.reason.isalnum()


@settings(max_examples=300, deadline=None)
@given(garbage, garbage, st.lists(st.integers(0, 400), max_size=6))
def test_garbage_from_either_side_harms_no_later_connection(asked: bytes, answered: bytes, cuts: list[int]) -> None:
    """No exception leaves a connection, nothing counts as still under way, and the next client is served."""

    async def work() -> None:
        wires = await wired()
        upstream, _ = wires.upstream()
        client, got = wires.client()
        for part in pieces(asked, cuts):
            if not got.ended:
                client.data_received(part)
        client.connection_lost(None)
        upstream, seen = wires.upstream()
        client, got = wires.client()
        client.data_received(GET)
        assert upstream.exchange is not None
        for part in pieces(answered, cuts):
            if not seen.ended:
                upstream.data_received(part)
        if not seen.ended:
            upstream.connection_lost(None)
        client.connection_lost(None)
        assert wires.worker.runtime.active == 0
        assert wires.endpoint.active == 0
        messages, answer = converse(wires, [GET])
        assert (len(messages), answer) == (1, OK)
        await wires.worker.close()

    run(work())


def test_the_wire_double_refuses_bytes_behind_the_end() -> None:
    """So that the tests above would see a proxy that writes after closing."""
    wire = Wire()
    wire.close()
    try:
        wire.write(b"x")
    except AssertionError:
        return
    raise AssertionError("it took them")
