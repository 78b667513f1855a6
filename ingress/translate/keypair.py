"""A certificate chain and its key: do they fit, for whom, and until when.

Reading one costs milliseconds, and most do not change from one translation to the next: facts are remembered by digest,
so that no key is kept. What depends on the clock is not among the facts.
"""

from __future__ import annotations

import datetime
import hashlib
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

__all__ = ["KeyPairFacts", "read_key_pair"]

MIN_RSA_BITS: Final = 2048
"""What OpenSSL takes at its default security level 2 (112 bits of security)."""
MAX_REMEMBERED: Final = 65_536
"""Key pairs; some hundred bytes each."""

_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_WEAK_HASHES: Final = (hashes.MD5, hashes.SHA1)
_READ_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class KeyPairFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a key pair is, at any time. With a ``fault`` the rest means nothing."""

    fault: str = ""
    """Why it cannot serve, as the end of a sentence about the Secret; empty: it can."""
    names: tuple[str, ...] = ()
    """DNS names of subjectAltName, lower case. Clients look nowhere else (RFC 6125 section 6.4.4)."""
    not_before: datetime.datetime = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    not_after: datetime.datetime = datetime.datetime.max.replace(tzinfo=datetime.UTC)


class _Unfit(Exception):  # noqa: N818 - a verdict on input
    """Says why, as the end of a sentence; never holds key material."""


_remembered: dict[bytes, KeyPairFacts] = {}


def read_key_pair(chain: bytes, key: bytes) -> KeyPairFacts:
    """Facts of a PEM chain (leaf first) and a PEM key. Never raises."""
    digest = hashlib.sha256(chain).digest() + hashlib.sha256(key).digest()
    facts = _remembered.get(digest)
    if facts is None:
        try:
            facts = _read(chain, key)
        except _Unfit as unfit:
            facts = KeyPairFacts(fault=str(unfit))
        if len(_remembered) >= MAX_REMEMBERED:
            _remembered.clear()
        _remembered[digest] = facts
    return facts


def _read(chain: bytes, key: bytes) -> KeyPairFacts:
    certificates = _read_chain(chain)
    leaf = certificates[0]
    wanted = _read_public_key(key)
    try:
        public = [_spki(certificate.public_key()) for certificate in certificates]
        for certificate in certificates:
            _check_strength(certificate)
        names = _dns_names(leaf)
    except _READ_ERRORS:
        raise _Unfit("has a certificate in tls.crt of a kind that is not supported") from None
    if public[0] != wanted:
        if wanted in public:
            raise _Unfit("has its chain in the wrong order: the certificate of the key must stand first in tls.crt")
        raise _Unfit("has a key in tls.key that does not belong to the certificate in tls.crt")
    return KeyPairFacts(names=names, not_before=leaf.not_valid_before_utc, not_after=leaf.not_valid_after_utc)


def _read_chain(chain: bytes) -> list[x509.Certificate]:
    if not chain.strip():
        raise _Unfit("has no tls.crt")
    try:
        chain.decode()
        return x509.load_pem_x509_certificates(chain)
    except _READ_ERRORS:
        raise _Unfit("has no PEM certificate in tls.crt that can be read") from None


def _read_public_key(key: bytes) -> bytes:
    """The public half of the private key, as it stands in its certificate."""
    if not key.strip():
        raise _Unfit("has no tls.key")
    try:
        key.decode()
        private = load_pem_private_key(key, password=None)
    except TypeError:
        raise _Unfit("has a key in tls.key that is encrypted; Pyngress has no passphrase") from None
    except _READ_ERRORS:
        raise _Unfit("has no PEM key in tls.key that can be read") from None
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise _Unfit("has a key in tls.key that is neither RSA, ECDSA nor Ed25519")
    return _spki(private.public_key())


def _spki(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_strength(certificate: x509.Certificate) -> None:
    """What OpenSSL would refuse in a chain."""
    public = certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size < MIN_RSA_BITS:
            raise _Unfit(f"has an RSA key of {public.key_size} bits; at least {MIN_RSA_BITS} are needed")
    elif isinstance(public, ec.EllipticCurvePublicKey):
        if public.curve.name not in _CURVES:
            raise _Unfit(f"has an ECDSA key on the curve {public.curve.name}; {', '.join(_CURVES)} are supported")
    elif not isinstance(public, ed25519.Ed25519PublicKey):
        raise _Unfit("has a certificate in tls.crt that is neither RSA, ECDSA nor Ed25519")
    self_signed = certificate.issuer == certificate.subject
    if not self_signed and isinstance(certificate.signature_hash_algorithm, _WEAK_HASHES):
        raise _Unfit(f"has a certificate in tls.crt signed with {certificate.signature_hash_algorithm.name}")


def _dns_names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(sorted({name.lower() for name in extension.value.get_values_for_type(x509.DNSName)}))
