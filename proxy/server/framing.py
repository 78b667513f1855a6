"""Where a head begins and how large it may be: what is checked on raw bytes, before the parser sees them."""

from __future__ import annotations

from typing import Final

from proxy.message.errors import BadRequest
from proxy.table import Settings

__all__ = ["check_head", "check_partial_head", "small_head", "without_empty_lines"]

_MAX_EMPTY_LINES: Final = 2
"""Before a request line (RFC 9112 section 2.2 asks for tolerance of one)."""


def without_empty_lines(data: bytes) -> bytes:
    """``data`` without the empty lines that some clients send between requests.

    Raises:
        BadRequest: it begins with something that begins no method.
    """
    for _ in range(_MAX_EMPTY_LINES):
        if data.startswith(b"\r\n"):
            data = data[2:]
    if data and data != b"\r" and not 0x41 <= data[0] <= 0x5A:
        raise BadRequest("BadRequestLine")
    return data


def check_partial_head(data: bytes, seen: int, settings: Settings) -> None:
    """Refuse early what can no longer become a head that is accepted. The first ``seen`` bytes passed before."""
    if seen and data[seen - 1] == 0x0D:
        seen -= 1
    if data.count(b"\n", seen) != data.count(b"\r\n", seen):
        raise BadRequest("BareLineFeed")
    size = len(data)
    if size > settings.max_request_line:
        line = data.find(b"\r\n")
        if line < 0 or line > settings.max_request_line:
            raise BadRequest("RequestLineTooLong", 414)
        if size - line > settings.max_header_bytes:
            raise BadRequest("HeadersTooLarge", 431)
    if data and not data.startswith(b"\r") and not 0x41 <= data[0] <= 0x5A:
        raise BadRequest("BadRequestLine")


def small_head(settings: Settings) -> int:
    """Bytes of a head up to which it cannot be over any limit; a field has at least four."""
    return min(settings.max_request_line, settings.max_header_bytes, 4 * settings.max_header_fields)


def check_head(head: bytes, size: int, settings: Settings) -> None:
    """Refuse a whole head that is over a limit."""
    if size > settings.max_request_line or size > settings.max_header_bytes:
        line = head.find(b"\r\n")
        if line > settings.max_request_line:
            raise BadRequest("RequestLineTooLong", 414)
        if size - line > settings.max_header_bytes:
            raise BadRequest("HeadersTooLarge", 431)
    if head.count(b"\r\n") - 2 > settings.max_header_fields:
        raise BadRequest("TooManyHeaders", 431)
