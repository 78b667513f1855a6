"""IngressClass and its parameters → wishes for the routes of the class, and settings of the whole process.

1. Timeouts towards endpoints, the body limit, header rules, retries, balancing, ejection and the redirect to https hold
   for the Ingresses of the class.
2. What exists once per process is taken from the oldest of our classes that sets it; the others hear of what they lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ingress.options import Options, ServiceRef
from ingress.resources import IngressClass, IngressClassParameters, ObjectRef, Problem, Severity
from ingress.resources.crd import OUR_GROUP, HstsSpec
from ingress.resources.values import parse_cidr, parse_duration, parse_head_size, parse_port, parse_size
from ingress.translate.lookup import Lookup
from ingress.translate.part import GOES_FIRST
from ingress.translate.wishes import Reader, Wishes
from proxy.table import Hsts

__all__ = ["class_options", "class_wishes"]

_FORMATS: Final = {"Off": "off", "JSON": "json", "Combined": "combined"}
_VERSIONS: Final = ("1.2", "1.3")
_OPTIONS: Final = ("default_backend", "default_ssl_certificate")
"""Fields of Options; all others are of its Settings."""


def class_wishes(ingress_class: IngressClass | None, lookup: Lookup) -> Wishes:
    """What the class of an Ingress wishes for its routes. Problems are told by :func:`class_options`."""
    parameters = None if ingress_class is None else _parameters(ingress_class, lookup)
    return {} if parameters is None else _of_routes(parameters).wishes


def class_options(
    classes: Iterable[IngressClass], lookup: Lookup, options: Options
) -> tuple[Options, tuple[Problem, ...]]:
    """``options`` with what our classes say in their place, and all Problems of our classes and their parameters."""
    problems: list[Problem] = []
    decided: dict[str, Any] = {}
    owners: dict[str, IngressClassParameters] = {}
    seen: set[str] = set()
    for ingress_class in sorted(classes, key=lambda one: (one.metadata.creation_timestamp, one.metadata.name)):
        parameters = _parameters(ingress_class, lookup)
        if parameters is None:
            problems += _reference_problems(ingress_class)
            continue
        if parameters.metadata.name in seen:
            continue
        seen.add(parameters.metadata.name)
        reader = _of_process(parameters)
        faults = (*_of_routes(parameters).faults, *reader.faults)
        problems += (_bad_value(parameters, place, fault) for place, fault in faults)
        for field, value in reader.wishes.items():
            owner = owners.setdefault(field, parameters)
            if decided.setdefault(field, value) != value:
                problems.append(_conflict(parameters, reader.places[field], owner))
    own = {field: decided.pop(field) for field in _OPTIONS if field in decided}
    settings = msgspec.structs.replace(options.settings, **decided)
    return msgspec.structs.replace(options, settings=settings, **own), tuple(problems)


def _parameters(ingress_class: IngressClass, lookup: Lookup) -> IngressClassParameters | None:
    reference = ingress_class.spec.parameters
    if reference is None or _reference_fault(ingress_class):
        return None
    return lookup.get(IngressClassParameters, ("", reference.name))


def _reference_fault(ingress_class: IngressClass) -> str:
    reference = ingress_class.spec.parameters
    if reference is None:
        return ""
    if reference.api_group != OUR_GROUP or reference.kind != "IngressClassParameters":
        kind = f"{reference.kind}.{reference.api_group}" if reference.api_group else reference.kind
        return f"parameters of kind {kind[:160]!a} are not supported; use IngressClassParameters.{OUR_GROUP}"
    return "" if reference.scope in (None, "Cluster") else "IngressClassParameters are of scope Cluster"


def _reference_problems(ingress_class: IngressClass) -> list[Problem]:
    reference = ingress_class.spec.parameters
    if reference is None:
        return []
    fault = _reference_fault(ingress_class)
    reason = "BadParameters" if fault else "ParametersNotFound"
    message = fault or f"there are no usable IngressClassParameters {reference.name[:260]}"
    ref, place = ingress_class.ref, "spec.parameters"
    return [_problem(ref, place, reason, f"{message}; the class has none", "error", ingress_class)]


def _of_routes(parameters: IngressClassParameters) -> Reader:
    spec, reader = parameters.spec, Reader()
    for field, name in (("connect_timeout", "connect"), ("read_timeout", "read"), ("send_timeout", "send")):
        reader.duration(field, f"spec.timeouts.{name}", getattr(spec.timeouts, name))
    place = "spec.limits.bodySize"
    reader.put("max_body_bytes", place, reader.parse(place, parse_size, spec.limits.body_size))
    reader.put("max_retries", "spec.upstream.maxRetries", spec.upstream.max_retries)
    reader.headers("request_headers", "spec.requestHeaders", spec.request_headers)
    reader.headers("response_headers", "spec.responseHeaders", spec.response_headers)
    reader.balancing("spec.upstream.balancing", spec.upstream.balancing)
    reader.ejection("spec.upstream.ejection", spec.upstream.ejection)
    reader.put("ssl_redirect", "spec.sslRedirect", spec.ssl_redirect)
    return reader


def _of_process(parameters: IngressClassParameters) -> Reader:
    spec, reader = parameters.spec, Reader()
    timeouts = spec.timeouts
    for field, name, text in (
        ("header_timeout", "header", timeouts.header),
        ("body_timeout", "body", timeouts.body),
        ("write_timeout", "write", timeouts.write),
        ("keepalive_timeout", "keepalive", timeouts.keepalive),
        ("tunnel_timeout", "tunnel", timeouts.tunnel),
        ("tls_handshake_timeout", "tlsHandshake", timeouts.tls_handshake),
    ):
        reader.duration(field, f"spec.timeouts.{name}", text)
    limits = spec.limits
    for field, name, size in (
        ("max_request_line", "requestLine", limits.request_line),
        ("max_header_bytes", "headerBytes", limits.header_bytes),
    ):
        place = f"spec.limits.{name}"
        reader.put(field, place, reader.parse(place, parse_head_size, size))
    reader.put("max_header_fields", "spec.limits.headerFields", limits.header_fields)
    reader.put("max_connections", "spec.limits.connections", limits.connections)
    upstream, place = spec.upstream, "spec.upstream"
    reader.put("upstream_keepalive_connections", f"{place}.keepaliveConnections", upstream.keepalive_connections)
    reader.duration("upstream_keepalive_timeout", f"{place}.keepaliveTimeout", upstream.keepalive_timeout)
    if spec.trusted_proxies is not None:
        place = "spec.trustedProxies"
        ranges = (reader.parse(f"{place}[{n}]", parse_cidr, text) for n, text in enumerate(spec.trusted_proxies))
        reader.put("trusted_proxies", place, tuple(dict.fromkeys(item for item in ranges if item is not None)))
    if spec.access_log is not None:
        reader.put("access_log", "spec.accessLog", _FORMATS.get(spec.access_log.format))
    if spec.tls is not None and spec.tls.min_version in _VERSIONS:
        reader.put("tls_min_version", "spec.tls.minVersion", spec.tls.min_version)
    if spec.tls is not None and spec.tls.hsts is not None:
        place = "spec.tls.hsts"
        age = reader.parse(f"{place}.maxAge", parse_duration, spec.tls.hsts.max_age)
        # "Off" is a wish as well: it must not look like none.
        reader.wishes["hsts"] = _hsts(spec.tls.hsts, age)
        reader.places["hsts"] = place
    if spec.default_backend is not None:
        backend, place = spec.default_backend, "spec.defaultBackend"
        port = reader.parse(f"{place}.port", parse_port, backend.port)
        if port is not None:
            service = ServiceRef(namespace=backend.namespace, name=backend.name, port=port)
            reader.put("default_backend", place, service)
    if spec.default_certificate is not None:
        secret = spec.default_certificate
        reader.put("default_ssl_certificate", "spec.defaultCertificate", (secret.namespace, secret.name))
    return reader


def _hsts(spec: HstsSpec, max_age: float | None) -> Hsts | None:
    if not spec.enabled:
        return None
    age = Hsts().max_age if max_age is None else int(max_age)
    return Hsts(max_age=age, include_subdomains=spec.include_subdomains, preload=spec.preload)


def _bad_value(parameters: IngressClassParameters, place: str, fault: str) -> Problem:
    message = f"{fault}; it counts as not set"
    return _problem(parameters.ref, place, "InvalidValue", message, "error", parameters)


def _conflict(parameters: IngressClassParameters, place: str, owner: IngressClassParameters) -> Problem:
    message = f"{owner.ref}, whose class {GOES_FIRST}, decides this for the whole process"
    return _problem(parameters.ref, place, "ParametersConflict", message, "warning", parameters)


def _problem(
    ref: ObjectRef,
    place: str,
    reason: str,
    message: str,
    severity: Severity,
    owner: IngressClass | IngressClassParameters,
) -> Problem:
    return Problem(object=ref, field=place, reason=reason, message=message, severity=severity, source=owner.source)
