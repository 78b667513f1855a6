"""Hosts that ask their clients for certificates (ingress-nginx ``auth-tls-*``).

Each such host has a context of its own, chosen before the handshake begins: OpenSSL settles whom it asks, and which
sessions it resumes, before it looks at the server name. It resumes none: every connection shows its certificate anew.
"""

from __future__ import annotations

import ssl
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from proxy.message.client_certificate import NO_CERTIFICATE, ShownCertificate
from proxy.table import Certificate, ClientCertificates
from proxy.tls.alerts import ServerContext
from proxy.tls.context import BadCertificate, memory_file, set_policy
from proxy.tls.names import note_certificate, note_server_name, server_name_of
from proxy.tls.openssl import JudgedConnection, OpenSslUnavailable, ask_for_certificates, reason_of

__all__ = ["AskingContext", "make_asking_context", "shown_certificate"]

_OVERLOOKED: Final = frozenset({2, 18, 19, 20, 21})
"""What ``optional_no_ca`` lets pass, as nginx: an issuer that is not known, and self-signed certificates
(``X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT``, ``…_DEPTH_ZERO_SELF_SIGNED_CERT``, ``…_SELF_SIGNED_CERT_IN_CHAIN``,
``…_UNABLE_TO_GET_ISSUER_CERT_LOCALLY``, ``…_UNABLE_TO_VERIFY_LEAF_SIGNATURE``). Not dates, not what is revoked."""

_NAMES: Final = {
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.TITLE: "title",
    ObjectIdentifier("0.9.2342.19200300.100.1.1"): "UID",
}
"""As OpenSSL, and so ``$ssl_client_s_dn``, spells them, beyond those of RFC 4514."""


class AskingContext(ServerContext):
    """The context of one host. The fields are set once, by :func:`make_asking_context`."""

    pattern: str
    rules: ClientCertificates


def make_asking_context(
    certificate: Certificate, pattern: str, rules: ClientCertificates, *, ciphers: str, http2: bool
) -> AskingContext:
    """The context in which ``certificate`` is shown to the clients of a host, and theirs is asked for.

    Raises:
        BadCertificate: one of the parts does not load, or this Python cannot ask.
    """
    context = AskingContext(ssl.PROTOCOL_TLS_SERVER)
    set_policy(context, certificate, ciphers, http2=http2)
    note_certificate(context, certificate.chain_pem)
    context.sni_callback = _on_server_name
    context.pattern, context.rules = pattern, rules
    try:
        with memory_file(rules.ca_pem) as authorities:
            context.load_verify_locations(authorities)
            ask_for_certificates(
                context,
                names_file=authorities,
                depth=rules.verify_depth,
                required=rules.mode == "required",
                refuse=rules.refuse_in_handshake,
            )
        if rules.crl_pem:
            # As nginx: with a list, every authority of the chain must have one.
            with memory_file(rules.crl_pem) as revoked:
                context.load_verify_locations(revoked)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    except OpenSslUnavailable as unavailable:
        raise BadCertificate(f"client certificates cannot be asked for: {unavailable}") from None
    except (OSError, ValueError):  # SSLError is an OSError
        raise BadCertificate("the authorities of client certificates cannot be loaded") from None
    return context


def _on_server_name(
    connection: ssl.SSLObject | ssl.SSLSocket, server_name: str | None, _context: ssl.SSLContext
) -> None:
    note_server_name(connection, server_name)


def shown_certificate(connection: object) -> ShownCertificate | None:
    """What the client of a finished handshake showed. ``None``: a connection on which none was asked for."""
    if not isinstance(connection, JudgedConnection):
        return None
    context = connection.context
    assert isinstance(context, AskingContext)
    der = connection.getpeercert(binary_form=True)
    if der is None:
        return ShownCertificate(
            pattern=context.pattern,
            server_name=server_name_of(connection),
            rules=context.rules,
            verdict=NO_CERTIFICATE,
            is_good=True,
        )
    errors = set(connection.errors)
    verdict = f"FAILED:{reason_of(connection.errors[-1])}" if errors else "SUCCESS"
    if context.rules.mode == "optional_no_ca":
        errors -= _OVERLOOKED
    return ShownCertificate(
        pattern=context.pattern,
        server_name=server_name_of(connection),
        rules=context.rules,
        verdict=verdict,
        is_good=not errors,
        pem=ssl.DER_cert_to_PEM_cert(der),
        **_names_in(der),
    )


def _names_in(der: bytes) -> dict[str, str]:
    """Subject and issuer; empty where they cannot be read, which then match nothing."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        return {"subject": _name(certificate.subject), "issuer": _name(certificate.issuer)}
    except ValueError:
        return {}


def _name(name: x509.Name) -> str:
    """RFC 2253, where what is not printable ASCII is escaped byte by byte, as OpenSSL does."""
    text = name.rfc4514_string(_NAMES)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char.isascii() and char.isprintable() else "".join(f"\\{byte:02X}" for byte in char.encode())
        for char in text
    )
