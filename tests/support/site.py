"""Manifests of a site: an Ingress, its Services, and the slices of running pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.apiserver import service
from tests.support.cluster import Cluster
from tests.support.pods import Listener, slice_for

__all__ = ["backend", "ingress_of", "publish", "serve"]

Json = dict[str, Any]
Path = tuple[str, str, str]
"""Path type, path, name of the Service (its port 80)."""


def backend(name: str, port: int | str = 80) -> Json:
    """Of a path: a Service and the number or name of its port."""
    return {"service": {"name": name, "port": {"name" if isinstance(port, str) else "number": port}}}


def ingress_of(
    name: str,
    host: str,
    *paths: Path,
    namespace: str = "default",
    ingress_class: str | None = "pyngress",
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Json:
    """One host (empty: none). Without ``paths``: all of it to the Service with the name of the Ingress."""
    paths = paths or (("Prefix", "/", name),)
    listed = [{"pathType": kind, "path": path, "backend": backend(target)} for kind, path, target in paths]
    rule: Json = {"http": {"paths": listed}} | ({"host": host} if host else {})
    metadata = {"name": name, "namespace": namespace, "annotations": dict(annotations or {})}
    named = {} if ingress_class is None else {"ingressClassName": ingress_class}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata,
        "spec": {**named, "rules": [rule], **spec},
    }


async def serve(cluster: Cluster, name: str, running: Sequence[Listener], *, namespace: str = "default") -> None:
    """A Service whose endpoints are these pods."""
    await cluster.apply(
        service(name, namespace=namespace), *slice_for(name, cluster.address, running, namespace=namespace)
    )


async def publish(
    cluster: Cluster, name: str, host: str, running: Sequence[Listener], *, namespace: str = "default", **more: Any
) -> None:
    """A Service with these pods, and an Ingress for it."""
    await serve(cluster, name, running, namespace=namespace)
    await cluster.apply(ingress_of(name, host, namespace=namespace, **more))
