"""When the controller is taken away for good: then only do its addresses go."""

from __future__ import annotations

from typing import Any

import pytest

from ingress.kube import KubeError
from ingress.kube.own_pods import Owner, Pod, PodMeta
from ingress.report.uninstalled import is_uninstalled, workload_of
from tests.support.apiserver import ApiServer, Rule, User, api_server
from tests.support.kube_client import client_of

LABELS = {"app": "pyngress", "pod-template-hash": "6d8f"}
HELD = {"finalizers": ["tests/held"]}
"""Marks what is deleted in :func:`fill`, and goes on as long as it is held."""


def pod(name: str, *, ending: bool = True, phase: str = "Running", owner: str = "ReplicaSet", **labels: str) -> Any:
    owners = {
        "ReplicaSet": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "pyngress-6d8f", "uid": "r"},
        "DaemonSet": {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "pyngress", "uid": "d"},
        "Job": {"apiVersion": "batch/v1", "kind": "Job", "name": "pyngress", "uid": "j"},
    }
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "labels": LABELS | labels}
    if owner:
        metadata["ownerReferences"] = [owners[owner] | {"controller": True}]
    if ending:
        metadata |= HELD
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": phase},
    }


def workload(kind: str, *, replicas: int | None = None, ending: bool = False) -> Any:
    metadata: dict[str, Any] = {"name": "pyngress", "namespace": "default"}
    if ending:
        metadata |= HELD
    template = {"metadata": {"labels": {"app": "pyngress"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "pyngress"}}, "template": template}
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}


CASES: dict[str, tuple[list[Any], bool]] = {
    "deleted Deployment": ([pod("a"), pod("b")], True),
    "Deployment that is being deleted": ([pod("a"), workload("Deployment", replicas=2, ending=True)], True),
    "Deployment of no replicas": ([pod("a"), workload("Deployment", replicas=0)], True),
    "rolling update with one replica": ([pod("a"), workload("Deployment", replicas=1)], False),
    "rolling update with another that goes on": (
        [pod("a"), pod("b", ending=False, **{"pod-template-hash": "new"}), workload("Deployment", replicas=0)],
        False,
    ),
    "another that is only starting": ([pod("a"), pod("b", ending=False, phase="Pending")], False),
    "another that failed": ([pod("a"), pod("b", ending=False, phase="Failed")], True),
    "restart of the container": ([pod("a", ending=False)], False),
    "pods of something else go on": ([pod("a"), pod("b", ending=False, app="shop")], True),
    "deleted DaemonSet": ([pod("a", owner="DaemonSet")], True),
    "rolling update of a DaemonSet": ([pod("a", owner="DaemonSet"), workload("DaemonSet")], False),
    "pod by itself": ([pod("a", owner="")], True),
    "owner that we do not know": ([pod("a", owner="Job")], False),
}


def fill(server: ApiServer, objects: list[Any]) -> None:
    """Those that something holds are being deleted."""
    for value in objects:
        server.put(value)
        if "finalizers" in value["metadata"]:
            server.remove(value["apiVersion"], value["kind"], value["metadata"]["name"], "default")


@pytest.mark.parametrize("name", CASES)
async def test_only_the_end_of_the_last_one_is_the_end(name: str) -> None:
    """Neither updates, restarts nor drained nodes take an address away."""
    objects, expected = CASES[name]
    async with api_server() as server, client_of(server) as client:
        fill(server, objects)
        assert await is_uninstalled(client, namespace="default", name="a") is expected


async def test_what_may_not_be_read_is_an_error() -> None:
    """So that the caller keeps the addresses."""
    rule = Rule(verbs=("get", "list"), resources=("pods",))
    users = {"t": User(name="u", rules=(rule,))}
    async with api_server(users=users) as server, client_of(server, token="t") as client:
        fill(server, [pod("a")])
        with pytest.raises(KubeError, match="deployments"):
            await is_uninstalled(client, namespace="default", name="a")


def test_a_replica_set_by_itself_is_its_own_workload() -> None:
    """Its name does not end in a hash of the pod."""
    owner = Owner(kind="ReplicaSet", name="mine", controller=True)
    assert workload_of(Pod(metadata=PodMeta(labels={"app": "x"}, owner_references=(owner,)))) == owner
