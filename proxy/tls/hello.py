"""The server name in the first bytes of a TLS connection (RFC 8446 section 4.1.2, RFC 6066 section 3).

Read before any TLS library has the connection, so that the name can decide who gets it. What is no ClientHello has no
name: whoever ends the TLS refuses it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_HELLO", "server_name_in"]

MAX_HELLO: Final = 16 * 1024
"""Bytes that are looked at, record headers included. Browsers send 300 to 2,000, with post-quantum keys."""

_HANDSHAKE: Final = b"\x16"
_MAJOR_VERSION: Final = b"\x03"
_CLIENT_HELLO: Final = b"\x01"
_MAX_FRAGMENT: Final = 1 << 14
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_MAX_NAME: Final = 255
"""As OpenSSL; a DNS name has 253 bytes at most."""


class _Malformed(Exception):  # noqa: N818 - a verdict on input
    """This is no ClientHello, or one that nobody will take."""


def server_name_in(data: bytes) -> bytes | None:
    """The name that the client asks for; empty: none. ``None``: more bytes are needed to tell. Never raises."""
    try:
        hello = _hello_in(data)
        return None if hello is None else _name_in(hello)
    except (_Malformed, IndexError):
        return b""


def _hello_in(data: bytes) -> bytes | None:
    """The body of the ClientHello, out of as many records as it takes; ``None``: it is not whole yet."""
    handshake = b""
    at = 0
    while True:
        header = data[at : at + 5]
        if header[:1] not in (b"", _HANDSHAKE) or header[1:2] not in (b"", _MAJOR_VERSION):
            raise _Malformed
        if len(header) < 5:
            return None
        size = int.from_bytes(header[3:5], "big")
        if not 0 < size <= _MAX_FRAGMENT:
            raise _Malformed
        handshake += data[at + 5 : at + 5 + size]
        at += 5 + size
        if handshake[:1] not in (b"", _CLIENT_HELLO):
            raise _Malformed
        if len(handshake) >= 4:
            end = 4 + int.from_bytes(handshake[1:4], "big")
            if end > MAX_HELLO:
                raise _Malformed
            if len(handshake) >= end:
                return handshake[4:end]
        if at > len(data):
            return None


def _name_in(hello: bytes) -> bytes:
    at = 2 + 32  # version, random
    at += 1 + hello[at]  # session id
    at += 2 + _number(hello, at)  # cipher suites
    at += 1 + hello[at]  # compression methods
    if at == len(hello):
        return b""  # no extensions
    end = at + 2 + _number(hello, at)
    if end != len(hello):
        raise _Malformed
    at += 2
    while at < end:
        kind, size = _number(hello, at), _number(hello, at + 2)
        at += 4
        if at + size > end:
            raise _Malformed
        if kind == _SERVER_NAME:
            return _host_name(hello[at : at + size])
        at += size
    return b""


def _host_name(extension: bytes) -> bytes:
    """The one name of the list, as OpenSSL takes it."""
    size = _number(extension, 3)
    if (
        _number(extension, 0) != len(extension) - 2
        or extension[2] != _HOST_NAME
        or len(extension) != 5 + size
        or not 0 < size <= _MAX_NAME
    ):
        raise _Malformed
    return extension[5:]


def _number(data: bytes, at: int) -> int:
    """Two bytes, big-endian. Raises ``IndexError`` where they are not there."""
    return data[at] << 8 | data[at + 1]
