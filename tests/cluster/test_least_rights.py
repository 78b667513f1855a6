"""The chart's rights are enough, and no request is made beyond them."""

from __future__ import annotations

import pytest

from tests.support.certificates import tls_secret
from tests.support.cluster import CLASS, CONTROLLER_NAMESPACE, LIMITED, Cluster, until
from tests.support.controller import controller
from tests.support.pods import Pod
from tests.support.real_apiserver import free_port
from tests.support.rights import chart_arguments, chart_namespaces, chart_objects, chart_rights
from tests.support.site import ingress_of, publish

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_rights_of_the_chart_are_enough(cluster: Cluster, pod: Pod) -> None:
    """Routes, certificates, status, events and the Lease work; nothing was refused; Secrets are read by name only."""
    for name in chart_namespaces("default"):
        await cluster.add_namespace(name)
    await cluster.apply(*chart_rights("default"), tls_secret("tls", "a.example.com"), tls_secret("private", "b"))
    await publish(cluster, "web", "a.example.com", [pod], tls=[{"hosts": ["a.example.com"], "secretName": "tls"}])
    await cluster.apply(ingress_of("broken", "b.example.com"))
    await cluster.apply(*chart_objects("default", "Service", "Secret", "ValidatingWebhookConfiguration"))
    address = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}}
    await cluster.patch("Service", "pyngress", address, CONTROLLER_NAMESPACE, subresource="status")
    told = ("--publish-service", "--election-id", "--webhook-name", "--ingress-class", "--controller-name")
    flags = (*chart_arguments("default", *told), "--webhook-port", str(free_port()))
    async with controller(cluster, *flags, kubeconfig=cluster.limited_kubeconfig) as pyngress:
        assert (await pyngress.get_tls("a.example.com")).body == "pod"

        async def is_written() -> bool:
            (hooks,) = await cluster.objects("ValidatingWebhookConfiguration")
            authority = hooks["webhooks"][0]["clientConfig"].get("caBundle")
            return bool(authority and await cluster.addresses("web") and await cluster.events("broken"))

        await until(is_written, 10.0, what="status of one, an event of the other, the authority of the webhook")
        await until(lambda: _has_leases(cluster), what="a Lease")
        assert await pyngress.terminate() == 0
    asked = cluster.emulated.requests(user=LIMITED)
    assert [(each.verb, each.plural, each.namespace, each.name) for each in asked if each.code == 403] == []
    assert {each.name for each in asked if each.plural == "secrets"} == {"tls", "pyngress-admission-webhook"}
    written = {each.plural for each in cluster.emulated.requests(user=LIMITED, writes=True)}
    webhook = {"secrets", "validatingwebhookconfigurations"}
    assert written == {"ingresses/status", "events", "leases"} | webhook


async def _has_leases(cluster: Cluster) -> bool:
    return bool(await cluster.objects("Lease", CONTROLLER_NAMESPACE))


async def test_without_a_right_the_rest_works_and_says_so(cluster: Cluster, pod: Pod) -> None:
    """A controller that may not write serves all the same."""
    await cluster.apply(CLASS)
    await publish(cluster, "unwritten", "unwritten.example.com", [pod])
    rules = [each for each in chart_rights("default") if each["kind"] == "ClusterRole"]
    for role in rules:
        role["rules"] = [each for each in role["rules"] if {"get", "list", "watch"} & set(each["verbs"])]
    await cluster.apply(*rules)
    flags = ("--publish-status-address", "192.0.2.9", "--election-id", "pyngress-leader")
    async with controller(cluster, *flags, kubeconfig=cluster.limited_kubeconfig) as pyngress:
        assert await pyngress.answers("unwritten.example.com", 200)
        await until(lambda: bool(pyngress.said("refuses a write")), 10.0, what="the log tells of the missing right")
        assert await pyngress.answers("unwritten.example.com", 200)
    assert await cluster.addresses("unwritten") == []
    await cluster.apply(*chart_rights("default"))
