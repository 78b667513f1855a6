"""Certificates of authorities that are made for one run."""

from __future__ import annotations

import datetime
import ssl
from typing import Any

import trustme

from proxy.table import Certificate

__all__ = ["ca_pem", "pair", "server_context", "tls_secret"]


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


def tls_secret(name: str, *names: str, authority: trustme.CA | None = None, key: str | None = None) -> dict[str, Any]:
    """A Secret with a certificate for ``names``, of an authority of its own unless one is given; ``key``: in place of
    its key."""
    made = pair(authority or trustme.CA(), *names)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name},
        "stringData": {"tls.crt": made.chain_pem, "tls.key": made.key_pem if key is None else key},
    }


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
