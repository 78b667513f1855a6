"""Typed, frozen views of the Kubernetes objects that Pyngress reads. No I/O, no policy.

Fields and their meaning are those of the Kubernetes API; only those that Pyngress uses are named.
"""

from ingress.resources.core import (
    ConfigMap,
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    LoadBalancer,
    LoadBalancerAddress,
    Secret,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from ingress.resources.crd import IngressClassParameters, Response, TrafficPolicy
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
from ingress.resources.snapshot import KINDS, Change, Key, Kind, KubernetesObject, Snapshot, Wanted

__all__ = [
    "KINDS",
    "BackendPort",
    "Change",
    "ConfigMap",
    "EndpointAddress",
    "EndpointConditions",
    "EndpointPort",
    "EndpointSlice",
    "EndpointSubset",
    "Endpoints",
    "Ingress",
    "IngressBackend",
    "IngressClass",
    "IngressClassParameters",
    "IngressClassSpec",
    "IngressHttp",
    "IngressPath",
    "IngressRule",
    "IngressSpec",
    "IngressTls",
    "Key",
    "Kind",
    "KubernetesObject",
    "LoadBalancer",
    "LoadBalancerAddress",
    "ObjectMeta",
    "ObjectRef",
    "Problem",
    "Response",
    "Secret",
    "Service",
    "ServiceBackend",
    "ServicePort",
    "ServiceSpec",
    "ServiceStatus",
    "Severity",
    "SliceEndpoint",
    "SlicePort",
    "Snapshot",
    "Source",
    "TrafficPolicy",
    "TypedReference",
    "Wanted",
]
