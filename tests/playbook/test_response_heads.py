"""Response heads of an upstream: how their bodies end, and what is no response."""

from __future__ import annotations

import pytest

from proxy.http1.reader import ResponseParser
from proxy.message.errors import BadResponse
from proxy.message.request import CHUNKED, NO_BODY
from proxy.message.response import UNTIL_CLOSE, ResponseHead


def read(head: bytes, *, is_head: bool = False, parser: ResponseParser | None = None) -> ResponseHead:
    parser = parser or ResponseParser(ResponseHead())
    parser.parse(head, is_head=is_head)
    return parser.head


def answer(*lines: bytes, status: bytes = b"200 OK", minor: int = 1) -> bytes:
    return b"HTTP/1.%d " % minor + status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def refused(head: bytes) -> str:
    with pytest.raises(BadResponse) as caught:
        read(head)
    return caught.value.reason


LENGTH = b"Content-Length: 5"
CODING = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("head", "is_head", "length", "declared"),
    [
        (answer(LENGTH), False, 5, b"5"),
        (answer(b"Content-Length: 005 "), False, 5, b"5"),
        (answer(b"Content-Length: 0"), False, NO_BODY, b"0"),
        (answer(CODING), False, CHUNKED, None),
        (answer(b"Transfer-Encoding: CHUNKED "), False, CHUNKED, None),
        (answer(), False, UNTIL_CLOSE, None),
        (answer(minor=0), False, UNTIL_CLOSE, None),
        (answer(LENGTH), True, NO_BODY, b"5"),
        (answer(CODING), True, NO_BODY, None),
        (answer(), True, NO_BODY, None),
        (answer(LENGTH, status=b"304 Not Modified"), False, NO_BODY, b"5"),
        (answer(LENGTH, status=b"204 No Content"), False, NO_BODY, None),
        (answer(CODING, status=b"204 No Content"), False, NO_BODY, None),
        (answer(LENGTH, status=b"103 Early Hints"), False, NO_BODY, None),
    ],
)
def test_where_a_response_ends(head: bytes, is_head: bool, length: int, declared: bytes | None) -> None:
    """RFC 9112 section 6.3, rule by rule; the length that was declared is passed on also where no body follows."""
    settled = read(head, is_head=is_head)
    told = b"" if declared is None else b"Content-Length: %b\r\n" % declared
    assert (settled.content_length, settled.lines) == (length, told)


@pytest.mark.parametrize(
    "lines",
    [
        [LENGTH, CODING], [CODING, LENGTH], [LENGTH, LENGTH], [b"Content-Length: 5, 5"], [b"Content-Length: +5"],
        [b"Content-Length: "], [b"Content-Length: 1_0"], [b"Content-Length: \xd9\xa5"],
        [b"Content-Length: 1000000000000000000"], [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked, gzip"], [b"Transfer-Encoding: identity"], [CODING, CODING],
        [b"Transfer-Encoding: , chunked"], [b"Transfer-Encoding: "],
        [b"X: a\r\n b"], [b"X : a"], [b": a"], [b"just words"], [b"X: a\nY: b"], [b"X: a\rY: b"], [b"X: a\r"],
    ],
)  # fmt: skip
def test_doubtful_responses_are_refused(lines: list[bytes]) -> None:
    """What would be 400 from a client is 502 from a backend."""
    assert refused(answer(*lines)).isalnum()


def test_http10_has_no_coding() -> None:
    """An HTTP/1.0 response with chunks is in doubt (RFC 9112 section 6.1)."""
    assert refused(answer(CODING, minor=0)) == "UnknownTransferCoding"


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 1012 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1 -20 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 000 OK", b"HTTP/2.0 200 OK", b"HTTP/1.2 200 OK",
        b"HTTP/0.9 200 OK", b"ICE/1.0 200 OK", b"RTSP/1.0 200 OK", b"http/1.1 200 OK", b"200 OK", b"HTTP/1.1",
        b"HTTP/1.1 200OK", b"GET / HTTP/1.1", b"\r\nHTTP/1.1 200 OK",
    ],
)  # fmt: skip
def test_status_lines_that_are_refused(line: bytes) -> None:
    """HTTP/1.0 or 1.1, one space, three digits from 100 on."""
    refused(line + b"\r\nContent-Length: 0\r\n\r\n")


