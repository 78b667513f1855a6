"""The ``auth-tls-*`` annotations and the Secret that they name → what hosts ask of their clients.

Where that cannot be settled, nobody is let in: the hosts answer 503.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from ingress.annotations import Annotations
from ingress.resources import Secret
from ingress.translate.lookup import Lookup
from ingress.translate.part import ClientClaim, Finding
from proxy.table import ClientCertificateMode, ClientCertificates

__all__ = ["client_claim"]

_MODES: Final[dict[str, ClientCertificateMode]] = {
    "on": "required",
    "optional": "optional",
    "optional_no_ca": "optional_no_ca",
}
_CRL: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_CLOSED: Final = "the hosts of this Ingress answer 503"


class _Unfit(Exception):  # noqa: N818 - a verdict on input
    """Says why, as the end of a sentence about the Secret."""


def client_claim(values: Annotations, namespace: str, lookup: Lookup) -> tuple[ClientClaim | None, Sequence[Finding]]:
    """What an Ingress in ``namespace`` asks of the clients of its hosts (``None``: nothing), and what is wrong."""
    if values.auth_tls_secret is None or values.auth_tls_verify_client == "off":
        return None, ()
    given, name = values.auth_tls_secret
    if given not in ("", namespace):
        message = f"names a Secret of another namespace, which is not read; {_CLOSED}"
        return ClientClaim(), (Finding(reason="BadAnnotation", message=message),)
    found = lookup.get(Secret, (namespace, name))
    if found is None:
        message = f"Secret {namespace}/{name} does not exist; {_CLOSED}"
        return ClientClaim(), (Finding(reason="SecretNotFound", message=message),)
    try:
        authorities, revoked = _read(found.data.get("ca.crt", b""), found.data.get("ca.crl", b""))
    except _Unfit as unfit:
        message = f"Secret {namespace}/{name} {unfit}; {_CLOSED}"
        return ClientClaim(), (Finding(reason="BadCertificate", message=message),)
    depth = values.auth_tls_verify_depth
    rules = ClientCertificates(
        mode=_MODES[values.auth_tls_verify_client or "on"],
        ca_pem=authorities,
        crl_pem=revoked,
        verify_depth=1 if depth is None else depth,
        match_subject=values.auth_tls_match_cn or "",
        pass_certificate=bool(values.auth_tls_pass_certificate_to_upstream),
        refuse_in_handshake=bool(values.auth_tls_refuse_in_handshake),
        error_page=values.auth_tls_error_page or "",
    )
    return ClientClaim(rules=rules), ()


@functools.lru_cache(maxsize=256)
def _read(authorities: bytes, revoked: bytes) -> tuple[str, str]:
    """Both as PEM of nothing but certificates and lists: a key beside them must not come into the table."""
    if not authorities.strip():
        raise _Unfit("has no ca.crt")
    try:
        certificates = x509.load_pem_x509_certificates(authorities)
        ca_pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    except (ValueError, UnsupportedAlgorithm):
        raise _Unfit("has no PEM certificate in ca.crt that can be read") from None
    if not revoked.strip():
        return ca_pem.decode(), ""
    try:
        lists = [x509.load_pem_x509_crl(block) for block in _CRL.findall(revoked)]
        crl_pem = b"".join(one.public_bytes(Encoding.PEM) for one in lists)
    except (ValueError, UnsupportedAlgorithm):
        lists = []
    if not lists:
        raise _Unfit("has no PEM revocation list in ca.crl that can be read")
    return ca_pem.decode(), crl_pem.decode()
