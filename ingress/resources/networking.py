"""``networking.k8s.io/v1``: Ingress and IngressClass."""

from __future__ import annotations

from typing import Literal

import msgspec

from ingress.resources.meta import ObjectMeta, ObjectRef, Source

__all__ = [
    "BackendPort",
    "Ingress",
    "IngressBackend",
    "IngressClass",
    "IngressClassSpec",
    "IngressHttp",
    "IngressPath",
    "IngressRule",
    "IngressSpec",
    "IngressTls",
    "ServiceBackend",
    "TypedReference",
]


class BackendPort(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``ServiceBackendPort``: exactly one of the two is set in a valid object."""

    name: str = ""
    number: int = 0

    def __str__(self) -> str:
        return self.name or str(self.number)


class ServiceBackend(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``IngressServiceBackend``; the Service stands in the Ingress's namespace."""

    name: str
    port: BackendPort = BackendPort()


class TypedReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``TypedLocalObjectReference``, and the parameters reference of an IngressClass."""

    api_group: str | None = None
    kind: str = ""
    name: str = ""
    scope: str | None = None
    namespace: str | None = None


class IngressBackend(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``IngressBackend``: exactly one of the two is set in a valid object."""

    service: ServiceBackend | None = None
    resource: TypedReference | None = None


class IngressPath(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``HTTPIngressPath``."""

    path: str = ""
    path_type: Literal["Exact", "Prefix", "ImplementationSpecific"] = "ImplementationSpecific"
    """Required by v1; the default here is that of the v1beta1 conversion."""
    backend: IngressBackend
    index: int | None = None
    """Not a field of the API: its place in the file, where something before it was left out."""


class IngressHttp(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``HTTPIngressRuleValue``."""

    paths: tuple[IngressPath, ...] = ()


class IngressRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``IngressRule``. No host: any host. No ``http``: the host's traffic goes to the default backend."""

    host: str = ""
    http: IngressHttp | None = None
    index: int | None = None
    """Not a field of the API: its place in the file, where something before it was left out."""


class IngressTls(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``IngressTLS``. No Secret name: TLS with the default certificate."""

    hosts: tuple[str, ...] = ()
    secret_name: str = ""
    index: int | None = None
    """Not a field of the API: its place in the file, where something before it was left out."""


class IngressSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``IngressSpec``."""

    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    tls: tuple[IngressTls, ...] = ()
    rules: tuple[IngressRule, ...] = ()


class Ingress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An Ingress."""

    metadata: ObjectMeta
    spec: IngressSpec = IngressSpec()
    source: Source | None = None
    """Not a field of the API: set by the file reader."""

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="Ingress", namespace=self.metadata.namespace, name=self.metadata.name)


class IngressClassSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``IngressClassSpec``."""

    controller: str = ""
    parameters: TypedReference | None = None


class IngressClass(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An IngressClass; cluster-scoped."""

    metadata: ObjectMeta
    spec: IngressClassSpec = IngressClassSpec()
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="IngressClass", name=self.metadata.name)
