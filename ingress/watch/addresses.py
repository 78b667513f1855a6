"""Which addresses Ingresses show.

1. ``--publish-status-address``: those.
2. ``--publish-service``: those of that Service, in whatever namespace it is; read and watched here, by its name.
   One that is gone or being deleted has none, so that uninstalling takes the addresses away.
3. Else the nodes that run pods of this controller: their external addresses, else their internal ones.

Only a leader asks: in a DaemonSet everybody would read every node.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Final
from urllib.parse import quote

import msgspec
import structlog

from ingress.kube import KubeClient, KubeError
from ingress.kube.errors import error_from
from ingress.kube.own_pods import read_pod, siblings_of
from ingress.options import Options
from ingress.resources import LoadBalancerAddress, ServiceSpec, ServiceStatus

__all__ = ["AddressSource", "Addresses", "Node", "PublishedService", "address", "node_addresses", "service_addresses"]

Addresses = tuple[LoadBalancerAddress, ...]

NODES_REFRESH: Final = 60.0
"""Seconds between two looks at pods and nodes, as ingress-nginx."""
SERVICE_REFRESH: Final = 15.0
"""Seconds between two looks at the Service where it cannot be watched."""
WATCH_LENGTH: Final = 300
"""Seconds after which the server ends the watch; it is read again then."""

log = structlog.get_logger("pyngress.addresses")


class _Meta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    deletion_timestamp: str | None = None


class PublishedService(msgspec.Struct, frozen=True, kw_only=True):
    """A Service, with what tells that it is being deleted."""

    metadata: _Meta = _Meta()
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class NodeAddress(msgspec.Struct, frozen=True, kw_only=True):
    """``NodeAddress``."""

    type: str
    address: str


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """``NodeStatus``."""

    addresses: tuple[NodeAddress, ...] = ()


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A Node, as far as it matters here."""

    status: NodeStatus = NodeStatus()


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


_service_decoder: Final = msgspec.json.Decoder(PublishedService)
_node_decoder: Final = msgspec.json.Decoder(Node)
_event_decoder: Final = msgspec.json.Decoder(_Event)


def address(text: str) -> LoadBalancerAddress:
    """An IP address, in its canonical form, or else a host name."""
    try:
        return LoadBalancerAddress(ip=str(ipaddress.ip_address(text)))
    except ValueError:
        return LoadBalancerAddress(hostname=text)


def service_addresses(service: PublishedService) -> Addresses:
    """Where a Service is reached from outside, by its type:

    - LoadBalancer: what its load balancer got, and its external IPs.
    - NodePort: its external IPs, else its cluster IP. ClusterIP: the same; headless: none.
    - ExternalName: that name.
    """
    if service.metadata.deletion_timestamp is not None:
        return ()
    spec = service.spec
    external = tuple(address(ip) for ip in spec.external_ips)
    if spec.type == "ExternalName":
        return (address(spec.external_name),) if spec.external_name else ()
    if spec.type == "LoadBalancer":
        return _in_order((*service.status.load_balancer.ingress, *external))
    if external:
        return _in_order(external)
    return (address(spec.cluster_ip),) if spec.cluster_ip not in ("", "None") else ()


def node_addresses(nodes: Iterable[Node]) -> Addresses:
    """Of each node the external IP addresses, or the internal ones if it has no external one."""
    found: list[LoadBalancerAddress] = []
    for node in nodes:
        by_type: dict[str, list[LoadBalancerAddress]] = {}
        for each in node.status.addresses:
            by_type.setdefault(each.type, []).append(address(each.address))
        found += by_type.get("ExternalIP") or by_type.get("InternalIP") or ()
    return _in_order(found)


def _in_order(addresses: Iterable[LoadBalancerAddress]) -> Addresses:
    return tuple(sorted(each for each in set(addresses) if each.ip or each.hostname))


