"""The annotations that say how backends are spoken to."""

from __future__ import annotations

import re
from typing import Final

from ingress.annotations.parsers import BadValue, parse_object
from ingress.annotations.spec import AnnotationSpec
from ingress.annotations.values import BackendProtocol
from ingress.resources.names import host_fault
from proxy.table import TlsVersion

__all__ = ["BACKEND"]

_PROTOCOLS: Final[dict[str, BackendProtocol]] = {
    "http": "http",
    "https": "https",
    "grpc": "grpc",
    "grpcs": "grpcs",
    "auto_http": "auto_http",
}
_VERSIONS: Final[dict[str, TlsVersion]] = {"TLSv1.2": "1.2", "TLSv1.3": "1.3"}
_CIPHERS: Final = re.compile(r"[A-Za-z0-9+:_!-]{1,2048}", re.ASCII)
_MAX_DEPTH: Final = 100


def parse_protocol(text: str) -> BackendProtocol:
    """``HTTP``, ``HTTPS``, ``GRPC``, ``GRPCS`` or ``AUTO_HTTP``, in any case."""
    if text.lower() == "fcgi":
        raise BadValue("is not spoken here: put a web server in front of it")
    found = _PROTOCOLS.get(text.lower())
    if found is None:
        raise BadValue("is none of HTTP, HTTPS, GRPC, GRPCS, AUTO_HTTP")
    return found


def parse_switch(text: str) -> bool:
    """``on`` or ``off``."""
    if text not in ("on", "off"):
        raise BadValue('is neither "on" nor "off"')
    return text == "on"


def parse_depth(text: str) -> int:
    """How many authorities may stand between a certificate and a trusted one."""
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= _MAX_DEPTH):
        raise BadValue(f"is not a whole number between 0 and {_MAX_DEPTH}")
    return int(text)


def parse_server_name(text: str) -> str:
    """A DNS name, in lower case."""
    name = text.lower()
    if name.startswith("*") or host_fault(name):
        raise BadValue("is not a DNS name")
    return name


def parse_versions(text: str) -> tuple[TlsVersion, TlsVersion]:
    """Lowest and highest of ``TLSv1.2`` and ``TLSv1.3``, separated by spaces."""
    words = text.split(" ")
    if not words or any(word not in _VERSIONS for word in words):
        raise BadValue("is not one or both of TLSv1.2 TLSv1.3 (older versions are not spoken)")
    versions = sorted(_VERSIONS[word] for word in words)
    return versions[0], versions[-1]


def parse_ciphers(text: str) -> str:
    """A list of ciphers in the language of OpenSSL, which the worker reads again."""
    if _CIPHERS.fullmatch(text) is None:
        raise BadValue("is not a list of ciphers, separated by :")
    return "" if text == "DEFAULT" else text


BACKEND: Final[tuple[AnnotationSpec, ...]] = (
    AnnotationSpec(
        name="backend-protocol",
        parser=parse_protocol,
        scope="location",
        risk="low",
        unsafe_to_ignore=True,
        default="what `appProtocol` of the Service port says, else `HTTP`",
        help=(
            "What the backend speaks: `HTTP`, `HTTPS`, `GRPC` (HTTP/2 in plain text), `GRPCS` (HTTP/2 over TLS), or "
            "`AUTO_HTTP`: on the same port `HTTPS`, as `proxy-ssl-*` say, for clients that come over TLS, and `HTTP` "
            "for all others. With it the client's own connection decides, not `X-Forwarded-Proto`, not even of a "
            "trusted proxy; connections to the backend, ejections and `max-requests` are counted for each of the two, "
            "and the cookie of `affinity` leads to the same pod by both. "
            "WebSocket needs none of it. `FCGI` is refused. `appProtocol`: `https` and "
            "`kubernetes.io/wss` mean `HTTPS`, `grpc` and `kubernetes.io/h2c` mean `GRPC`, all else means `HTTP`."
        ),
        example="HTTPS",
    ),
    AnnotationSpec(
        name="proxy-ssl-secret",
        parser=parse_object,
        scope="location",
        risk="medium",
        unsafe_to_ignore=True,
        default="none",
        help=(
            "A Secret of the same namespace, for backends that speak TLS: the certificate to show them (`tls.crt`, "
            "`tls.key`) and the authorities that `proxy-ssl-verify` trusts (`ca.crt`), or one of the two."
        ),
        example="default/backend-tls",
    ),
    AnnotationSpec(
        name="proxy-ssl-verify",
        parser=parse_switch,
        scope="location",
        risk="low",
        unsafe_to_ignore=True,
        default="`off`",
        help=(
            "Whether backends must show a certificate that is trusted (by `ca.crt` of `proxy-ssl-secret`, else by the "
            "system's authorities) and holds `proxy-ssl-name`, else the address of the endpoint. `off`: any will do."
        ),
        example="on",
    ),
    AnnotationSpec(
        name="proxy-ssl-verify-depth",
        parser=parse_depth,
        scope="location",
        risk="low",
        unsafe_to_ignore=True,
        default="`1`",
        help="How many authorities may stand between the backend's certificate and a trusted one.",
        example="2",
    ),
    AnnotationSpec(
        name="proxy-ssl-name",
        parser=parse_server_name,
        scope="location",
        risk="high",
        unsafe_to_ignore=True,
        default="none; for an external name that name",
        help="The name that backends are asked for (SNI), and that `proxy-ssl-verify` looks for in the certificate.",
        example="api.internal.example.com",
    ),
    AnnotationSpec(
        name="proxy-ssl-server-name",
        parser=parse_switch,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="`on` where there is a name (ingress-nginx: `off`)",
        help=(
            "`off`: do not send `proxy-ssl-name`. With `proxy-ssl-verify` it is sent all the same, so that the backend "
            "can choose the certificate that is looked for."
        ),
        example="off",
    ),
    AnnotationSpec(
        name="proxy-ssl-protocols",
        parser=parse_versions,
        scope="location",
        risk="low",
        unsafe_to_ignore=True,
        default="`TLSv1.2 TLSv1.3` (ingress-nginx: `TLSv1.2`)",
        help="Versions of TLS that are spoken to backends, separated by spaces.",
        example="TLSv1.3",
    ),
    AnnotationSpec(
        name="proxy-ssl-ciphers",
        parser=parse_ciphers,
        scope="location",
        risk="medium",
        unsafe_to_ignore=True,
        default="`DEFAULT`",
        help="Ciphers for TLS 1.2 to backends, as OpenSSL writes them. A list without a usable one gives 503.",
        example="ECDHE-RSA-AES128-GCM-SHA256",
    ),
)
