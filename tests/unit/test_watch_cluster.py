"""What a cluster holds is told once and whole, and then whatever becomes different, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from ingress.resources import LoadBalancerAddress, Problem
from tests.support.apiserver import ApiServer, api_server, fill, ingress, service, slice_of
from tests.support.apiserver.kinds import resource_of
from tests.support.kube_client import until
from tests.support.watched import FAST, Watched, watched

INGRESS = "networking.k8s.io/v1"
OURS = "pyngress.io/v1alpha1"


def with_status(name: str, host: str, *addresses: str) -> dict[str, Any]:
    shown = [{"ip": address} for address in addresses]
    return ingress(name, host) | {"status": {"loadBalancer": {"ingress": shown}}}


async def test_the_first_changes_are_everything_at_once() -> None:
    """Nobody translates half of a cluster: no change is told before every kind was listed."""
    async with api_server() as server:
        fill(server.storage, ingresses=20, endpoints=2)
        server.put({"apiVersion": INGRESS, "kind": "IngressClass", "metadata": {"name": "c"}, "spec": {}})
        server.put({"apiVersion": OURS, "kind": "Response", "metadata": {"name": "r"}, "spec": {"status": 503}})
        server.faults.fail(500, 2, verb="list", plural="endpointslices")
        async with watched(server, synced=False) as seen:
            assert not seen.is_synced
            await until(lambda: seen.told)
            kinds = {kind for kind, _, _ in seen.objects}
            assert kinds == {"Ingress", "Service", "EndpointSlice", "IngressClass", "Response"}
            assert len(seen.told[0]) == 62
            await seen.synced()
            assert [len(changes) for changes in seen.told[1:]] == [0]
            assert seen.source.unsynced_reason is None


async def test_a_list_is_read_in_pages() -> None:
    """Also with more objects than one page holds."""
    async with api_server() as server:
        for number in range(7):
            server.put(service(f"s{number}"))
        async with watched(server, pace=msgspec.structs.replace(FAST, page=3)) as seen:
            assert len(seen.names("Service")) == 7
            assert len(server.requests(verb="list", plural="services")) == 3


async def test_changes_are_told_as_they_come() -> None:
    """Created, changed and deleted, each by one call."""
    async with api_server() as server, watched(server) as seen:
        server.put(ingress("a", "a.example"))
        await until(lambda: seen.hosts() == {"a": "a.example"})
        server.put(ingress("a", "b.example"))
        await until(lambda: seen.hosts() == {"a": "b.example"})
        server.remove(INGRESS, "Ingress", "a", "default")
        await until(lambda: seen.hosts() == {})
        assert [len(changes) for changes in seen.told[2:]] == [1, 1, 1]


async def test_changes_that_come_together_are_told_together() -> None:
    """A rollout of fifty slices is a call or a few, not fifty."""
    async with api_server() as server, watched(server) as seen:
        before = len(seen.told)
        for number in range(50):
            server.put(slice_of(f"s{number}", ["10.0.0.1"], 80))
        await until(lambda: len(seen.names("EndpointSlice")) == 50)
        assert len(seen.told) - before <= 2


async def test_what_comes_and_goes_before_it_was_told_is_not_told() -> None:
    """Nor what changes and changes back: the differences are to what was told."""
    async with api_server() as server:
        server.put(ingress("a", "a.example"))
        async with watched(server) as seen:
            server.put(ingress("a", "b.example"))
            server.put(ingress("a", "a.example"))
            server.put(ingress("b", "b.example"))
            server.remove(INGRESS, "Ingress", "b", "default")
            server.put(ingress("c", "c.example"))
            await until(lambda: "c" in seen.hosts())
            assert [[change.key[1] for change in changes] for changes in seen.told[2:]] == [["c"]]


async def test_what_is_stored_again_without_a_difference_is_not_told() -> None:
    """A new resourceVersion, other managers of fields and what kubectl notes down change no route."""
    async with api_server() as server, watched(server) as seen:
        server.put(ingress("a", "a.example"))
        await until(lambda: seen.hosts())
        for number in range(3):
            again = ingress("a", "a.example")
            again["metadata"]["managedFields"] = [{"manager": f"m{number}", "operation": "Update"}]
            again["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": f"{{{number}}}"}
            server.put(again)
        await seen.quiet()
        value = seen.objects["Ingress", "default", "a"]
        assert (value.metadata.resource_version, value.metadata.annotations) == ("", {})


async def test_the_addresses_of_an_ingress_are_told_apart() -> None:
    """The status that we write comes back by the watch and must not be translated again; others' changes are heard."""
    async with api_server() as server:
        server.put(with_status("a", "a.example", "192.0.2.1"))
        heard: list[frozenset[tuple[str, str]]] = []
        async with watched(server) as seen:
            key = ("default", "a")
            seen.source.on_addresses(heard.append)
            assert seen.source.ingress_addresses(key) == (LoadBalancerAddress(ip="192.0.2.1"),)
            assert seen.source.ingress_addresses(("default", "none")) == ()
            server.put(with_status("a", "a.example", "192.0.2.2"))
            await until(lambda: heard == [frozenset({key})])
            assert seen.source.ingress_addresses(key) == (LoadBalancerAddress(ip="192.0.2.2"),)
            await seen.quiet()
            server.remove(INGRESS, "Ingress", "a", "default")
            await until(lambda: len(heard) == 2)
            assert seen.source.ingress_addresses(key) == ()


