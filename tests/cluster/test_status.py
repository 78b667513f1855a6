"""``status.loadBalancer``: an address there means that traffic sent to it is served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.apiserver import fill, service
from tests.support.cluster import CLASS, CONTROLLER_NAMESPACE, Cluster, Json, until
from tests.support.controller import Controller, controller
from tests.support.pods import Pod
from tests.support.site import ingress_of, publish

pytestmark = pytest.mark.asyncio(loop_scope="module")


def load_balancer(*addresses: Json) -> Json:
    value = service("pyngress", namespace="ingress")
    value["spec"]["type"] = "LoadBalancer"
    return value | {"status": {"loadBalancer": {"ingress": list(addresses)}}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def published(cluster: Cluster) -> AsyncIterator[Controller]:
    """A controller behind a Service with one address, 192.0.2.1."""
    await cluster.apply(load_balancer({"ip": "192.0.2.1"}))
    async with controller(cluster, "--publish-service", "ingress/pyngress") as running:
        yield running


async def shows(cluster: Cluster, name: str, *addresses: str, within: float = 5.0) -> None:
    async def is_shown() -> bool:
        return await cluster.addresses(name) == list(addresses)

    await until(is_shown, within, what=f"{name} shows {addresses}")


async def test_an_ingress_shows_the_addresses_of_our_service(cluster: Cluster, published: Controller, pod: Pod) -> None:
    """Written only once it is served: whoever sees the address gets an answer."""
    await publish(cluster, "web", "web.example.com", [pod])
    await shows(cluster, "web", "192.0.2.1")
    assert await published.answers("web.example.com", 200)


async def test_new_addresses_replace_old_ones(cluster: Cluster, published: Controller, pod: Pod) -> None:
    """Addresses and host names; a write for each Ingress, and none after it."""
    await publish(cluster, "moving", "moving.example.com", [pod])
    await shows(cluster, "moving", "192.0.2.1")
    await cluster.apply(load_balancer({"ip": "192.0.2.2"}, {"hostname": "lb.example.net"}))
    await until(lambda: _shows_both(cluster), what="both addresses are shown")
    version = (await cluster.get("Ingress", "moving"))["metadata"]["resourceVersion"]
    await cluster.patch("Service", "pyngress", {"metadata": {"labels": {"touched": "yes"}}}, "ingress")
    await published.becomes("moving.example.com", 200)
    assert (await cluster.get("Ingress", "moving"))["metadata"]["resourceVersion"] == version
    await cluster.apply(load_balancer({"ip": "192.0.2.1"}))
    await shows(cluster, "moving", "192.0.2.1")


async def _shows_both(cluster: Cluster) -> bool:
    return sorted(await cluster.addresses("moving")) == ["192.0.2.2", "lb.example.net"]


async def test_the_status_of_others_is_left_alone(cluster: Cluster, published: Controller, pod: Pod) -> None:
    """An Ingress of another class keeps what its controller wrote, even when it shows our own address."""
    other = CLASS | {"metadata": {"name": "other"}, "spec": {"controller": "example.com/other"}}
    written = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    await cluster.apply(
        other, ingress_of("foreign", "foreign.example.com", ingress_class="other") | {"status": written}
    )
    await publish(cluster, "mine", "mine.example.com", [pod])
    await shows(cluster, "mine", "192.0.2.1")
    assert await cluster.addresses("foreign") == ["192.0.2.1"]


async def test_an_ingress_that_leaves_loses_our_address(cluster: Cluster, published: Controller, pod: Pod) -> None:
    """As nobody answers for it there any more; it gets the address again when it comes back."""
    await cluster.apply(CLASS | {"metadata": {"name": "nobody"}, "spec": {"controller": "example.com/nobody"}})
    await publish(cluster, "leaving", "leaving.example.com", [pod])
    await shows(cluster, "leaving", "192.0.2.1")
    await cluster.patch("Ingress", "leaving", {"spec": {"ingressClassName": "nobody"}})
    await shows(cluster, "leaving")
    await cluster.patch("Ingress", "leaving", {"spec": {"ingressClassName": "pyngress"}})
    await shows(cluster, "leaving", "192.0.2.1")


async def test_conflicts_and_refusals_are_overcome(cluster: Cluster, published: Controller, pod: Pod) -> None:
    """409, 429 with a wait, and 500 delay the status; it is right in the end, and traffic did not wait for it."""
    faults = cluster.emulated.faults
    faults.fail(409, 1, plural="ingresses/status")
    faults.fail(429, 1, plural="ingresses/status", retry_after=1)
    faults.fail(500, 1, plural="ingresses/status")
    await publish(cluster, "hindered", "hindered.example.com", [pod])
    await published.becomes("hindered.example.com", 200)
    await shows(cluster, "hindered", "192.0.2.1", within=12.0)
    faults.clear()


async def test_a_thousand_ingresses_get_their_status_in_ten_seconds(
    cluster: Cluster, published: Controller, pod: Pod
) -> None:
    """Counted from their creation, while traffic is served."""
    began = time.monotonic()
    fill(cluster.emulated.storage, ingresses=1000, endpoints=1, address="127.0.0.1", port=pod.port)
    await published.becomes("host-999.example.com", 200)

    async def all_show() -> bool:
        await asyncio.sleep(0.2)
        found = [each for each in await cluster.objects("Ingress") if each["metadata"]["name"].startswith("bulk-")]
        return len(found) == 1000 and all(each["status"]["loadBalancer"].get("ingress") for each in found)

    await until(all_show, began + 10.0 - time.monotonic(), what="all have a status")


def controller_pod(name: str) -> Json:
    """The Pod in which a controller runs. It stays while it is being deleted, as pods do until their process ended."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{name}-6d8f", "uid": "r", "controller": True}
    metadata: Json = {"name": name, "namespace": CONTROLLER_NAMESPACE, "finalizers": ["tests.example.com/held"]}
    metadata |= {"labels": {"app": name, "pod-template-hash": "6d8f"}, "ownerReferences": [owner]}
    spec = {"containers": [{"name": "controller", "image": "pyngress"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def workload(name: str) -> Json:
    """The Deployment of that Pod."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "controller", "image": "pyngress"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": name, "namespace": CONTROLLER_NAMESPACE}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def test_without_a_service_the_nodes_are_shown(cluster: Cluster, pod: Pod) -> None:
    """The external addresses of the nodes that run our pods, and of no other node."""
    own = CLASS | {"metadata": {"name": "nodes"}, "spec": {"controller": "example.com/nodes"}}
    external = {"node-a": "198.51.100.1", "node-b": "198.51.100.2"}
    for name, address in external.items():
        addresses = [{"type": "InternalIP", "address": "10.0.0.9"}, {"type": "ExternalIP", "address": address}]
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": addresses}}
        await cluster.apply(node)
    running_pod = controller_pod("nodes")
    running_pod["spec"]["nodeName"] = "node-a"
    await cluster.apply(own, running_pod | {"status": {"phase": "Running"}})
    flags = ("--controller-name", "example.com/nodes", "--ingress-class", "nodes", "--election-id", "nodes")
    await publish(cluster, "noded", "noded.example.com", [pod], ingress_class="nodes")
    async with controller(cluster, *flags, name="nodes"):
        await shows(cluster, "noded", "198.51.100.1", within=10.0)


@pytest.mark.parametrize("uninstalled", [False, True])
async def test_given_addresses_are_shown_until_the_controller_is_taken_away(
    cluster: Cluster, pod: Pod, uninstalled: bool
) -> None:
    """``--publish-status-address`` needs no Service; the end of a pod leaves what it wrote, an uninstall removes it."""
    own = CLASS | {"metadata": {"name": "own"}, "spec": {"controller": "example.com/own"}}
    await cluster.apply(own)
    flags = ("--controller-name", "example.com/own", "--ingress-class", "own", "--election-id", "own")
    addresses = ("--publish-status-address", "192.0.2.5", "--publish-status-address", "edge.example.net")
    await publish(cluster, "given", "given.example.com", [pod], ingress_class="own")
    await cluster.apply(controller_pod("own"), workload("own"))
    async with controller(cluster, *flags, *addresses, name="own") as running:

        async def is_shown() -> bool:
            return sorted(await cluster.addresses("given")) == ["192.0.2.5", "edge.example.net"]

        await until(is_shown, what="both are shown")
        if uninstalled:
            await cluster.delete("Deployment", "own", CONTROLLER_NAMESPACE)
        await cluster.delete("Pod", "own", CONTROLLER_NAMESPACE)
        assert await running.terminate() == 0
    assert bool(await cluster.addresses("given")) is not uninstalled
    await cluster.patch("Pod", "own", {"metadata": {"finalizers": None}}, CONTROLLER_NAMESPACE)


async def test_without_update_status_nothing_is_written(cluster: Cluster, pod: Pod) -> None:
    """Traffic is served all the same."""
    quiet = CLASS | {"metadata": {"name": "quiet"}, "spec": {"controller": "example.com/quiet"}}
    await cluster.apply(quiet)
    flags = ("--controller-name", "example.com/quiet", "--ingress-class", "quiet", "--election-id", "quiet")
    await publish(cluster, "quiet", "quiet.example.com", [pod], ingress_class="quiet")
    extra = ("--no-update-status", "--publish-status-address", "192.0.2.5")
    async with controller(cluster, *flags, *extra, name="quiet") as running:
        await running.becomes("quiet.example.com", 200)
        await publish(cluster, "quiet-2", "quiet-2.example.com", [pod], ingress_class="quiet")
        await running.becomes("quiet-2.example.com", 200)
        assert await running.terminate() == 0
    assert await cluster.addresses("quiet") == []
