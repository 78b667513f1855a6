"""Heads between HTTP/1.1 bytes, as exchanges write them, and HTTP/2 fields, as endpoints send them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from proxy.http2 import Fields
from proxy.http2.fields import Malformed, are_clean, check_field, fields_of
from proxy.message.request import CHUNKED
from proxy.message.response import UNTIL_CLOSE, ResponseHead

__all__ = ["read_head", "request_fields"]

_LEFT_OUT: Final = frozenset({b"host", b"connection", b"transfer-encoding", b"upgrade", b"te"})
"""Said by the stream itself, or of the connection (RFC 9113 section 8.2.2)."""
_TE: Final = (b"te", b"trailers")
_STATUSES: Final = {
    b"%d" % status: (int(status), b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode("ascii")))
    for status in HTTPStatus
}


def request_fields(data: bytes, scheme: bytes) -> Fields:
    """The fields of a request, from its HTTP/1.1 head."""
    line, _, lines = data.partition(b"\r\n")
    method, _, rest = line.partition(b" ")
    fields = fields_of(lines[:-2])
    host = next((value for name, value in fields if name == b"host"), b"")
    return [
        (b":method", method),
        (b":scheme", scheme),
        (b":authority", host),
        (b":path", rest[: rest.rfind(b" ")]),
        *(field for field in fields if field[0] not in _LEFT_OUT),
        # gRPC servers look for it, and whatever trailers come are passed on where the client can take them.
        _TE,
    ]


def read_head(head: ResponseHead, fields: Fields, *, is_head: bool, ended: bool) -> None:
    """Read a response into ``head``, as if it had come over HTTP/1.1: without a length it is chunked.

    Raises:
        MessageError: it is malformed (RFC 9113 section 8.1.1), or its length is in doubt.
    """
    head.reset()
    if not fields or fields[0][0] != b":status":
        raise Malformed("NoStatus")
    known = _STATUSES.get(fields[0][1])
    if known is None:
        known = _unknown_status(fields[0][1])
    status, head.start = known
    if status == 101:
        # RFC 9113 section 8.6.
        raise Malformed("UnexpectedSwitch")
    parts: list[bytes] = []
    for name, value in fields[1:]:
        check_field(name, value)
        head.add_field(name, value)
        parts += (name, b": ", value, b"\r\n")
    lines = b"".join(parts)
    if not are_clean(lines, len(fields) - 1):
        raise Malformed("BadHeaderValue")
    head.settle(status, 1, lines, is_head=is_head)
    if head.content_length == UNTIL_CLOSE:
        head.content_length = CHUNKED
    if ended and head.content_length > 0:
        raise Malformed("BadContentLength")
    head.keep_alive = True


def _unknown_status(text: bytes) -> tuple[int, bytes]:
    if len(text) != 3 or not text.isdigit() or text < b"100":
        raise Malformed("BadStatus")
    return int(text), b"HTTP/1.1 %b \r\n" % text
