"""How TLS is spoken to backends: from what an Ingress or a TrafficPolicy wishes, and the Secrets that they name.

What cannot be carried out closes the routes (503): going on without it could believe anybody, or show nothing to a
backend that asks.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from ingress.annotations import Annotations
from ingress.resources import ConfigMap, Key, Secret
from ingress.resources.crd_parts import UpstreamTlsSpec
from ingress.translate.certificates import certificate_key
from ingress.translate.keypair import read_key_pair
from ingress.translate.lookup import Lookup
from ingress.translate.part import Finding
from proxy.table import TlsVersion, UpstreamTls

__all__ = ["BackendTls", "TlsWish", "backend_tls", "wish_of_annotations", "wish_of_policy"]

_CLOSED: Final = "the routes to its backends answer 503"
_CA: Final = "ca.crt"
_USUAL: Final = UpstreamTls()


class TlsWish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``UpstreamTls`` before its Secrets are read. Names are of the namespace of who wishes."""

    both: str = ""
    """A Secret with a key pair, authorities or both."""
    pair: str = ""
    """A Secret with a key pair."""
    authorities: tuple[Literal["Secret", "ConfigMap"], str] | None = None
    foreign: bool = False
    """It names a Secret of another namespace."""
    verify: bool = False
    verify_depth: int = 1
    server_name: str = ""
    min_version: TlsVersion = "1.2"
    max_version: TlsVersion = "1.3"
    ciphers: str = ""


class BackendTls(msgspec.Struct, frozen=True, kw_only=True):
    """``tls`` of ``None``: the routes must not be served."""

    tls: UpstreamTls | None = None
    pair: Key | None = None
    """The Secret whose certificate ``tls`` shows."""
    findings: tuple[Finding, ...] = ()


class _Unfit(Exception):  # noqa: N818 - a verdict on input
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(reason=reason, message=f"{message}; {_CLOSED}")


def wish_of_annotations(values: Annotations, namespace: str) -> TlsWish | None:
    """``None``: no annotation speaks of it."""
    given, name = values.proxy_ssl_secret or ("", "")
    low, high = values.proxy_ssl_protocols or ("1.2", "1.3")
    verify = bool(values.proxy_ssl_verify)
    hidden = values.proxy_ssl_server_name is False and not verify
    wish = TlsWish(
        both=name,
        foreign=given not in ("", namespace),
        verify=verify,
        verify_depth=1 if values.proxy_ssl_verify_depth is None else values.proxy_ssl_verify_depth,
        server_name="" if hidden else values.proxy_ssl_name or "",
        min_version=low,
        max_version=high,
        ciphers=values.proxy_ssl_ciphers or "",
    )
    return None if wish == TlsWish() else wish


def wish_of_policy(spec: UpstreamTlsSpec) -> TlsWish:
    """The API server has checked its form."""
    kind: Any = None if spec.ca_certificate_ref is None else spec.ca_certificate_ref.kind
    low: Any = spec.min_version
    high: Any = spec.max_version
    return TlsWish(
        pair="" if spec.client_certificate_ref is None else spec.client_certificate_ref.name,
        authorities=None if spec.ca_certificate_ref is None else (kind, spec.ca_certificate_ref.name),
        verify=spec.verify,
        verify_depth=spec.verify_depth,
        server_name=spec.server_name.lower(),
        min_version=low,
        max_version=high,
        ciphers=spec.ciphers,
    )


def backend_tls(wish: TlsWish, namespace: str, lookup: Lookup) -> BackendTls:
    """What a wish comes to, as the Secrets are now."""
    try:
        return _resolved(wish, namespace, lookup)
    except _Unfit as unfit:
        return BackendTls(findings=(unfit.finding,))


def _resolved(wish: TlsWish, namespace: str, lookup: Lookup) -> BackendTls:
    if wish.foreign:
        raise _Unfit("BadAnnotation", "names a Secret of another namespace, which is not read")
    pair: Key | None = None
    ca_pem = ""
    if wish.both:
        data = _secret((namespace, wish.both), lookup)
        has_pair = bool(data.get("tls.crt") or data.get("tls.key"))
        if not has_pair and not data.get(_CA):
            raise _Unfit("BadCertificate", f"Secret {namespace}/{wish.both} has neither tls.crt and tls.key nor ca.crt")
        pair = _pair((namespace, wish.both), data) if has_pair else None
        ca_pem = _authorities(f"Secret {namespace}/{wish.both}", data[_CA]) if data.get(_CA) else ""
    if wish.pair:
        pair = _pair((namespace, wish.pair), _secret((namespace, wish.pair), lookup))
    if wish.authorities is not None:
        ca_pem = _named_authorities(*wish.authorities, namespace, lookup)
    return BackendTls(
        tls=UpstreamTls(
            verify=wish.verify,
            ca_pem=ca_pem if wish.verify else "",
            verify_depth=wish.verify_depth if wish.verify else 1,
            server_name=wish.server_name,
            certificate=None if pair is None else certificate_key(pair),
            # The very defaults of the fields are left out of every encoding.
            min_version=_USUAL.min_version if wish.min_version == _USUAL.min_version else wish.min_version,
            max_version=_USUAL.max_version if wish.max_version == _USUAL.max_version else wish.max_version,
            ciphers=wish.ciphers,
        ),
        pair=pair,
    )


def _secret(key: Key, lookup: Lookup) -> dict[str, bytes]:
    found = lookup.get(Secret, key)
    if found is None:
        raise _Unfit("SecretNotFound", f"Secret {certificate_key(key)} does not exist")
    return found.data


def _pair(key: Key, data: dict[str, bytes]) -> Key:
    facts = read_key_pair(data.get("tls.crt", b""), data.get("tls.key", b""))
    if facts.fault:
        raise _Unfit("BadCertificate", f"Secret {certificate_key(key)} {facts.fault}")
    return key


def _named_authorities(kind: str, name: str, namespace: str, lookup: Lookup) -> str:
    what = f"{kind} {namespace}/{name}"
    if kind == "Secret":
        return _authorities(what, _secret((namespace, name), lookup).get(_CA, b""))
    found = lookup.get(ConfigMap, (namespace, name))
    if found is None:
        raise _Unfit("ConfigMapNotFound", f"{what} does not exist")
    return _authorities(what, found.data.get(_CA, "").encode(errors="replace"))


def _authorities(what: str, text: bytes) -> str:
    ca_pem = _read_authorities(text)
    if not ca_pem:
        raise _Unfit("BadCertificate", f"{what} has no PEM certificate in ca.crt that can be read")
    return ca_pem


@functools.lru_cache(maxsize=256)
def _read_authorities(text: bytes) -> str:
    """As PEM of nothing but certificates: a key beside them must not come into the table. Empty: there are none."""
    try:
        certificates: Sequence[x509.Certificate] = x509.load_pem_x509_certificates(text)
    except (ValueError, UnsupportedAlgorithm):
        return ""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates).decode()
