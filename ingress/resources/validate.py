"""The checks of the Kubernetes API server on the objects that Pyngress reads, as faults with their field path.

Input is the plain value after ``shape.check``: no nulls, no unknown fields. Parts of a wrong type were reported there
and replaced by ``None``, so every function steps over what is not of the expected type.

Left out on purpose: the ban of loopback addresses in endpoints, which protects a cluster and would forbid local trials.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
import re
from collections.abc import Iterator
from typing import Any, Final, TypeGuard

from ingress.resources.fault import Fault, FieldPath
from ingress.resources.names import host_fault, is_ip, label_fault, port_fault, port_name_fault, subdomain_fault

__all__ = [
    "PATH_TYPES",
    "validate_config_map",
    "validate_endpoint_slice",
    "validate_endpoints",
    "validate_ingress",
    "validate_ingress_class",
    "validate_metadata",
    "validate_secret",
    "validate_service",
]

PATH_TYPES: Final = ("Exact", "Prefix", "ImplementationSpecific")
LEGACY_CLASS: Final = "kubernetes.io/ingress.class"

_SERVICE_TYPES: Final = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
_MAX_CONTROLLER_LENGTH: Final = 250


def validate_metadata(metadata: Any, *, name_is_label: bool) -> Iterator[Fault]:
    """``metadata`` of any kind; a Service's name is a label, every other's a subdomain."""
    data, at = _mapping(metadata), ("metadata",)
    name, namespace, created = data.get("name"), data.get("namespace"), data.get("creationTimestamp")
    if not name and name != 0:
        yield _required((*at, "name"), "an object needs a name")
    elif isinstance(name, str):
        yield from _invalid((*at, "name"), name, label_fault(name) if name_is_label else subdomain_fault(name))
    if isinstance(namespace, str) and namespace:
        yield from _invalid((*at, "namespace"), namespace, label_fault(namespace))
    if isinstance(created, str) and not _TIMESTAMP.match(created):
        yield from _invalid((*at, "creationTimestamp"), created, "must be a time like 2030-01-31T12:00:00Z")


def validate_ingress(data: dict[str, Any]) -> Iterator[Fault]:
    """An Ingress of ``networking.k8s.io/v1``."""
    spec, at = _mapping(data.get("spec")), ("spec",)
    if not spec.get("rules") and "defaultBackend" not in spec:
        yield _required(at, 'needs "rules" or "defaultBackend"')
    yield from _validate_class(data, spec)
    if "defaultBackend" in spec:
        yield from _validate_backend(spec["defaultBackend"], (*at, "defaultBackend"))
    for index, tls in _items(spec.get("tls")):
        yield from _validate_tls(_mapping(tls), (*at, "tls", index))
    for index, rule in _items(spec.get("rules")):
        yield from _validate_rule(_mapping(rule), (*at, "rules", index))


def _validate_class(data: dict[str, Any], spec: dict[str, Any]) -> Iterator[Fault]:
    name = spec.get("ingressClassName")
    annotation = _mapping(_mapping(data.get("metadata")).get("annotations")).get(LEGACY_CLASS)
    if isinstance(name, str):
        yield from _invalid(("spec", "ingressClassName"), name, subdomain_fault(name))
        if annotation is not None and annotation != name:
            yield Fault(
                path=("metadata", "annotations", LEGACY_CLASS),
                reason="InvalidValue",
                message=f'names another class than spec.ingressClassName ("{name}"), which decides',
                harmless=True,
            )


def _validate_tls(tls: dict[str, Any], at: FieldPath) -> Iterator[Fault]:
    for index, host in _items(tls.get("hosts")):
        if isinstance(host, str):
            yield from _invalid((*at, "hosts", index), host, host_fault(host))
    secret = tls.get("secretName")
    if isinstance(secret, str) and secret:
        yield from _invalid((*at, "secretName"), secret, subdomain_fault(secret))


def _validate_rule(rule: dict[str, Any], at: FieldPath) -> Iterator[Fault]:
    host = rule.get("host")
    if isinstance(host, str) and host:
        yield from _invalid((*at, "host"), host, host_fault(host))
    if "http" not in rule or not isinstance(rule["http"], dict):
        return
    paths = rule["http"].get("paths")
    if not paths:
        yield _required((*at, "http", "paths"), "needs at least one path")
    for index, path in _items(paths):
        if isinstance(path, dict):
            yield from _validate_path(path, (*at, "http", "paths", index))


def _validate_path(item: dict[str, Any], at: FieldPath) -> Iterator[Fault]:
    path, kind = item.get("path", ""), item.get("pathType")
    if kind is None or kind == "":
        yield _required((*at, "pathType"), f"must be {_choice(PATH_TYPES)}")
    elif isinstance(kind, str):
        yield from _one_of((*at, "pathType"), kind, PATH_TYPES)
    if isinstance(path, str) and isinstance(kind, str):
        yield from _invalid((*at, "path"), path, _path_fault(path, kind))
    if "backend" not in item:
        yield _required((*at, "backend"), "a path needs a backend")
    else:
        yield from _validate_backend(item["backend"], (*at, "backend"))


def _path_fault(path: str, kind: str) -> str:
    if kind == "ImplementationSpecific" and not path:
        return ""
    if not path.startswith("/"):
        return "must begin with '/'"
    if kind == "ImplementationSpecific":
        return ""
    for part in ("//", "/./", "/../", "%2f", "%2F"):
        if part in path:
            return f"must not contain '{part}'"
    return next((f"must not end with '{end}'" for end in ("/..", "/.") if path.endswith(end)), "")


def _validate_backend(backend: Any, at: FieldPath) -> Iterator[Fault]:
    if not isinstance(backend, dict):
        return
    service, resource = backend.get("service"), backend.get("resource")
    if service is None and resource is None:
        yield _required(at, 'needs "service" or "resource"')
    elif service is not None and resource is not None:
        yield _forbidden(at, 'may have "service" or "resource", not both')
    if isinstance(service, dict):
        yield from _validate_service_backend(service, (*at, "service"))
    if isinstance(resource, dict):
        for field in ("kind", "name"):
            if not resource.get(field):
                yield _required((*at, "resource", field), "a reference needs kind and name")


def _validate_service_backend(service: dict[str, Any], at: FieldPath) -> Iterator[Fault]:
    name, port = service.get("name", ""), _mapping(service.get("port"))
    if name == "":
        yield _required((*at, "name"), "needs the name of a Service")
    elif isinstance(name, str):
        yield from _invalid((*at, "name"), name, label_fault(name))
    port_name, number = port.get("name", ""), port.get("number", 0)
    if port_name and number:
        yield _forbidden((*at, "port"), 'may have "name" or "number", not both')
    elif not port_name and not number:
        yield _required((*at, "port"), 'needs "name" or "number"')
    if isinstance(port_name, str) and port_name:
        yield from _invalid((*at, "port", "name"), port_name, port_name_fault(port_name))
    if _is_number(number) and number:
        yield from _invalid((*at, "port", "number"), number, port_fault(number))


def validate_ingress_class(data: dict[str, Any]) -> Iterator[Fault]:
    """An IngressClass."""
    controller = _mapping(data.get("spec")).get("controller", "")
    at = ("spec", "controller")
    if controller == "":
        yield _required(at, "needs the name of a controller")
    elif isinstance(controller, str):
        domain, slash, rest = controller.partition("/")
        fault = "" if slash and rest and not subdomain_fault(domain) else "must be a domain, '/' and a path"
        if len(controller) > _MAX_CONTROLLER_LENGTH:
            fault = f"must not be longer than {_MAX_CONTROLLER_LENGTH} characters"
        yield from _invalid(at, controller, fault)
    parameters = _mapping(data.get("spec")).get("parameters")
    if isinstance(parameters, dict):
        yield from _validate_parameters(parameters, ("spec", "parameters"))


def _validate_parameters(parameters: dict[str, Any], at: FieldPath) -> Iterator[Fault]:
    for field in ("kind", "name"):
        if not parameters.get(field):
            yield _required((*at, field), "a reference needs kind and name")
    scope, namespace = parameters.get("scope", "Cluster"), parameters.get("namespace")
    if isinstance(scope, str):
        yield from _one_of((*at, "scope"), scope, ("Cluster", "Namespace"))
    if scope == "Namespace" and not namespace:
        yield _required((*at, "namespace"), "scope Namespace needs a namespace")
    elif scope == "Cluster" and namespace:
        yield _forbidden((*at, "namespace"), "goes with scope Namespace only")


def validate_service(data: dict[str, Any]) -> Iterator[Fault]:
    """A Service, as far as routing needs it."""
    spec, at = _mapping(data.get("spec")), ("spec",)
    kind, ports = spec.get("type", "ClusterIP"), spec.get("ports")
    if isinstance(kind, str):
        yield from _one_of((*at, "type"), kind, _SERVICE_TYPES)
    if kind == "ExternalName":
        name = spec.get("externalName", "")
        fault = subdomain_fault(name.removesuffix(".")) if isinstance(name, str) and name else ""
        yield from _invalid((*at, "externalName"), name, fault)
        if name == "":
            yield _required((*at, "externalName"), "a Service of this type needs the name of a host")
    elif not ports and spec.get("clusterIP") != "None":
        yield _required((*at, "ports"), "needs at least one port")
    seen: dict[Any, int] = {}
    for index, port in _items(ports):
        if isinstance(port, dict):
            here = (*at, "ports", index)
            yield from _validate_service_port(port, here, single=isinstance(ports, list) and len(ports) == 1)
            name = port.get("name", "")
            if name and seen.setdefault(name, index) != index:
                yield _forbidden((*here, "name"), f'"{name}" is the name of spec.ports[{seen[name]}] too')


def _validate_service_port(port: dict[str, Any], at: FieldPath, *, single: bool) -> Iterator[Fault]:
    name, target = port.get("name", ""), port.get("targetPort")
    if name == "" and not single:
        yield Fault(path=(*at, "name"), reason="RequiredField", message="of several ports each needs a name")
    elif isinstance(name, str) and name:
        yield from _invalid((*at, "name"), name, label_fault(name))
    yield from _validate_port(port, at)
    if isinstance(target, str):
        yield from _invalid((*at, "targetPort"), target, port_name_fault(target))
    elif _is_number(target):
        yield from _invalid((*at, "targetPort"), target, port_fault(target))


def _validate_port(port: dict[str, Any], at: FieldPath, *, optional: bool = False) -> Iterator[Fault]:
    number, protocol = port.get("port"), port.get("protocol")
    if number is None and not optional:
        yield _required((*at, "port"), "needs a number")
    elif _is_number(number):
        yield from _invalid((*at, "port"), number, port_fault(number))
    if isinstance(protocol, str):
        yield from _one_of((*at, "protocol"), protocol, _PROTOCOLS)


def validate_endpoint_slice(data: dict[str, Any]) -> Iterator[Fault]:
    """An EndpointSlice."""
    kind = data.get("addressType", "")
    if kind == "":
        yield _required(("addressType",), "must be IPv4, IPv6 or FQDN")
    elif isinstance(kind, str):
        yield from _one_of(("addressType",), kind, ("IPv4", "IPv6", "FQDN"))
    for index, endpoint in _items(data.get("endpoints")):
        if not isinstance(endpoint, dict):
            continue
        here: FieldPath = ("endpoints", index, "addresses")
        if not endpoint.get("addresses"):
            yield _required(here, "needs at least one address")
        for number, address in _items(endpoint.get("addresses")):
            if isinstance(address, str):
                yield from _invalid((*here, number), address, _address_fault(address, kind))
    for index, port in _items(data.get("ports")):
        if isinstance(port, dict):
            yield from _validate_port(port, ("ports", index), optional=True)


def _address_fault(address: str, kind: Any) -> str:
    if kind == "FQDN":
        return subdomain_fault(address)
    if not is_ip(address):
        return "must be an IP address"
    version = f"IPv{ipaddress.ip_address(address).version}"
    return "" if kind == version or kind not in ("IPv4", "IPv6") else f"is {version}, but addressType is {kind}"


def validate_endpoints(data: dict[str, Any]) -> Iterator[Fault]:
    """Endpoints."""
    for index, subset in _items(data.get("subsets")):
        at: FieldPath = ("subsets", index)
        for field in ("addresses", "notReadyAddresses"):
            for number, address in _items(_mapping(subset).get(field)):
                ip = _mapping(address).get("ip")
                here = (*at, field, number, "ip")
                if isinstance(address, dict) and not ip:
                    yield _required(here, "needs an IP address")
                elif isinstance(ip, str):
                    yield from _invalid(here, ip, "" if is_ip(ip) else "must be an IP address")
        for number, port in _items(_mapping(subset).get("ports")):
            if isinstance(port, dict):
                yield from _validate_port(port, (*at, "ports", number))


def validate_secret(data: dict[str, Any]) -> Iterator[Fault]:
    """A Secret. Messages never show a value."""
    yield from _validate_base64(data, "data", "is not base64 (stringData takes plain text)")


def validate_config_map(data: dict[str, Any]) -> Iterator[Fault]:
    """A ConfigMap."""
    yield from _validate_base64(data, "binaryData", "is not base64 (data takes plain text)")


def _validate_base64(data: dict[str, Any], field: str, message: str) -> Iterator[Fault]:
    for key, value in _mapping(data.get(field)).items():
        if isinstance(value, str):
            try:
                base64.b64decode("".join(value.splitlines()), validate=True)
            except (binascii.Error, ValueError):
                yield Fault(path=(field, key), reason="InvalidBase64", message=message)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> Iterator[tuple[int, Any]]:
    return iter(enumerate(value) if isinstance(value, list) else ())


def _is_number(value: Any) -> TypeGuard[int]:
    return type(value) is int


def _required(path: FieldPath, message: str) -> Fault:
    return Fault(path=path, reason="RequiredField", message=message)


def _forbidden(path: FieldPath, message: str) -> Fault:
    return Fault(path=path, reason="ForbiddenField", message=message)


def _invalid(path: FieldPath, value: str | int, fault: str) -> Iterator[Fault]:
    if fault:
        yield Fault(path=path, reason="InvalidValue", message=f'"{value}" {_predicate(fault)}')


def _predicate(fault: str) -> str:
    return fault if fault.startswith(("must", "is ")) else f"is not allowed: {fault}"


def _choice(values: tuple[str, ...]) -> str:
    return ", ".join(values[:-1]) + " or " + values[-1]


def _one_of(path: FieldPath, value: str, allowed: tuple[str, ...]) -> Iterator[Fault]:
    if value in allowed:
        return
    folded = {name.casefold(): name for name in allowed}
    close = difflib.get_close_matches(value.casefold(), folded, n=1, cutoff=0.7)
    advice = f'; did you mean "{folded[close[0]]}"?' if close else ""
    yield from _invalid(path, value, f"must be {_choice(allowed)}{advice}")
