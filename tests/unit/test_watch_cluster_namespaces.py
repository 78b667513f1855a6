"""Some namespaces only: by name or by label, with Roles in place of ClusterRoles."""

from __future__ import annotations

from typing import Any

from ingress.options import ServiceRef
from tests.support.apiserver import ApiServer, Rule, User, api_server, ingress, service, slice_of
from tests.support.kube_client import until
from tests.support.watched import watched

GROUPS = ("", "networking.k8s.io", "discovery.k8s.io", "pyngress.io")
KINDS = ("ingresses", "services", "endpointslices", "secrets", "responses", "trafficpolicies")


def role(*namespaces: str) -> Rule:
    return Rule(verbs=("get", "list", "watch"), groups=GROUPS, resources=KINDS, namespaces=namespaces)


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def fill(server: ApiServer, *names: str) -> None:
    for name in names:
        server.put(namespace(name))
        server.put(service("s", namespace=name))
        server.put(ingress("i", f"{name}.example", namespace=name))


async def test_named_namespaces_are_read_and_no_others() -> None:
    """With Roles in them alone: what is cluster-scoped is refused, and that is no obstacle to readiness."""
    async with api_server(users={"t": User(name="u", rules=(role("a", "b"),))}) as server:
        fill(server, "a", "b", "c")
        async with watched(server, token="t", watch_namespaces=("a", "b")) as seen:
            assert seen.names("Ingress") == ["a/i", "b/i"]
            server.put(service("t", namespace="b"))
            server.put(service("t", namespace="c"))
            await until(lambda: seen.names("Service") == ["a/s", "b/s", "b/t"])
            paths = {each.namespace for each in server.requests(verb="list", plural="ingresses")}
            assert paths == {"a", "b"}


async def test_namespaces_join_and_leave_by_their_labels() -> None:
    """With its label a namespace loses its routes, and gets them back with it."""
    async with api_server() as server:
        fill(server, "a", "b")
        server.put(namespace("a", team="x"))
        async with watched(server, watch_namespace_selector="team=x") as seen:
            assert seen.names("Ingress") == ["a/i"]
            server.put(namespace("b", team="x"))
            await until(lambda: seen.names("Ingress") == ["a/i", "b/i"])
            server.put(namespace("a", team="y"))
            await until(lambda: seen.names("Ingress") == ["b/i"])
            assert seen.names("Service") == ["b/s"]
            await until(lambda: {each._namespace for each in server.state.watches} == {"", "b"})
            server.put(service("t", namespace="a"))
            await seen.quiet()
            server.put(namespace("a", team="x"))
            await until(lambda: seen.names("Service") == ["a/s", "a/t", "b/s"])
            assert seen.is_synced


async def test_problems_of_a_namespace_leave_with_it() -> None:
    """They are nobody's any more."""
    async with api_server() as server:
        fill(server, "a")
        server.put(namespace("a", team="x"))
        async with watched(server, watch_namespace_selector="team=x") as seen:
            bad = server.get("v1", "Service", "s", "a")
            assert bad is not None
            for watch in server.state.watches:
                if watch.resource.plural == "services":
                    watch._pending.append(
                        b'{"type":"MODIFIED","object":{"metadata":{"namespace":"a","name":"s"},"spec":5}}\n'
                    )
                    watch._wake.set()
            await until(lambda: seen.source.problems)
            server.put(namespace("a"))
            await until(lambda: seen.source.problems == ())


async def test_no_namespace_with_the_label_is_no_obstacle() -> None:
    """There may be none yet."""
    async with api_server() as server, watched(server, watch_namespace_selector="team in (x, y)") as seen:
        assert seen.names("Ingress") == []
        fill(server, "a")
        server.put(namespace("a", team="y"))
        await until(lambda: seen.names("Ingress") == ["a/i"])


async def test_names_and_labels_together_both_count() -> None:
    """Both narrow what is watched."""
    async with api_server() as server:
        for name in ("a", "b", "c"):
            fill(server, name)
        server.put(namespace("a", team="x"))
        server.put(namespace("b", team="x"))
        async with watched(server, watch_namespaces=("b", "c"), watch_namespace_selector="team=x") as seen:
            assert seen.names("Ingress") == ["b/i"]


async def test_without_the_right_to_see_namespaces_the_selector_cannot_work() -> None:
    """Not ready, and the reason says what to grant: otherwise it would be ready with no host at all."""
    async with api_server(users={"t": User(name="u", rules=(role("*"),))}) as server:
        fill(server, "a")
        async with watched(server, token="t", watch_namespace_selector="team=x", synced=False) as seen:
            await until(lambda: "Namespace objects are not listed yet:" in (seen.source.unsynced_reason or ""))
            assert not seen.is_synced


async def test_the_default_backend_may_be_elsewhere() -> None:
    """Its Service and slices are read in its own namespace, and nothing else there."""
    async with api_server() as server:
        fill(server, "a", "system")
        server.put(slice_of("s", ["10.0.0.1"], 80, namespace="system"))
        backend = ServiceRef(namespace="system", name="s", port="80")
        async with watched(server, watch_namespaces=("a",), default_backend=backend) as seen:
            assert seen.names("Service") == ["a/s", "system/s"]
            assert seen.names("EndpointSlice") == ["system/s-1"]
            assert seen.names("Ingress") == ["a/i"]
