"""A cluster for tests: an API server, emulated or real, and what ``kubectl`` does with it."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support.apiserver import ADMIN, ApiServer, User, write_kubeconfig
from tests.support.apiserver.kinds import RESOURCES, Resource, resource_of
from tests.support.real_apiserver import RealApiServer, assets

__all__ = ["CLASS", "CONTROLLER_NAMESPACE", "LIMITED", "Cluster", "Json", "Refused", "running_cluster", "until"]

Json = dict[str, Any]
CRDS = Path(__file__).parents[2] / "crds"
LIMITED = "system:serviceaccount:ingress:pyngress"
"""The user with no rights but those that Roles in the cluster give; the chart's service account."""
_ADMIN_TOKEN, _LIMITED_TOKEN = "token-of-admin", "token-of-limited"
MERGE = "application/merge-patch+json"
CLASS: Json = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "pyngress"},
    "spec": {"controller": "pyngress.io/ingress-controller"},
}
CONTROLLER_NAMESPACE = "ingress"
"""Where the rendered chart of ``tests/helm`` puts the controller: its Lease is there."""


class Refused(Exception):
    """The API server said no; ``status`` is its Status object."""

    def __init__(self, code: int, status: Json) -> None:
        super().__init__(f"{code}: {status.get('message', '')}")
        self.code = code
        self.status = status


