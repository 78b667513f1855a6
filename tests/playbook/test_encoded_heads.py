"""Heads to bytes: what a backend and what a client reads."""

from __future__ import annotations

import pytest

from proxy.http1.encode import CONTINUE, encode_informational, encode_request, encode_response, encode_switch
from proxy.http1.reader import RequestParser, ResponseParser
from proxy.message.request import RequestHead
from proxy.message.response import ResponseHead

OWN = b"Server: pyngress\r\n"


def request(*lines: bytes, method: bytes = b"GET") -> bytes:
    """A parsed head, encoded for the upstream."""
    parser = RequestParser(RequestHead())
    parser.parse(method + b" /x HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n")
    head = parser.head
    head.path, head.query = b"/p", b"?q"
    return encode_request(head, b"X-Forwarded-For: 1", b"id")


def response(*lines: bytes, status: bytes = b"200 OK", is_head: bool = False) -> ResponseHead:
    parser = ResponseParser(ResponseHead())
    head = b"HTTP/1.1 " + status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    parser.parse(head, is_head=is_head)
    return parser.head


def test_a_request_is_written_whole() -> None:
    """Normalised path, Host first, fields as they came, then what the proxy says."""
    assert request(b"X: 1", b"x: 2", b"Connection: close") == (
        b"GET /p?q HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\nX-Forwarded-For: 1\r\nX-Request-ID: id\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "lines", "tail"),
    [
        (b"GET", [], b""),
        (b"DELETE", [], b""),
        (b"POST", [], b"Content-Length: 0\r\n"),
        (b"PUT", [b"Content-Length: 0"], b"Content-Length: 0\r\n"),
        (b"PATCH", [], b"Content-Length: 0\r\n"),
        (b"POST", [b"content-LENGTH: 007"], b"Content-Length: 7\r\n"),
        (b"GET", [b"Content-Length: 7"], b"Content-Length: 7\r\n"),
        (b"POST", [b"Transfer-Encoding: CHUNKED"], b"Transfer-Encoding: chunked\r\n"),
        (b"GET", [b"Connection: upgrade", b"Upgrade: WEBSOCKET"], b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        (b"POST", [b"Expect: 100-continue", b"Content-Length: 1"], b"Content-Length: 1\r\n"),
    ],
)
def test_framing_is_written_anew(method: bytes, lines: list[bytes], tail: bytes) -> None:
    """The backend reads the length or coding that the proxy understood, in one spelling, once."""
    assert request(*lines, method=method) == (
        method + b" /p?q HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1\r\nX-Request-ID: id\r\n" + tail + b"\r\n"
    )


@pytest.mark.parametrize(
    ("lines", "minor", "chunked", "close", "length", "expected"),
    [
        ([b"Content-Length: 5"], 1, False, False, b"Content-Length: 5\r\n", b"\r\n"),
        ([b"Content-Length: 5"], 1, False, True, b"Content-Length: 5\r\n", b"Connection: close\r\n\r\n"),
        ([b"Content-Length: 5"], 0, False, False, b"Content-Length: 5\r\n", b"Connection: keep-alive\r\n\r\n"),
        ([b"Content-Length: 5"], 0, False, True, b"Content-Length: 5\r\n", b"Connection: close\r\n\r\n"),
        ([b"Transfer-Encoding: chunked"], 1, True, False, b"", b"Transfer-Encoding: chunked\r\n\r\n"),
        ([], 1, True, False, b"", b"Transfer-Encoding: chunked\r\n\r\n"),
        ([], 0, False, True, b"", b"Connection: close\r\n\r\n"),
    ],
)
def test_a_response_is_framed_for_its_client(
    lines: list[bytes], minor: int, chunked: bool, close: bool, length: bytes, expected: bytes
) -> None:
    """HTTP/1.0 clients read no chunks, and are told when the connection stays."""
    head = response(b"X: 1", *lines)
    encoded = encode_response(head, OWN, b"", minor=minor, chunked=chunked, close=close)
    assert encoded == b"HTTP/1.1 200 OK\r\nX: 1\r\n" + length + OWN + expected


def test_informational_and_switching_heads() -> None:
    """1xx heads carry no framing; a switch names the one protocol that is tunnelled."""
    hints = response(b"Link: </a>", b"Content-Length: 5", status=b"103 Early Hints")
    assert encode_informational(hints) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    switch = response(b"Upgrade: websocket", b"Connection: Upgrade", b"X: 1", status=b"101 Switching Protocols")
    assert encode_switch(switch) == (
        b"HTTP/1.1 101 Switching Protocols\r\nX: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"
