"""One server context, with one certificate or none.

Session tickets are off here; :class:`~proxy.tls.store.CertificateStore` switches them on for its listener once it has
keys that all workers share. What is left without is TLS 1.2 resumption by session id, within one worker. Both cross
names, which is harmless: names that ask for client certificates have contexts of their own, chosen before the
handshake, which resume nothing.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from proxy.table import Certificate, TlsVersion

__all__ = [
    "ALPN",
    "CIPHERS",
    "VERSIONS",
    "BadCertificate",
    "are_ciphers",
    "check",
    "load_pair",
    "make_context",
    "memory_file",
    "set_policy",
]

CIPHERS: Final = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "@SECLEVEL=2",
    )
)
"""For TLS 1.2: the "intermediate" list of Mozilla's server-side TLS guide, without finite-field DHE. Security level 2
refuses RSA keys below 2048 bits and SHA-1 signatures, as Debian and Red Hat do for nginx."""

ALPN: Final = ("h2", "http/1.1")
VERSIONS: Final[dict[TlsVersion, ssl.TLSVersion]] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_REASONS: Final = {
    "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
    "KEY_TYPE_MISMATCH": "the key does not belong to the certificate",
    "EE_KEY_TOO_SMALL": "the key of the certificate is too short",
    "CA_KEY_TOO_SMALL": "a key in the chain is too short",
    "CA_MD_TOO_WEAK": "the chain is signed with a weak digest",
}
"""OpenSSL's reasons, for people. It gives none for PEM that it cannot read."""


class BadCertificate(ValueError):  # noqa: N818 - a verdict on input, as BadPath
    """A chain or key that does not load; ``reason`` names neither."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def make_context(certificate: Certificate | None, ciphers: str = "", *, http2: bool = True) -> ssl.SSLContext:
    """A context under the policy of this package. ``ciphers``: for TLS 1.2, in place of the usual ones; a list that
    :func:`are_ciphers` takes. ``http2``: offer it. Raises :class:`BadCertificate`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    set_policy(context, certificate, ciphers, http2=http2)
    return context


def set_policy(context: ssl.SSLContext, certificate: Certificate | None, ciphers: str, *, http2: bool) -> None:
    """Put a new ``context`` under the policy; see :func:`make_context`."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    # Clients without AES hardware order ChaCha20 first, and know better.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    context.set_ciphers(ciphers or CIPHERS)
    context.set_alpn_protocols([name for name in ALPN if http2 or not name.startswith("h2")])
    if certificate is not None:
        load_pair(context, certificate)


def are_ciphers(ciphers: str) -> bool:
    """Whether OpenSSL finds a cipher in this list."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(ciphers)
    except ssl.SSLError:
        return False
    return True


def check(certificate: Certificate) -> str | None:
    """Why ``certificate`` cannot be used, or ``None``. Costs about a millisecond; dates and names are not looked at."""
    try:
        make_context(certificate)
    except BadCertificate as bad:
        return bad.reason
    return None


def load_pair(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Have ``context`` show ``certificate``. Raises :class:`BadCertificate`."""
    if "-----BEGIN " not in certificate.chain_pem:
        raise BadCertificate("the chain holds no PEM certificate")
    if "-----BEGIN " not in certificate.key_pem:
        raise BadCertificate("the key is not PEM")
    if "ENCRYPTED" in certificate.key_pem:
        raise BadCertificate("the key is encrypted")
    try:
        with memory_file(certificate.chain_pem) as chain, memory_file(certificate.key_pem) as key:
            # A password must be given, or OpenSSL asks the terminal for one.
            context.load_cert_chain(chain, key, password="")
    except ssl.SSLError as error:
        reason = error.reason or ""
        raise BadCertificate(_REASONS.get(reason) or f"OpenSSL cannot load it {reason}".rstrip()) from None
    except (OSError, ValueError) as error:
        raise BadCertificate(f"cannot be loaded: {type(error).__name__}") from None


@contextmanager
def memory_file(text: str) -> Iterator[str]:
    """A path to ``text`` that is on no disk: the ssl module loads certificates from paths only."""
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        data = memoryview(text.encode())
        while data:
            data = data[os.write(fd, data) :]
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
