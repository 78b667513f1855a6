"""The one door to the API: what the app tells becomes statuses and Events, by one replica, until the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ingress.kube import KubeClient
from ingress.options import Options
from ingress.report import Reporter
from ingress.resources import (
    Change,
    Ingress,
    LoadBalancerAddress,
    ObjectMeta,
    ObjectRef,
    Problem,
    Service,
    TrafficPolicy,
)
from tests.support.apiserver import ApiServer, ingress
from tests.support.kube_client import client_of, until

REF = ObjectRef(kind="Ingress", namespace="default", name="shop")
WRONG = Problem(object=REF, field="spec.rules[0]", reason="ServiceNotFound", message="no Service shop")
ADDRESS = LoadBalancerAddress(ip="192.0.2.1")


@pytest.fixture
async def client(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubeClient]:
    monkeypatch.delenv("POD_NAME", raising=False)
    async with client_of(server) as client:
        yield client


@asynccontextmanager
async def running(client: KubeClient, **options: Any) -> AsyncIterator[Reporter]:
    reporter = Reporter(client, Options(**options))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reporter.run())
        yield reporter
        reporter.shutting_down()
        async with asyncio.timeout(5):
            await task


def shop(server: ApiServer) -> dict[str, Any]:
    value = server.get("networking.k8s.io/v1", "Ingress", "shop", "default")
    assert value is not None
    return value


def tell(reporter: Reporter, server: ApiServer, *, problems: tuple[Problem, ...] = (WRONG,)) -> None:
    """One Ingress, served by table 3."""
    metadata = ObjectMeta(name="shop", namespace="default", uid=shop(server)["metadata"]["uid"])
    service = Service(metadata=ObjectMeta(name="cart", namespace="default"))
    reporter.changed(
        [
            Change(kind=Ingress, key=("default", "shop"), value=Ingress(metadata=metadata)),
            Change(kind=Service, key=("default", "cart"), value=service),
        ]
    )
    reporter.translated((REF,), problems, {}, generation=3)
    reporter.addresses([ADDRESS])
    reporter.observed([("default", "shop")], lambda _: ())


async def test_a_translation_becomes_a_status_and_events(server: ApiServer, client: KubeClient) -> None:
    """With the uid of the object, after the workers' acknowledgement, and counted."""
    server.put(ingress("shop", "shop.example.com"))
    async with running(client) as reporter:
        await until(lambda: reporter.is_leader)
        tell(reporter, server)
        await until(lambda: server.all("v1", "Event"))
        assert not shop(server)["status"]["loadBalancer"].get("ingress")
        reporter.live(3)
        await until(lambda: reporter.status_writes == 1)
        assert shop(server)["status"] == {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
        (event,) = server.all("v1", "Event")
        assert event["involvedObject"]["uid"] == shop(server)["metadata"]["uid"]
        assert (reporter.event_writes, reporter.errors) == (1, 0)
    assert not reporter.is_leader
    assert shop(server)["status"]["loadBalancer"]["ingress"]


async def test_a_policy_is_told_where_it_applies(server: ApiServer, client: KubeClient) -> None:
    """Also one that applies nowhere, and not one that is gone."""
    for name in ("used", "idle"):
        server.put(
            {
                "apiVersion": "pyngress.io/v1alpha1",
                "kind": "TrafficPolicy",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"targetRefs": [{"kind": "Ingress", "name": "shop"}]},
            }
        )

    def status(name: str) -> Any:
        value = server.get("pyngress.io/v1alpha1", "TrafficPolicy", name, "default")
        assert value is not None
        return value.get("status", {})

    async with running(client) as reporter:
        policies = [TrafficPolicy(metadata=ObjectMeta(name=name, namespace="default")) for name in ("used", "idle")]
        gone = TrafficPolicy(metadata=ObjectMeta(name="gone", namespace="default"))
        reporter.changed(
            Change(kind=TrafficPolicy, key=("default", each.metadata.name), value=each) for each in (*policies, gone)
        )
        reporter.changed([Change(kind=TrafficPolicy, key=("default", "gone"), value=None)])
        reporter.translated((REF,), (), {("default", "used"): (REF,)}, generation=1)
        await until(lambda: status("used") and status("idle"))
        assert status("used")["targets"] == [{"kind": "Ingress", "name": "shop"}]
        assert status("idle")["conditions"][0]["reason"] == "NoTarget"
        assert {each.name for each in server.requests(plural="trafficpolicies")} == {"used", "idle"}


async def test_the_follower_takes_over_at_once_on_shutdown(server: ApiServer, client: KubeClient) -> None:
    """Two processes of one host are two holders; the second leads within one look, and writes nothing twice."""
    server.put(ingress("shop", "shop.example.com"))
    heard: list[bool] = []
    second = Reporter(client, Options(), on_leader=heard.append)
    async with asyncio.TaskGroup() as tasks:
        async with running(client) as first:
            await until(lambda: first.is_leader)
            assert first.identity != second.identity
            task = tasks.create_task(second.run())
            for reporter in (first, second):
                tell(reporter, server)
                reporter.live(3)
            await until(lambda: first.status_writes == 1 and first.event_writes == 1)
            assert not second.is_leader
            second.observed([("default", "shop")], lambda _: (ADDRESS,))
        await until(lambda: second.is_leader, seconds=4)
        await asyncio.sleep(0.2)
        assert (heard, second.status_writes) == ([True], 0)
        assert len(server.all("v1", "Event")) == 1
        second.shutting_down()
        await task


async def test_no_update_status_leaves_statuses_alone(server: ApiServer, client: KubeClient) -> None:
    """Events are told all the same."""
    server.put(ingress("shop", "shop.example.com"))
    async with running(client, update_status=False, leader_election=False) as reporter:
        tell(reporter, server)
        reporter.live(3)
        await until(lambda: server.all("v1", "Event"))
        assert [each.plural for each in server.requests()] == ["events"]


@pytest.mark.parametrize(("replicas", "stays"), [(0, False), (1, True)])
async def test_only_an_uninstalled_controller_takes_its_addresses_along(
    server: ApiServer, client: KubeClient, monkeypatch: pytest.MonkeyPatch, replicas: int, stays: bool
) -> None:
    """Scaled to zero the address goes; in a rolling update it stays."""
    monkeypatch.setenv("POD_NAME", "pyngress-6d8f-a")
    server.put(ingress("shop", "shop.example.com"))
    labels = {"app": "pyngress", "pod-template-hash": "6d8f"}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "pyngress-6d8f", "uid": "r", "controller": True}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    metadata = {"namespace": "default", "labels": labels}
    pod = {"name": "pyngress-6d8f-a", "ownerReferences": [owner], "finalizers": ["tests/held"]}
    server.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata | pod, "spec": template["spec"]})
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    server.put(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata | {"name": "pyngress"}, "spec": spec}
    )
    async with running(client) as reporter:
        tell(reporter, server, problems=())
        reporter.live(3)
        await until(lambda: reporter.status_writes == 1)
        server.remove("v1", "Pod", "pyngress-6d8f-a", "default")
    assert bool(shop(server)["status"]["loadBalancer"].get("ingress")) is stays
