"""Requests that came over a connection made for another host (RFC 9110 section 15.5.20)."""

from __future__ import annotations

import ssl

from proxy.tls.names import covers, server_name_of

__all__ = ["is_misdirected"]


def is_misdirected(connection: ssl.SSLObject, host: str) -> bool:
    """Whether a request for ``host`` (lower case, no port) may not be served on this TLS connection.

    A client that named no server has nothing to be held to. One that did may ask for other hosts where the certificate
    that it was shown stands for them too (RFC 9113 section 9.1.1). One that took a certificate that does not even stand
    for the name it gave, as ``curl -k`` does with the default one, does not choose connections by certificates. Hosts
    that ask for client certificates have a stricter rule of their own (:mod:`proxy.filters.client_certificates`).
    """
    name = server_name_of(connection)
    if not host or not name or name == host:
        return False
    return covers(connection.context, name) and not covers(connection.context, host)
