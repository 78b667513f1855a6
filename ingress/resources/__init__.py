"""Typed, frozen views of the Kubernetes objects that Pyngress reads. No I/O, no policy.

Fields and their meaning are those of the Kubernetes API; only those that Pyngress uses are named.
"""

from ingress.resources.core import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Secret,
    Service,
    ServicePort,
    ServiceSpec,
)
from ingress.resources.discovery import EndpointConditions, EndpointSlice, SliceEndpoint, SlicePort
from ingress.resources.meta import ObjectMeta, ObjectRef, Source
from ingress.resources.networking import (
    BackendPort,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressClassSpec,
    IngressHttp,
    IngressPath,
    IngressRule,
    IngressSpec,
    IngressTls,
    ServiceBackend,
    TypedReference,
)
from ingress.resources.problem import Problem, Severity
from ingress.resources.snapshot import Key, Snapshot

KubernetesObject = Ingress | IngressClass | Service | EndpointSlice | Endpoints | Secret

__all__ = [
    "BackendPort",
    "EndpointAddress",
    "EndpointConditions",
    "EndpointPort",
    "EndpointSlice",
    "EndpointSubset",
    "Endpoints",
    "Ingress",
    "IngressBackend",
    "IngressClass",
    "IngressClassSpec",
    "IngressHttp",
    "IngressPath",
    "IngressRule",
    "IngressSpec",
    "IngressTls",
    "Key",
    "KubernetesObject",
    "ObjectMeta",
    "ObjectRef",
    "Problem",
    "Secret",
    "Service",
    "ServiceBackend",
    "ServicePort",
    "ServiceSpec",
    "Severity",
    "SliceEndpoint",
    "SlicePort",
    "Snapshot",
    "Source",
    "TypedReference",
]
