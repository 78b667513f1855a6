"""Which header fields a proxy must look at.

Field names arrive in any case. A bounded cache maps each spelling to its kind, so that the common path costs one
dictionary lookup and no lower-casing. Kind 0 (``FORWARD``) is passed on as it came.
"""

from __future__ import annotations

from typing import Final

from proxy.message.client_certificate import TOLD_FIELDS

__all__ = [
    "CONNECTION",
    "CONTENT_LENGTH",
    "DATE",
    "DROPPED",
    "EXPECT",
    "FORWARD",
    "FORWARDED_FOR",
    "FORWARDED_HOST",
    "FORWARDED_OTHER",
    "FORWARDED_PORT",
    "FORWARDED_PROTO",
    "HOST",
    "REQUEST_ID",
    "REQUEST_KINDS",
    "RESPONSE_KINDS",
    "SERVER",
    "TE",
    "TRANSFER_ENCODING",
    "UNDERSCORED",
    "UPGRADE",
    "is_list_member",
    "is_trailer_allowed",
    "list_members",
    "request_kind",
    "response_kind",
]

FORWARD: Final = 0
DROPPED: Final = 1
HOST: Final = 2
CONNECTION: Final = 3
CONTENT_LENGTH: Final = 4
TRANSFER_ENCODING: Final = 5
UPGRADE: Final = 6
EXPECT: Final = 7
TE: Final = 8
FORWARDED_FOR: Final = 9
FORWARDED_PROTO: Final = 10
FORWARDED_HOST: Final = 11
FORWARDED_PORT: Final = 12
REQUEST_ID: Final = 13
UNDERSCORED: Final = 14
SERVER: Final = 15
DATE: Final = 16
FORWARDED_OTHER: Final = 17

_REQUEST: Final[dict[bytes, int]] = {
    b"host": HOST,
    b"connection": CONNECTION,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
    b"te": TE,
    # Hop-by-hop whether or not Connection names them (RFC 9110 section 7.6.1).
    b"keep-alive": DROPPED,
    b"proxy-connection": DROPPED,
    b"proxy-authorization": DROPPED,
    b"http2-settings": DROPPED,
    # "httpoxy": CGI-like backends read it as the variable HTTP_PROXY.
    b"proxy": DROPPED,
    # Said by proxies, not by clients: replaced by our own, or appended to where the peer is trusted.
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-forwarded-proto": FORWARDED_PROTO,
    b"x-forwarded-host": FORWARDED_HOST,
    b"x-forwarded-port": FORWARDED_PORT,
    b"x-request-id": REQUEST_ID,
    b"forwarded": DROPPED,
    b"x-real-ip": DROPPED,
    b"x-scheme": DROPPED,
    b"x-forwarded-scheme": DROPPED,
    b"x-forwarded-ssl": DROPPED,
    b"x-forwarded-tls-client-cert": DROPPED,
    # What a proxy in front may say of the client's certificate, and nobody else.
    **dict.fromkeys(TOLD_FIELDS, FORWARDED_OTHER),
    b"x-original-forwarded-for": DROPPED,
    b"x-original-forwarded-host": DROPPED,
    # Frameworks let these override the request line: a way around path rules.
    b"x-original-url": DROPPED,
    b"x-original-uri": DROPPED,
    b"x-rewrite-url": DROPPED,
}

_RESPONSE: Final[dict[bytes, int]] = {
    b"connection": CONNECTION,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"upgrade": UPGRADE,
    b"keep-alive": DROPPED,
    b"proxy-connection": DROPPED,
    b"server": SERVER,
    b"date": DATE,
}

_FORWARDED: Final = b"x-forwarded-"
"""Such as -Prefix, -User or -Server: kept from a trusted peer, dropped from others."""

_MAX_SPELLINGS: Final = 4096
"""Spellings remembered per direction; more are classified anew each time, so that a peer cannot fill memory."""

REQUEST_KINDS: Final[dict[bytes, int]] = {}
RESPONSE_KINDS: Final[dict[bytes, int]] = {}


_ALIASED: Final = bytes(byte if bytes((byte,)).isalnum() else 0x2D for byte in range(256))
"""CGI-like backends turn ``-`` and, some of them, every byte that is no letter or digit into one and the same ``_``."""


def request_kind(name: bytes) -> int:
    """The kind of a request field whose spelling is not in ``REQUEST_KINDS`` yet."""
    kind = _classified(name.lower())
    if len(REQUEST_KINDS) < _MAX_SPELLINGS:
        REQUEST_KINDS[name] = kind
    return kind


def _classified(lowered: bytes) -> int:
    kind = _REQUEST.get(lowered)
    if kind is not None:
        return kind
    plain = lowered.translate(_ALIASED)
    if plain != lowered and (plain in _REQUEST or plain.startswith(_FORWARDED)):
        # X_Forwarded_For or Transfer.Encoding: never, even where underscores are allowed.
        return DROPPED
    if b"_" in lowered:
        return UNDERSCORED
    return FORWARDED_OTHER if lowered.startswith(_FORWARDED) else FORWARD


def response_kind(name: bytes) -> int:
    """The kind of a response field whose spelling is not in ``RESPONSE_KINDS`` yet."""
    kind = _RESPONSE.get(name.lower(), FORWARD)
    if len(RESPONSE_KINDS) < _MAX_SPELLINGS:
        RESPONSE_KINDS[name] = kind
    return kind


def _learn_common_spellings() -> None:
    for name in _REQUEST:
        request_kind(name)
        request_kind(b"-".join(part.capitalize() for part in name.split(b"-")))
    for name in _RESPONSE:
        response_kind(name)
        response_kind(b"-".join(part.capitalize() for part in name.split(b"-")))


_learn_common_spellings()


def list_members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, lower-cased, without empty ones (RFC 9110 section 5.6.1)."""
    return [member for part in value.split(b",") if (member := part.strip(b" \t").lower())]


def is_list_member(value: bytes, member: bytes) -> bool:
    """Whether the comma-separated list holds ``member`` (given in lower case)."""
    return member in list_members(value)


_FORBIDDEN_TRAILERS: Final = frozenset(
    {
        # Request modifiers, authentication, response control, content format (RFC 9110 section 6.5.1); framing and
        # routing are in the tables above.
        b"trailer", b"max-forwards", b"range", b"if-match", b"if-none-match", b"if-range", b"if-modified-since",
        b"if-unmodified-since", b"cache-control", b"pragma", b"authorization", b"proxy-authenticate",
        b"www-authenticate", b"cookie", b"set-cookie", b"age", b"expires", b"location", b"retry-after", b"vary",
        b"content-encoding", b"content-type", b"content-range",
    }
)  # fmt: skip


def is_trailer_allowed(name: bytes) -> bool:
    """Whether a trailer field may be passed on: not one that could change how the message was understood, if a lenient
    reader took it for a header field."""
    lowered = name.lower()
    return _classified(lowered) == FORWARD and lowered not in _RESPONSE and lowered not in _FORBIDDEN_TRAILERS
