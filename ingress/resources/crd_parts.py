"""Parts of ``pyngress.io/v1alpha1`` that kinds share. Texts stay as written: translation reads them."""

from __future__ import annotations

import msgspec

__all__ = [
    "AccessRules",
    "AffinitySpec",
    "AuthoritiesRef",
    "BalancingSpec",
    "CookieSpec",
    "CorsSpec",
    "EjectionSpec",
    "HashKeyPart",
    "HeaderEdits",
    "HeaderField",
    "PolicyUpstream",
    "RateLimitSpec",
    "SecretRef",
    "UpstreamTlsSpec",
]


class HeaderField(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One header field."""

    name: str
    value: str


class HeaderEdits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is done to the fields of a message: remove, then set, then add."""

    set: tuple[HeaderField, ...] = ()
    add: tuple[HeaderField, ...] = ()
    remove: tuple[str, ...] = ()


class HashKeyPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of the key of consistent hashing."""

    source: str
    name: str = ""
    """Of a header, cookie or query parameter."""


class BalancingSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How an endpoint is chosen."""

    method: str
    hash_by: tuple[HashKeyPart, ...] = ()


class EjectionSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """When an endpoint that fails is left out."""

    consecutive_failures: int = 1
    base_time: str = "5s"
    max_time: str = "60s"
    max_percent: int = 100


class CookieSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The cookie of affinity. ``max_age`` empty: until the browser closes; ``secure`` of ``None``: on https."""

    name: str = "INGRESSCOOKIE"
    path: str = "/"
    max_age: str = ""
    secure: bool | None = None
    same_site: str = ""


class AffinitySpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a client returns to its endpoint."""

    cookie: CookieSpec


class CorsSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Cross-origin requests."""

    allow_origins: tuple[str, ...] = ("*",)
    allow_methods: tuple[str, ...] = ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
    allow_headers: tuple[str, ...] = (
        "DNT",
        "Keep-Alive",
        "User-Agent",
        "X-Requested-With",
        "If-Modified-Since",
        "Cache-Control",
        "Content-Type",
        "Range",
        "Authorization",
    )
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age: str = "1h"


class RateLimitSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Requests of one client address. ``burst`` of ``None``: as many as ``requests``."""

    requests: int
    per: str = "Second"
    burst: int | None = None
    status_code: int = 429
    exempt: tuple[str, ...] = ()


class AccessRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Address ranges. ``allow`` of ``None``: everybody; empty: nobody."""

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()


class AuthoritiesRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A Secret or ConfigMap of the same namespace, with ``ca.crt``."""

    kind: str = "Secret"
    name: str


class SecretRef(msgspec.Struct, frozen=True, kw_only=True):
    """A Secret of the same namespace."""

    name: str


class UpstreamTlsSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """TLS with endpoints. Empty: not set."""

    verify: bool = True
    ca_certificate_ref: AuthoritiesRef | None = None
    verify_depth: int = 1
    server_name: str = ""
    client_certificate_ref: SecretRef | None = None
    min_version: str = "1.2"
    max_version: str = "1.3"
    ciphers: str = ""


class PolicyUpstream(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How endpoints are spoken to. ``protocol`` empty: as their Service says."""

    protocol: str = ""
    send_proxy: str = ""
    tls: UpstreamTlsSpec | None = None
