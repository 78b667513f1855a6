"""Which Ingresses are ours."""

from __future__ import annotations

import pytest

from tests.support.cluster import CLASS, Cluster, until
from tests.support.controller import Controller, controller
from tests.support.pods import Pod
from tests.support.site import ingress_of, publish

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEGACY = "kubernetes.io/ingress.class"
DEFAULT = "ingressclass.kubernetes.io/is-default-class"


def ingress_class(name: str, controller_name: str, **annotations: str) -> dict[str, object]:
    metadata = {"name": name, "annotations": annotations}
    return CLASS | {"metadata": metadata, "spec": {"controller": controller_name}}


async def test_only_classes_of_our_controller_are_served(cluster: Cluster, pyngress: Controller, pod: Pod) -> None:
    """By the field, by the old annotation, by any class that names our controller; never another's, nor class-less."""
    await cluster.apply(
        ingress_class("other", "example.com/other"), ingress_class("second", "pyngress.io/ingress-controller")
    )
    await publish(cluster, "foreign", "foreign.example.com", [pod], ingress_class="other")
    await publish(cluster, "classless", "classless.example.com", [pod], ingress_class=None)
    await publish(cluster, "legacy", "legacy.example.com", [pod], ingress_class=None, annotations={LEGACY: "pyngress"})
    await publish(cluster, "ours", "ours.example.com", [pod])
    await publish(cluster, "second", "second.example.com", [pod], ingress_class="second")
    for host in ("ours", "second", "legacy"):
        await pyngress.becomes(f"{host}.example.com", 200)
    for host in ("foreign", "classless"):
        assert await pyngress.answers(f"{host}.example.com", 404)


async def test_an_ingress_that_leaves_our_class_is_no_longer_served(
    cluster: Cluster, pyngress: Controller, pod: Pod
) -> None:
    """And is served again when it comes back; a class that is deleted takes its Ingresses along."""
    await cluster.apply(ingress_class("elsewhere", "example.com/other"))
    await publish(cluster, "leaving", "leaving.example.com", [pod])
    await pyngress.becomes("leaving.example.com", 200)
    await cluster.patch("Ingress", "leaving", {"spec": {"ingressClassName": "elsewhere"}})
    await pyngress.becomes("leaving.example.com", 404)
    await cluster.patch("Ingress", "leaving", {"spec": {"ingressClassName": "pyngress"}})
    await pyngress.becomes("leaving.example.com", 200)
    await cluster.apply(ingress_class("passing", "pyngress.io/ingress-controller"))
    await publish(cluster, "passing", "passing.example.com", [pod], ingress_class="passing")
    await pyngress.becomes("passing.example.com", 200)
    await cluster.delete("IngressClass", "passing")
    await pyngress.becomes("passing.example.com", 404)


async def test_the_default_class_takes_new_ingresses_without_a_class(
    cluster: Cluster, pyngress: Controller, pod: Pod
) -> None:
    """The API server writes the class into them, and we serve it."""
    await cluster.apply(ingress_class("standard", "pyngress.io/ingress-controller", **{DEFAULT: "true"}))
    await publish(cluster, "plain", "plain.example.com", [pod], ingress_class=None)
    assert (await cluster.get("Ingress", "plain"))["spec"]["ingressClassName"] == "standard"
    await pyngress.becomes("plain.example.com", 200)
    await cluster.delete("IngressClass", "standard")


async def test_two_controllers_side_by_side(cluster: Cluster, pyngress: Controller, pod: Pod) -> None:
    """Each serves the Ingresses of its own class, told apart by the name of the controller."""
    flags = ("--controller-name", "example.com/internal", "--ingress-class", "internal", "--election-id", "internal")
    await cluster.apply(ingress_class("internal", "example.com/internal"))
    async with controller(cluster, *flags, name="internal") as internal:
        await publish(cluster, "inside", "inside.example.com", [pod], ingress_class="internal")
        await publish(cluster, "outside", "outside.example.com", [pod])
        await internal.becomes("inside.example.com", 200)
        await pyngress.becomes("outside.example.com", 200)
        assert await internal.answers("outside.example.com", 404)
        assert await pyngress.answers("inside.example.com", 404)


async def test_parameters_of_the_class_give_its_default_backend(
    cluster: Cluster, pyngress: Controller, pod: Pod
) -> None:
    """``IngressClass.spec.parameters`` names our CRD; a change of it is live without a restart."""
    await publish(cluster, "fallback", "fallback.example.com", [pod])
    service = {"namespace": "default", "name": "fallback", "port": 80}
    parameters = {"apiVersion": "pyngress.io/v1alpha1", "kind": "IngressClassParameters"}
    reference = {"apiGroup": "pyngress.io", "kind": "IngressClassParameters", "name": "settings"}
    await cluster.apply(parameters | {"metadata": {"name": "settings"}, "spec": {"defaultBackend": service}})
    assert await pyngress.answers("nobody.example.com", 404)
    await cluster.patch("IngressClass", "pyngress", {"spec": {"parameters": reference}})
    await pyngress.becomes("nobody.example.com", 200, "pod")
    await cluster.patch("IngressClassParameters", "settings", {"spec": {"defaultBackend": None}})
    await pyngress.becomes("nobody.example.com", 404)


async def test_a_response_object_answers_without_a_pod(cluster: Cluster, pyngress: Controller) -> None:
    """``backend.resource`` names our CRD ``Response``; it may come after the Ingress, which says so until then."""
    page = {"apiVersion": "pyngress.io/v1alpha1", "kind": "Response", "metadata": {"name": "page"}}
    rule = ingress_of("resource", "resource.example.com")
    reference = {"apiGroup": "pyngress.io", "kind": "Response", "name": "page"}
    rule["spec"]["rules"][0]["http"]["paths"][0]["backend"] = {"resource": reference}
    await cluster.apply(rule)
    await pyngress.becomes("resource.example.com", 503)
    await cluster.apply(page | {"spec": {"status": 418, "body": "short and stout"}})
    await pyngress.becomes("resource.example.com", 418, "short and stout")

    async def no_problems() -> bool:
        return "resource" not in (await pyngress.ask("/problems"))[1]

    await until(no_problems, what="the Problem is cleared")
