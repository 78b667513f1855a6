"""Request heads, byte by byte: what is read, what is refused and why."""

from __future__ import annotations

import pytest

from proxy.http1.reader import RequestParser
from proxy.message.errors import BadRequest
from proxy.message.request import CHUNKED, NO_BODY, RequestHead
from proxy.server.framing import check_head, check_partial_head, without_empty_lines
from proxy.table import Settings


def read(head: bytes, parser: RequestParser | None = None) -> RequestHead:
    parser = parser or RequestParser(RequestHead())
    parser.parse(head)
    return parser.head


def refused(head: bytes) -> tuple[str, int]:
    with pytest.raises(BadRequest) as caught:
        read(head)
    return caught.value.reason, caught.value.status


def get(*lines: bytes, method: bytes = b"GET", minor: int = 1) -> bytes:
    return method + b" / HTTP/1.%d\r\nHost: a\r\n" % minor + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def names(head: RequestHead) -> list[bytes]:
    """The fields that pass, Host aside."""
    return [line.partition(b":")[0] for line in head.lines.split(b"\r\n")[:-1] if not line.lower().startswith(b"host:")]


def test_fields_are_kept_as_they_came() -> None:
    """Order, spelling, spaces and repetition of end-to-end fields survive."""
    head = read(b"GET /p?q HTTP/1.1\r\nhOST: a:1\r\nx-B: 1\r\nX-b:  2 \r\nA:\r\n\r\n")
    assert (head.method, head.target, head.minor, head.host) == (b"GET", b"/p?q", 1, b"a:1")
    assert head.lines == b"hOST: a:1\r\nx-B: 1\r\nX-b:  2 \r\nA:\r\n"
    assert head.content_length == NO_BODY
    assert head.keep_alive


def test_one_parser_reads_head_after_head() -> None:
    """Nothing of a request, of its body's framing or of a refusal leaks into the next head."""
    parser = RequestParser(RequestHead())
    for _ in range(2):
        head = read(get(b"Content-Length: 5", b"X: 1", method=b"POST"), parser)
        assert (head.content_length, names(head)) == (5, [b"X"])
        head = read(get(), parser)
        assert (head.content_length, names(head), head.method) == (NO_BODY, [], b"GET")
        head = read(get(b"Transfer-Encoding: chunked", b"Expect: 100-continue", method=b"PUT"), parser)
        assert (head.content_length, head.expects_continue) == (CHUNKED, True)
        with pytest.raises(BadRequest):
            read(b"GET / HTTP/1.1\r\nX : y\r\n\r\n", parser)
        head = read(get(b"Connection: Upgrade", b"Upgrade: websocket"), parser)
        assert (head.upgrade, head.expects_continue, head.content_length) == (True, False, NO_BODY)
        assert not read(get(), parser).upgrade


@pytest.mark.parametrize(
    ("minor", "connection", "kept"),
    [
        (1, None, True), (1, b"close", False), (1, b"Close", False), (1, b"x, close", False), (1, b"keep-alive", True),
        (1, b"keep-alive, close", False), (0, None, False), (0, b"keep-alive", True), (0, b"Keep-Alive, x", True),
        (0, b"close", False), (0, b"keep-alive, close", False), (1, b"closed", True),
    ],
)  # fmt: skip
def test_persistence(minor: int, connection: bytes | None, kept: bool) -> None:
    """HTTP/1.1 stays unless it says close; HTTP/1.0 ends unless it says keep-alive; close always wins."""
    lines = [] if connection is None else [b"Connection: " + connection]
    assert read(get(*lines, minor=minor)).keep_alive is kept


def test_what_connection_names_goes_and_hop_by_hop_fields_too() -> None:
    """Named fields are removed wherever they stand; those of this hop without being named (RFC 9110 section 7.6.1)."""
    head = read(
        get(
            b"X-Before: 1", b"Connection: x-before, X-AFTER", b"x-after: 2", b"Keep-Alive: 5", b"Proxy-Connection: x",
            b"Proxy-Authorization: x", b"HTTP2-Settings: x", b"Upgrade: h2c", b"Connection: Z", b"z: 3", b"Y: 4",
        )
    )  # fmt: skip
    assert names(head) == [b"Y"]


def test_connection_cannot_name_what_the_proxy_itself_says() -> None:
    """The Host, the length and the forwarding fields are nothing that an option could remove."""
    head = read(get(b"Connection: Host, Content-Length, X-Forwarded-For, X-Request-ID", b"Content-Length: 3"))
    assert (head.host, head.content_length) == (b"a", 3)


