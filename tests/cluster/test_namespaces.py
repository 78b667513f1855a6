"""A controller that watches some namespaces only."""

from __future__ import annotations

import pytest

from tests.support.cluster import LIMITED, Cluster
from tests.support.controller import controller
from tests.support.pods import Pod
from tests.support.rights import chart_arguments, chart_namespaces, chart_rights
from tests.support.site import publish

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_watched_namespaces_are_served_with_roles_in_them_only(cluster: Cluster, pod: Pod) -> None:
    """The chart's Roles for two namespaces are enough for these two; a third is neither read nor served.

    Classes belong to no namespace: it is tried to read them, and their Ingresses are known by ``--ingress-class``.
    """
    for name in {*chart_namespaces("namespaced"), "news"}:
        await cluster.add_namespace(name)
    for name in ("shop", "blog", "news"):
        await publish(cluster, "web", f"{name}.example.com", [pod], namespace=name, ingress_class="edge")
    edge = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "edge"}}
    await cluster.apply(edge | {"spec": {"controller": "example.com/edge"}}, *chart_rights("namespaced"))
    told = ("--watch-namespace", "--ingress-class", "--controller-name", "--election-id", "--publish-service")
    flags = chart_arguments("namespaced", *told)
    async with controller(cluster, *flags, kubeconfig=cluster.limited_kubeconfig) as pyngress:
        assert await pyngress.answers("shop.example.com", 200)
        assert await pyngress.answers("blog.example.com", 200)
        assert await pyngress.answers("news.example.com", 404)
        await cluster.delete("Ingress", "web", "shop")
        await pyngress.becomes("shop.example.com", 404)
        _, problems = await pyngress.ask("/problems")
        assert "forbidden" not in problems.lower()
    asked = cluster.emulated.requests(user=LIMITED)
    refused = {(each.plural, each.namespace) for each in asked if each.code == 403}
    assert refused == {("ingressclasses", ""), ("ingressclassparameters", "")}
    assert {each.plural for each in asked if not each.namespace} == {"ingressclasses", "ingressclassparameters"}


async def test_namespaces_are_chosen_by_their_labels(cluster: Cluster, pod: Pod) -> None:
    """A namespace that comes to match is served, one that ceases to is not any more."""
    await cluster.add_namespace("green", team="green")
    await cluster.add_namespace("blue", team="blue")
    for name in ("green", "blue"):
        await publish(cluster, "web", f"web.{name}.example.com", [pod], namespace=name)
    async with controller(cluster, "--watch-namespace-selector", "team in (green, red)") as pyngress:
        assert await pyngress.answers("web.green.example.com", 200)
        assert await pyngress.answers("web.blue.example.com", 404)
        await cluster.add_namespace("blue", team="red")
        await pyngress.becomes("web.blue.example.com", 200)
        await cluster.add_namespace("green", team="yellow")
        await pyngress.becomes("web.green.example.com", 404)
        assert await pyngress.answers("web.blue.example.com", 200)
