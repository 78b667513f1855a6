"""One spelling for every host.

``Host`` is canonicalised once; routing, TLS policy and redirects all use that form, so that no spelling dodges a rule.
"""

from __future__ import annotations

import ipaddress
from typing import Final

__all__ = ["BadHost", "canonical_host"]

MAX_NAME: Final = 253
"""Bytes of a DNS name in text form, without the trailing dot (RFC 1035 section 2.3.4)."""
MAX_PORT: Final = 65535

_LOWER: Final = b"abcdefghijklmnopqrstuvwxyz0123456789-._"
_NAME: Final = _LOWER + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class BadHost(ValueError):  # noqa: N818 - a verdict on input, named like its siblings BadPath and BadRequest
    """The host of a request is not a host; ``reason`` says why and repeats no input."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def canonical_host(raw: bytes) -> str:
    """The host of a ``Host`` field or authority (RFC 9110 section 7.2): lower case, no port, no trailing dot.

    Takes DNS names (letters, digits, ``-``, ``.``, ``_``), IPv4 addresses and IPv6 addresses in brackets; the latter
    come back in their compressed form, in brackets. Raises :class:`BadHost` on anything else.
    """
    name = raw
    if raw.translate(None, _LOWER):
        if raw[:1] == b"[":
            return _ipv6(raw)
        name, colon, port = raw.partition(b":")
        if colon:
            _check_port(port)
        if name.translate(None, _NAME):
            raise BadHost("host holds a character that no host name has")
        name = name.lower()  # of bytes: ASCII letters only
    if name[-1:] == b".":
        name = name[:-1]
    if not name:
        raise BadHost("host is empty")
    if name[0] == 0x2E or name.find(b"..") >= 0 or name[-1] == 0x2E:
        raise BadHost("host has an empty label")
    if len(name) > MAX_NAME:
        raise BadHost(f"host is longer than {MAX_NAME} bytes")
    return name.decode("ascii")


def _check_port(port: bytes) -> None:
    """An empty port is allowed (RFC 3986 section 3.2.3)."""
    if port and not (port.isdigit() and len(port) <= 5 and int(port) <= MAX_PORT):
        raise BadHost("port is not a number up to 65535")


def _ipv6(raw: bytes) -> str:
    address, bracket, rest = raw[1:].partition(b"]")
    if not bracket or (rest and rest[:1] != b":"):
        raise BadHost("IPv6 address is not closed by a bracket")
    _check_port(rest[1:])
    # ipaddress takes zones (fe80::1%eth0); a zone means nothing to another machine.
    if not address.isascii() or b"%" in address:
        raise BadHost("host is not an IPv6 address")
    try:
        return f"[{ipaddress.IPv6Address(address.decode('ascii')).compressed}]"
    except ValueError:
        raise BadHost("host is not an IPv6 address") from None