@pytest.mark.parametrize(
    ("lines", "upgrades"),
    [
        ([b"Connection: Upgrade", b"Upgrade: websocket"], True),
        ([b"Connection: keep-alive, uPGRADE", b"Upgrade: WebSocket"], True),
        ([b"Upgrade: websocket"], False),
        ([b"Connection: Upgrade"], False),
        ([b"Connection: Upgrade", b"Upgrade: h2c"], False),
        ([b"Connection: Upgrade", b"Upgrade: websocket, h2c"], False),
        ([b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c"], False),
        ([b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 1"], False),
        ([b"Connection: Upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked"], False),
    ],
)
def test_only_a_bodiless_websocket_upgrades(lines: list[bytes], upgrades: bool) -> None:
    """Any other protocol, a list of them, or a body behind the head makes an ordinary request."""
    head = read(get(*lines))
    assert head.upgrade is upgrades
    assert names(head) == []


def test_post_and_http10_do_not_upgrade() -> None:
    """RFC 6455 section 4.1 asks for a GET of HTTP/1.1."""
    lines = (b"Connection: Upgrade", b"Upgrade: websocket")
    assert not read(get(*lines, method=b"POST")).upgrade
    assert not read(get(*lines, minor=0)).upgrade


@pytest.mark.parametrize(
    ("line", "length"),
    [(b"0", NO_BODY), (b"5", 5), (b"005", 5), (b" \t5\t ", 5), (b"9" * 18, 10**18 - 1)],
)
def test_lengths_that_are_read(line: bytes, length: int) -> None:
    """ASCII digits with optional white space around, 18 of them at most."""
    assert read(get(b"Content-Length: " + line, method=b"POST")).content_length == length


@pytest.mark.parametrize(
    "value",
    [
        b"", b"+5", b"-5", b"5,5", b"5, 5", b"1_0", b"0x5", b"5 5", b"5;", b"\x0b5", b"5\xa0", b"\xd9\xa5", b"1e1",
        b"1" + b"0" * 18, b"18446744073709551621",
    ],
)  # fmt: skip
def test_lengths_that_are_refused(value: bytes) -> None:
    """Whatever Python's or another parser's int() might take besides digits is no length."""
    assert refused(get(b"Content-Length: " + value, method=b"POST"))[1] == 400


def test_repeated_lengths_are_refused_even_when_equal() -> None:
    """Two lines of Content-Length are one doubt."""
    assert refused(get(b"Content-Length: 5", b"Content-Length: 5"))[1] == 400


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        ([b"chunked, chunked"], 400), ([b"chunked, identity"], 400), ([b"identity"], 400), ([b", chunked"], 400),
        ([b"chunked,"], 400), ([b"xchunked"], 400), ([b"chunked;a"], 400), ([b"\x0bchunked"], 400), ([b""], 400),
        ([b"chunked", b"chunked"], 400), ([b"chunked\xa0"], 400), ([b"gzip, chunked"], 501),
        ([b"gzip", b"chunked"], 501),
    ],
)  # fmt: skip
def test_codings_that_are_refused(lines: list[bytes], verdict: int) -> None:
    """Only one ``chunked`` frames a request; a coding in front of it is understood and not implemented."""
    assert refused(get(*(b"Transfer-Encoding: " + line for line in lines)))[1] == verdict


def test_coding_and_length_together_are_refused_in_either_order() -> None:
    """The classic of request smuggling (RFC 9112 section 6.1)."""
    pair = (b"Content-Length: 5", b"Transfer-Encoding: chunked")
    assert refused(get(*pair))[1] == 400
    assert refused(get(*reversed(pair)))[1] == 400


def test_http10_has_no_coding_and_no_body_without_a_length() -> None:
    """A coding in HTTP/1.0 is refused, and so is a POST whose body could only end by closing."""
    assert refused(get(b"Transfer-Encoding: chunked", minor=0)) == ("CodingInHttp10", 400)
    assert refused(get(method=b"POST", minor=0)) == ("MissingLength", 400)
    assert refused(b"PUT / HTTP/1.0\r\n\r\n") == ("MissingLength", 400)
    assert read(get(b"Content-Length: 0", method=b"POST", minor=0)).content_length == NO_BODY
    assert read(get(minor=0)).content_length == NO_BODY


def test_expectations() -> None:
    """100-continue counts where a body follows and HTTP/1.1 asks; anything else is 417."""
    assert read(get(b"Expect: 100-Continue", b"Content-Length: 1")).expects_continue
    assert not read(get(b"Expect: 100-continue")).expects_continue
    assert not read(get(b"Expect: 100-continue", b"Content-Length: 1", minor=0)).expects_continue
    assert refused(get(b"Expect: 100-continue, x")) == ("UnknownExpectation", 417)


def test_te_is_cut_down_to_trailers_and_named_by_connection() -> None:
    """Other codings would let the backend choose one that nobody here decodes (RFC 9110 section 10.1.4)."""
    assert read(get(b"TE: gzip, Trailers")).lines == b"Host: a\r\nTE: trailers\r\nConnection: TE\r\n"
    assert read(get(b"TE: gzip")).lines == b"Host: a\r\n"


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (b"GET  / HTTP/1.1", 400), (b"GET /  HTTP/1.1", 400), (b"GET / HTTP/1.1 ", 400), (b"GET / HTTP/1.2", 400),
        (b"GET / HTTP/2.0", 400), (b"GET / HTTP/0.9", 400), (b"GET /", 400), (b"GET / ICE/1.0", 400),
        (b"GET / http/1.1", 400), (b"G\0ET / HTTP/1.1", 400), (b"GET\t/ HTTP/1.1", 400), (b"BREW / HTTP/1.1", 501),
        (b"get / HTTP/1.1", 501), (b"CONNECT a:1 HTTP/1.1", 405), (b"CONNECT / HTTP/1.1", 405),
        (b"SOURCE / ICE/1.0", 400), (b"OPTIONS * RTSP/1.0", 400), (b"GET /a\x7f HTTP/1.1", 400),
    ],
)  # fmt: skip
def test_start_lines_that_are_refused(line: bytes, verdict: int) -> None:
    """One space, a known method, HTTP/1.0 or 1.1, and nothing else."""
    assert refused(line + b"\r\nHost: a\r\n\r\n")[1] == verdict


