"""The resources that the server knows: one table. A new kind is one more line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["RESOURCES", "Resource", "groups", "resource_at", "resource_of", "stored_as"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One plural in one group and version."""

    group: str = ""
    version: str = "v1"
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False
    """Has the status subresource: status and spec are then written apart."""
    generation: bool = False
    """Counts changes of what is neither metadata nor status."""
    unconditional: bool = True
    """An update may leave ``resourceVersion`` out (``AllowUnconditionalUpdate``)."""
    creates_on_update: bool = False
    """PUT of a missing object creates it."""
    custom: bool = False
    """From a CustomResourceDefinition: no strategic merge patch, list items carry their kind."""
    short: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    """Field selectors beside those of ``metadata``."""
    view_of: str = ""
    """Plural of the core resource whose objects this one shows under other field names."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Stored field → field shown, for a view."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage(self) -> tuple[str, str]:
        """Where the objects are kept."""
        return ("", self.view_of) if self.view_of else (self.group, self.plural)

    @property
    def qualified(self) -> str:
        """``ingresses.networking.k8s.io``, as error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


_EVENT_FIELDS: Final = (
    *(f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion")),
    *("reason", "type", "reportingComponent", "source"),
)
_EVENT_RENAMES: Final = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_NETWORKING: Final = "networking.k8s.io"
_RBAC: Final = "rbac.authorization.k8s.io"
_ADMISSION: Final = "admissionregistration.k8s.io"
_EXTENSIONS: Final = "apiextensions.k8s.io"
_OURS: Final = "pyngress.io"


def _ours(plural: str, kind: str, *, namespaced: bool = True) -> Resource:
    return Resource(
        group=_OURS,
        version="v1alpha1",
        plural=plural,
        kind=kind,
        namespaced=namespaced,
        status=True,
        generation=True,
        unconditional=False,
        custom=True,
    )


def _monitoring(plural: str, kind: str) -> Resource:
    return Resource(
        group="monitoring.coreos.com", plural=plural, kind=kind, generation=True, unconditional=False, custom=True
    )


RESOURCES: Final[tuple[Resource, ...]] = (
    Resource(plural="namespaces", kind="Namespace", namespaced=False, status=True, short=("ns",)),
    Resource(plural="nodes", kind="Node", namespaced=False, status=True, short=("no",)),
    Resource(plural="pods", kind="Pod", status=True, short=("po",), fields=("spec.nodeName", "status.phase")),
    Resource(plural="services", kind="Service", status=True, short=("svc",), fields=("spec.type", "spec.clusterIP")),
    Resource(plural="endpoints", kind="Endpoints", short=("ep",), creates_on_update=True),
    Resource(plural="secrets", kind="Secret", fields=("type",)),
    Resource(plural="configmaps", kind="ConfigMap", short=("cm",)),
    Resource(plural="serviceaccounts", kind="ServiceAccount", unconditional=False, short=("sa",)),
    Resource(plural="events", kind="Event", short=("ev",), creates_on_update=True, fields=_EVENT_FIELDS),
    Resource(
        group="events.k8s.io",
        plural="events",
        kind="Event",
        short=("ev",),
        creates_on_update=True,
        fields=_EVENT_FIELDS,
        view_of="events",
        renames=_EVENT_RENAMES,
    ),
    Resource(group="discovery.k8s.io", plural="endpointslices", kind="EndpointSlice", generation=True),
    Resource(group="coordination.k8s.io", plural="leases", kind="Lease", unconditional=False, creates_on_update=True),
    Resource(group=_NETWORKING, plural="ingresses", kind="Ingress", status=True, generation=True, short=("ing",)),
    Resource(group=_NETWORKING, plural="ingressclasses", kind="IngressClass", namespaced=False, generation=True),
    Resource(group=_NETWORKING, plural="networkpolicies", kind="NetworkPolicy", generation=True, short=("netpol",)),
    Resource(
        group=_ADMISSION,
        plural="validatingwebhookconfigurations",
        kind="ValidatingWebhookConfiguration",
        namespaced=False,
        generation=True,
        unconditional=False,
    ),
    Resource(
        group=_EXTENSIONS,
        plural="customresourcedefinitions",
        kind="CustomResourceDefinition",
        namespaced=False,
        status=True,
        generation=True,
        unconditional=False,
        short=("crd", "crds"),
    ),
    _ours("ingressclassparameters", "IngressClassParameters", namespaced=False),
    _ours("responses", "Response"),
    _ours("trafficpolicies", "TrafficPolicy"),
    Resource(group="apps", plural="deployments", kind="Deployment", status=True, generation=True, short=("deploy",)),
    Resource(group="apps", plural="daemonsets", kind="DaemonSet", status=True, generation=True, short=("ds",)),
    Resource(group="policy", plural="poddisruptionbudgets", kind="PodDisruptionBudget", status=True, generation=True),
    Resource(
        group="autoscaling",
        version="v2",
        plural="horizontalpodautoscalers",
        kind="HorizontalPodAutoscaler",
        status=True,
        short=("hpa",),
    ),
    _monitoring("servicemonitors", "ServiceMonitor"),
    _monitoring("podmonitors", "PodMonitor"),
    _monitoring("prometheusrules", "PrometheusRule"),
    Resource(group=_RBAC, plural="roles", kind="Role"),
    Resource(group=_RBAC, plural="rolebindings", kind="RoleBinding"),
    Resource(group=_RBAC, plural="clusterroles", kind="ClusterRole", namespaced=False),
    Resource(group=_RBAC, plural="clusterrolebindings", kind="ClusterRoleBinding", namespaced=False),
)

_BY_PLURAL: Final = {(each.group, each.version, each.plural): each for each in RESOURCES}
_BY_KIND: Final = {(each.api_version, each.kind): each for each in RESOURCES}


def resource_at(group: str, version: str, plural: str) -> Resource | None:
    """The resource that a path names."""
    return _BY_PLURAL.get((group, version, plural))


def resource_of(api_version: str, kind: str) -> Resource:
    """The resource that a manifest names. Raises ``KeyError``."""
    return _BY_KIND[api_version, kind]


def stored_as(resource: Resource) -> Resource:
    """The resource under which the objects are kept: itself, or what a view shows."""
    return _BY_PLURAL["", "v1", resource.view_of] if resource.view_of else resource


def groups() -> dict[str, list[str]]:
    """Group → versions, without the core group."""
    found: dict[str, list[str]] = {}
    for each in RESOURCES:
        if each.group and each.version not in found.setdefault(each.group, []):
            found[each.group].append(each.version)
    return found
