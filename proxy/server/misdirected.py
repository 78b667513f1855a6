"""Requests that came over a connection made for another host (RFC 9110 section 15.5.20)."""

from __future__ import annotations

import ssl

from proxy.engine.state import State
from proxy.tls.names import covers, server_name_of

__all__ = ["is_misdirected"]


def is_misdirected(connection: ssl.SSLObject, host: str, state: State) -> bool:
    """Whether a request for ``host`` (lower case, no port) may not be served on this TLS connection.

    A client that named no server has nothing to be held to. One that did may ask for other hosts where the certificate
    that it was shown stands for them too (RFC 9113 section 9.1.1), but never for one that asks for client certificates:
    what this connection has shown, it has shown to another name.
    """
    name = server_name_of(connection)
    if not host or name == host:
        return False
    hosts = state.table.hosts
    found = hosts.get(host) or hosts.get("*." + host.partition(".")[2]) or hosts.get("")
    if found is not None and found.client_certificates is not None:
        return True
    return bool(name) and not covers(connection.context, host)
