"""Backend key → cluster, and what is wrong with it.

A backend whose Service, port or endpoints are missing is a cluster without endpoints, which answers 503.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingress.resources import Endpoints, EndpointSlice, Service, ServicePort
from ingress.resources.names import subdomain_fault
from ingress.translate.endpoints import find_endpoints
from ingress.translate.part import BackendKey, Finding
from proxy.table import Cluster, Endpoint

__all__ = ["Backend", "resolve_backend"]


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster and its findings, which go to every field that names the backend."""

    cluster: Cluster
    findings: tuple[Finding, ...] = ()


def resolve_backend(
    key: BackendKey,
    *,
    service: Service | None,
    slices: Sequence[EndpointSlice],
    endpoints: Endpoints | None,
    allow_local_names: bool,
) -> Backend:
    """The cluster of one backend, from its Service, the slices of that Service, and its Endpoints."""
    if service is None:
        return _unusable(key, "ServiceNotFound", f"Service {_name(key)} does not exist")
    if service.spec.type == "ExternalName":
        return _external(key, service, allow_local_names)
    port = _find_port(service.spec.ports, key.port)
    portless = False
    if port is None and not service.spec.ports and _is_number(key.port) and service.spec.cluster_ip == "None":
        port, portless = ServicePort(port=int(key.port)), True
    if port is None:
        return _unusable(key, "PortNotFound", f"Service {_name(key)} has no TCP port {key.port!a}{_ports(service)}")
    found = find_endpoints(port, slices, endpoints, portless=portless)
    cluster = key.shaped(Cluster(endpoints=found), _app_protocol(port, slices))
    if found:
        return Backend(cluster=cluster)
    what = "EndpointSlice or Endpoints" if not slices and endpoints is None else "ready endpoint"
    message = f"Service {_name(key)} has no {what} for port {key.port}; its routes answer 503"
    return Backend(cluster=cluster, findings=(Finding(reason="NoEndpoints", message=message, severity="warning"),))


def _app_protocol(port: ServicePort, slices: Sequence[EndpointSlice]) -> str:
    """That of the Service port; slices, which normally copy it, where a Service is made without."""
    if port.app_protocol:
        return port.app_protocol
    told = {one.app_protocol for each in slices for one in each.ports if (one.name or "") == port.name}
    return min((protocol for protocol in told if protocol), default="")


def _find_port(ports: Sequence[ServicePort], wanted: str) -> ServicePort | None:
    """By number or name of the port; else by its target port, as ingress-nginx does."""
    tcp = [port for port in ports if port.protocol == "TCP"]
    if _is_number(wanted):
        number = int(wanted)
        by_port = [port for port in tcp if port.port == number]
        by_target = [port for port in tcp if port.target_port == number]
    else:
        by_port = [port for port in tcp if port.name == wanted]
        by_target = [port for port in tcp if port.target_port == wanted]
    return next(iter(by_port + by_target), None)


def _external(key: BackendKey, service: Service, allow_local_names: bool) -> Backend:
    """A Service that is a DNS name; its port is a number, of the backend or of the named port."""
    name = service.spec.external_name.lower().removesuffix(".")
    fault = subdomain_fault(name)
    local = "" if fault or allow_local_names else _local_fault(name)
    if fault or local:
        message = f"Service {_name(key)} is the external name {name[:260]!a}, which {fault or local}"
        return _unusable(key, "ExternalNameRefused", message, by_name=True)
    port = _find_port(service.spec.ports, key.port)
    target = None if port is None else port.target_port
    if isinstance(target, int) and target:
        number = target
    elif port is not None:
        number = port.port
    elif _is_number(key.port):
        number = int(key.port)
    else:
        message = f"Service {_name(key)} is an external name without a port {key.port!a}{_ports(service)}"
        return _unusable(key, "PortNotFound", message, by_name=True)
    endpoint = Endpoint(address=name, port=number)
    app_protocol = "" if port is None else port.app_protocol or ""
    return Backend(cluster=key.shaped(Cluster(endpoints=(endpoint,), by_name=True), app_protocol))


def _local_fault(name: str) -> str:
    """Why a name may not be dialled: it would lead into this pod, or is an address in disguise.

    A last label that begins with a digit makes ``inet_aton`` read the whole name as an address: ``127.1``, ``0x7f.1``.
    """
    if (
        name == "localhost"
        or name.endswith((".localhost", ".localdomain"))
        or name in ("ip6-localhost", "ip6-loopback")
    ):
        return "is this machine itself"
    if name.rpartition(".")[2][0].isdigit():
        return "is an address, not a name"
    return ""


def _unusable(key: BackendKey, reason: str, message: str, *, by_name: bool = False) -> Backend:
    finding = Finding(reason=reason, message=f"{message}; its routes answer 503")
    return Backend(cluster=key.shaped(Cluster(by_name=by_name)), findings=(finding,))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def _name(key: BackendKey) -> str:
    return f"{key.namespace}/{key.service}"


def _ports(service: Service) -> str:
    """What a person may have meant."""
    ports = [
        f"{port.name} ({port.port})" if port.name else str(port.port)
        for port in service.spec.ports
        if port.protocol == "TCP"
    ]
    return f"; it has {', '.join(ports[:10])}" if ports else "; it has none"
