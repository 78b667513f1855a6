"""Certificates of authorities that are made for one run."""

from __future__ import annotations

import datetime
import ssl

import trustme

from proxy.table import Certificate

__all__ = ["ca_pem", "pair", "server_context"]


def ca_pem(authority: trustme.CA) -> str:
    """The certificate of ``authority``."""
    return authority.cert_pem.bytes().decode()


def pair(authority: trustme.CA, *names: str, days: float = 30) -> Certificate:
    """A certificate for names or addresses that ends in so many days, and its key."""
    leaf = authority.issue_cert(*names, not_after=datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days))
    return Certificate(
        chain_pem="".join(blob.bytes().decode() for blob in leaf.cert_chain_pems),
        key_pem=leaf.private_key_pem.bytes().decode(),
    )


def server_context(
    authority: trustme.CA, *names: str, days: float = 30, clients: trustme.CA | None = None
) -> ssl.SSLContext:
    """For a server with such a certificate. ``clients``: the authority that its clients must have one of."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    authority.issue_cert(*names, not_after=end).configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
