"""``pyngress.io/v1alpha1``: our own kinds. Their schemas are in ``crds/``."""

from __future__ import annotations

import msgspec

from ingress.resources.meta import ObjectMeta, ObjectRef, Source

__all__ = ["OUR_GROUP", "OUR_VERSION", "IngressClassParameters", "Response", "TrafficPolicy"]

OUR_GROUP = "pyngress.io"
OUR_VERSION = f"{OUR_GROUP}/v1alpha1"


class IngressClassParameters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``IngressClass.spec.parameters`` names; cluster-scoped."""

    metadata: ObjectMeta
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="IngressClassParameters", name=self.metadata.name)


class Response(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a ``backend.resource`` of an Ingress in the same namespace names."""

    metadata: ObjectMeta
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="Response", namespace=self.metadata.namespace, name=self.metadata.name)


class TrafficPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How requests for Ingresses or Services of the same namespace are treated."""

    metadata: ObjectMeta
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="TrafficPolicy", namespace=self.metadata.namespace, name=self.metadata.name)
