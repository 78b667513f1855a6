"""Many objects at once, past HTTP and admission: for benchmarks and tests of scale."""

from __future__ import annotations

from typing import Any

from tests.support.apiserver.kinds import resource_of
from tests.support.apiserver.storage import Storage
from tests.support.apiserver.strategy import for_create

__all__ = ["fill", "ingress", "service", "slice_of"]


def ingress(name: str, host: str, *, namespace: str = "default", ingress_class: str = "pyngress") -> dict[str, Any]:
    """One host, all paths to port 80 of the Service of the same name."""
    backend = {"service": {"name": name, "port": {"number": 80}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"ingressClassName": ingress_class, "rules": [rule]},
    }


def service(name: str, *, namespace: str = "default", port: int = 80) -> dict[str, Any]:
    """One port, named ``http``."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": 8080}]},
    }


def slice_of(
    service_name: str, addresses: list[str], port: int, *, namespace: str = "default", name: str = ""
) -> dict[str, Any]:
    """The EndpointSlice of a Service with one port, ``http``; every address is ready."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name or f"{service_name}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}}
            for address in addresses
        ],
    }


def fill(
    storage: Storage,
    *,
    ingresses: int,
    endpoints: int = 3,
    namespaces: int = 1,
    ingress_class: str = "pyngress",
    host: str = "host-{}.example.com",
    address: str = "",
    port: int = 8080,
) -> None:
    """``ingresses`` Ingresses, each with a Service of its own and a slice of ``endpoints``, spread over namespaces.

    ``address``: of every endpoint; empty: all different, in 10.0.0.0/8.
    """
    spaces = ["default", *(f"bulk-{number}" for number in range(1, namespaces))]
    for each in spaces[1:]:
        _create(storage, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": each}})
    for number in range(ingresses):
        name, namespace = f"bulk-{number}", spaces[number % len(spaces)]
        first = number * endpoints
        addresses = [address or _address(first + offset) for offset in range(endpoints)]
        _create(storage, service(name, namespace=namespace))
        _create(storage, slice_of(name, addresses, port, namespace=namespace))
        _create(storage, ingress(name, host.format(number), namespace=namespace, ingress_class=ingress_class))


def _create(storage: Storage, manifest: dict[str, Any]) -> None:
    resource = resource_of(manifest["apiVersion"], manifest["kind"])
    storage.create(resource, for_create(resource, manifest, manifest["metadata"].get("namespace", "")))


def _address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
