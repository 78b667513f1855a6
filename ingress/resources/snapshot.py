"""All objects at one moment, and the changes that lead from one moment to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ingress.resources.core import ConfigMap, Endpoints, Secret, Service
from ingress.resources.crd import IngressClassParameters, Response, TrafficPolicy
from ingress.resources.discovery import EndpointSlice
from ingress.resources.networking import Ingress, IngressClass

__all__ = ["KINDS", "Change", "Key", "Kind", "KubernetesObject", "Snapshot", "Wanted"]

Key = tuple[str, str]
"""Namespace and name; the namespace is empty for cluster-scoped kinds."""

KubernetesObject = (
    Ingress
    | IngressClass
    | Service
    | EndpointSlice
    | Endpoints
    | Secret
    | ConfigMap
    | IngressClassParameters
    | Response
    | TrafficPolicy
)

Kind = type[KubernetesObject]

KINDS: Final[dict[Kind, str]] = {
    Ingress: "ingresses",
    IngressClass: "ingress_classes",
    Service: "services",
    EndpointSlice: "endpoint_slices",
    Endpoints: "endpoints",
    Secret: "secrets",
    ConfigMap: "config_maps",
    IngressClassParameters: "class_parameters",
    Response: "responses",
    TrafficPolicy: "traffic_policies",
}
"""Every kind that is read, and its map in a Snapshot."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Maps by namespace and name. Their order carries no meaning."""

    ingresses: Mapping[Key, Ingress] = {}
    ingress_classes: Mapping[Key, IngressClass] = {}
    services: Mapping[Key, Service] = {}
    endpoint_slices: Mapping[Key, EndpointSlice] = {}
    endpoints: Mapping[Key, Endpoints] = {}
    secrets: Mapping[Key, Secret] = {}
    config_maps: Mapping[Key, ConfigMap] = {}
    class_parameters: Mapping[Key, IngressClassParameters] = {}
    responses: Mapping[Key, Response] = {}
    traffic_policies: Mapping[Key, TrafficPolicy] = {}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The newest version of one object; ``None``: it is gone."""

    kind: Kind
    key: Key
    value: KubernetesObject | None


class Wanted(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """An object that is read only because another names it: a Secret or a ConfigMap."""

    kind: str
    """``Secret`` or ``ConfigMap``."""
    namespace: str
    name: str

    @property
    def key(self) -> Key:
        return (self.namespace, self.name)
