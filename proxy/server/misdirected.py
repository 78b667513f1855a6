"""Requests that came over a connection made for another host (RFC 9110 section 15.5.20)."""

from __future__ import annotations

import ssl

from proxy.tls.names import covers, server_name_of

__all__ = ["is_misdirected"]


def is_misdirected(connection: ssl.SSLObject, host: str) -> bool:
    """Whether a request for ``host`` (lower case, no port) may not be served on this TLS connection.

    A client that named no server has nothing to be held to. One that did may ask for other hosts where the certificate
    that it was shown stands for them too (RFC 9113 section 9.1.1). Hosts that ask for client certificates have a
    stricter rule of their own (:mod:`proxy.filters.client_certificates`).
    """
    name = server_name_of(connection)
    return bool(host) and bool(name) and name != host and not covers(connection.context, host)
