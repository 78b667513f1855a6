"""Which name a connection was made for, and which names its certificate stands for."""

from __future__ import annotations

import ssl
from typing import Final
from weakref import WeakKeyDictionary

from cryptography import x509

__all__ = ["covers", "note_certificate", "note_server_name", "server_name_of"]

_SERVER_NAME: Final = "pyngress_server_name"
_chains: WeakKeyDictionary[ssl.SSLContext, str] = WeakKeyDictionary()
"""The chain of each context."""
_names: WeakKeyDictionary[ssl.SSLContext, frozenset[str]] = WeakKeyDictionary()
"""The names of its leaf, once someone asked."""


def note_server_name(connection: ssl.SSLObject | ssl.SSLSocket, server_name: str | None) -> None:
    """Remember what a handshake asked for: the ssl module forgets it."""
    vars(connection)[_SERVER_NAME] = (server_name or "").lower().removesuffix(".")


def server_name_of(connection: ssl.SSLObject | ssl.SSLSocket) -> str:
    """The server name (SNI) of a connection, in lower case; empty: it named none."""
    name: str = vars(connection).get(_SERVER_NAME, "")
    return name


def note_certificate(context: ssl.SSLContext, chain_pem: str) -> None:
    """Remember which chain ``context`` shows: it does not tell."""
    _chains[context] = chain_pem


def covers(context: ssl.SSLContext, host: str) -> bool:
    """Whether the certificate of ``context`` stands for ``host`` (lower case, no port), as RFC 6125 section 6.4 reads
    it: a wildcard is one whole leftmost label. About a millisecond for the first question about a certificate."""
    names = _names.get(context)
    if names is None:
        names = _names[context] = _names_in(_chains.get(context, ""))
    return host in names or "*." + host.partition(".")[2] in names


def _names_in(chain_pem: str) -> frozenset[str]:
    try:
        leaf = x509.load_pem_x509_certificate(chain_pem.encode())
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = found.get_values_for_type(x509.DNSName)
        addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    except (ValueError, x509.ExtensionNotFound):
        return frozenset()
    return frozenset(name.lower() for name in names) | frozenset(addresses)