class AddressSource:
    """Calls ``publish`` with the addresses, each time they are read: sorted, ``()`` if there are none, ``None`` if
    they cannot be known. In the thread of the event loop."""

    def __init__(
        self,
        client: KubeClient,
        options: Options,
        *,
        publish: Callable[[Addresses | None], None],
        nodes_refresh: float = NODES_REFRESH,
        service_refresh: float = SERVICE_REFRESH,
    ) -> None:
        self._client = client
        self._options = options
        self._publish = publish
        self._nodes_refresh = nodes_refresh
        self._service_refresh = service_refresh
        self._pod = os.environ.get("POD_NAME", "")
        self._leading = asyncio.Event()
        self._said = ""

    def leader(self, leading: bool) -> None:
        """Whether anybody needs to know."""
        if leading:
            self._leading.set()
        else:
            self._leading.clear()

    async def run(self) -> None:
        """Until cancelled, or until there is nothing more to find out. Nothing that the API server does ends it."""
        options = self._options
        if not options.update_status:
            return
        if options.publish_status_addresses:
            self._publish(_in_order(address(text) for text in options.publish_status_addresses))
        elif options.publish_service is not None:
            await self._follow(*options.publish_service)
        elif self._pod:
            await self._repeat()
        else:
            log.warning(
                "Ingresses show no address: outside a pod, give --publish-service or --publish-status-address",
            )

    # ---- of a Service

    async def _follow(self, namespace: str, name: str) -> None:
        path = f"/api/v1/namespaces/{quote(namespace)}/services"
        selected: dict[str, str | int] = {"fieldSelector": f"metadata.name={name}"}
        while True:
            await self._leading.wait()
            pause = self._service_refresh
            try:
                await self._watch_service(path, selected, await self._read_service(path, selected))
                pause = min(pause, 1.0)
            except KubeError as error:
                if error.status == 410:
                    pause = min(pause, 1.0)
                else:
                    self._failed(error, "the Service of --publish-service", "list, watch services")
                    pause = max(pause, error.retry_after or 0.0)
            except msgspec.DecodeError as error:
                self._failed(KubeError(str(error)), "the Service of --publish-service", "")
            await asyncio.sleep(pause)

    async def _read_service(self, path: str, selected: Mapping[str, str | int]) -> str:
        """Publishes; returns the version to watch from: that of the list, since that of an old Service is compacted."""
        page = await self._client.list_page(path, selected)
        if page.items:
            self._said = ""
            self._publish(service_addresses(_service_decoder.decode(page.items[0])))
        else:
            self._say("the Service of --publish-service does not exist", service=str(selected["fieldSelector"]))
            self._publish(())
        return page.metadata.resource_version

    async def _watch_service(self, path: str, selected: Mapping[str, str | int], version: str) -> None:
        params = {**selected, "timeoutSeconds": WATCH_LENGTH, "resourceVersion": version}
        async with aclosing(self._client.watch(path, params, inactivity=WATCH_LENGTH + 30.0)) as lines:
            async for some in lines:
                for line in filter(None, some):
                    self._take(_event_decoder.decode(line))

    def _take(self, event: _Event) -> None:
        if event.type == "ERROR":
            raise error_from(event.object)
        if event.type == "DELETED":
            self._publish(())
        elif event.type in ("ADDED", "MODIFIED"):
            self._publish(service_addresses(_service_decoder.decode(event.object)))

    # ---- of nodes

    async def _repeat(self) -> None:
        while True:
            await self._leading.wait()
            pause = self._nodes_refresh
            try:
                self._publish(node_addresses(await self._nodes()))
                self._said = ""
            except KubeError as error:
                self._failed(error, "pods of this controller and their nodes", "get, list pods; get nodes")
                pause = error.retry_after or pause
            except msgspec.DecodeError as error:
                self._failed(KubeError(str(error)), "pods of this controller and their nodes", "")
            await asyncio.sleep(pause)

    async def _nodes(self) -> list[Node]:
        own = await read_pod(self._client, self._client.own_namespace(), self._pod)
        pods = [own, *await siblings_of(self._client, own)]
        nodes = []
        for name in sorted({pod.spec.node_name for pod in pods if pod.is_running and pod.spec.node_name}):
            try:
                nodes.append(_node_decoder.decode(await self._client.get(f"/api/v1/nodes/{quote(name)}")))
            except KubeError as error:
                if error.status != 404:  # a node that just went
                    raise
        return nodes

    # ---- troubles

    def _failed(self, error: KubeError, what: str, right: str) -> None:
        """Known addresses stay while the server is away; without the right there are none to know."""
        facts = {"right": right} if error.status == 403 else {}
        self._say(f"{what} cannot be read: {error}", key=f"{error.status} {error.reason}", **facts)
        if error.status in (401, 403):
            self._publish(None)

    def _say(self, message: str, *, key: str = "", **facts: str) -> None:
        """Once, until it works again."""
        key = key or message
        if key != self._said:
            self._said = key
            log.warning(message, **facts)
