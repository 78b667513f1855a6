"""Which addresses Ingresses show: from options, from a Service, from nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from ingress.kube import KubeClient
from ingress.options import Options
from ingress.resources import LoadBalancerAddress
from ingress.watch.addresses import Addresses, AddressSource, Node, PublishedService, node_addresses, service_addresses
from tests.support.apiserver import ApiServer, Rule, User, api_server
from tests.support.kube_client import client_of, until

SERVICE = Options(publish_service=("infra", "front"))


def ips(*texts: str) -> tuple[LoadBalancerAddress, ...]:
    return tuple(LoadBalancerAddress(ip=text) for text in texts)


@pytest.mark.parametrize(
    ("service", "addresses"),
    [
        ({"spec": {"type": "LoadBalancer"}}, ()),
        (
            {
                "spec": {"type": "LoadBalancer", "externalIPs": ["192.0.2.9"], "clusterIP": "10.0.0.1"},
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}},
            },
            (LoadBalancerAddress(hostname="lb.example.com"), *ips("192.0.2.1", "192.0.2.9")),
        ),
        ({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1"}}, ips("10.0.0.1")),
        ({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "externalIPs": ["192.0.2.9"]}}, ips("192.0.2.9")),
        ({"spec": {"clusterIP": "2001:DB8::1"}}, ips("2001:db8::1")),
        ({"spec": {"clusterIP": "None"}}, ()),
        (
            {"spec": {"type": "ExternalName", "externalName": "front.example.com"}},
            (LoadBalancerAddress(hostname="front.example.com"),),
        ),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"clusterIP": "10.0.0.1"}}, ()),
    ],
)
def test_the_type_of_a_service_says_where_it_is_reached(service: Any, addresses: Addresses) -> None:
    """As users of ingress-nginx know it; one that is being deleted is reached nowhere."""
    assert service_addresses(msgspec.convert(service, PublishedService)) == addresses


def test_nodes_show_external_addresses_before_internal_ones() -> None:
    """Each node by itself, every address once, sorted."""

    def node(*addresses: tuple[str, str]) -> Node:
        value = {"status": {"addresses": [{"type": type_, "address": text} for type_, text in addresses]}}
        return msgspec.convert(value, Node)

    nodes = [
        node(("InternalIP", "10.0.0.9"), ("Hostname", "n1")),
        node(("InternalIP", "10.0.0.1"), ("ExternalIP", "192.0.2.7")),
        node(("InternalIP", "10.0.0.9")),
    ]
    assert node_addresses(nodes) == ips("10.0.0.9", "192.0.2.7")
    assert node_addresses([]) == ()


class Source:
    """A source that runs, and what it published."""

    def __init__(self, client: KubeClient, options: Options, **more: float) -> None:
        self.heard: list[Addresses | None] = []
        self.source = AddressSource(client, options, publish=self.heard.append, **more)


@asynccontextmanager
async def running(client: KubeClient, options: Options, **more: float) -> AsyncIterator[Source]:
    running = Source(client, options, **more)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(running.source.run())
        yield running
        task.cancel()


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as server:
        server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "infra"}})
        yield server


def put_service(server: ApiServer, *addresses: str) -> None:
    server.put(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "front", "namespace": "infra"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}},
        }
    )


async def test_given_addresses_go_before_everything(server: ApiServer, client: KubeClient) -> None:
    """Names and IP addresses, without a question to anybody."""
    options = Options(publish_service=("infra", "front"), publish_status_addresses=("lb.example.com", "2001:DB8::1"))
    async with running(client, options) as source:
        await until(lambda: source.heard)
    assert source.heard == [(LoadBalancerAddress(hostname="lb.example.com"), LoadBalancerAddress(ip="2001:db8::1"))]
    assert server.requests() == []


async def test_a_service_of_another_namespace_is_followed(server: ApiServer, client: KubeClient) -> None:
    """Changes arrive as they happen; when it goes, so do its addresses; only a leader asks."""
    put_service(server)
    async with running(client, SERVICE) as source:
        await asyncio.sleep(0.05)
        assert server.requests() == []
        source.source.leader(True)
        await until(lambda: source.heard == [()])
        await until(lambda: server.requests(verb="watch"))
        put_service(server, "192.0.2.1")
        await until(lambda: source.heard[-1] == ips("192.0.2.1"), seconds=1.0)
        server.remove("v1", "Service", "front", "infra")
        await until(lambda: source.heard[-1] == (), seconds=1.0)
        put_service(server, "192.0.2.2")
        await until(lambda: source.heard[-1] == ips("192.0.2.2"), seconds=1.0)
    assert {each.path for each in server.requests()} == {"/api/v1/namespaces/infra/services"}


async def test_addresses_stay_while_the_server_is_away(server: ApiServer, client: KubeClient) -> None:
    """And are right again afterwards, also when the history is compacted."""
    put_service(server, "192.0.2.1")
    async with running(client, SERVICE, service_refresh=0.1) as source:
        source.source.leader(True)
        await until(lambda: source.heard)
        await server.stop()
        await asyncio.sleep(0.3)
        assert set(source.heard) == {ips("192.0.2.1")}
        put_service(server, "192.0.2.2")
        server.compact()
        await server.start()
        await until(lambda: source.heard[-1] == ips("192.0.2.2"))
        server.expire_watches()
        put_service(server, "192.0.2.3")
        await until(lambda: source.heard[-1] == ips("192.0.2.3"))


async def test_without_the_right_the_addresses_are_unknown() -> None:
    """That is said once, with the right that is missing."""
    async with api_server(users={"t": User(name="u")}) as server, client_of(server, token="t") as client:
        with capture_logs() as lines:
            async with running(client, SERVICE, service_refresh=0.02) as source:
                source.source.leader(True)
                await until(lambda: len(source.heard) > 3)
        assert set(source.heard) == {None}
        assert [line["right"] for line in lines] == ["list, watch services"]


def put_pod(server: ApiServer, name: str, node: str, phase: str = "Running", app: str = "pyngress") -> None:
    metadata = {"name": name, "namespace": "default", "labels": {"app": app, "pod-template-hash": name}}
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}
    server.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}})


def put_node(server: ApiServer, name: str, address: str) -> None:
    status = {"addresses": [{"type": "InternalIP", "address": address}]}
    server.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status})


async def test_nodes_that_run_the_controller_are_shown(
    server: ApiServer, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All running pods of the workload, of whatever revision; again and again."""
    monkeypatch.setenv("POD_NAME", "p1")
    for number in range(1, 6):
        put_node(server, f"n{number}", f"10.0.0.{number}")
    put_pod(server, "p1", "n1")
    put_pod(server, "p2", "n2")
    put_pod(server, "p3", "n3", phase="Pending")
    put_pod(server, "p4", "n4", app="shop")
    put_pod(server, "p5", "gone")
    async with running(client, Options(), nodes_refresh=0.1) as source:
        source.source.leader(True)
        await until(lambda: source.heard == [ips("10.0.0.1", "10.0.0.2")])
        put_pod(server, "p3", "n3")
        await until(lambda: source.heard[-1] == ips("10.0.0.1", "10.0.0.2", "10.0.0.3"))


async def test_without_rights_on_nodes_no_address_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says once what is missing."""
    monkeypatch.setenv("POD_NAME", "p1")
    rule = Rule(verbs=("get", "list"), resources=("pods",))
    async with api_server(users={"t": User(name="u", rules=(rule,))}) as server, client_of(server, token="t") as client:
        put_pod(server, "p1", "n1")
        with capture_logs() as lines:
            async with running(client, Options(), nodes_refresh=0.02) as source:
                source.source.leader(True)
                await until(lambda: len(source.heard) > 3)
        assert set(source.heard) == {None}
        assert [line["right"] for line in lines] == ["get, list pods; get nodes"]


async def test_outside_a_pod_one_line_says_what_to_give(
    server: ApiServer, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No address, no request; without status updates not even the line."""
    monkeypatch.delenv("POD_NAME", raising=False)
    with capture_logs() as lines:
        await Source(client, Options()).source.run()
        await Source(client, Options(update_status=False)).source.run()
    assert [line["log_level"] for line in lines] == ["warning"]
    assert server.requests() == []