def test_every_byte_in_every_place_of_a_field() -> None:
    """A name is a token; a value has no control but the tab; nothing is trimmed that is not a space or a tab."""
    token = set(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    text = {0x09, *range(0x20, 0x7F), *range(0x80, 0x100)}
    for byte in range(256):
        one = bytes((byte,))
        for line, allowed in (
            (b"X" + one + b"Y: v", token | {0x3A}),
            (one + b": v", token),
            (b"X: a" + one + b"b", text),
            (b"X: " + one, text),
            (b"Connection: a" + one + b"b", text),
            (b"Upgrade: " + one, text),
        ):
            if byte in allowed:
                read(get(line))
            else:
                assert refused(get(line))[1] == 400, line


def test_no_host_twice_a_host() -> None:
    """HTTP/1.1 needs a Host; two are joined by a comma, which no host grammar takes."""
    assert refused(b"GET / HTTP/1.1\r\n\r\n") == ("MissingHost", 400)
    assert read(b"GET / HTTP/1.0\r\n\r\n").host == b""
    assert read(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").host == b"a, a"


def test_reasons_are_words_of_ours() -> None:
    """What goes to the log is one word without any input of the client."""
    for head in (b"GET / HTTP/1.1\r\nX\x01Y: <evil>\r\n\r\n", b"GET /<evil> HTTP/9.9\r\n\r\n", b"EVIL\r\n\r\n"):
        assert refused(head)[0].isalnum()
        assert b"evil" not in refused(head)[0].lower().encode()


# ---- limits, on raw bytes

SETTINGS = Settings(max_request_line=100, max_header_bytes=200, max_header_fields=5)


def limited(data: bytes, *, whole: bool) -> int:
    """The status of the refusal, or 0."""
    try:
        if whole:
            check_head(data, len(data), SETTINGS)
        else:
            check_partial_head(data, 0, SETTINGS)
    except BadRequest as error:
        return error.status
    return 0


def test_limits_hold_at_the_byte() -> None:
    """Request line, all header lines and the number of fields, each at its limit and one beyond."""
    line = b"GET /" + b"a" * (100 - 14) + b" HTTP/1.1"
    assert len(line) == 100
    assert limited(line + b"\r\n\r\n", whole=True) == 0
    assert limited(b"G" + line + b"\r\n\r\n", whole=True) == 414
    assert limited(b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 5 + b"\r\n", whole=True) == 0
    assert limited(b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 6 + b"\r\n", whole=True) == 431
    fields = b"\r\nX: " + b"a" * (200 - 9) + b"\r\n\r\n"
    assert limited(b"GET / HTTP/1.1" + fields, whole=True) == 0
    assert limited(b"GET / HTTP/1.1" + fields.replace(b"X", b"XX"), whole=True) == 431


def test_a_head_that_can_no_longer_fit_is_refused_before_its_end() -> None:
    """The client cannot make the proxy gather more than the limits, nor wait on what is malformed already."""
    assert limited(b"G" * 100, whole=False) == 0
    assert limited(b"G" * 101, whole=False) == 414
    assert limited(b"GET / HTTP/1.1\r\nX: " + b"a" * 200, whole=False) == 431
    assert limited(b"GET / HTTP/1.1\nX", whole=False) == 400
    assert limited(b"get", whole=False) == 400


def test_a_partial_head_is_looked_at_once() -> None:
    """Bytes seen before are not counted again, wherever the cut fell; a bare line feed is found on either side."""
    data = b"GET / HTTP/1.1\r\nX: a\r\nY: b"
    for cut in range(len(data)):
        check_partial_head(data, cut, SETTINGS)
        with pytest.raises(BadRequest, match="BareLineFeed"):
            check_partial_head(data + b"\n", cut, SETTINGS)
    with pytest.raises(BadRequest, match="BareLineFeed"):
        check_partial_head(b"GET /\n", 5, SETTINGS)


def test_two_empty_lines_before_a_request_are_forgiven() -> None:
    """RFC 9112 section 2.2 asks for one; a third, or anything else that begins no method, is refused."""
    assert without_empty_lines(b"\r\n\r\nGET") == b"GET"
    assert without_empty_lines(b"\r\n") == b""
    assert without_empty_lines(b"\r") == b"\r"
    for data in (b"\r\n\r\n\r\nGET", b"\nGET", b" GET", b"\0", b"\rGET", b"\x16\x03\x01"):
        with pytest.raises(BadRequest):
            without_empty_lines(data)
