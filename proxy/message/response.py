"""The head of a response."""

from __future__ import annotations

from typing import Final

from proxy.message import fields
from proxy.message.errors import BadResponse
from proxy.message.lines import cut_named, cut_spelled
from proxy.message.request import CHUNKED, NO_BODY

__all__ = ["UNTIL_CLOSE", "ResponseHead"]

UNTIL_CLOSE: Final = -2
"""``content_length`` of a body that ends when the upstream closes (RFC 9112 section 6.3, rule 8)."""

_KINDS = fields.RESPONSE_KINDS
_LENGTH: Final = fields.CONTENT_LENGTH
_CODING: Final = fields.TRANSFER_ENCODING
_CONNECTION: Final = fields.CONNECTION
_PASSED: Final = frozenset({fields.CONTENT_LENGTH, fields.SERVER, fields.DATE})
"""Fields that are looked at and passed on."""
_COUNTED: Final = frozenset(
    {200, 201, 202, 203, 206, 301, 302, 303, 307, 308, *range(400, 418), 422, 429, 500, 502, 503}
)
"""Common statuses with a body."""
_MAX_LENGTH_DIGITS: Final = 18
_OWN_OPTIONS: Final = (b"close", b"keep-alive", b"upgrade", b"content-length")
"""Connection options that name no field to cut."""


class ResponseHead:
    """One object per upstream connection, reset for each response. ``lines`` and ``special`` as in ``RequestHead``."""

    __slots__ = (
        "content_length",
        "dropped",
        "keep_alive",
        "lines",
        "minor",
        "special",
        "start",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.start = b""
        """The status line to send, with its line end."""
        self.minor = 1
        self.lines = b""
        self.dropped: list[bytes] = []
        self.special: dict[int, bytes] = {}
        self.content_length = NO_BODY
        """How the body is framed on the wire that it comes from."""
        self.keep_alive = True

    @property
    def has_server(self) -> bool:
        """A Server field is among the lines."""
        return fields.SERVER in self.special

    @property
    def has_date(self) -> bool:
        """A Date field is among the lines."""
        return fields.DATE in self.special

    def reset(self) -> None:
        """Forget the last response."""
        self.dropped.clear()
        self.special.clear()
        self.keep_alive = True

    def add_field(self, name: bytes, value: bytes) -> None:
        """Take a header field in."""
        try:
            kind = _KINDS[name]
        except KeyError:
            kind = fields.response_kind(name)
        if kind:
            special = self.special
            special[kind] = value if kind not in special else special[kind] + b", " + value
            if kind not in _PASSED:
                self.dropped.append(name)

    def settle(self, status: int, minor: int, lines: bytes, *, is_head: bool) -> None:
        """Draw the conclusions once all fields are in (RFC 9112 section 6.3).

        ``lines`` are all header lines as they came; those that must not pass are cut out here.

        Raises:
            BadResponse: where the end of the body is in doubt.
        """
        self.status = status
        self.minor = minor
        special = self.special
        if self.dropped:
            lines = cut_spelled(lines, self.dropped)
        self.lines = lines
        coding = special.get(_CODING)
        length = special.get(_LENGTH)
        connection = special.get(_CONNECTION)
        if (
            length is not None
            and coding is None
            and (connection is None or connection == b"keep-alive")
            and minor == 1
            and status in _COUNTED
            and not is_head
            and length.isdigit()
            and len(length) <= _MAX_LENGTH_DIGITS
            and (length[0] != 0x30 or length == b"0")
        ):
            # The common case, by the rules below.
            self.content_length = int(length)
            return
        if connection is not None and connection != b"keep-alive":
            options = fields.list_members(connection)
            if b"close" in options:
                self.keep_alive = False
            elif minor == 0:
                self.keep_alive = b"keep-alive" in options
            named = [name for name in options if name not in _OWN_OPTIONS]
            if named:
                self.lines = cut_named(lines, frozenset(named))
        elif minor == 0 and connection is None:
            self.keep_alive = False

        # 1. No body follows whatever the fields say. 2. chunked. 3. Content-Length. 4. Until close.
        bodiless = is_head or status == 304 or status == 204 or status < 200
        if coding is not None:
            if length is not None:
                raise BadResponse("LengthAndCoding")
            if minor == 0 or coding.strip(b" \t").lower() != b"chunked":
                raise BadResponse("UnknownTransferCoding")
            self.content_length = CHUNKED
        elif length is not None:
            digits = length.strip(b" \t")
            if not digits.isdigit() or len(digits) > _MAX_LENGTH_DIGITS:
                raise BadResponse("BadContentLength")
            self.content_length = int(digits)
            if len(digits) != len(length) or (digits[0] == 0x30 and len(digits) > 1):
                self._replace_length(b"Content-Length: %d\r\n" % self.content_length)
        else:
            self.content_length = UNTIL_CLOSE
        if bodiless:
            if status < 100:
                raise BadResponse("BadStatus")
            self.content_length = NO_BODY
            if length is not None and (status == 204 or status < 200):
                self._replace_length(b"")

    def _replace_length(self, line: bytes) -> None:
        self.lines = cut_named(self.lines, (b"content-length",)) + line

    def upgrade_protocol(self) -> bytes:
        """The protocol a 101 response switches to, lower case; empty where it names none."""
        return self.special.get(fields.UPGRADE, b"").strip(b" \t").lower()
