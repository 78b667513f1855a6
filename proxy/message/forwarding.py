"""What a backend is told about the client: X-Forwarded-*, X-Real-IP, and whom to believe.

A client can write these fields too. They are replaced, unless the peer itself is a proxy in a trusted range: then its
X-Forwarded-For is extended by the peer, and its -Proto, -Host and -Port are kept.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from proxy.message import fields
from proxy.message.request import RequestHead

__all__ = ["ClientFacts", "TrustedRanges", "is_request_id"]

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_HOST_BYTES: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]")
_REQUEST_ID_BYTES: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/+=@")
_MAX_REQUEST_ID: Final = 128


class TrustedRanges:
    """The address ranges whose word about the client is believed."""

    __slots__ = ("_networks",)

    def __init__(self, ranges: tuple[str, ...]) -> None:
        """Raises ``ValueError`` on what is no CIDR."""
        self._networks: tuple[IPNetwork, ...] = tuple(ipaddress.ip_network(text, strict=False) for text in ranges)

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks if network.version == parsed.version)


class ClientFacts:
    """What is the same for every request of one connection, rendered once."""

    __slots__ = ("address", "constant", "is_tls", "port", "scheme", "tls_version", "trusted")

    def __init__(self, *, address: str, tls_version: str, port: int, trusted: bool) -> None:
        self.address = address
        self.tls_version = tls_version
        """Such as ``TLSv1.3``; empty on a plain connection."""
        self.is_tls = is_tls = bool(tls_version)
        self.port = port
        self.trusted = trusted
        self.scheme = b"https" if is_tls else b"http"
        encoded = address.encode("ascii", "replace")
        self.constant = (
            b"X-Real-IP: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Port: %d\r\nX-Forwarded-Proto: %b\r\n"
            b"X-Forwarded-Scheme: %b\r\nX-Scheme: %b\r\nX-Forwarded-Host: "
            % (encoded, encoded, port, self.scheme, self.scheme, self.scheme)
        )
        """Ends in ``X-Forwarded-Host: ``: the host and a line end follow."""


def trusted_block(head: RequestHead, facts: ClientFacts, ranges: TrustedRanges) -> tuple[bytes, str]:
    """The forwarding fields of a request from a trusted peer (without the last line end, as ``constant`` and host),
    and the address of the client behind it: the last one in the chain that is not trusted itself."""
    special = head.special
    chain = [
        text
        for part in special.get(fields.FORWARDED_FOR, b"").split(b",")
        if (text := part.strip(b" \t").decode("latin-1")) and _is_address(text)
    ]
    client = facts.address
    for text in reversed(chain):
        client = text
        if text not in ranges:
            break
    proto = special.get(fields.FORWARDED_PROTO, b"").strip(b" \t").lower()
    if proto not in (b"http", b"https"):
        proto = facts.scheme
    port = special.get(fields.FORWARDED_PORT, b"").strip(b" \t")
    if not (port.isdigit() and len(port) <= 5):
        port = b"%d" % facts.port
    host = special.get(fields.FORWARDED_HOST, b"").strip(b" \t")
    if not host or not _HOST_BYTES.issuperset(host):
        host = head.host
    forwarded_for = ", ".join([*chain, facts.address]).encode("ascii", "replace")
    block = (
        b"X-Real-IP: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Port: %b\r\nX-Forwarded-Proto: %b\r\n"
        b"X-Forwarded-Scheme: %b\r\nX-Scheme: %b\r\nX-Forwarded-Host: %b"
        % (client.encode("ascii", "replace"), forwarded_for, port, proto, proto, proto, host)
    )
    return block, client


def forwarded_proto(head: RequestHead, facts: ClientFacts) -> bytes:
    """The scheme that the client used, as far as it can be believed."""
    if facts.trusted:
        proto = head.special.get(fields.FORWARDED_PROTO, b"").strip(b" \t").lower()
        if proto in (b"http", b"https"):
            return proto
    return facts.scheme


def is_request_id(value: bytes) -> bool:
    """Whether a client's X-Request-ID may be kept: short, and of characters that no log or shell minds."""
    return 0 < len(value) <= _MAX_REQUEST_ID and _REQUEST_ID_BYTES.issuperset(value)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
