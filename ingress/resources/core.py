"""``v1``: Service, Endpoints, Secret and ConfigMap."""

from __future__ import annotations

import msgspec

from ingress.resources.meta import ObjectMeta, ObjectRef, Source

__all__ = [
    "ConfigMap",
    "EndpointAddress",
    "EndpointPort",
    "EndpointSubset",
    "Endpoints",
    "LoadBalancer",
    "LoadBalancerAddress",
    "Secret",
    "Service",
    "ServicePort",
    "ServiceSpec",
    "ServiceStatus",
]


class ServicePort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``ServicePort``. ``target_port`` of ``None`` means: the same as ``port``."""

    name: str = ""
    port: int
    target_port: int | str | None = None
    protocol: str = "TCP"
    app_protocol: str | None = None


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``ServiceSpec``. ``cluster_ip`` of ``"None"``: headless."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    external_name: str = ""
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    ports: tuple[ServicePort, ...] = ()


class LoadBalancerAddress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, order=True):
    """``LoadBalancerIngress``, of a Service or an Ingress: an IP address or a host name."""

    ip: str = ""
    hostname: str = ""


class LoadBalancer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``LoadBalancerStatus``, of a Service or an Ingress."""

    ingress: tuple[LoadBalancerAddress, ...] = ()


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``ServiceStatus``."""

    load_balancer: LoadBalancer = LoadBalancer()


class Service(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A Service."""

    metadata: ObjectMeta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="Service", namespace=self.metadata.namespace, name=self.metadata.name)


class EndpointAddress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``EndpointAddress``."""

    ip: str


class EndpointPort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``EndpointPort`` of Endpoints."""

    name: str = ""
    port: int
    protocol: str = "TCP"


class EndpointSubset(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``EndpointSubset``: every address serves every port."""

    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Endpoints, the older form of EndpointSlice; same name as its Service."""

    metadata: ObjectMeta
    subsets: tuple[EndpointSubset, ...] = ()
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="Endpoints", namespace=self.metadata.namespace, name=self.metadata.name)


class Secret(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A Secret. ``data`` is decoded from base64; ``stringData`` of files is merged into it. Never logged."""

    metadata: ObjectMeta
    type: str = "Opaque"
    data: dict[str, bytes] = {}
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="Secret", namespace=self.metadata.namespace, name=self.metadata.name)

    def __repr__(self) -> str:
        return f"Secret({self.metadata.namespace}/{self.metadata.name}, keys={sorted(self.data)})"


class ConfigMap(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A ConfigMap. ``binary_data`` is decoded from base64."""

    metadata: ObjectMeta
    data: dict[str, str] = {}
    binary_data: dict[str, bytes] = {}
    source: Source | None = None

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(kind="ConfigMap", namespace=self.metadata.namespace, name=self.metadata.name)
