"""How the routes of one Ingress are treated: all sources of wishes, laid over each other.

Field by field goes first: the annotation of the Ingress, a TrafficPolicy on the Ingress, one on the Service, the
parameters of the class; then the options hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ingress.annotations import NGINX_PREFIX, OUR_PREFIX, Annotations
from ingress.resources import Ingress, IngressClass, Key, ObjectRef, Problem, Service, TrafficPolicy
from ingress.translate.backend_tls import backend_tls, wish_of_annotations
from ingress.translate.custom_headers import custom_headers
from ingress.translate.lookup import Lookup
from ingress.translate.parameters import class_wishes
from ingress.translate.part import Finding
from ingress.translate.policies import Attached, attach, attached_to, selects_services
from ingress.translate.wishes import Wishes, cluster_of, layered, policy_of
from proxy.table import Policy, Respond, Route, UpstreamTls

__all__ = ["Treatment", "Treatments", "written_as"]

_NO_ANNOTATIONS: Final = Annotations()
_NO_POLICY: Final = Route(action=Respond(status=503, reason="")).policy
"""The very default of the field: one value for all routes, and left out of every encoding."""


class Treatment(msgspec.Struct, frozen=True, kw_only=True):
    """How the routes to one Service, or to none, are treated."""

    policy: Policy = _NO_POLICY
    cluster: dict[str, Any] = {}
    """What shapes the cluster: fields of :class:`~ingress.translate.part.BackendKey`."""
    tls_cluster: dict[str, Any] | None = None
    """Likewise, for clients that come over TLS. ``None``: it is the same cluster."""
    refused: bool = False


class Treatments:
    """Of one Ingress. ``problems`` and ``applied`` grow with the Services that are asked for."""

    def __init__(
        self, ingress: Ingress, annotations: Annotations, ingress_class: IngressClass | None, lookup: Lookup
    ) -> None:
        self._namespace = ingress.metadata.namespace
        self._lookup = lookup
        self._policies: Sequence[TrafficPolicy] = lookup.in_namespace(TrafficPolicy, self._namespace)
        self._class = class_wishes(ingress_class, lookup)
        self._known: dict[str | None, Treatment] = {}
        self._attached = Attached()
        self.findings: list[tuple[str, Finding]] = []
        """What is wrong at fields of the Ingress."""
        self.problems: list[Problem] = []
        """Of other objects."""
        self.applied: list[tuple[Key, ObjectRef]] = []
        self.shown: set[Key] = set()
        """Secrets with certificates that backends are shown."""
        self._tls_field = f"metadata.annotations[{written_as(ingress, 'proxy-ssl-secret')}]"
        self._own = self._of_annotations(ingress, annotations)
        if self._policies:
            metadata = ingress.metadata
            found = attached_to(self._policies, "Ingress", metadata.name, metadata.labels)
            self._attached = self._take(found, ingress.ref)
        self.ssl_redirect: bool | None = layered((self._own, self._class)).get("ssl_redirect")

    def of(self, service: str | None) -> Treatment:
        """Of routes to a Service; ``None``: of routes that are answered here."""
        known = self._known.get(service)
        if known is None:
            known = self._known[service] = self._treat(service)
        return known

    def _treat(self, service: str | None) -> Treatment:
        attached = self._of_service(service) if service is not None and self._policies else Attached()
        wishes = layered((self._own, self._attached.wishes, attached.wishes, self._class))
        policy = policy_of(wishes)
        cluster = cluster_of(wishes)
        refused = self._attached.refused or attached.refused
        if "tls" in wishes and wishes.get("spoken") not in ("http", "grpc"):
            found = backend_tls(wishes["tls"], self._namespace, self._lookup)
            for finding in found.findings:
                self._tell_of_tls(finding, attached)
            self.shown |= set() if found.pair is None else {found.pair}
            if found.tls != UpstreamTls():
                cluster["tls"] = found.tls
            refused |= found.tls is None
        plain, tls = _by_scheme(cluster)
        policy = _NO_POLICY if policy == _NO_POLICY else policy
        return Treatment(policy=policy, cluster=plain, tls_cluster=tls, refused=refused)

    def _tell_of_tls(self, finding: Finding, of_service: Attached) -> None:
        """At whoever wished for it: the annotation, or the policy that goes first."""
        if "tls" in self._own:
            if (self._tls_field, finding) not in self.findings:
                self.findings.append((self._tls_field, finding))
            return
        problem = self._attached.problem("tls", finding) or of_service.problem("tls", finding)
        assert problem is not None, "classes wish for no TLS"
        self.problems.append(problem)

    def _of_service(self, name: str) -> Attached:
        labels: dict[str, str] = {}
        if selects_services(self._policies):
            service = self._lookup.get(Service, (self._namespace, name))
            labels = {} if service is None else service.metadata.labels
        found = attached_to(self._policies, "Service", name, labels)
        return self._take(found, ObjectRef(kind="Service", namespace=self._namespace, name=name))

    def _take(self, policies: Sequence[TrafficPolicy], target: ObjectRef) -> Attached:
        attached = attach(policies, target)
        self.problems += attached.problems
        self.applied += attached.applied
        return attached

    def _of_annotations(self, ingress: Ingress, values: Annotations) -> Wishes:
        if values == _NO_ANNOTATIONS:
            return {}
        policy = values.policy
        fields = {name: getattr(policy, name) for name in policy.__struct_fields__}
        wishes = {name: value for name, value in fields.items() if value not in (None, ())}
        if policy.allow is not None:
            wishes["allow"] = policy.allow
        wishes |= {
            "rate_limit": values.rate_limit(str(ingress.ref)),
            "balance": values.balance,
            "affinity": values.cookie_affinity,
            "max_requests": values.max_requests,
            "send_proxy": values.send_proxy,
            "spoken": values.backend_protocol,
            "tls": wish_of_annotations(values, self._namespace),
            "ssl_redirect": values.ssl_redirect,
        }
        if values.custom_headers is not None:
            headers, findings = custom_headers(values.custom_headers, self._namespace, self._lookup)
            wishes |= headers
            field = f"metadata.annotations[{written_as(ingress, 'custom-headers')}]"
            self.findings += ((field, finding) for finding in findings)
        return {name: value for name, value in wishes.items() if value is not None}


def _by_scheme(shape: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What shapes the cluster in general, and that for clients over TLS where it is another one."""
    if shape.get("spoken") != "auto_http":
        return shape, None
    plain = {field: value for field, value in shape.items() if field != "tls"}
    shared = {"affinity_as": "http"} if "affinity" in shape else {}
    return {**plain, "spoken": "http"}, {**shape, "spoken": "https", **shared}


def written_as(ingress: Ingress, name: str) -> str:
    """The annotation as the Ingress has it."""
    ours = OUR_PREFIX + name
    return ours if ours in ingress.metadata.annotations else NGINX_PREFIX + name