class Cluster:
    """Objects are plain mappings, kinds are named as in manifests. Everything here is done by the administrator."""

    def __init__(self, server: ApiServer | RealApiServer, session: aiohttp.ClientSession, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self._session = session
        self._ssl: ssl.SSLContext | bool = server.context() if isinstance(server, RealApiServer) else True
        self.kubeconfig = self._write_kubeconfig("kubeconfig", _ADMIN_TOKEN)
        self.limited_kubeconfig = self._write_kubeconfig("limited", _LIMITED_TOKEN)
        """Of :data:`LIMITED`."""
        self.address = "127.0.0.1" if isinstance(server, ApiServer) else _own_address()
        """Where backends of this machine are reached; a real API server takes no loopback address as an endpoint."""

    def _write_kubeconfig(self, name: str, token: str) -> Path:
        authority = self.server.authority if isinstance(self.server, RealApiServer) else None
        return write_kubeconfig(self.folder / name, server=self.server.url, token=token, authority=authority)

    @property
    def emulated(self) -> ApiServer:
        """The emulated server with its faults and its log; tests that need it skip on a real one."""
        if not isinstance(self.server, ApiServer):
            pytest.skip("a real API server has no faults on demand")
        return self.server

    async def ask(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **query: str
    ) -> Json:
        """One request. Raises :class:`Refused`."""
        async with self._session.request(
            method,
            self.server.url + path,
            data=None if body is None else json.dumps(body).encode(),
            params=query,
            headers={"Authorization": f"Bearer {_ADMIN_TOKEN}", "Content-Type": kind},
            ssl=self._ssl,
        ) as response:
            value: Json = await response.json()
            if response.status >= 300:
                raise Refused(response.status, value)
            return value

    # What kubectl does

    async def apply(self, *manifests: Json | str) -> list[Json]:
        """Create or replace; text is YAML with any number of documents. A ``status`` is written too."""
        written: list[Json] = []
        for each in manifests:
            for document in yaml.safe_load_all(each) if isinstance(each, str) else [each]:
                if document:
                    written.append(await self._apply(document))
        return written

    async def _apply(self, manifest: Json) -> Json:
        resource, path = _path_of(manifest)
        one = f"{path}/{manifest['metadata']['name']}"
        try:
            current = await self.ask("GET", one)
        except Refused as refused:
            if refused.code != 404:
                raise
            value = await self.ask("POST", path, manifest)
        else:
            metadata = manifest["metadata"] | {"resourceVersion": current["metadata"]["resourceVersion"]}
            value = await self.ask("PUT", one, manifest | {"metadata": metadata})
        if resource.status and "status" in manifest:
            value = await self.ask("PATCH", f"{one}/status", {"status": manifest["status"]}, kind=MERGE)
        return value

    async def create(self, manifest: Json) -> Json:
        """Raises :class:`Refused`, also when it is there."""
        return await self.ask("POST", _path_of(manifest)[1], manifest)

    async def get(self, kind: str, name: str, namespace: str = "default") -> Json:
        """Raises :class:`Refused` with code 404."""
        return await self.ask("GET", f"{_path(kind, namespace)}/{name}")

    async def objects(self, kind: str, namespace: str = "", **query: str) -> list[Json]:
        """Without a namespace: all of them."""
        items: list[Json] = (await self.ask("GET", _path(kind, namespace), **query))["items"]
        return items

    async def patch(
        self, kind: str, name: str, patch: Any, namespace: str = "default", *, subresource: str = ""
    ) -> Json:
        """A merge patch."""
        path = f"{_path(kind, namespace)}/{name}" + (f"/{subresource}" if subresource else "")
        return await self.ask("PATCH", path, patch, kind=MERGE)

    async def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """What is gone already is fine."""
        try:
            await self.ask("DELETE", f"{_path(kind, namespace)}/{name}")
        except Refused as refused:
            if refused.code != 404:
                raise

    async def events(self, name: str, namespace: str = "default", *, kind: str = "Ingress") -> list[Json]:
        """Events about an object, in the form of ``v1``."""
        about = f"involvedObject.kind={kind},involvedObject.name={name}"
        return await self.objects("Event", namespace, fieldSelector=about)

    async def addresses(self, name: str, namespace: str = "default") -> list[str]:
        """What the status of an Ingress shows."""
        value = await self.get("Ingress", name, namespace)
        shown = value.get("status", {}).get("loadBalancer", {}).get("ingress", [])
        return [each.get("ip") or each["hostname"] for each in shown]

    async def add_namespace(self, name: str, **labels: str) -> None:
        await self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    async def restart_apiserver(self, seconds: float) -> None:
        """Kill the API server, and have it back after a while."""
        await self.server.stop()
        await asyncio.sleep(seconds)
        await self.server.start()


def _path_of(manifest: Json) -> tuple[Resource, str]:
    resource = resource_of(manifest["apiVersion"], manifest["kind"])
    return resource, _resource_path(resource, manifest["metadata"].get("namespace", "default"))


def _path(kind: str, namespace: str) -> str:
    """Of a kind by its name alone; the first of that name in the table counts."""
    return _resource_path(next(each for each in RESOURCES if each.kind == kind), namespace)


def _resource_path(resource: Resource, namespace: str) -> str:
    base = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
    inside = f"/namespaces/{namespace}" if resource.namespaced and namespace else ""
    return f"{base}{inside}/{resource.plural}"


def _own_address() -> str:
    """An address of this machine that is not loopback. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address: str = probe.getsockname()[0]
        return address


async def until(happened: Callable[[], Awaitable[bool] | bool], within: float = 5.0, *, what: str = "") -> None:
    """Ask again every ten milliseconds. ``what`` is told when it did not happen."""
    try:
        async with asyncio.timeout(within):
            while True:
                result = happened()
                if (await result) if isinstance(result, Awaitable) else result:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"did not happen within {within} s: {what or happened}") from None


@asynccontextmanager
async def running_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """A cluster with our CRDs, our class and our namespace.

    Emulated, or real where ``KUBEBUILDER_ASSETS`` names the binaries.
    """
    binaries = assets()
    server: ApiServer | RealApiServer
    if binaries is None:
        users = {_ADMIN_TOKEN: ADMIN, _LIMITED_TOKEN: User(name=LIMITED)}
        server = ApiServer(users=users, bookmark_interval=1.0)
    else:
        tokens = [(_ADMIN_TOKEN, "admin", "system:masters"), (_LIMITED_TOKEN, LIMITED, "")]
        server = RealApiServer(binaries, folder, tokens)
    timeout = aiohttp.ClientTimeout(total=10.0)
    try:
        await server.start()
        async with aiohttp.ClientSession(timeout=timeout) as session:
            cluster = Cluster(server, session, folder)
            for file in sorted(CRDS.glob("*.yaml")):
                await cluster.apply(file.read_text())
            if isinstance(server, RealApiServer):
                await until(lambda: _established(cluster), what="our CRDs are established")
            await cluster.add_namespace(CONTROLLER_NAMESPACE)
            await cluster.apply(CLASS)
            yield cluster
    finally:
        await (server.close() if isinstance(server, RealApiServer) else server.stop())


async def _established(cluster: Cluster) -> bool:
    found = await cluster.objects("CustomResourceDefinition")
    conditions = [crd.get("status", {}).get("conditions") or [] for crd in found]
    return all(any(each["type"] == "Established" and each["status"] == "True" for each in one) for one in conditions)
