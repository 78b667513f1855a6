"""From ``kubectl apply`` to curl: every row of the Ingress API's path table, hosts, conflicts, backends."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.apiserver import fill, service, slice_of
from tests.support.cluster import Cluster, until
from tests.support.controller import Controller
from tests.support.pods import Pod, pods
from tests.support.site import backend, ingress_of, publish, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS = [
    ("Prefix /", "/anything/at/all", 0),
    ("Exact /foo", "/foo", 0),
    ("Exact /foo", "/bar", None),
    ("Exact /foo", "/foo/", None),
    ("Exact /foo/", "/foo", None),
    ("Prefix /foo", "/foo", 0),
    ("Prefix /foo", "/foo/", 0),
    ("Prefix /foo/", "/foo", 0),
    ("Prefix /foo/", "/foo/", 0),
    ("Prefix /aaa/bb", "/aaa/bbb", None),
    ("Prefix /aaa/bbb", "/aaa/bbb", 0),
    ("Prefix /aaa/bbb/", "/aaa/bbb", 0),
    ("Prefix /aaa/bbb", "/aaa/bbb/", 0),
    ("Prefix /aaa/bbb", "/aaa/bbb/ccc", 0),
    ("Prefix /aaa/bbb", "/aaa/bbbxyz", None),
    ("Prefix /, Prefix /aaa", "/aaa/ccc", 1),
    ("Prefix /, Prefix /aaa, Prefix /aaa/bbb", "/aaa/bbb", 2),
    ("Prefix /, Prefix /aaa, Prefix /aaa/bbb", "/ccc", 0),
    ("Prefix /aaa", "/ccc", None),
    ("Prefix /foo, Exact /foo", "/foo", 1),
]
LIVE = ("Exact", "/is-it-live", "first")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(cluster: Cluster) -> AsyncIterator[list[Pod]]:
    """Services ``first``, ``second`` and ``third`` in the default namespace, one pod each."""
    names = ("first", "second", "third")
    async with pods(cluster.address, *names) as running:
        for name, each in zip(names, running, strict=True):
            await serve(cluster, name, [each])
        yield running


@pytest.mark.parametrize("row", range(len(ROWS)))
async def test_each_row_of_the_path_table(cluster: Cluster, pyngress: Controller, three: list[Pod], row: int) -> None:
    """The request reaches the path that the API's documentation says, or none."""
    paths, request, winner = ROWS[row]
    host, named = f"row-{row}.example.com", [each.split(" ") for each in paths.split(", ")]
    listed = [(kind, path, three[index].name) for index, (kind, path) in enumerate(named)]
    await cluster.apply(ingress_of(f"row-{row}", host, *listed, LIVE))
    await pyngress.becomes(host, 200, "first", LIVE[1])
    answer = await pyngress.get(host, request)
    expected = (404, None) if winner is None else (200, three[winner].name)
    assert (answer.status, answer.body if answer.status == 200 else None) == expected


async def test_hosts_exact_before_wildcard_before_none(
    cluster: Cluster, pyngress: Controller, three: list[Pod]
) -> None:
    """A wildcard stands for one label; a known host whose paths do not match falls through to nothing else."""
    await cluster.apply(
        ingress_of("exact", "www.hosts.example.com", ("Prefix", "/only", "first")),
        ingress_of("wildcard", "*.hosts.example.com", ("Prefix", "/", "second")),
        ingress_of("hostless", "", ("Prefix", "/for-all", "third")),
    )
    await pyngress.becomes("any.hosts.example.com", 200, "second")
    await pyngress.becomes("elsewhere.example.net", 200, "third", "/for-all")
    await pyngress.becomes("www.hosts.example.com", 200, "first", "/only")
    assert await pyngress.answers("www.hosts.example.com", 404, path="/other")
    assert await pyngress.answers("a.b.hosts.example.com", 404)
    await cluster.delete("Ingress", "hostless")


async def test_the_longest_path_wins_across_ingresses(cluster: Cluster, pyngress: Controller, three: list[Pod]) -> None:
    """Which Ingress brings it does not matter, nor which came first."""
    host = "longest.example.com"
    await cluster.apply(
        ingress_of("longest-a", host, ("Prefix", "/a/b", "second")),
        ingress_of("longest-b", host, ("Prefix", "/a", "first")),
    )
    await pyngress.becomes(host, 200, "first", "/a")
    await pyngress.becomes(host, 200, "second", "/a/b/c")


