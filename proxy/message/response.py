"""The head of a response."""

from __future__ import annotations

from typing import Final

from proxy.message import fields
from proxy.message.errors import BadResponse
from proxy.message.request import CHUNKED, NO_BODY

__all__ = ["UNTIL_CLOSE", "ResponseHead"]

UNTIL_CLOSE: Final = -2
"""``content_length`` of a body that ends when the upstream closes (RFC 9112 section 6.3, rule 8)."""

_KINDS = fields.RESPONSE_KINDS
_MAX_LENGTH_DIGITS: Final = 18


class ResponseHead:
    """One object per upstream connection, reset for each response. ``pieces`` as in ``RequestHead``."""

    __slots__ = (
        "content_length",
        "declared_length",
        "has_date",
        "has_server",
        "keep_alive",
        "minor",
        "pieces",
        "reason",
        "special",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.reason = b""
        self.minor = 1
        self.pieces: list[bytes] = []
        self.special: dict[int, bytes] = {}
        self.content_length = NO_BODY
        """How the body is framed on the wire that it comes from."""
        self.declared_length: bytes | None = None
        """The Content-Length field to pass on, also where no body follows (HEAD, 304)."""
        self.keep_alive = True
        self.has_server = False
        self.has_date = False

    def reset(self) -> None:
        """Forget the last response."""
        self.pieces = []
        self.special.clear()
        self.declared_length = None
        self.keep_alive = True
        self.has_server = False
        self.has_date = False

    def add_field(self, name: bytes, value: bytes) -> None:
        """Take a header field in."""
        kind = _KINDS.get(name)
        if kind is None:
            kind = fields.response_kind(name)
        if not kind:
            self.pieces += (name, b": ", value, b"\r\n")
        elif kind == fields.SERVER:
            self.has_server = True
            self.pieces += (name, b": ", value, b"\r\n")
        elif kind == fields.DATE:
            self.has_date = True
            self.pieces += (name, b": ", value, b"\r\n")
        elif kind != fields.DROPPED:
            special = self.special
            special[kind] = value if kind not in special else special[kind] + b", " + value

    def settle(self, status: int, reason: bytes, minor: int, *, is_head: bool) -> None:
        """Draw the conclusions once all fields are in (RFC 9112 section 6.3).

        Raises:
            BadResponse: where the end of the body is in doubt.
        """
        self.status = status
        self.reason = reason
        self.minor = minor
        special = self.special
        coding = special.get(fields.TRANSFER_ENCODING)
        length = special.get(fields.CONTENT_LENGTH)
        connection = special.get(fields.CONNECTION)
        if connection is not None:
            options = fields.list_members(connection)
            if b"close" in options:
                self.keep_alive = False
            elif minor == 0:
                self.keep_alive = b"keep-alive" in options
            if len(options) > 1 or options not in ([b"close"], [b"keep-alive"]):
                self._remove(frozenset(options))
        elif minor == 0:
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
            self.declared_length = digits if digits[0] != 0x30 else b"%d" % self.content_length
        else:
            self.content_length = UNTIL_CLOSE
        if bodiless:
            if status < 100:
                raise BadResponse("BadStatus")
            self.content_length = NO_BODY
            if status == 204 or status < 200:
                self.declared_length = None

    def upgrade_protocol(self) -> bytes:
        """The protocol a 101 response switches to, lower case; empty where it names none."""
        return self.special.get(fields.UPGRADE, b"").strip(b" \t").lower()

    def _remove(self, names: frozenset[bytes]) -> None:
        pieces = self.pieces
        kept: list[bytes] = []
        for index in range(0, len(pieces), 4):
            if pieces[index].lower() not in names:
                kept += pieces[index : index + 4]
        self.pieces = kept
