"""Heads on one connection, of either side: what was read before never changes what a head means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.http1.reader import RequestParser, ResponseParser
from proxy.message.errors import BadRequest, BadResponse
from proxy.message.request import RequestHead
from proxy.message.response import ResponseHead

STARTS = [b"GET ", b"PUT ", b"HEAD ", b"POST ", b"GET  ", b"OPTIONS ", b"CONNECT ", b"TRACE "]
TARGETS = [
    b"/",
    b"/a?b",
    b"//x",
    b"http://h/x",
    b"*",
    b"/a b",
    b"/a\tb",
    b"/\xe9",
    b"/\x7f",
    b"/a\r\nX: 1",
    b"",
    b"a",
    b"/#",
]
ENDS = [b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"  HTTP/1.1\r\n", b" HTTP/1.1 \r\n", b" HTTP/1.2\r\n"]
LINES = [
    b"Host: a\r\n",
    b"Host: a\r\nConnection: keep-alive\r\n",
    b"Host: a\r\nConnection: close\r\n",
    b"Host: a\r\nConnection: x-a\r\nX-A: 1\r\nX-B: 2\r\n",
    b"Host: a\r\nContent-Length: 0\r\n",
    b"Host: a\r\nContent-Length: 3\r\n",
    b"Host: a\r\nTransfer-Encoding: chunked\r\n",
    b"Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
    b"Host: a\r\nX-Forwarded-For: 1.2.3.4\r\nX_Y: 1\r\nX-Request-ID: q\r\n",
    b"Host: a\r\nHost: b\r\n",
    b"X: 1\r\n",
]
HEADS = st.builds(
    lambda start, target, end, lines: start + target + end + lines + b"\r\n",
    st.sampled_from(STARTS),
    st.sampled_from(TARGETS),
    st.sampled_from(ENDS),
    st.sampled_from(LINES),
)
LIKELY = st.builds(
    lambda target, lines: b"GET " + target + b" HTTP/1.1\r\n" + lines + b"\r\n",
    st.sampled_from(TARGETS),
    st.sampled_from(LINES),
)


def meaning(parser: RequestParser, data: bytes) -> object:
    head = parser.head
    try:
        parser.parse(data)
    except BadRequest as refusal:
        return refusal.reason, refusal.status
    return (
        head.method, head.target, head.minor, head.host, head.lines, dict(head.special), head.content_length,
        head.keep_alive, head.expects_continue, head.upgrade, head.plain,
    )  # fmt: skip


@given(st.lists(HEADS | LIKELY, min_size=2, max_size=6))
def test_a_head_means_the_same_behind_any_other(heads: list[bytes]) -> None:
    """Also where it repeats the lines of the one before it, and where the exchange replaced that one's Host."""
    parser = RequestParser(RequestHead())
    for data in heads:
        assert meaning(parser, data) == meaning(RequestParser(RequestHead()), data)
        parser.head.replace_host(b"other")


ASKED = st.lists(st.tuples(st.sampled_from([b"GET ", b"PUT ", b"HEAD "]), st.sampled_from(TARGETS)), min_size=2)


@given(st.sampled_from(LINES), ASKED)
def test_repeated_lines_let_no_other_request_pass(lines: bytes, asked: list[tuple[bytes, bytes]]) -> None:
    """Method and target are judged as strictly as in a first head."""
    parser = RequestParser(RequestHead())
    for start, target in asked:
        data = start + target + b" HTTP/1.1\r\n" + lines + b"\r\n"
        assert meaning(parser, data) == meaning(RequestParser(RequestHead()), data)


RESPONSES = st.builds(
    lambda start, lines: start + lines + b"\r\n",
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 204 No\r\n",
            b"HTTP/1.0 200 OK\r\n",
            b"HTTP/1.1 304 N\r\n",
            b"HTTP/2 200\r\n",
        ]
    ),
    st.sampled_from(
        [
            b"Content-Length: 5\r\n",
            b"Content-Length: 6\r\n",
            b"Content-Length: x\r\n",
            b"Content-Length: 05\r\nServer: a\r\n",
            b"Transfer-Encoding: chunked\r\nConnection: x-a\r\nX-A: 1\r\n",
            b"Connection: close\r\nDate: Tue\r\nX-B: 1\r\n",
            b"X: %b\r\n" % (b"v" * 5000),
            b"",
        ]
    ),
)


def response_meaning(parser: ResponseParser, data: bytes, *, is_head: bool) -> object:
    head = parser.head
    try:
        parser.parse(data, is_head=is_head)
    except BadResponse as refusal:
        return refusal.reason
    return (
        head.status, head.start, head.minor, head.lines, dict(head.special), head.content_length, head.keep_alive,
    )  # fmt: skip


@given(st.lists(st.tuples(RESPONSES, st.booleans()), min_size=1, max_size=4))
def test_a_response_head_means_the_same_behind_any_other(heads: list[tuple[bytes, bool]]) -> None:
    """Also where it is sent again and again, in answer to HEAD or not, and filters changed what came before."""
    parser = ResponseParser(ResponseHead())
    for data, is_head in [heads[0], heads[0], *heads, *heads, heads[0]]:
        fresh = response_meaning(ResponseParser(ResponseHead()), data, is_head=is_head)
        assert response_meaning(parser, data, is_head=is_head) == fresh
        parser.head.lines = b"X-Changed: 1\r\n"
        parser.head.special[99] = b""