async def test_the_status_of_a_service_is_part_of_it() -> None:
    """Its addresses may be what Ingresses show."""
    async with api_server() as server, watched(server) as seen:
        server.put(service("a"))
        await until(lambda: seen.names("Service") == ["a"])
        server.put(service("a") | {"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}})
        await until(lambda: seen.objects["Service", "default", "a"].status.load_balancer.ingress)


async def test_the_status_of_our_own_kinds_is_no_change() -> None:
    """We write it ourselves."""
    policy = {"apiVersion": OURS, "kind": "TrafficPolicy", "metadata": {"name": "p"}, "spec": {}}
    async with api_server() as server, watched(server) as seen:
        server.put(policy)
        await until(lambda: _problems(seen) or seen.names("TrafficPolicy"))
        server.put(policy | {"status": {"conditions": []}})
        await seen.quiet()


async def test_lists_that_are_null_are_empty() -> None:
    """The API server writes null for the endpoints of a Service without pods."""
    empty = slice_of("a", [], 80) | {"endpoints": None, "ports": None}
    async with api_server() as server, watched(server) as seen:
        server.put(empty)
        await until(lambda: seen.names("EndpointSlice") == ["a-1"])
        assert seen.objects["EndpointSlice", "default", "a-1"].endpoints == ()
        assert _problems(seen) == []


async def test_a_bad_object_is_a_problem_and_stops_no_other() -> None:
    """Neither in a list nor in a watch; when it is repaired, the problem is gone."""
    async with api_server() as server:
        heard: list[None] = []
        _store(server, service("bad") | {"spec": {"ports": "none"}})
        server.put(service("good"))
        async with watched(server) as seen:
            seen.source.on_problems(lambda: heard.append(None))
            assert "good" in seen.names("Service")
            assert [problem.object.name for problem in _problems(seen)] == ["bad"]
            _store(server, service("worse") | {"spec": 5})
            server.put(service("better"))
            await until(lambda: {"good", "better"} <= set(seen.names("Service")))
            await until(lambda: heard)
            assert {problem.object.name for problem in _problems(seen)} == {"bad", "worse"}
            server.remove("v1", "Service", "worse", "default")
            _store(server, service("bad"))
            await until(lambda: _problems(seen) == [])
            assert seen.names("Service") == ["bad", "better", "good"]


async def test_readiness_waits_for_what_the_translation_asks_for() -> None:
    """With a Secret missing, a host would be served with the wrong certificate."""
    async with api_server() as server:
        server.put(service("a"))
        server.faults.fail(500, 3, verb="get", plural="secrets")
        async with watched(server, synced=False) as seen:
            seen.want("s")
            await until(lambda: seen.told)
            assert not seen.is_synced
            assert seen.source.unsynced_reason == "Secret default/s not read yet"
            await seen.synced()


async def test_readiness_says_what_is_missing() -> None:
    """Who looks at /readyz learns which right is missing."""
    async with api_server() as server:
        server.faults.fail(403, 1000, verb="list", plural="services")
        async with watched(server, synced=False) as seen:
            await until(lambda: "Service objects are not listed yet:" in (seen.source.unsynced_reason or ""))
            await asyncio.sleep(0.1)
            assert seen.told == []
            server.faults.clear()
            await seen.synced()


@pytest.mark.alone
async def test_the_age_of_the_state_is_known() -> None:
    """For the metrics: how long nothing was heard."""
    async with api_server(bookmark_interval=0.05) as server, watched(server) as seen:
        await asyncio.sleep(0.2)
        assert seen.source.stalled < 0.15
        server.faults.deaf = True
        await asyncio.sleep(0.3)
        assert seen.source.stalled > 0.2


def _problems(seen: Watched) -> list[Problem]:
    return list(seen.source.problems)


def _store(server: ApiServer, manifest: dict[str, Any]) -> None:
    """Whatever an older server may have let through."""
    resource = resource_of("v1", "Service")
    metadata = {"namespace": "default", "uid": "u", **manifest["metadata"]}
    value = manifest | {"metadata": metadata}
    record = server.storage.find(resource, "default", metadata["name"])
    if record is None:
        server.storage.create(resource, value)
    else:
        server.storage.replace(record, value)
