"""One Ingress → its part: rules to hosts and routes, backends to actions, ``spec.tls`` to claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from ingress.annotations import Annotations, parse_annotations
from ingress.options import Options
from ingress.resources import (
    Ingress,
    IngressBackend,
    IngressClass,
    IngressPath,
    Problem,
    ServiceBackend,
    Severity,
    TypedReference,
)
from ingress.resources.names import host_fault
from ingress.translate.client_certificates import client_claim
from ingress.translate.lookup import Lookup
from ingress.translate.part import (
    ANY_HOST,
    REFUSED,
    BackendKey,
    BackendUse,
    ClientClaim,
    IngressPart,
    RouteClaim,
    TlsClaim,
    age_of,
    covers,
)
from ingress.translate.paths import BadRoutePath, route_path
from ingress.translate.responses import read_response
from ingress.translate.treatment import Treatments, written_as
from proxy.table import Forward, HostPattern, Labels, Respond, Route, RouteAction

__all__ = ["UNUSABLE_BACKEND", "read_ingress"]

_ASKING: Final = tuple(f"auth-tls-{name}]" for name in ("secret", "verify-client", "verify-depth", "match-cn"))
"""The ends of the fields of annotations that say whom to let in."""

PASSED_THROUGH: Final = Respond(status=421, reason="the endpoints of this host end its TLS themselves")
UNUSABLE_BACKEND: Final = Respond(status=503, reason="the backend of this route is not usable")


def read_ingress(
    ingress: Ingress, options: Options, lookup: Lookup, *, ingress_class: IngressClass | None = None
) -> IngressPart:
    """The part of one Ingress, by which class it is ours (``None``: by none). Never raises.

    Looks at other objects through ``lookup`` alone, so that the part is read again when one of them changes.
    """
    return _Reader(ingress, options, lookup, ingress_class).part()


class _Reader:
    """Collects the part of one Ingress."""

    def __init__(self, ingress: Ingress, options: Options, lookup: Lookup, ingress_class: IngressClass | None) -> None:
        self.ingress = ingress
        self.options = options
        self.lookup = lookup
        annotations = parse_annotations(ingress.metadata, source=ingress.source)
        self.annotations: Annotations = annotations.values
        self.treatments = Treatments(ingress, annotations.values, ingress_class, lookup)
        self.refused = annotations.refused
        self.passes = bool(self.annotations.ssl_passthrough) and options.enable_ssl_passthrough
        self.left_out = annotations.left_out
        self.problems: list[Problem] = list(annotations.problems)
        self.backends: list[BackendUse] = []
        self.claims: dict[tuple[str, str, str], RouteClaim] = {}
        self.tls_hosts: set[HostPattern] = set()
        self.tls_for_all = False

    def part(self) -> IngressPart:
        ingress, spec = self.ingress, self.ingress.spec
        if self.left_out:
            return IngressPart(ref=ingress.ref, age=age_of(ingress), source=ingress.source, problems=(*self.problems,))
        tls = self.read_tls()  # first: it decides which routes redirect
        if self.annotations.ssl_passthrough and not self.passes:
            field = f"metadata.annotations[{written_as(ingress, 'ssl-passthrough')}]"
            message = "needs the option --enable-ssl-passthrough, which is off; TLS is ended here"
            self.report(field, "PassthroughOff", message, "warning")
        hosts = self.read_rules()
        clients = self.read_clients()
        defaults: dict[HostPattern, Route] = {}
        if spec.default_backend is not None:
            action, labels = self.backend(spec.default_backend, "spec.defaultBackend")
            for host in (*hosts, ANY_HOST):
                defaults[host] = self.route(host, action, labels)
            if clients is not None and ANY_HOST not in hosts:
                # Requests for hosts that nobody names cannot be asked there.
                defaults[ANY_HOST] = self.route(ANY_HOST, REFUSED, labels)
        elif not spec.rules:
            self.report("spec", "NothingToServe", "neither rules nor a default backend", "warning")
        for field, finding in self.treatments.findings:
            self.report(field, finding.reason, finding.message, finding.severity)
        return IngressPart(
            ref=ingress.ref,
            age=age_of(ingress),
            source=ingress.source,
            hosts=hosts,
            has_rules=bool(spec.rules),
            routes=tuple(self.claims.values()),
            defaults=defaults,
            backends=tuple(self.backends),
            tls=tls,
            shown=tuple(sorted(self.treatments.shown)),
            clients=clients,
            applied_policies=tuple(self.treatments.applied),
            problems=(*self.problems, *self.treatments.problems),
        )

    def read_clients(self) -> ClientClaim | None:
        """What clients have to show."""
        claim, findings = client_claim(self.annotations, self.ingress.metadata.namespace, self.lookup)
        if self.refused and any(problem.field.endswith(_ASKING) for problem in self.problems):
            # What is wrong with the wish must not open the host to the routes of others.
            claim = ClientClaim()
        if claim is None:
            return None
        field = f"metadata.annotations[{written_as(self.ingress, 'auth-tls-secret')}]"
        for finding in findings:
            self.report(field, finding.reason, finding.message, finding.severity)
        if not self.ingress.spec.rules:
            self.report(field, "BadAnnotation", "needs hosts, which this Ingress has none of; its requests get 503")
        return msgspec.structs.replace(claim, field=field)

    def read_rules(self) -> tuple[HostPattern, ...]:
        """The hosts of all rules; their routes go to ``claims``."""
        hosts: dict[HostPattern, None] = {}
        for index, rule in enumerate(self.ingress.spec.rules):
            field = f"spec.rules[{index if rule.index is None else rule.index}]"
            host = self.host(rule.host, f"{field}.host") if rule.host else ANY_HOST
            if host is None:
                continue
            hosts[host] = None
            paths = () if rule.http is None else rule.http.paths
            for number, path in enumerate(paths):
                place = number if path.index is None else path.index
                self.read_path(host, path, f"{field}.http.paths[{place}]")
        return tuple(hosts)

    def host(self, text: str, field: str) -> HostPattern | None:
        """``text`` in lower case. ``None``: not a host; its Problem is reported."""
        host = text.lower() if text.isascii() else text
        fault = host_fault(host)
        if fault:
            self.report(field, "BadHost", f"host {text[:260]!a} {fault}")
            return None
        return host

    def read_path(self, host: HostPattern, path: IngressPath, field: str) -> None:
        try:
            kind, spelled = route_path(path, merge_slashes=self.options.settings.merge_slashes)
        except BadRoutePath as bad:
            self.report(f"{field}.path", "BadPath", f"{bad}; this path is left out")
            return
        if path.path_type == "Prefix" and path.path.endswith("/*"):
            message = 'a "*" stands for itself in a Prefix path; leave out "/*"'
            self.report(f"{field}.path", "LiteralStar", message, "warning")
        action, labels = self.backend(path.backend, f"{field}.backend", path.path or "/")
        route = self.route(host, action, labels, kind=kind, path=spelled)
        passes_to = ""
        if self.passes and host != ANY_HOST:
            passes_to = self.passed_cluster(action, kind, spelled, f"{field}.path")
            # Whoever comes here does not come to the endpoint's own TLS.
            route = msgspec.structs.replace(route, action=PASSED_THROUGH, https_redirect=True)
        claim = RouteClaim(host=host, route=route, field=f"{field}.path", passes_to=passes_to)
        self.add_claim(claim)

    def passed_cluster(self, action: RouteAction, kind: str, path: str, field: str) -> str:
        """The cluster to which the connections for a host are passed through; empty: not by this path."""
        if (kind, path) != ("prefix", "/"):
            self.report(field, "PassedThrough", "connections are passed through unread, to what is behind /", "warning")
            return ""
        return action.cluster if isinstance(action, Forward) else ""

    def add_claim(self, claim: RouteClaim) -> None:
        """Of two claims for one slot the longer path wins (``/foo/`` over ``/foo``), else the first."""
        other = self.claims.setdefault(claim.slot, claim)
        if other is claim:
            return
        loser, winner = claim, other
        if len(claim.route.path) > len(other.route.path):
            loser, winner = other, claim
            self.claims[claim.slot] = claim
        same = loser.route.path == winner.route.path
        reason = "DuplicatePath" if same else "PathShadowed"
        message = f"{winner.field} of the same Ingress and host has {winner.route.path} and serves its requests"
        self.report(loser.field, reason, message, "warning")

    def route(
        self,
        host: HostPattern,
        action: RouteAction,
        labels: Labels,
        *,
        kind: Literal["exact", "prefix"] = "prefix",
        path: str = "/",
    ) -> Route:
        return Route(
            kind=kind,
            path=path,
            action=action,
            https_redirect=self.redirects(host),
            hsts=self.is_strict(host),
            policy=self.treatments.of(labels.service or None).policy,
            labels=labels,
        )

    def redirects(self, host: HostPattern) -> bool:
        if self.annotations.force_ssl_redirect:
            return True
        wanted = self.treatments.ssl_redirect
        if not (self.options.ssl_redirect if wanted is None else wanted):
            return False
        return self.has_tls(host)

    def is_strict(self, host: HostPattern) -> bool:
        """Whether browsers shall be told to come by https alone."""
        if self.options.settings.hsts is None:
            return False
        wanted = self.annotations.hsts
        return self.has_tls(host) if wanted is None else wanted

    def has_tls(self, host: HostPattern) -> bool:
        return self.tls_for_all or any(covers(pattern, host) for pattern in self.tls_hosts)

    def backend(self, backend: IngressBackend, field: str, path: str = "") -> tuple[RouteAction, Labels]:
        """What a route to ``backend`` does, and where it comes from."""
        metadata = self.ingress.metadata
        service = backend.service
        labels = Labels(
            namespace=metadata.namespace,
            ingress=metadata.name,
            path=path,
            service=service.name if service else "",
            port=str(service.port) if service else "",
        )
        if backend.resource is not None:
            return self.answer(backend.resource, f"{field}.resource"), labels
        if service is None:
            self.report(field, "BadBackend", "a backend must be a Service or a Response; its routes answer 503")
            return UNUSABLE_BACKEND, labels
        if bool(service.port.name) == bool(service.port.number):
            message = "a backend names exactly one of port.name and port.number; its routes answer 503"
            self.report(f"{field}.service.port", "BadBackend", message)
            return UNUSABLE_BACKEND, labels
        treatment = self.treatments.of(service.name)
        key = self.use(service, treatment.cluster, field)
        tls_key = "" if treatment.tls_cluster is None else self.use(service, treatment.tls_cluster, field)
        refused = self.refused or treatment.refused
        return (REFUSED if refused else Forward(cluster=key, tls_cluster=tls_key)), labels

    def use(self, service: ServiceBackend, shape: Mapping[str, Any], field: str) -> str:
        """The key of the cluster of ``service`` with that shape, which ``field`` names from now on."""
        namespace = self.ingress.metadata.namespace
        key = BackendKey(namespace=namespace, service=service.name, port=str(service.port), **shape)
        self.backends.append(BackendUse(key=key, field=field))
        return key.cluster

    def answer(self, reference: TypedReference, field: str) -> RouteAction:
        """What a route to something that is no Service does."""
        answer = read_response(reference, self.ingress.metadata.namespace, self.lookup)
        for finding in answer.findings:
            self.report(field, finding.reason, finding.message, finding.severity)
        if answer.action is None:
            return UNUSABLE_BACKEND
        return REFUSED if self.refused or self.treatments.of(None).refused else answer.action

    def read_tls(self) -> tuple[TlsClaim, ...]:
        """The claims for certificates; the hosts that have TLS go to ``tls_hosts`` and ``tls_for_all``."""
        claims: list[TlsClaim] = []
        for index, entry in enumerate(self.ingress.spec.tls):
            field = f"spec.tls[{index if entry.index is None else entry.index}]"
            hosts = [self.host(host, f"{field}.hosts[{number}]") for number, host in enumerate(entry.hosts)]
            good = tuple(host for host in hosts if host is not None)
            self.tls_hosts.update(good)
            self.tls_for_all |= not entry.hosts
            if entry.secret_name and (good or not entry.hosts):
                claims.append(
                    TlsClaim(
                        secret=(self.ingress.metadata.namespace, entry.secret_name),
                        hosts=good,
                        rule_hosts=not entry.hosts,
                        field=f"{field}.secretName",
                    )
                )
        return tuple(claims)

    def report(self, field: str, reason: str, message: str, severity: Severity = "error") -> None:
        ingress = self.ingress
        self.problems.append(
            Problem(
                object=ingress.ref,
                field=field,
                reason=reason,
                message=message,
                severity=severity,
                source=ingress.source,
            )
        )
