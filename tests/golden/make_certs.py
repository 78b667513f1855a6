"""Makes the certificates of the golden cases: ``python -m tests.golden.make_certs``. They are kept, so that the cases
do not change; run it only to add one. The keys guard nothing.

``sha1`` is by ``openssl x509 -req -sha1``, since cryptography signs with SHA-1 no more.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

FOLDER = Path(__file__).parent / "certs"
PEM = serialization.Encoding.PEM
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def certificate(
    key: Key,
    common_name: str,
    names: tuple[str, ...] = (),
    *,
    years: tuple[int, int] = (2020, 2100),
    signer: tuple[x509.Certificate, Key] | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer[0].subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(years[0], 1, 1))
        .not_valid_after(datetime.datetime(years[1], 1, 1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    signing = signer[1] if signer else key
    return builder.sign(signing, None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def keep(name: str, key: Key, *certificates: x509.Certificate, passphrase: bytes | None = None) -> None:
    """Writes what is not there yet."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    files = {
        f"{name}.crt": b"".join(one.public_bytes(PEM) for one in certificates),
        f"{name}.key": key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption),
    }
    if not any((FOLDER / file).exists() for file in files):
        for file, content in files.items():
            (FOLDER / file).write_bytes(content)


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    foo = "foo.example.com"
    for name, names in (
        ("foo", (foo,)),
        ("foo-renewed", (foo,)),
        ("wild", ("*.example.com",)),
        ("org", ("bar.example.org",)),
    ):
        key = p256()
        keep(name, key, certificate(key, names[0], names))
    key = p256()
    keep("expired", key, certificate(key, foo, (foo,), years=(2020, 2021)))
    key = p256()
    keep("future", key, certificate(key, foo, (foo,), years=(2090, 2100)))
    key = p256()
    keep("no-san", key, certificate(key, foo))
    key = p256()
    keep("encrypted", key, certificate(key, foo, (foo,)), passphrase=b"golden")
    small = rsa.generate_private_key(65537, 1024)
    keep("rsa-1024", small, certificate(small, foo, (foo,)))
    usual = rsa.generate_private_key(65537, 2048)
    keep("rsa-2048", usual, certificate(usual, foo, (foo,)))
    edwards = ed25519.Ed25519PrivateKey.generate()
    keep("ed25519", edwards, certificate(edwards, foo, (foo,)))
    curve = ec.generate_private_key(ec.SECP256K1())
    keep("secp256k1", curve, certificate(curve, foo, (foo,)))
    authority_key, key = p256(), p256()
    authority = certificate(authority_key, "Golden CA")
    leaf = certificate(key, foo, (foo,), signer=(authority, authority_key))
    keep("chained", key, leaf, authority)
    keep("reversed", key, authority, leaf)


if __name__ == "__main__":
    main()
