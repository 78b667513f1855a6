"""Ingresses of which each has a host and rules of its own, and what clients of them see."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.support.clients import Reply, ask, get
from tests.support.cluster import Cluster, until
from tests.support.controller import Controller, controller
from tests.support.pods import pods
from tests.support.proxy import RawClient
from tests.support.site import ingress_of, serve

__all__ = ["NGINX", "OURS", "SHOP", "Secure", "Sites", "running_sites"]

OURS, NGINX = "pyngress.io", "nginx.ingress.kubernetes.io"
"""The prefixes of annotations."""
SHOP = "https://shop.example"
"""An origin."""


class Sites:
    """Makes Ingresses, each with a host of its own, and asks them. The controller takes a client's address from
    X-Forwarded-For."""

    def __init__(self, cluster: Cluster, running: Controller) -> None:
        self.cluster = cluster
        self.running = running
        self._numbers = itertools.count()

    async def add(
        self, annotations: Mapping[str, str] | None = None, *, prefix: str = OURS, to: str = "web", **spec: Any
    ) -> str:
        """A site that is live; its name, which is that of the Ingress. ``annotations`` without their prefix."""
        name = f"site-{next(self._numbers)}"
        prefixed = {key if "/" in key else f"{prefix}/{key}": value for key, value in (annotations or {}).items()}
        if spec.pop("tls", False):
            spec["tls"] = [{"hosts": [f"{name}.example.com"]}]
        rule = ingress_of(name, f"{name}.example.com", ("Prefix", "/", to), annotations=prefixed, **spec)
        rule["metadata"]["labels"] = {"site": name}
        await self.cluster.apply(rule)
        await until(lambda: self._is_live(name), what=f"{name} is live")
        return name

    async def _is_live(self, name: str) -> bool:
        return (await self.get(name, client="203.0.113.250")).status != 404

    async def get(
        self, name: str, *fields: str, path: str = "/", method: str = "GET", client: str = "198.51.100.1", **more: Any
    ) -> Reply:
        """One request of a client."""
        request = get(path, f"X-Forwarded-For: {client}", *fields, method=method, host=f"{name}.example.com")
        return await ask(more.get("over", self.running), request + more.get("body", b""))

    async def put(self, name: str, size: int, *, chunked: bool = False) -> int:
        """The status of an upload of so many bytes."""
        body = bytes(size)
        if chunked:
            framed = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
            return (await self.get(name, "Transfer-Encoding: chunked", method="PUT", body=framed)).status
        return (await self.get(name, f"Content-Length: {size}", method="PUT", body=body)).status

    async def preflight(self, name: str, origin: str = SHOP, **more: Any) -> Reply:
        asked = (f"Origin: {origin}", "Access-Control-Request-Method: PUT")
        return await self.get(name, *asked, method="OPTIONS", **more)

    async def statuses(self, name: str, count: int, **more: Any) -> list[int]:
        """Of so many requests, one after the other."""
        return [(await self.get(name, **more)).status for _ in range(count)]

    async def served_by(self, name: str, paths: Sequence[str], *fields: str) -> list[str]:
        """The pods that answered requests for these paths."""
        return [(await self.get(name, *fields, path=path)).body.decode() for path in paths]

    async def is_told(self, *words: str) -> bool:
        """Whether a problem has all these words."""
        _, text = await self.running.ask("/problems")
        return any(all(word in line for word in words) for line in text.splitlines())


class Secure:
    """Connections to a site over TLS."""

    def __init__(self, running: Controller, name: str) -> None:
        self._running, self._name = running, name

    async def connect(self) -> RawClient:
        return await self._running.connect(tls_name=f"{self._name}.example.com")


@asynccontextmanager
async def running_sites(cluster: Cluster) -> AsyncIterator[Sites]:
    """Services ``web`` with the pod ``a`` and ``three`` with the pods ``a``, ``b`` and ``c``."""
    async with (
        controller(cluster, "--trusted-proxies", "127.0.0.0/8") as running,
        pods(cluster.address, "a", "b", "c") as three,
    ):
        await serve(cluster, "web", three[:1])
        await serve(cluster, "three", three)
        yield Sites(cluster, running)