def test_every_byte_in_a_value() -> None:
    """Controls in a value would split the response in a lenient client: refused, each of them, in any field."""
    text = {0x09, *range(0x20, 0x7F), *range(0x80, 0x100)}
    for byte in range(256):
        for name in (b"X", b"Connection", b"Upgrade", b"Set-Cookie"):
            head = answer(name + b": a" + bytes((byte,)) + b"b")
            if byte in text:
                read(head)
            else:
                refused(head)


def test_controls_in_a_switch_are_refused_like_in_any_head() -> None:
    """llhttp stops behind a 101; an error within its head is an error all the same."""
    switch = answer(b"Upgrade: websocket", b"Connection: Upgrade", status=b"101 Switching Protocols")
    assert read(switch).upgrade_protocol() == b"websocket"
    assert read(answer(status=b"101 X")).upgrade_protocol() == b""
    assert read(answer(b"Upgrade: WebSocket", status=b"101 X")).upgrade_protocol() == b"websocket"
    for line in (b"X: a\0b", b"X : a", b"X: a\r\n b"):
        refused(answer(b"Upgrade: websocket", b"Connection: Upgrade", line, status=b"101 X"))


def test_reasons_are_passed_on_unless_they_hold_controls() -> None:
    """A reason may be empty or any text; one with controls is left out."""
    for reason, told in ((b"OK", b"OK"), (b"", b""), (b"a\0b", b""), (b"a\x7fb", b""), (b"caf\xe9", b"caf\xe9")):
        for minor in (0, 1):
            head = read(answer(status=b"299 " + reason, minor=minor))
            assert (head.status, head.minor, head.start) == (299, minor, b"HTTP/1.1 299 " + told + b"\r\n")
    assert read(b"HTTP/1.1 200\r\n\r\n").status == 200


def test_hop_by_hop_fields_stay_behind() -> None:
    """What Connection names and what concerns this hop never reaches the client."""
    head = read(answer(b"X-A: 1", b"Connection: close, x-a", b"Keep-Alive: 5", b"Upgrade: h2c", b"Server: s", LENGTH))
    assert head.lines == b"Server: s\r\nContent-Length: 5\r\n"
    assert (head.keep_alive, head.has_server, head.has_date) == (False, True, False)


@pytest.mark.parametrize(
    ("minor", "connection", "kept"),
    [(1, None, True), (1, b"close", False), (1, b"x, Close", False), (0, None, False), (0, b"keep-alive", True)],
)
def test_persistence_of_the_upstream(minor: int, connection: bytes | None, kept: bool) -> None:
    """As for requests: HTTP/1.0 ends unless it says otherwise."""
    lines = [LENGTH] if connection is None else [LENGTH, b"Connection: " + connection]
    assert read(answer(*lines, minor=minor)).keep_alive is kept


def test_one_parser_reads_response_after_response() -> None:
    """Neither a body's framing nor a refusal nor a switch leaks into the next head."""
    parser = ResponseParser(ResponseHead())
    for _ in range(2):
        assert read(answer(LENGTH, b"X: 1"), parser=parser).content_length == 5
        head = read(answer(CODING), parser=parser)
        assert (head.content_length, head.lines) == (CHUNKED, b"")
        with pytest.raises(BadResponse):
            read(answer(b"X : 1"), parser=parser)
        assert read(answer(status=b"101 X"), parser=parser).status == 101
        assert read(answer(), parser=parser).content_length == UNTIL_CLOSE
