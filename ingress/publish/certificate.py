"""The certificate that clients get where no Secret gives one: self-signed, made once per start, one for all workers."""

from __future__ import annotations

import datetime

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.table import Certificate, Table

__all__ = ["SELF_SIGNED", "self_signed", "with_default_certificate"]

SELF_SIGNED = "self-signed"
"""Its key in the table. No Secret has it: theirs have a namespace."""

_LIFE = datetime.timedelta(days=3650)
"""Nobody verifies it; it must only outlive the process."""


def self_signed() -> Certificate:
    """A new key (P-256) and its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pyngress self-signed default certificate")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("pyngress.invalid")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        chain_pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


def with_default_certificate(table: Table, certificate: Certificate) -> Table:
    """``table`` with ``certificate`` as the default one, if it has none of its own that exists."""
    if table.default_certificate in table.certificates:
        return table
    return msgspec.structs.replace(
        table, certificates={**table.certificates, SELF_SIGNED: certificate}, default_certificate=SELF_SIGNED
    )
