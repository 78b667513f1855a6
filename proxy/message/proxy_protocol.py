"""The PROXY protocol (HAProxy's ``proxy-protocol.txt``), versions 1 and 2: who the client of a forwarded connection is.

A header stands before everything else on a connection. It is read by its own length, to the byte: what is behind it is
TLS or HTTP. A header of either version says nothing (``LOCAL``, ``UNKNOWN``, other families), or names both ends.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import Final

import msgspec

from proxy.message.errors import MessageError

__all__ = ["MAX_HEADER", "BadProxyHeader", "Ends", "ProxyHeader", "encode_header", "read_header"]

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_PREFIX_V1: Final = b"PROXY "
_MAX_V1: Final = 107
"""With its line end (section 2.1)."""
_FIXED_V2: Final = 16
MAX_HEADER: Final = 4096
"""Bytes of a header of version 2. The addresses take 216 at most; the rest are TLVs, of which none is read."""
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")
_LOCAL: Final = 0
_PROXY: Final = 1
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_FAMILY_BYTES: Final = {0: 0, 1: 12, 2: 36, 3: 216}
"""Of the address block, by address family: none, IPv4, IPv6, Unix (section 2.2)."""


class BadProxyHeader(MessageError):  # noqa: N818 - a verdict on input, as its siblings
    """Something else than a header, or a broken one: whose connection it is cannot be known."""


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """The two ends of a client's connection. Addresses in their usual spelling; a port of 0 is not known."""

    address: str
    port: int
    local_address: str
    local_port: int


class ProxyHeader(msgspec.Struct, frozen=True, kw_only=True):
    """``size`` bytes; ``ends`` of ``None``: it speaks for nobody, the connection is the sender's own."""

    size: int
    ends: Ends | None = None


def read_header(data: bytes) -> ProxyHeader | None:
    """The header that ``data`` begins with; ``None``: it has to grow first, up to :data:`MAX_HEADER`.

    Raises:
        BadProxyHeader: what is there begins no header.
    """
    if data.startswith(_PREFIX_V1[: len(data)]):
        return _read_v1(data)
    if data.startswith(_SIGNATURE[: len(data)]):
        return _read_v2(data)
    raise BadProxyHeader("ProxyHeaderMissing")


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _MAX_V1)
    if end < 0:
        if len(data) >= _MAX_V1:
            raise BadProxyHeader("ProxyHeaderTooLong")
        return None
    words = data[:end].split(b" ")
    size = end + 2
    if words[1] == b"UNKNOWN":
        # Whatever follows is to be ignored (section 2.1).
        return ProxyHeader(size=size)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise BadProxyHeader("BadProxyHeader")
    source, local = (_parse(word, words[1]) for word in words[2:4])
    port, local_port = (_port(word) for word in words[4:])
    return ProxyHeader(size=size, ends=Ends(address=source, port=port, local_address=local, local_port=local_port))


def _parse(word: bytes, kind: bytes) -> str:
    try:
        text = word.decode("ascii")
        address = ipaddress.IPv4Address(text) if kind == b"TCP4" else ipaddress.IPv6Address(text)
    except ValueError:
        raise BadProxyHeader("BadProxyHeader") from None
    if "%" in text:
        raise BadProxyHeader("BadProxyHeader")
    return _spelled(address)


def _port(word: bytes) -> int:
    if _PORT.fullmatch(word) is None or int(word) > 0xFFFF:
        raise BadProxyHeader("BadProxyHeader")
    return int(word)


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED_V2:
        return None
    version_and_command, family, length = struct.unpack_from(">BBH", data, len(_SIGNATURE))
    version, command = version_and_command >> 4, version_and_command & 0xF
    block = _FAMILY_BYTES.get(family >> 4)
    if version != 2 or command not in (_LOCAL, _PROXY) or block is None or family & 0xF > 2:
        raise BadProxyHeader("BadProxyHeader")
    size = _FIXED_V2 + length
    if size > MAX_HEADER:
        raise BadProxyHeader("ProxyHeaderTooLong")
    if command == _PROXY and length < block:
        raise BadProxyHeader("BadProxyHeader")
    if len(data) < size:
        return None
    if command == _LOCAL or family not in (_TCP4, _TCP6):
        # The addresses of LOCAL are to be discarded, those of other families mean nothing here (section 2.2).
        return ProxyHeader(size=size)
    form = ">4s4sHH" if family == _TCP4 else ">16s16sHH"
    source, local, port, local_port = struct.unpack_from(form, data, _FIXED_V2)
    return ProxyHeader(
        size=size,
        ends=Ends(
            address=_spelled(ipaddress.ip_address(source)),
            port=port,
            local_address=_spelled(ipaddress.ip_address(local)),
            local_port=local_port,
        ),
    )


def _spelled(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An IPv4 address within IPv6 is an IPv4 one, as everywhere."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def encode_header(ends: Ends | None, version: str) -> bytes:
    """A header of ``version`` ``v1`` or ``v2``; where an end is not known, one that speaks for nobody."""
    pair = None if ends is None else _same_family(ends)
    if version == "v1":
        if ends is None or pair is None:
            return b"PROXY UNKNOWN\r\n"
        source, local = pair
        return f"PROXY TCP{source.version} {source} {local} {ends.port} {ends.local_port}\r\n".encode("ascii")
    if ends is None or pair is None:
        return _SIGNATURE + struct.pack(">BBH", 0x20 | _LOCAL, 0, 0)
    source, local = pair
    family = _TCP4 if source.version == 4 else _TCP6
    block = source.packed + local.packed + struct.pack(">HH", ends.port, ends.local_port)
    return _SIGNATURE + struct.pack(">BBH", 0x20 | _PROXY, family, len(block)) + block


def _same_family(
    ends: Ends,
) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ipaddress.IPv4Address | ipaddress.IPv6Address] | None:
    """Both addresses; of different families, both as IPv6."""
    try:
        source, local = ipaddress.ip_address(ends.address), ipaddress.ip_address(ends.local_address)
    except ValueError:
        return None
    if source.version == local.version:
        return source, local
    return _as_v6(source), _as_v6(local)


def _as_v6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    if isinstance(address, ipaddress.IPv6Address):
        return address
    return ipaddress.IPv6Address(b"\x00" * 10 + b"\xff\xff" + address.packed)
