"""``kubectl apply`` is told at once what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.cluster import CONTROLLER_NAMESPACE, Cluster, Refused, until
from tests.support.controller import Controller, controller
from tests.support.pods import Pod
from tests.support.real_apiserver import free_port
from tests.support.rights import chart_arguments, chart_objects
from tests.support.site import ingress_of, publish

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarding(cluster: Cluster) -> AsyncIterator[Controller]:
    """A controller whose webhook the API server asks: the chart's configuration, except that failing means refusing."""
    (hooks,) = chart_objects("default", "ValidatingWebhookConfiguration")
    for hook in hooks["webhooks"]:
        hook["failurePolicy"] = "Fail"
    port = free_port()
    service = hooks["webhooks"][0]["clientConfig"]["service"]
    cluster.emulated.state.webhook_services[service["namespace"], service["name"]] = port
    flags = (*chart_arguments("default", "--webhook-name"), "--webhook-port", str(port))
    await cluster.apply(hooks)
    async with controller(cluster, *flags) as running:
        await until(lambda: _is_guarded(cluster), 10.0, what="the authority is in the configuration")
        yield running


async def _is_guarded(cluster: Cluster) -> bool:
    (hooks,) = await cluster.objects("ValidatingWebhookConfiguration")
    return all(each["clientConfig"].get("caBundle") for each in hooks["webhooks"])


async def test_what_conflicts_is_refused_by_name(cluster: Cluster, guarding: Controller, pod: Pod) -> None:
    """A second Ingress for the same host and path; the message names the first. Edits of the first go through."""
    await publish(cluster, "first", "taken.example.com", [pod])
    await guarding.becomes("taken.example.com", 200)
    with pytest.raises(Refused, match="first") as refused:
        await cluster.create(ingress_of("second", "taken.example.com"))
    assert "ingresses.pyngress.io" in refused.value.status["message"]
    await cluster.patch("Ingress", "first", {"metadata": {"labels": {"a": "b"}}})
    with pytest.raises(Refused):
        await cluster.get("Ingress", "second")


async def test_a_foreign_class_is_none_of_our_business(cluster: Cluster, guarding: Controller) -> None:
    """Whatever an Ingress of another controller says, it passes."""
    foreign = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "foreign"}}
    await cluster.apply(foreign | {"spec": {"controller": "example.com/other"}})
    await cluster.create(ingress_of("foreign", "taken.example.com", ingress_class="foreign"))


async def test_many_reviews_at_once_are_quick(cluster: Cluster, guarding: Controller) -> None:
    """A hundred Ingresses pass in less than three seconds."""
    async with asyncio.timeout(3.0), asyncio.TaskGroup() as tasks:
        for number in range(100):
            tasks.create_task(cluster.create(ingress_of(f"many-{number}", f"many-{number}.example.com")))


async def test_the_secret_of_the_webhook_is_in_our_namespace(cluster: Cluster, guarding: Controller) -> None:
    """So that replicas share it, and a restart changes nothing."""
    (name,) = (each["metadata"]["name"] for each in await cluster.objects("Secret", CONTROLLER_NAMESPACE))
    assert name == "pyngress-admission-webhook"
