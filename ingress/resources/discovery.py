"""``discovery.k8s.io/v1``: EndpointSlice."""

from __future__ import annotations

import msgspec

from ingress.resources.meta import ObjectMeta, ObjectRef, Source

__all__ = ["SERVICE_NAME_LABEL", "EndpointConditions", "EndpointSlice", "SliceEndpoint", "SlicePort"]

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


class EndpointConditions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``EndpointConditions``. ``ready`` and ``serving`` of ``None`` count as true, ``terminating`` as false."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``Endpoint`` of a slice: its addresses are of one pod; consumers use the first."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()


class SlicePort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``EndpointPort`` of a slice; ``name`` is that of the Service port."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None
    app_protocol: str | None = None


class EndpointSlice(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An EndpointSlice; the label ``kubernetes.io/service-name`` names its Service."""

    metadata: ObjectMeta
    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[SlicePort, ...] = ()
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="EndpointSlice", namespace=self.metadata.namespace, name=self.metadata.name)

    @property
    def service_name(self) -> str:
        return self.metadata.labels.get(SERVICE_NAME_LABEL, "")
