"""The webhook's certificate: made, read, and judged by date. No I/O.

Each generation has its own authority, whose key is forgotten at once: nobody can sign a second certificate under it,
and there is nothing to keep secret beside the server's key. Two generations overlap in ``ca.crt``.
"""

from __future__ import annotations

import datetime
import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["LIFE", "WebhookKeys", "make_keys", "server_context", "service_names"]

LIFE: Final = datetime.timedelta(days=90)
RENEW_AFTER: Final = 2 / 3
"""Of the life: a month remains to notice that renewing fails."""
_SKEW: Final = datetime.timedelta(hours=1)
"""Clocks of API servers may be behind ours."""
_MAX_COMMON_NAME: Final = 64


class WebhookKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The three keys of the Secret, as PEM. ``authorities``: the newest first, then the one before."""

    authorities: str
    chain: str
    key: str

    def __repr__(self) -> str:
        return "WebhookKeys(…)"

    @property
    def is_complete(self) -> bool:
        return bool(self.authorities and self.chain and self.key)

    def fault(self, names: Sequence[str], now: datetime.datetime) -> str:
        """Why these cannot serve now; empty: they can."""
        try:
            server_context(self)
            leaf = x509.load_pem_x509_certificate(self.chain.encode())
            authorities = x509.load_pem_x509_certificates(self.authorities.encode())
            covered = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, ssl.SSLError, OSError, x509.ExtensionNotFound) as error:
            return f"it cannot be read ({type(error).__name__})"
        if not set(names) <= set(covered.get_values_for_type(x509.DNSName)):
            return "it is for another name"
        if not any(_signed(leaf, authority) for authority in authorities):
            return "no certificate of ca.crt signed it"
        if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
            return "it is out of date"
        return ""

    def is_due(self, now: datetime.datetime) -> bool:
        """Whether it is time for the next one."""
        leaf = x509.load_pem_x509_certificate(self.chain.encode())
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        return now >= begin + (end - begin) * RENEW_AFTER

    @property
    def not_after(self) -> datetime.datetime:
        return x509.load_pem_x509_certificate(self.chain.encode()).not_valid_after_utc


def service_names(name: str, namespace: str) -> tuple[str, ...]:
    """Under which the API server may reach the webhook: a Service ``name`` or ``name-webhook``."""
    hosts = [f"{service}.{namespace}.svc" for service in (f"{name}-webhook", name)]
    return (*hosts, *(f"{host}.cluster.local" for host in hosts))


def make_keys(
    names: Sequence[str], *, now: datetime.datetime, before: WebhookKeys | None = None, life: datetime.timedelta = LIFE
) -> WebhookKeys:
    """A new generation; the authority of ``before`` stays trusted until the next one."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # Its own name per generation: verifiers choose an issuer by name.
    issuer = _name(f"Pyngress webhook authority {serial:x}"[:_MAX_COMMON_NAME])
    begin, end = now - _SKEW, now + life

    def builder(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
        )

    authority = (
        builder(issuer, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        builder(_name(names[0] if len(names[0]) <= _MAX_COMMON_NAME else "Pyngress webhook"), key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return WebhookKeys(
        authorities=_pem(authority) + _newest(before),
        chain=_pem(leaf),
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


def server_context(keys: WebhookKeys | None) -> ssl.SSLContext:
    """A context of TLS 1.2 and later; without keys every handshake fails.

    Raises ``ssl.SSLError`` or ``OSError`` for keys that cannot be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # A ticket of the context that accepts would resume past a certificate that has changed since.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    if keys is not None:
        with _memory_file(keys.chain) as chain, _memory_file(keys.key) as key:
            # A password must be given, or OpenSSL asks the terminal for one.
            context.load_cert_chain(chain, key, password="")
    return context


@contextmanager
def _memory_file(text: str) -> Iterator[str]:
    """A path to ``text`` that is on no disk: the ssl module loads certificates from paths only."""
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        data = memoryview(text.encode())
        while data:
            data = data[os.write(fd, data) :]
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _newest(keys: WebhookKeys | None) -> str:
    """The first of its authorities as PEM."""
    if keys is None or not keys.authorities:
        return ""
    try:
        return _pem(x509.load_pem_x509_certificates(keys.authorities.encode())[0])
    except ValueError:
        return ""


def _signed(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - each kind of key has its own error
        return False
    return True


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
