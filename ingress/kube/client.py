"""Requests to the API server, as bytes."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec
import structlog

from ingress.kube.access import Access, find_access
from ingress.kube.errors import KubeConfigError, KubeError, KubeUnreachable, error_from
from ingress.options import Options
from ingress.version import VERSION

if TYPE_CHECKING:
    from kubernetes_asyncio.client.rest import RESTClientObject

__all__ = ["MERGE_PATCH", "KubeClient", "ListPage"]

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
"""RFC 7386."""
CONNECT_LIMIT: Final = 10.0
"""Seconds."""
READ_LIMIT: Final = 30.0
"""Seconds without a byte."""
TOTAL_LIMIT: Final = 65.0
"""Seconds. The API server gives up on a request after 60."""
RENEW_PAUSE: Final = 10.0
"""Seconds between two readings of credentials that the server refused."""

Params = Mapping[str, str | int]

log = structlog.get_logger("pyngress.kube")


class ListPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list. The items lack ``apiVersion`` and ``kind``."""

    items: list[msgspec.Raw] | None = None
    metadata: ListMeta


class ListMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``ListMeta``."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")
    """Empty: the last page."""


_page_decoder: Final = msgspec.json.Decoder(ListPage)


class KubeClient:
    """One connection pool to one API server.

    ``path`` is absolute (``/api/v1/…``, ``/apis/…``), ``params`` the query. Every method raises :class:`KubeError` for
    an answer that is not 2xx, and :class:`KubeUnreachable` without an answer; nothing is retried here.
    """

    def __init__(self, access: Access, options: Options) -> None:
        self._access = access
        self._options = options
        self._rest = _open(access)
        self._renewed_at = float("-inf")
        self._renewing = asyncio.Lock()
        self.heard_at = time.monotonic()
        """When the server last sent anything (monotonic seconds); the beginning, if it never did."""

    @classmethod
    async def connect(cls, options: Options) -> KubeClient:
        """Find the cluster; sends nothing to it yet. Raises :class:`KubeConfigError`."""
        access = await find_access(kubeconfig=options.kubeconfig, context=options.context)
        client = cls(access, options)
        log.info("cluster found", server=client.server, access=access.name)
        return client

    async def close(self) -> None:
        """Ends every connection; watches end with :class:`KubeUnreachable`."""
        await self._rest.close()

    @property
    def server(self) -> str:
        """The base URL."""
        return str(self._access.configuration.host)

    def own_namespace(self) -> str:
        """``POD_NAMESPACE``, else that of the service account or of the kubeconfig's context, else ``default``."""
        return os.environ.get("POD_NAMESPACE") or self._access.namespace or "default"

    # ---- reading

    async def get(self, path: str, params: Params | None = None) -> bytes:
        """The body."""
        return await self._whole("GET", path, params)

    async def list_page(self, path: str, params: Params | None = None) -> ListPage:
        """One page; ``params`` may hold ``limit``, ``continue``, ``resourceVersion`` and selectors."""
        body = await self.get(path, params)
        try:
            return _page_decoder.decode(body)
        except msgspec.DecodeError as error:
            raise KubeUnreachable(f"{self.server}{path} sent no list: {error}") from error

    async def watch(
        self, path: str, params: Params | None = None, *, inactivity: float
    ) -> AsyncGenerator[list[bytes], None]:
        """Lines as they arrive, those that arrive together in one list. ``watch=1`` is added to ``params``.

        The first list is empty and says that the watch stands: what happens from now on will be told.
        Ends when the server ends it in order. ``inactivity``: seconds without a byte after which it counts as lost
        (:class:`KubeUnreachable`). Close it (``contextlib.aclosing``) where it may be left early.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT, sock_read=inactivity)
        rest = b""
        try:
            response = await self._send("GET", path, {**(params or {}), "watch": 1}, timeout=timeout)
            async with response:
                _keep_alive(response)
                yield []
                async for chunk in response.content.iter_any():
                    self.heard_at = time.monotonic()
                    *lines, rest = (rest + chunk).split(b"\n")
                    if lines:
                        yield lines
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    # ---- writing

    async def patch(self, path: str, body: Any, content_type: str = MERGE_PATCH, params: Params | None = None) -> bytes:
        """``body``: bytes as they are, anything else as JSON. Returns the object as it is now."""
        return await self._whole("PATCH", path, params, body=body, content_type=content_type)

    async def post(self, path: str, body: Any, params: Params | None = None) -> bytes:
        """Create; 409 ``AlreadyExists`` if it is there."""
        return await self._whole("POST", path, params, body=body)

    async def put(self, path: str, body: Any, params: Params | None = None) -> bytes:
        """Replace; 409 ``Conflict`` if ``metadata.resourceVersion`` of the body is not the newest."""
        return await self._whole("PUT", path, params, body=body)

    # ---- transport

    async def _whole(
        self, method: str, path: str, params: Params | None, *, body: Any = None, content_type: str = JSON
    ) -> bytes:
        timeout = aiohttp.ClientTimeout(total=TOTAL_LIMIT, sock_connect=CONNECT_LIMIT, sock_read=READ_LIMIT)
        try:
            response = await self._send(method, path, params, body=body, content_type=content_type, timeout=timeout)
            async with response:
                return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    async def _send(
        self,
        method: str,
        path: str,
        params: Params | None,
        *,
        body: Any = None,
        content_type: str = JSON,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """A response that is 2xx, its body unread. Credentials that are refused are read again, once."""
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        error: KubeError | None = None
        for attempt in (1, 2):
            try:
                response = await self._request(method, path, params, data, content_type, timeout)
            except aiohttp.ClientSSLError:
                # Neither did the server see the request, nor is it sure that its authority is still the one we know.
                if attempt == 1 and await self._renew():
                    continue
                raise
            self.heard_at = time.monotonic()
            if response.status < 300:
                return response
            async with response:
                error = error_from(await response.read(), status=response.status, headers=response.headers)
            if response.status != 401 or attempt == 2 or not await self._renew():
                break
        assert error is not None
        raise error

    async def _request(
        self,
        method: str,
        path: str,
        params: Params | None,
        data: bytes | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {"User-Agent": f"pyngress/{VERSION}", "Accept": JSON}
        authorization = await self._access.authorization()
        if authorization:
            headers["Authorization"] = authorization
        if data is not None:
            headers["Content-Type"] = content_type
        rest = self._rest
        if rest.pool_manager.closed:
            raise KubeUnreachable(f"{self.server}: this client is closed")
        response: aiohttp.ClientResponse = await rest.pool_manager.request(
            method,
            self.server.rstrip("/") + path,
            params=params,
            headers=headers,
            data=data,
            timeout=timeout,
            proxy=rest.proxy,
            proxy_headers=rest.proxy_headers,
            server_hostname=rest.server_hostname,
            allow_redirects=False,
        )
        return response

    async def _renew(self) -> bool:
        """Read configuration and credentials from their source again; whether something may be different now."""
        began = self._renewed_at
        async with self._renewing:
            if self._renewed_at != began:
                return True  # another request did it meanwhile
            if time.monotonic() - self._renewed_at < RENEW_PAUSE:
                return False
            self._renewed_at = time.monotonic()
            try:
                access = await find_access(kubeconfig=self._options.kubeconfig, context=self._options.context)
                opened = _open(access)
            except KubeConfigError as error:
                log.warning("the API server refuses our credentials, and reading them again failed", error=str(error))
                return False
            log.info("credentials read again", access=access.name)
            before, self._rest, self._access = self._rest, opened, access
            await before.close()  # ends the watches: they come back with the new credentials
            return True

    def _unreachable(self, error: BaseException) -> KubeUnreachable:
        return KubeUnreachable(f"{self.server}: {str(error) or type(error).__name__}")


def _open(access: Access) -> RESTClientObject:
    from kubernetes_asyncio.client.rest import RESTClientObject

    configuration = access.configuration
    # Each watch holds a connection, and there is one for each Secret: 0 is "no limit".
    configuration.connection_pool_maxsize = 0
    # Authorities of many clusters lack key identifiers, which Python >= 3.13 demands and kubectl does not.
    configuration.disable_strict_ssl_verification = True
    try:
        return RESTClientObject(configuration)
    except OSError as error:  # of ssl too
        raise KubeConfigError(f"{access.name}: certificates cannot be loaded: {error}") from error


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    """Let the kernel find out within half a minute that the other side is gone, where it could not say so."""
    transport = response.connection.transport if response.connection is not None else None
    found = transport.get_extra_info("socket") if transport is not None else None
    if found is None:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
