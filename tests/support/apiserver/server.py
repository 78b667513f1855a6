"""The server as tests use it: start, stop, start again on the same port, faults, and objects without HTTP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml
from aiohttp import web

from tests.support.apiserver.access import User
from tests.support.apiserver.control import control
from tests.support.apiserver.failures import expired
from tests.support.apiserver.faults import Faults
from tests.support.apiserver.http import answer
from tests.support.apiserver.kinds import Resource, resource_of, stored_as
from tests.support.apiserver.requests import Logged
from tests.support.apiserver.state import State
from tests.support.apiserver.storage import Record, Storage
from tests.support.apiserver.strategy import for_create, for_delete, for_update

__all__ = ["ApiServer", "api_server", "write_kubeconfig"]


class ApiServer:
    """An emulated Kubernetes API server on loopback. What it knows is kept while it is stopped."""

    def __init__(
        self,
        *,
        users: Mapping[str, User] | None = None,
        bookmark_interval: float = 60.0,
        webhook_services: Mapping[tuple[str, str], int] | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.state = State(users=users, bookmark_interval=bookmark_interval, webhook_services=webhook_services)
        self.port = port
        """0 until the first start; the same ever after."""
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._web: web.Server | None = None
        self._restarting: asyncio.Task[None] | None = None

    @property
    def storage(self) -> Storage:
        return self.state.storage

    @property
    def faults(self) -> Faults:
        return self.state.faults

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self.state.client = aiohttp.ClientSession()
        self._web = web.Server(self._answer, handler_cancellation=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._web, "127.0.0.1", self.port, ssl=self._tls, reuse_address=True, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection, as a killed server does."""
        if self._server is None or self._web is None or self.state.client is None:
            return
        self._server.close()
        self.drop_connections()
        await self._web.shutdown(0.1)
        await self.state.client.close()
        self._server = self._web = self.state.client = None
        await asyncio.sleep(0)

    async def restart(self, seconds: float = 0.0) -> None:
        """Away for a while, then back on the same port with everything known."""
        await self.stop()
        await asyncio.sleep(seconds)
        await self.start()

    def restart_soon(self, seconds: float) -> None:
        """:meth:`restart`, for who is on a connection that it cuts."""
        self._restarting = asyncio.get_running_loop().create_task(self.restart(seconds))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/_control/"):
            return await control(self, request)
        return await answer(self.state, request)

    # Faults beside those of ``faults``

    def drop_connections(self) -> None:
        """Cut every connection, watches too."""
        for handler in tuple(self._web.connections) if self._web else ():
            if handler.transport is not None:
                handler.transport.abort()

    def stall_watches(self) -> None:
        """The watches that are open now never say anything again; later ones do."""
        for watch in self.state.watches:
            watch.is_stalled = True

    def end_watches(self) -> None:
        """The watches that are open now end as if their time were up."""
        for watch in self.state.watches:
            watch.end()

    def expire_watches(self) -> None:
        """The watches that are open now get an ERROR event with 410 and end; all history is compacted."""
        self.storage.compact()
        for watch in self.state.watches:
            watch.end(expired())

    def compact(self) -> None:
        """Watches and pages from any past version are 410 from now on."""
        self.storage.compact()

    # Objects without HTTP, admission and rights

    def put(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create or replace an object; a ``status`` in it is stored too. Returns it as it is now."""
        resource, namespace, name = self._place(manifest)
        value = msgspec.json.decode(msgspec.json.encode(manifest))
        status = value.pop("status", None)
        record = self.storage.find(resource, namespace, name)
        if record is None:
            record = self.storage.create(resource, for_create(resource, value, namespace))
        else:
            value["metadata"].pop("resourceVersion", None)
            record = self.storage.replace(record, for_update(resource, record.value, value))
        if status is not None:
            record = self.storage.replace(record, record.value | {"status": status})
        return self._copy(record)

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> dict[str, Any] | None:
        """An object, or ``None``."""
        record = self.storage.find(stored_as(resource_of(api_version, kind)), namespace, name)
        return None if record is None else self._copy(record)

    def all(self, api_version: str, kind: str, namespace: str = "") -> list[dict[str, Any]]:
        """Every object of a kind, by namespace and name."""
        resource = stored_as(resource_of(api_version, kind))
        return [self._copy(record) for record in self.storage.records(resource, namespace)]

    def remove(self, api_version: str, kind: str, name: str, namespace: str = "") -> None:
        """What has finalizers stays, and is being deleted. Raises NotFound (:class:`ApiError`)."""
        resource = stored_as(resource_of(api_version, kind))
        record = self.storage.read(resource, namespace, name)
        left = for_delete(resource, record.value, {})
        if left is None:
            self.storage.remove(record)
        else:
            self.storage.replace(record, left)

    def _place(self, manifest: dict[str, Any]) -> tuple[Resource, str, str]:
        resource = stored_as(resource_of(manifest["apiVersion"], manifest["kind"]))
        namespace = manifest["metadata"].get("namespace", "default") if resource.namespaced else ""
        return resource, namespace, manifest["metadata"]["name"]

    def _copy(self, record: Record) -> dict[str, Any]:
        value: dict[str, Any] = msgspec.json.decode(record.encoded)
        return value

    # What was asked

    def requests(self, *, verb: str = "", plural: str = "", user: str = "", writes: bool = False) -> list[Logged]:
        """The log, oldest first; ``writes``: only what may change something."""
        reads = ("get", "list", "watch")
        return [
            each
            for each in self.state.requests
            if verb in ("", each.verb)
            and plural in ("", each.plural)
            and user in ("", each.user)
            and not (writes and each.verb in reads)
        ]

    def kubeconfig(self, path: Path, *, token: str = "", namespace: str = "default") -> Path:
        """Write a kubeconfig that reaches this server."""
        return write_kubeconfig(path, server=self.url, token=token, namespace=namespace)


def write_kubeconfig(
    path: Path, *, server: str, token: str = "", namespace: str = "default", authority: Path | None = None
) -> Path:
    """A kubeconfig with one context, ``test``."""
    cluster = {"server": server} | ({"certificate-authority": str(authority)} if authority else {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token} if token else {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(config))
    return path


@asynccontextmanager
async def api_server(
    *,
    users: Mapping[str, User] | None = None,
    bookmark_interval: float = 60.0,
    webhook_services: Mapping[tuple[str, str], int] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[ApiServer]:
    """A running server; nothing of it is left afterwards."""
    server = ApiServer(users=users, bookmark_interval=bookmark_interval, webhook_services=webhook_services, tls=tls)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
