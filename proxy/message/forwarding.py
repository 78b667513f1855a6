"""What a backend is told about the client: X-Forwarded-*, X-Real-IP, and whom to believe.

A client can write these fields too. They are replaced, unless the peer itself is a proxy in a trusted range: then its
X-Forwarded-For is extended by the peer, and its -Proto, -Host and -Port are kept.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from proxy.message import fields
from proxy.message.client_certificate import ShownCertificate
from proxy.message.networks import Networks, address_number
from proxy.message.proxy_protocol import Ends
from proxy.message.request import RequestHead

__all__ = ["ClientFacts", "client_behind", "forwarded_proto", "is_request_id", "trusted_block"]

_HOST_BYTES: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]")
_REQUEST_ID_BYTES: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/+=@")
_MAX_REQUEST_ID: Final = 128


class Wire(Protocol):
    """A transport, as far as it can be asked."""

    def get_extra_info(self, name: str) -> Any: ...


class ClientFacts:
    """What is the same for every request of one connection, rendered once."""

    __slots__ = (
        "address",
        "constant",
        "is_tls",
        "port",
        "protocols",
        "scheme",
        "shown",
        "tls_version",
        "told",
        "trusted",
        "wire",
    )

    def __init__(
        self, *, address: str, tls_version: str, port: int, trusted: bool, shown: ShownCertificate | None = None
    ) -> None:
        self.address = address
        self.shown = shown
        """``None``: the connection's host does not ask for certificates."""
        self.tls_version = tls_version
        """Such as ``TLSv1.3``; empty on a plain connection."""
        self.is_tls = is_tls = bool(tls_version)
        self.protocols = ("HTTP/1.0", "HTTP/1.1")
        """What the access log calls the versions of its requests, by ``RequestHead.minor``."""
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
        self.told: Ends | None = None
        """By a PROXY protocol header."""
        self.wire: Wire | None = None

    def ends(self) -> Ends | None:
        """Both ends of the client's connection; ``None``: not known."""
        if self.told is not None or self.wire is None:
            return self.told
        peer, local = self.wire.get_extra_info("peername"), self.wire.get_extra_info("sockname")
        if not (isinstance(peer, tuple) and isinstance(local, tuple)):
            return None
        return Ends(
            address=self.address,
            port=peer[1],
            local_address=str(local[0]).removeprefix("::ffff:"),
            local_port=local[1],
        )


def client_behind(head: RequestHead, facts: ClientFacts, ranges: Networks) -> str:
    """The address of the client behind a trusted peer: the last one in the chain that is not trusted itself.

    What is no address ends the search: behind it could stand anything.
    """
    client = facts.address
    given = head.special.get(fields.FORWARDED_FOR, b"")
    for part in reversed(given.split(b",")):
        text = part.strip(b" \t").decode("latin-1")
        if address_number(text) is None:
            break
        client = text
        if text not in ranges:
            break
    return client


def trusted_block(head: RequestHead, facts: ClientFacts, client: str) -> bytes:
    """The forwarding fields of a request from a trusted peer (without the last line end, as ``constant`` and host);
    ``client`` as of :func:`client_behind`."""
    special = head.special
    proto = special.get(fields.FORWARDED_PROTO, b"").strip(b" \t").lower()
    if proto not in (b"http", b"https"):
        proto = facts.scheme
    port = special.get(fields.FORWARDED_PORT, b"").strip(b" \t")
    if not (port.isdigit() and len(port) <= 5):
        port = b"%d" % facts.port
    host = special.get(fields.FORWARDED_HOST, b"").strip(b" \t")
    if not host or not _HOST_BYTES.issuperset(host):
        host = head.host
    forwarded_for = ", ".join([*_chain(head), facts.address]).encode("ascii", "replace")
    return (
        b"X-Real-IP: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Port: %b\r\nX-Forwarded-Proto: %b\r\n"
        b"X-Forwarded-Scheme: %b\r\nX-Scheme: %b\r\nX-Forwarded-Host: %b"
        % (client.encode("ascii", "replace"), forwarded_for, port, proto, proto, proto, host)
    )


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


def _chain(head: RequestHead) -> list[str]:
    """The addresses that X-Forwarded-For names; what is none is left out."""
    return [
        text
        for part in head.special.get(fields.FORWARDED_FOR, b"").split(b",")
        if (text := part.strip(b" \t").decode("latin-1")) and address_number(text) is not None
    ]
