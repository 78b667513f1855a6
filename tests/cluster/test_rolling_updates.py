"""Pods and controllers are replaced under load, and no request fails."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from tests.support.cluster import Cluster
from tests.support.controller import Controller, controller
from tests.support.load import load
from tests.support.pods import Pod, pods, slice_for
from tests.support.site import publish, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "rolling.example.com"


async def show(cluster: Cluster, name: str, running: list[Pod]) -> None:
    """One EndpointSlice per Service lists these pods, each under a port of its own by an own slice."""
    wanted = {each["metadata"]["name"]: each for each in slice_for(name, cluster.address, running)}
    await cluster.apply(*wanted.values())
    label = f"kubernetes.io/service-name={name}"
    for each in await cluster.objects("EndpointSlice", "default", labelSelector=label):
        if each["metadata"]["name"] not in wanted:
            await cluster.delete("EndpointSlice", each["metadata"]["name"])


async def test_pods_that_close_two_seconds_after_they_left(cluster: Cluster, pyngress: Controller) -> None:
    """A Deployment is rolled twice: new pods are listed, old ones leave the slice and close soon after."""
    names = [f"{generation}-{number}" for generation in "abc" for number in range(3)]
    async with pods(cluster.address, *names) as running:
        generations = [running[start : start + 3] for start in (0, 3, 6)]
        await publish(cluster, "rolling", HOST, generations[0])
        await pyngress.becomes(HOST, 200)
        async with load(lambda: pyngress.http, HOST) as counted:
            for old, new in itertools.pairwise(generations):
                for number in range(3):
                    await show(cluster, "rolling", [*new[: number + 1], *old[number + 1 :]])
                    await asyncio.sleep(0.2)
                await asyncio.sleep(2.0)
                for pod in old:
                    await pod.stop()
            await asyncio.sleep(0.3)
        counted.must_be_flawless(at_least=500)
        assert all(counted.answers[pod.name] for pod in running)


async def test_pods_that_die_before_they_leave(cluster: Cluster, pyngress: Controller) -> None:
    """Kept connections end and the port refuses while the slice still lists them: another pod gets the request."""
    async with pods(cluster.address, "stays", "goes-1", "goes-2") as (stays, *others):
        await publish(cluster, "sudden", "sudden.example.com", [stays, *others])
        await pyngress.becomes("sudden.example.com", 200)
        async with load(lambda: pyngress.http, "sudden.example.com") as counted:
            await asyncio.sleep(0.2)
            for pod in others:
                await pod.stop()
                await asyncio.sleep(0.3)
                await cluster.delete("EndpointSlice", f"sudden-{pod.name}")
                await asyncio.sleep(0.1)
        counted.must_be_flawless()


async def test_five_hundred_endpoint_changes_under_load(cluster: Cluster, pyngress: Controller) -> None:
    """In any order, some of them together; the slices are never all empty."""
    chance = random.Random(4)
    async with pods(cluster.address, *(f"p{number}" for number in range(6))) as running:
        await publish(cluster, "churn", "churn.example.com", running)
        await pyngress.becomes("churn.example.com", 200)
        listed = {each["metadata"]["name"]: each for each in slice_for("churn", cluster.address, running)}
        async with load(lambda: pyngress.http, "churn.example.com") as counted:
            present = set(listed)
            for _ in range(500):
                name = chance.choice(sorted(listed))
                if name not in present:
                    await cluster.apply(listed[name])
                    present.add(name)
                elif len(present) > 1:
                    await cluster.delete("EndpointSlice", name)
                    present.discard(name)
        counted.must_be_flawless()


async def test_endpoints_that_are_not_ready_or_terminating(cluster: Cluster, pyngress: Controller) -> None:
    """Not ready: no traffic. Terminating but serving: only while there is nobody else."""
    async with pods(cluster.address, "old", "new") as (old, new):
        await publish(cluster, "conditions", "conditions.example.com", [old, new])
        await pyngress.becomes("conditions.example.com", 200, "new")
        slices = {
            pod.name: value
            for pod, value in zip((old, new), slice_for("conditions", cluster.address, [old, new]), strict=True)
        }
        ending = {"ready": False, "serving": True, "terminating": True}
        starting = {"ready": False, "serving": False, "terminating": False}
        slices["old"]["endpoints"][0]["conditions"] = ending
        await cluster.apply(slices["old"])
        await _only(pyngress, "conditions.example.com", "new")
        slices["new"]["endpoints"][0]["conditions"] = starting
        await cluster.apply(slices["new"])
        await _only(pyngress, "conditions.example.com", "old")


async def _only(pyngress: Controller, host: str, name: str) -> None:
    """Wait until ten answers in a row are of this pod."""
    for _ in range(200):
        if all([await pyngress.answers(host, 200, name) for _ in range(10)]):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"others than {name} still answer")


async def test_a_rolling_restart_of_the_controller(cluster: Cluster) -> None:
    """A new controller is ready before the old one is told to end; who has the old one's connections is served."""
    flags = ("--shutdown-delay", "1", "--election-id", "rolled")
    async with pods(cluster.address, "pod") as (pod,):
        await publish(cluster, "rolled", "rolled.example.com", [pod])
        async with controller(cluster, *flags, name="first") as first:
            serving: list[Controller] = [first]
            await first.becomes("rolled.example.com", 200)
            async with (
                controller(cluster, *flags, name="second") as second,
                load(lambda: random.choice(serving).http, "rolled.example.com") as counted,
            ):
                serving.append(second)
                await asyncio.sleep(0.3)
                first.process.terminate()
                await asyncio.sleep(0.3)  # until the Service hears that the old one is not ready
                serving.remove(first)
                assert await asyncio.wait_for(first.process.wait(), 8.0) == 0
                await asyncio.sleep(0.3)
            counted.must_be_flawless()


async def test_a_service_that_loses_its_last_pod_heals(cluster: Cluster, pyngress: Controller) -> None:
    """503 while there is nobody, 200 as soon as there is somebody."""
    async with pods(cluster.address, "before", "after") as (before, after):
        await publish(cluster, "lonely", "lonely.example.com", [before])
        await pyngress.becomes("lonely.example.com", 200, "before")
        await cluster.delete("EndpointSlice", "lonely-before")
        await pyngress.becomes("lonely.example.com", 503)
        await serve(cluster, "lonely", [after])
        await pyngress.becomes("lonely.example.com", 200, "after")
