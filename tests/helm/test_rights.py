"""Every right that the chart asks for, as a table. A new line in it is a decision."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.rendering import VALUES, objects, render, render_values
from tests.support.tools import tool

Right = tuple[str, str, tuple[str, ...], tuple[str, ...]]
"""Role and namespace (``*``: of the cluster), resource, names (none: all), verbs."""

READ = ("get", "list", "watch")
SERVED: dict[str, tuple[str, ...]] = {
    "configmaps": ("get", "watch"),
    "endpointslices.discovery.k8s.io": READ,
    "events": ("create", "patch"),
    "ingresses.networking.k8s.io": READ,
    "ingresses.networking.k8s.io/status": ("patch",),
    "responses.pyngress.io": READ,
    "services": READ,
    "trafficpolicies.pyngress.io": READ,
    "trafficpolicies.pyngress.io/status": ("patch",),
}
OF_THE_CLUSTER: dict[str, tuple[str, ...]] = {
    "ingressclasses.networking.k8s.io": READ,
    "ingressclassparameters.pyngress.io": READ,
}
WEBHOOK = "validatingwebhookconfigurations.admissionregistration.k8s.io"
LEASES = "leases.coordination.k8s.io"


@pytest.fixture(autouse=True)
def _helm() -> None:
    tool("helm")


def rights(manifests: str) -> set[Right]:
    found = set()
    for role in objects(manifests, "ClusterRole", "Role"):
        place = role["metadata"].get("namespace", "*")
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    base, _, sub = resource.partition("/")
                    name = base + (f".{group}" if group else "") + (f"/{sub}" if sub else "")
                    found.add((place, name, tuple(rule.get("resourceNames", ())), tuple(rule["verbs"])))
    return found


def _all(place: str, table: dict[str, tuple[str, ...]]) -> set[Right]:
    return {(place, resource, (), verbs) for resource, verbs in table.items()}


def _election(name: str) -> set[Right]:
    return {
        ("ingress", LEASES, (f"{name}-leader",), ("get", "update")),
        ("ingress", LEASES, (), ("create",)),
    }


def _status(name: str, kind: str = "deployments") -> set[Right]:
    """To tell the end of a pod from the end of the controller."""
    return {("ingress", "pods", (), ("get", "list")), ("ingress", f"{kind}.apps", (name,), ("get",))}


OWN_WEBHOOK: set[Right] = {
    ("*", WEBHOOK, ("pyngress-admission",), ("get", "patch")),
    ("ingress", "secrets", ("pyngress-admission-webhook",), ("get", "update")),
}
SECRETS: set[Right] = {("*", "secrets", (), ("get", "watch"))}
NODES: set[Right] = {("*", "nodes", (), ("get",))}


def test_rights_as_the_chart_comes() -> None:
    """Secrets cannot be listed or made, nodes not seen, and nothing but statuses, Events and own objects written."""
    expected = _all("*", SERVED) | _all("*", OF_THE_CLUSTER) | _election("pyngress") | _status("pyngress")
    expected |= OWN_WEBHOOK | SECRETS
    assert rights(render(VALUES / "default.yaml")) == expected


def test_rights_with_the_addresses_of_nodes() -> None:
    """Where no Service is published, nodes are read."""
    expected = _all("*", SERVED) | _all("*", OF_THE_CLUSTER) | _election("pyngress") | _status("pyngress", "daemonsets")
    expected |= OWN_WEBHOOK | SECRETS | NODES
    assert rights(render(VALUES / "host-network.yaml")) == expected


def test_rights_in_named_namespaces_alone() -> None:
    """No right reaches beyond the served namespaces, but for the default certificate's and the published Service's."""
    named = {"services": READ, "endpointslices.discovery.k8s.io": READ}
    expected = (
        _all("shop", SERVED) | _all("blog", SERVED) | _all("ingress", named) | _election("edge") | _status("edge")
    )
    expected |= {(place, "secrets", (), ("get",)) for place in ("shop", "blog", "certificates")}
    assert rights(render(VALUES / "namespaced.yaml")) == expected


@pytest.mark.parametrize(
    ("values", "more", "fewer"),
    [
        (
            {"controller": {"scope": {"enabled": True, "namespaceSelector": "a=b"}}},
            {("*", "namespaces", (), ("list", "watch"))},
            set(),
        ),
        ({"controller": {"admissionWebhooks": {"enabled": False}}}, set(), OWN_WEBHOOK),
        ({"controller": {"leaderElection": False}}, set(), _election("pyngress")),
        (
            {"controller": {"updateStatus": False}},
            set(),
            {("*", name, (), verbs) for name, verbs in SERVED.items() if name.endswith("/status")}
            | _status("pyngress"),
        ),
        ({"controller": {"service": {"enabled": False}}}, NODES, set()),
        ({"rbac": {"secrets": {"namespaces": ["tls"]}}}, {("tls", "secrets", (), ("get", "watch"))}, SECRETS),
    ],
    ids=["namespace selector", "no webhook", "no election", "no status", "no Service", "Secrets of one namespace"],
)
def test_each_value_moves_its_own_rights_only(values: dict[str, Any], more: set[Right], fewer: set[Right]) -> None:
    """What is turned off takes its rights along; what is turned on brings no others."""
    usual = rights(render(VALUES / "default.yaml"))
    assert rights(render_values(values)) == (usual | more) - fewer


def test_nothing_is_asked_for_without_rbac() -> None:
    """With rbac.create off somebody else makes the roles."""
    assert objects(render_values({"rbac": {"create": False}}), "Role", "ClusterRole", "RoleBinding") == []
