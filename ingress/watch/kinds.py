"""The kinds that are read from a cluster, and where the API has them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ingress.resources import (
    ConfigMap,
    EndpointSlice,
    Ingress,
    IngressClass,
    IngressClassParameters,
    ObjectMeta,
    Response,
    Secret,
    Service,
    TrafficPolicy,
)
from ingress.resources.crd import OUR_VERSION

__all__ = ["CLUSTER_KINDS", "NAMED_KINDS", "NAMESPACED_KINDS", "NAMESPACES", "Namespace", "WatchedKind"]


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A Namespace; cluster-scoped. Only for choosing where to watch."""

    metadata: ObjectMeta


class WatchedKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind and its place in the API."""

    type: type[Any]
    name: str
    api_version: str
    plural: str
    namespaced: bool = True
    optional: bool = False
    """Pyngress works without: where it is not installed, or we may not read it, there are no objects of it."""
    ours: bool = False
    """Decoded with all checks, because an older CRD may have let through what this version refuses."""

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of the collection, in one namespace or in all; with ``name``, of one object."""
        root = "/apis" if "/" in self.api_version else "/api"
        where = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}/{self.api_version}{where}/{self.plural}" + (f"/{name}" if name else "")


_NETWORKING: Final = "networking.k8s.io/v1"

NAMESPACES: Final = WatchedKind(
    type=Namespace, name="Namespace", api_version="v1", plural="namespaces", namespaced=False
)

CLUSTER_KINDS: Final = (
    WatchedKind(
        type=IngressClass,
        name="IngressClass",
        api_version=_NETWORKING,
        plural="ingressclasses",
        namespaced=False,
        optional=True,  # Roles cannot give it
    ),
    WatchedKind(
        type=IngressClassParameters,
        name="IngressClassParameters",
        api_version=OUR_VERSION,
        plural="ingressclassparameters",
        namespaced=False,
        optional=True,
        ours=True,
    ),
)

NAMESPACED_KINDS: Final = (
    WatchedKind(type=Ingress, name="Ingress", api_version=_NETWORKING, plural="ingresses"),
    WatchedKind(type=Service, name="Service", api_version="v1", plural="services"),
    WatchedKind(type=EndpointSlice, name="EndpointSlice", api_version="discovery.k8s.io/v1", plural="endpointslices"),
    WatchedKind(type=Response, name="Response", api_version=OUR_VERSION, plural="responses", optional=True, ours=True),
    WatchedKind(
        type=TrafficPolicy,
        name="TrafficPolicy",
        api_version=OUR_VERSION,
        plural="trafficpolicies",
        optional=True,
        ours=True,
    ),
)

NAMED_KINDS: Final = {
    "Secret": WatchedKind(type=Secret, name="Secret", api_version="v1", plural="secrets"),
    "ConfigMap": WatchedKind(type=ConfigMap, name="ConfigMap", api_version="v1", plural="configmaps"),
}
"""Read one by one, where another object names them."""
