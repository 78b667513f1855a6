"""Heads from bytes.

Each parser is given exactly one head, ending in an empty line. llhttp's strict mode refuses bare CR and LF, NUL and
controls, space before the colon, folded lines, and doubtful lengths; what it lets pass and we do not is checked here.
"""

from __future__ import annotations

import re
from typing import Any, Final

import httptools

from proxy.message.errors import BadRequest, BadResponse
from proxy.message.request import NO_BODY, RequestHead
from proxy.message.response import ResponseHead

__all__ = ["HEAD_END", "RequestParser", "ResponseParser"]

HEAD_END: Final = b"\r\n\r\n"
_VISIBLE: Final = bytes(range(0x21, 0x7F))
"""What llhttp lets pass in a target."""
_MAX_COMPARED: Final = 4096
"""Bytes of header lines kept for the comparison with the next head."""

_TOKEN_AND_SPACE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ ")
_NO_WORD: Final = re.compile(r"[^0-9A-Za-z]+")
_STATUS_LINES: dict[bytes, tuple[int, int, bytes]] = {}
"""Status lines seen and checked → status, minor version, the line to send. Bounded, since an upstream may invent
reasons."""
_MAX_STATUS_LINES: Final = 1024
_PAUSED: Final = "PauseOnCONNECTUpgrade"
"""llhttp's one error that is none: the head is whole, and what follows it is not HTTP."""


class RequestParser:
    """Reads request heads of one connection into one :class:`RequestHead`.

    Clients that keep a connection tend to send the same header lines again. Where method, version and every byte of the
    lines are those of the last head, so is everything that follows from them: only the target is new, and only it is
    looked at.
    """

    __slots__ = ("_host", "_lines", "_parser", "_start", "_tail", "_target", "head", "on_header")

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.on_header = head.add_field
        self._parser: Any = None
        self._target = b""
        self._start = b""
        """Of the last head: its method and the space."""
        self._tail = b""
        """Of the last head: everything behind its target; empty where it is not to be compared with."""
        self._lines = b""
        self._host = b""

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._target = url

    def parse(self, data: bytes) -> None:
        """Read one whole head.

        Raises:
            BadRequest: it is not one, or its framing is in doubt.
        """
        head = self.head
        tail = self._tail
        if tail and data.endswith(tail) and data.startswith(self._start):
            target = data[len(self._start) : -len(tail)]
            if target[:1] == b"/" and not target.translate(None, _VISIBLE):
                head.target = target
                head.host = self._host
                head.lines = self._lines
                return
        self._tail = b""
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        head.reset()
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._parser = None
            if parser.get_method() == b"CONNECT":
                # Whatever its target says: a backend's 2xx would open a tunnel that nobody here knows of.
                raise BadRequest("ConnectRefused", 405) from None
        except httptools.HttpParserInvalidMethodError:
            self._parser = None
            if _TOKEN_AND_SPACE.match(data):
                raise BadRequest("UnknownMethod", 501) from None
            raise BadRequest("BadRequestLine") from None
        except httptools.HttpParserError as error:
            self._parser = None
            raise BadRequest(_reason(error)) from None
        method: bytes = parser.get_method()
        if method == b"TRACE":
            # It would show a script the cookies and credentials that it may not read; nginx refuses it too.
            self._parser = None
            raise BadRequest("TraceRefused", 405)
        target = head.target = self._target
        # llhttp lets runs of spaces pass, and HTTP/0.9, 2.0 and ICE: the version stands one space behind the target,
        # which stands one space behind the method, or it is none of ours.
        end = len(method) + len(target) + 1
        if data.startswith(b" HTTP/1.1\r\n", end):
            minor = 1
        elif data.startswith(b" HTTP/1.0\r\n", end):
            minor = 0
        else:
            self._parser = None
            raise BadRequest("BadRequestLine")
        lines = data[end + 11 : -2]
        try:
            head.settle(method, minor, lines)
        except BadRequest:
            self._parser = None
            raise
        if head.content_length != NO_BODY or not head.keep_alive:
            # It waits for a body that it will not be given, or for nothing more.
            self._parser = None
        elif minor == 1 and not head.upgrade and len(lines) <= _MAX_COMPARED:
            self._start = method + b" "
            self._tail = data[end:]
            self._lines = head.lines
            self._host = head.host

    def close(self) -> None:
        """Break the reference cycle between the parser and this object."""
        self._parser = None


class ResponseParser:
    """Reads response heads of one upstream connection into one :class:`ResponseHead`.

    Endpoints, too, send the same head again: for what many ask for at the same time, within a second. Where every byte
    is that of the last head, so is everything that follows from it.
    """

    __slots__ = ("_is_head", "_last", "_lines", "_size", "_special", "head", "on_header")

    on_message_begin = on_url = on_status = on_headers_complete = on_body = on_message_complete = None
    on_chunk_header = on_chunk_complete = None
    """Not wanted; each new parser looks for them, and finds that out faster this way."""

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.on_header = head.add_field
        self._size = 0
        """Bytes of the last head."""
        self._last = b""
        """The last head; empty where it is not to be compared with."""
        self._is_head = False
        self._lines = b""
        self._special: dict[int, bytes] = {}

    def parse(self, data: bytes, *, is_head: bool) -> None:
        """Read one whole head; ``is_head``: it answers a HEAD request.

        Raises:
            BadResponse: it is not one, or its framing is in doubt.
        """
        head = self.head
        if data == self._last and is_head is self._is_head:
            # Filters may have changed them since.
            head.lines = self._lines
            head.special = self._special.copy()
            return
        self._last = b""
        head.reset()
        # A fresh parser each time: the last one waits for the body that was cut off before it (0.5 µs).
        parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            # Behind the whole head of a 101 without Upgrade llhttp stops too; that is for the exchange to judge.
            if _reason(error) != _PAUSED:
                raise BadResponse(_reason(error)) from None
        end = data.find(b"\r\n") + 2
        line = data[:end]
        known = _STATUS_LINES.get(line)
        if known is None:
            known = _read_status_line(line, parser.get_status_code())
        status, minor, head.start = known
        head.settle(status, minor, data[end:-2], is_head=is_head)
        size = len(data)
        if size == self._size:
            # It may well be the same again: other lengths tell at once that heads differ.
            self._last = data if size <= _MAX_COMPARED else b""
            self._is_head = is_head
            self._lines = head.lines
            self._special = head.special.copy()
        self._size = size


def _read_status_line(line: bytes, status: int) -> tuple[int, int, bytes]:
    if line.startswith(b"HTTP/1.1 "):
        minor = 1
    elif line.startswith(b"HTTP/1.0 "):
        minor = 0
    else:
        raise BadResponse("BadStatusLine")
    reason = line[13:-2]
    # Controls in a reason are cut out with it: they could end the line early in a lenient client.
    clean = reason if all(byte >= 0x20 and byte != 0x7F for byte in reason) else b""
    known = (status, minor, b"HTTP/1.1 %d %b\r\n" % (status, clean))
    if len(_STATUS_LINES) < _MAX_STATUS_LINES:
        _STATUS_LINES[line] = known
    return known


def _reason(error: Exception) -> str:
    """llhttp's words as one CamelCase word; they never hold input of the peer."""
    words = _NO_WORD.sub(" ", str(error.args[0] if error.args else "malformed").replace("'", ""))
    return "".join(word[:1].upper() + word[1:] for word in words.split())
