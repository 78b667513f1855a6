"""The head of a request, as both HTTP versions give it and as the exchange uses it."""

from __future__ import annotations

from typing import Final

from proxy.message import fields
from proxy.message.errors import BadRequest
from proxy.message.lines import cut_named, cut_spelled, values

__all__ = ["CHUNKED", "NO_BODY", "RequestHead"]

NO_BODY: Final = 0
CHUNKED: Final = -1
"""``content_length`` of a body that ends by its coding. Positive numbers are the body's length in bytes."""

_KINDS = fields.REQUEST_KINDS
_HOST = fields.HOST
_MAX_LENGTH_DIGITS: Final = 18
"""Digits of a Content-Length: a larger number fits no 64-bit signed integer of some peer behind us."""
_OWN_OPTIONS: Final = (b"close", b"keep-alive", b"upgrade", b"te", b"host")
"""Connection options that name no field to cut: ours to handle, or (Host) nobody's to take away."""
_WITH_BODY: Final = (b"POST", b"PUT", b"PATCH")


class RequestHead:
    """One object per client stream, reset for each request, so that the common path allocates nothing.

    ``lines`` are the header lines to pass on, in the order of arrival: Host, and all that do not concern this hop only.
    ``special`` holds the fields that mean something to a proxy, by kind; repeated ones are joined by a comma, which
    makes a repeated Host or Content-Length fail its own grammar.
    """

    __slots__ = (
        "allow_underscores",
        "content_length",
        "dropped",
        "expects_continue",
        "host",
        "keep_alive",
        "lines",
        "method",
        "minor",
        "path",
        "plain",
        "query",
        "special",
        "target",
        "trusted",
        "upgrade",
    )

    def __init__(self) -> None:
        self.allow_underscores = False
        self.trusted = False
        """The peer's word about the client is believed."""
        self.method = b""
        self.target = b""
        self.minor = 1
        self.path = b""
        """Normalised, without the query. Set by the exchange."""
        self.query = b""
        """With its question mark, or empty."""
        self.host = b""
        """As the client wrote it; empty where HTTP/1.0 gave none."""
        self.lines = b""
        self.dropped: list[bytes] = []
        """The names, as spelled, of lines that are not passed on; one per line."""
        self.special: dict[int, bytes] = {}
        self.content_length = NO_BODY
        self.keep_alive = True
        self.expects_continue = False
        self.upgrade = False
        """The client asks for a WebSocket; no other protocol is passed on."""
        self.plain = True
        """Host is the only special field so far: nothing but ``special`` needs a reset."""

    def reset(self) -> None:
        """Forget the last request."""
        self.special.clear()
        if not self.plain:
            self.plain = True
            self.dropped.clear()
            self.content_length = NO_BODY
            self.keep_alive = True
            self.expects_continue = False
            self.upgrade = False

    def take(self, other: RequestHead) -> None:
        """Become as ``other`` is after ``settle``, its target aside."""
        self.method = other.method
        self.host = other.host
        self.lines = other.lines
        self.special = other.special.copy()
        if not (self.plain and other.plain):
            self.plain = other.plain
            self.content_length = other.content_length
            self.keep_alive = other.keep_alive
            self.expects_continue = other.expects_continue
            self.upgrade = other.upgrade

    def add_field(self, name: bytes, value: bytes) -> None:
        """Take a header field in. ``name`` is a token, ``value`` without surrounding line ends."""
        try:
            kind = _KINDS[name]
        except KeyError:
            kind = fields.request_kind(name)
        if kind:
            if kind == _HOST and _HOST not in self.special:
                self.special[_HOST] = value
            else:
                self._add_special(kind, name, value)

    def _add_special(self, kind: int, name: bytes, value: bytes) -> None:
        self.plain = False
        if kind == fields.UNDERSCORED:
            if not self.allow_underscores:
                self.dropped.append(name)
        elif kind == fields.FORWARDED_OTHER:
            if not self.trusted:
                self.dropped.append(name)
        elif kind == fields.DROPPED:
            self.dropped.append(name)
        else:
            special = self.special
            special[kind] = value if kind not in special else special[kind] + b", " + value
            if kind != _HOST:
                self.dropped.append(name)

    def field(self, name: bytes) -> bytes | None:
        """The first value of a forwarded field; ``name`` in lower case."""
        return next(values(self.lines, name), None)

    def cookie(self, name: bytes) -> bytes | None:
        """The value of a cookie (RFC 6265 section 4.2)."""
        for line in values(self.lines, b"cookie"):
            for pair in line.split(b";"):
                key, separator, value = pair.strip(b" \t").partition(b"=")
                if separator and key == name:
                    return value
        return None

    def replace_host(self, host: bytes) -> None:
        """Name another host than the client's Host line did."""
        self.host = host
        self.lines = b"Host: %b\r\n" % host + cut_named(self.lines, (b"host",))

    def settle(self, method: bytes, minor: int, lines: bytes) -> None:
        """Draw the conclusions once all fields are in: framing, persistence, expectations.

        ``lines`` are all header lines as they came; those that must not pass are cut out here.

        Raises:
            BadRequest: where RFC 9110 or 9112 leaves doubt about where this message ends or whom it is for.
        """
        self.method = method
        self.minor = minor
        special = self.special
        if self.plain and minor == 1 and _HOST in special:
            self.host = special[_HOST]
            self.lines = lines
            return
        self.plain = False
        self.lines = cut_spelled(lines, self.dropped)
        self._settle_rest(special)

    def _settle_rest(self, special: dict[int, bytes]) -> None:
        host = special.get(_HOST)
        if host is None:
            if self.minor == 1:
                raise BadRequest("MissingHost")
            host = b""
        self.host = host
        self._settle_framing(special)
        connection = special.get(fields.CONNECTION)
        if connection is None:
            self.keep_alive = self.minor == 1
        elif connection.lower() != b"keep-alive":
            self._settle_connection(fields.list_members(connection))
        expect = special.get(fields.EXPECT)
        if expect is not None and self.minor == 1:
            if expect.strip(b" \t").lower() != b"100-continue":
                raise BadRequest("UnknownExpectation", 417)
            self.expects_continue = self.content_length != NO_BODY
        te = special.get(fields.TE)
        if te is not None and not self.upgrade and fields.is_list_member(te, b"trailers"):
            # TE concerns one hop only, and Connection must say so (RFC 9110 section 10.1.4).
            self.lines += b"TE: trailers\r\nConnection: TE\r\n"

    def _settle_framing(self, special: dict[int, bytes]) -> None:
        # 1. Transfer-Encoding: only a single "chunked"; never with Content-Length; never in HTTP/1.0
        #    (RFC 9112 section 6.1). 2. Content-Length: ASCII digits. 3. Neither: no body.
        coding = special.get(fields.TRANSFER_ENCODING)
        length = special.get(fields.CONTENT_LENGTH)
        if coding is not None:
            if length is not None:
                raise BadRequest("LengthAndCoding")
            if self.minor == 0:
                raise BadRequest("CodingInHttp10")
            if coding.strip(b" \t").lower() != b"chunked":
                members = fields.list_members(coding)
                several = len(members) > 1 and members[-1] == b"chunked" and b"chunked" not in members[:-1]
                raise BadRequest("UnknownTransferCoding", 501 if several else 400)
            self.content_length = CHUNKED
        elif length is not None:
            digits = length.strip(b" \t")
            if not digits.isdigit() or len(digits) > _MAX_LENGTH_DIGITS:
                raise BadRequest("BadContentLength")
            self.content_length = int(digits)
        elif self.minor == 0 and self.method in _WITH_BODY:
            # HTTP/1.0 clients could end a body by closing; it must have a length (RFC 1945 section 8.3).
            raise BadRequest("MissingLength")

    def _settle_connection(self, options: list[bytes]) -> None:
        if b"close" in options:
            self.keep_alive = False
        elif self.minor == 0:
            self.keep_alive = b"keep-alive" in options
        if b"upgrade" in options and self.minor == 1:
            protocols = fields.list_members(self.special.get(fields.UPGRADE, b""))
            # Only WebSocket over a bodiless GET (RFC 6455 section 4.1). h2c and others would open a tunnel that
            # carries requests past every rule.
            self.upgrade = protocols == [b"websocket"] and self.method == b"GET" and self.content_length == NO_BODY
        named = [name for name in options if name not in _OWN_OPTIONS]
        if named:
            # They concern this hop only (RFC 9110 section 7.6.1).
            self.lines = cut_named(self.lines, frozenset(named))
