"""The chunked coding: fed whole, byte by byte, cut anywhere, with bytes behind it."""

from __future__ import annotations

import pytest

from proxy.http1.chunked import LAST_CHUNK, ChunkedDecoder, encode_chunk, encode_last_chunk
from proxy.message.errors import MessageError

NEXT = b"GET /next HTTP/1.1\r\n\r\n"

GOOD = {
    "empty": (b"0\r\n\r\n", b"", []),
    "one chunk": (b"3\r\nabc\r\n0\r\n\r\n", b"abc", []),
    "leading zeros, both cases": (
        b"00a\r\n0123456789\r\nB\r\n0123456789x\r\n000\r\n\r\n",
        b"01234567890123456789x",
        [],
    ),
    "empty lines in the data": (b"a\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n" * 5, []),
    "the end in the data": (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n", []),
    "extensions": (b'3;a;b=c;d="e f"\r\nabc\r\n0;z=1\r\n\r\n', b"abc", []),
    "trailers": (b"1\r\na\r\n0\r\nX-Sum: 1\r\nx-B:  2\r\n\r\n", b"a", [(b"X-Sum", b"1"), (b"x-B", b"2")]),
    "trailers that are dropped": (b"0\r\nHost: x\r\nX: 1\r\nCookie: a\r\nX_Y: 1\r\n\r\n", b"", [(b"X", b"1")]),
    "trailers of one hop": (b"0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"", []),
}

BAD = {
    "size empty": b"\r\nabc",
    "size with 0x": b"0x3\r\nabc\r\n",
    "size with a sign": b"+3\r\nabc\r\n",
    "size with an underscore": b"1_0\r\n",
    "size with spaces": b" 3\r\nabc\r\n",
    "size with a space behind": b"3 \r\nabc\r\n",
    "size no digit": b"g\r\n",
    "size over 64 bits": b"10000000000000000\r\n",
    "bare line feed behind the size": b"3\nabc\r\n",
    "bare carriage return behind the size": b"3\rabc\r\n",
    "bare line feed behind the data": b"3\r\nabc\n0\r\n\r\n",
    "no line end behind the data": b"3\r\nabc0\r\n\r\n",
    "data longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
    "line feed in an extension": b"3;a\nb\r\nabc\r\n",
    "NUL in an extension": b"3;a\0\r\nabc\r\n",
    "line end in a quoted extension": b'3;a="\r\n"\r\nabc\r\n',
    "trailer folded": b"0\r\nX: a\r\n b\r\n\r\n",
    "trailer with a space before the colon": b"0\r\nX : a\r\n\r\n",
    "trailer without a colon": b"0\r\nGET / HTTP/1.1\r\n\r\n",
    "trailer with a bare line feed": b"0\r\nX: a\nY: b\r\n\r\n",
    "trailer with a NUL": b"0\r\nX: \0\r\n\r\n",
    "trailer Content-Length": b"0\r\nContent-Length: 5\r\n\r\n",
    "trailer Transfer-Encoding": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bare line feeds at the end": b"0\n\n",
    "carriage return in the last line": b"0\r\n\rX\r\n",
}


def decode(parts: list[bytes]) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """Body, surplus and trailers; parts behind the end are surplus, as the connection would hold them."""
    decoder = ChunkedDecoder()
    body = b""
    for index, part in enumerate(parts):
        body += decoder.feed(part)
        if decoder.done:
            decoder.close()
            return body, decoder.surplus + b"".join(parts[index + 1 :]), decoder.trailers
    raise AssertionError("the body did not end")


@pytest.mark.parametrize("name", GOOD)
def test_whole_byte_by_byte_and_cut_in_two_are_the_same(name: str) -> None:
    """Every cut gives the same body, the same trailers, and exactly the bytes behind the end as surplus."""
    wire, body, trailers = GOOD[name]
    for stream in (wire, wire + NEXT, wire + wire):
        expected = (body, stream[len(wire) :], trailers)
        assert decode([stream]) == expected
        assert decode([stream[index : index + 1] for index in range(len(stream))]) == expected
        for cut in range(1, len(stream)):
            assert decode([stream[:cut], stream[cut:]]) == expected, cut


@pytest.mark.parametrize("name", BAD)
def test_broken_chunks_are_refused_however_they_are_cut(name: str) -> None:
    """Whole, byte by byte or in two parts: an error, and never the end of a body."""
    wire = BAD[name]
    pieces = [[wire], [wire[index : index + 1] for index in range(len(wire))]]
    pieces += [[wire[:cut], wire[cut:]] for cut in range(1, len(wire))]
    for parts in pieces:
        decoder = ChunkedDecoder()
        with pytest.raises(MessageError):
            for part in parts:
                decoder.feed(part)
                assert not decoder.done


def test_an_unfinished_body_is_not_done() -> None:
    """No proper part of a body is taken for its end."""
    wire = GOOD["trailers"][0]
    for cut in range(1, len(wire)):
        decoder = ChunkedDecoder()
        decoder.feed(wire[:cut])
        assert not decoder.done, wire[:cut]


def test_overhead_is_bounded() -> None:
    """Extensions may not outweigh the body: 16 KiB and eight times the body are too much."""
    chunk = b"1;" + b"x" * 1000 + b"\r\na\r\n"
    decoder = ChunkedDecoder()
    with pytest.raises(MessageError, match="ChunkOverhead"):
        for _ in range(20):
            decoder.feed(chunk)


def test_one_byte_chunks_are_no_attack() -> None:
    """A body that comes byte by byte, each in its chunk, is slow and honest."""
    decoder = ChunkedDecoder()
    assert decoder.feed(b"1\r\na\r\n" * 20_000) == b"a" * 20_000
    assert decoder.feed(b"0\r\n\r\n") == b""
    assert decoder.done


@pytest.mark.parametrize("start", [b"1;", b"0\r\nX: ", b"0\r\n" + b"Y" * 10])
def test_an_endless_extension_or_trailer_ends_after_16_kib(start: bytes) -> None:
    """A large body before it earns no more: the parser gathers a trailer in memory."""
    decoder = ChunkedDecoder()
    decoder.feed(b"100000\r\n" + b"a" * 0x100000 + b"\r\n")
    decoder.feed(start)
    fed = 0
    with pytest.raises(MessageError, match="ChunkOverhead"):
        while fed < 100_000:
            decoder.feed(b"a" * 1000)
            fed += 1000
    assert fed <= 17_000


def test_trailers_are_bounded_in_number_and_size() -> None:
    """64 of them and 16 KiB; also where they come in one read behind a large body, and when none is passed on."""
    body = b"8000\r\n" + b"a" * 0x8000 + b"\r\n0\r\n"
    assert ChunkedDecoder().feed(body + b"X: 1\r\n" * 64 + b"\r\n")
    for trailers in (b"X: 1\r\n" * 65, b"X: " + b"a" * 17_000 + b"\r\n", (b"Host: " + b"a" * 1000 + b"\r\n") * 17):
        with pytest.raises(MessageError, match="TooManyTrailers"):
            ChunkedDecoder().feed(body + trailers + b"\r\n")


def test_chunks_are_written_as_rfc_9112_has_them() -> None:
    """Hexadecimal size, data, line ends; trailers behind the last chunk."""
    assert encode_chunk(b"a" * 26) == b"1a\r\n" + b"a" * 26 + b"\r\n"
    assert encode_last_chunk([]) == LAST_CHUNK == b"0\r\n\r\n"
    assert encode_last_chunk([(b"X", b"1"), (b"y", b"")]) == b"0\r\nX: 1\r\ny: \r\n\r\n"