async def test_the_older_ingress_wins_and_the_younger_inherits(
    cluster: Cluster, pyngress: Controller, three: list[Pod]
) -> None:
    """The loser is told by a Problem that names the winner; it takes over when the winner goes."""
    host = "conflict.example.com"
    await cluster.apply(ingress_of("z-older", host, ("Prefix", "/", "first")))
    await pyngress.becomes(host, 200, "first")
    await asyncio.sleep(1.1)
    await cluster.apply(ingress_of("a-younger", host, ("Prefix", "/", "second")))

    async def is_told() -> bool:
        _, problems = await pyngress.ask("/problems")
        return any("a-younger" in line and "z-older" in line for line in problems.splitlines())

    await until(is_told, what="a Problem of the younger names the older")
    assert await pyngress.answers(host, 200, "first")
    await cluster.delete("Ingress", "z-older")
    await pyngress.becomes(host, 200, "second")


async def test_backends_by_port_name_and_number_headless_and_external(
    cluster: Cluster, pyngress: Controller, pod: Pod
) -> None:
    """Each form of a Service leads to the pod; a name that is local is refused unless the operator allows it."""
    await serve(cluster, "ports", [pod])
    headless = service("headless")
    headless["spec"]["clusterIP"] = "None"
    await cluster.apply(headless, slice_of("headless", [cluster.address], pod.port))
    external = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": pod.port}]}
    await cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "external"}, "spec": external})
    targets = {
        "/name": backend("ports", "http"),
        "/number": backend("ports", 80),
        "/headless": backend("headless", 80),
        "/external": backend("external", pod.port),
    }
    rule = ingress_of("backends", "backends.example.com")
    paths = [{"pathType": "Prefix", "path": path, "backend": target} for path, target in targets.items()]
    rule["spec"]["rules"][0]["http"]["paths"] = paths
    await cluster.apply(rule)
    for path in targets:
        status, body = (503, None) if path == "/external" else (200, "pod")
        await pyngress.becomes("backends.example.com", status, body, path)


async def test_backends_that_are_not_there(cluster: Cluster, pyngress: Controller, pod: Pod) -> None:
    """Missing Service and no endpoints are 503, refused connections 502; one good endpoint is enough; all heal."""
    host = "absent.example.com"
    async with pods(cluster.address, "dead") as (dead,):
        pass
    await serve(cluster, "all-dead", [dead])
    await serve(cluster, "half-dead", [dead, pod])
    await serve(cluster, "empty", [])
    paths = [("Prefix", f"/{name}", name) for name in ("missing", "empty", "all-dead", "half-dead")]
    await cluster.apply(ingress_of("absent", host, *paths))
    await pyngress.becomes(host, 503, path="/missing")
    await pyngress.becomes(host, 503, path="/empty")
    await pyngress.becomes(host, 502, path="/all-dead")
    for _ in range(10):
        assert await pyngress.answers(host, 200, "pod", "/half-dead")
    await serve(cluster, "missing", [pod])
    await serve(cluster, "empty", [pod])
    await pyngress.becomes(host, 200, "pod", "/missing")
    await pyngress.becomes(host, 200, "pod", "/empty")


async def test_a_deleted_ingress_is_gone_and_an_edited_one_is_new(
    cluster: Cluster, pyngress: Controller, pod: Pod
) -> None:
    """The old host answers 404 as soon as the new one is served."""
    await publish(cluster, "moving", "old.example.com", [pod])
    await pyngress.becomes("old.example.com", 200)
    await cluster.apply(ingress_of("moving", "new.example.com"))
    await pyngress.becomes("new.example.com", 200)
    assert await pyngress.answers("old.example.com", 404)
    await cluster.delete("Ingress", "moving")
    await pyngress.becomes("new.example.com", 404)


@pytest.mark.alone
async def test_changes_are_live_at_once_among_a_thousand(cluster: Cluster, pyngress: Controller, pod: Pod) -> None:
    """From the write of an Ingress to its first 200: a tenth of a second in the median, with 1,000 others there."""
    await serve(cluster, "quick", [pod])
    fill(cluster.emulated.storage, ingresses=1000, endpoints=1, address="127.0.0.1", port=pod.port)
    await pyngress.becomes("host-999.example.com", 200, "pod")
    took = []
    for number in range(15):
        await cluster.apply(ingress_of(f"quick-{number}", f"quick-{number}.example.com", ("Prefix", "/", "quick")))
        took.append(await pyngress.becomes(f"quick-{number}.example.com", 200))
    assert statistics.median(took) < 0.1, took
