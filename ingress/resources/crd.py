"""``pyngress.io/v1alpha1``: our own kinds. Their schemas, with the meaning of every field, are in ``crds/``."""

from __future__ import annotations

import msgspec

from ingress.resources.crd_parts import (
    AccessRules,
    AffinitySpec,
    BalancingSpec,
    CorsSpec,
    EjectionSpec,
    HeaderEdits,
    HeaderField,
    PolicyUpstream,
    RateLimitSpec,
)
from ingress.resources.meta import ObjectMeta, ObjectRef, Source

__all__ = [
    "OUR_GROUP",
    "OUR_VERSION",
    "AccessLogSpec",
    "BodySource",
    "ClassLimits",
    "ClassParametersSpec",
    "ClassTimeouts",
    "ConfigMapKey",
    "DefaultBackend",
    "IngressClassParameters",
    "NamedObject",
    "PolicyLimits",
    "PolicyTarget",
    "PolicyTimeouts",
    "RedirectPath",
    "RedirectSpec",
    "Response",
    "ResponseSpec",
    "RetrySpec",
    "TargetSelector",
    "TlsSpec",
    "TrafficPolicy",
    "TrafficPolicySpec",
    "UpstreamSpec",
]

OUR_GROUP = "pyngress.io"
OUR_VERSION = f"{OUR_GROUP}/v1alpha1"


class NamedObject(msgspec.Struct, frozen=True, kw_only=True):
    """A Secret by namespace and name."""

    namespace: str
    name: str


class DefaultBackend(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a Service, by number or name."""

    namespace: str
    name: str
    port: int | str


class ClassTimeouts(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Durations; empty: not set."""

    connect: str = ""
    read: str = ""
    send: str = ""
    header: str = ""
    body: str = ""
    write: str = ""
    keepalive: str = ""
    tunnel: str = ""
    tls_handshake: str = ""


class ClassLimits(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``None``: not set."""

    body_size: int | str | None = None
    request_line: int | str | None = None
    header_bytes: int | str | None = None
    header_fields: int | None = None
    connections: int | None = None


class AccessLogSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The access log of the workers."""

    format: str


class HstsSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``Strict-Transport-Security``."""

    enabled: bool = True
    max_age: str = ""
    include_subdomains: bool = True
    preload: bool = False


class TlsSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """TLS with clients. Empty and ``None``: not set."""

    min_version: str = ""
    hsts: HstsSpec | None = None


class UpstreamSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Towards endpoints; ``None`` and empty: not set."""

    max_retries: int | None = None
    keepalive_connections: int | None = None
    keepalive_timeout: str = ""
    balancing: BalancingSpec | None = None
    ejection: EjectionSpec | None = None


class ClassParametersSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The spec of IngressClassParameters."""

    default_backend: DefaultBackend | None = None
    default_certificate: NamedObject | None = None
    timeouts: ClassTimeouts = ClassTimeouts()
    limits: ClassLimits = ClassLimits()
    trusted_proxies: tuple[str, ...] | None = None
    access_log: AccessLogSpec | None = None
    tls: TlsSpec | None = None
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    upstream: UpstreamSpec = UpstreamSpec()
    ssl_redirect: bool | None = None


class IngressClassParameters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``IngressClass.spec.parameters`` names; cluster-scoped."""

    metadata: ObjectMeta
    spec: ClassParametersSpec = ClassParametersSpec()
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="IngressClassParameters", name=self.metadata.name)


class ConfigMapKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a ConfigMap in the same namespace."""

    name: str
    key: str


class BodySource(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the body of a response is kept."""

    config_map_key_ref: ConfigMapKey


class RedirectPath(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``type`` says which of the two is set."""

    type: str
    replace_full_path: str = ""
    replace_prefix_match: str = ""


class RedirectSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where a redirect leads; what is not set stays as the client asked for it."""

    scheme: str = ""
    hostname: str = ""
    port: int = 0
    path: RedirectPath | None = None
    status_code: int = 302


class ResponseSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Exactly one of ``status`` and ``redirect`` is set in a valid object."""

    status: int | None = None
    headers: tuple[HeaderField, ...] = ()
    body: str | None = None
    body_from: BodySource | None = None
    redirect: RedirectSpec | None = None


class Response(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a ``backend.resource`` of an Ingress in the same namespace names."""

    metadata: ObjectMeta
    spec: ResponseSpec = ResponseSpec()
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="Response", namespace=self.metadata.namespace, name=self.metadata.name)


class PolicyTarget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An Ingress or Service of the same namespace."""

    group: str | None = None
    kind: str
    name: str


class TargetSelector(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """All Ingresses or Services of the namespace that have these labels."""

    kind: str
    match_labels: dict[str, str] = {}


class PolicyTimeouts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Durations; empty: not set."""

    connect: str = ""
    read: str = ""
    send: str = ""


class RetrySpec(msgspec.Struct, frozen=True, kw_only=True):
    """Further endpoints that are tried after the first."""

    attempts: int


class PolicyLimits(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``None``: not set."""

    body_size: int | str | None = None
    requests: int | None = None


class TrafficPolicySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The spec of a TrafficPolicy. ``None`` and empty parts are not set."""

    target_refs: tuple[PolicyTarget, ...] = ()
    target_selector: TargetSelector | None = None
    timeouts: PolicyTimeouts = PolicyTimeouts()
    retries: RetrySpec | None = None
    limits: PolicyLimits = PolicyLimits()
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    cors: CorsSpec | None = None
    rate_limit: RateLimitSpec | None = None
    access: AccessRules | None = None
    balancing: BalancingSpec | None = None
    affinity: AffinitySpec | None = None
    ejection: EjectionSpec | None = None
    upstream: PolicyUpstream | None = None


class TrafficPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How requests for Ingresses or Services of the same namespace are treated."""

    metadata: ObjectMeta
    spec: TrafficPolicySpec = TrafficPolicySpec()
    broken: tuple[str, ...] = ()
    """Not a field of the API: protective parts of the spec that were left out because they are wrong."""
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="TrafficPolicy", namespace=self.metadata.namespace, name=self.metadata.name)
