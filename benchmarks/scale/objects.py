"""A made-up cluster: Ingresses, each with a host, two paths, a Service and a slice with its endpoints."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ingress.resources import (
    BackendPort,
    Change,
    EndpointSlice,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressClassSpec,
    IngressHttp,
    IngressPath,
    IngressRule,
    IngressSpec,
    KubernetesObject,
    ObjectMeta,
    Service,
    ServiceBackend,
    ServicePort,
    ServiceSpec,
    SliceEndpoint,
    SlicePort,
)
from ingress.resources.discovery import SERVICE_NAME_LABEL

__all__ = ["change_of", "cluster", "slice_of"]

NAMESPACES = 100


def cluster(ingresses: int, endpoints: int) -> Iterator[KubernetesObject]:
    """``endpoints`` of each Service."""
    yield IngressClass(
        metadata=ObjectMeta(name="pyngress"), spec=IngressClassSpec(controller="pyngress.io/ingress-controller")
    )
    for number in range(ingresses):
        yield Ingress(metadata=_metadata(number), spec=_spec(number))
        ports = (ServicePort(name="http", port=80, target_port=8080),)
        yield Service(metadata=_metadata(number), spec=ServiceSpec(cluster_ip="10.96.0.1", ports=ports))
        yield slice_of(number, version=0, endpoints=endpoints)


def slice_of(number: int, *, version: int, endpoints: int) -> EndpointSlice:
    """The slice of one Service. Each ``version`` has another address in place of the first."""
    addresses = [f"10.{number >> 8 & 255}.{number & 255}.{index}" for index in range(1, endpoints + 1)]
    addresses[0] = f"10.{number >> 8 & 255}.{number & 255}.{100 + version % 100}"
    metadata = msgspec.structs.replace(
        _metadata(number), resource_version=str(1_000_000 + version), labels={SERVICE_NAME_LABEL: f"app-{number}"}
    )
    return EndpointSlice(
        metadata=metadata,
        endpoints=tuple(SliceEndpoint(addresses=(address,)) for address in addresses),
        ports=(SlicePort(name="http", port=8080, protocol="TCP"),),
    )


def change_of(value: KubernetesObject) -> Change:
    """That it is there now."""
    return Change(kind=type(value), key=(value.ref.namespace, value.ref.name), value=value)


def _metadata(number: int) -> ObjectMeta:
    return ObjectMeta(
        name=f"app-{number}",
        namespace=f"team-{number % NAMESPACES}",
        uid=f"00000000-0000-4000-8000-{number:012d}",
        resource_version=str(number + 1),
        creation_timestamp=f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
        labels={"app.kubernetes.io/name": f"app-{number}"},
    )


def _spec(number: int) -> IngressSpec:
    backend = IngressBackend(service=ServiceBackend(name=f"app-{number}", port=BackendPort(number=80)))
    paths = tuple(IngressPath(path=path, path_type="Prefix", backend=backend) for path in ("/", "/api"))
    rule = IngressRule(host=f"app-{number}.example.com", http=IngressHttp(paths=paths))
    return IngressSpec(ingress_class_name="pyngress", rules=(rule,))
