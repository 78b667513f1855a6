"""Of several controllers all serve and one writes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import pytest

from tests.support.cluster import CONTROLLER_NAMESPACE, Cluster, until
from tests.support.controller import controller
from tests.support.pods import Pod
from tests.support.site import publish

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def holder(cluster: Cluster, lease: str) -> str:
    """Who holds the Lease; empty: nobody."""
    for each in await cluster.objects("Lease", CONTROLLER_NAMESPACE):
        if each["metadata"]["name"] == lease:
            return each["spec"].get("holderIdentity") or ""
    return ""


def holds(cluster: Cluster, lease: str, name: str) -> Callable[[], Awaitable[bool]]:
    """A question for ``until``."""

    async def is_held() -> bool:
        return name in await holder(cluster, lease)

    return is_held


async def test_one_writes_and_all_serve(cluster: Cluster, pod: Pod) -> None:
    """Each Ingress gets its status once, from the holder of the Lease."""
    flags = ("--election-id", "pair", "--publish-status-address", "192.0.2.1")
    async with controller(cluster, *flags, name="a", quick=True) as first:
        await until(holds(cluster, "pair", "a"), what="the first leads")
        async with controller(cluster, *flags, name="b", quick=True) as second:
            await publish(cluster, "pair", "pair.example.com", [pod])
            await first.becomes("pair.example.com", 200)
            await second.becomes("pair.example.com", 200)

            async def is_written() -> bool:
                return await cluster.addresses("pair") == ["192.0.2.1"]

            await until(is_written, what="the status is written")
            assert "a" in await holder(cluster, "pair")
            written = cluster.emulated.requests(plural="ingresses/status")
            assert [each.name for each in written] == ["pair"]


async def test_the_other_takes_over_when_the_leader_dies(cluster: Cluster, pod: Pod) -> None:
    """Within the time of the Lease, not before it; then it writes what the dead one did not."""
    flags = ("--election-id", "death", "--publish-status-address", "192.0.2.2")
    async with (
        controller(cluster, *flags, name="c", quick=True) as leader,
        controller(cluster, *flags, name="d", quick=True, wait=False) as follower,
    ):
        await until(follower.is_ready, 15.0, what="the second is ready")
        await until(lambda: _is_held(cluster, "death"), what="one leads")
        if "d" in await holder(cluster, "death"):
            leader, follower = follower, leader
        await leader.kill()
        died_at = time.monotonic()
        await publish(cluster, "orphan", "orphan.example.com", [pod])
        await follower.becomes("orphan.example.com", 200)
        await until(holds(cluster, "death", follower.name), 8.0, what="the other leads")
        assert time.monotonic() - died_at > 1.0

        async def is_written() -> bool:
            return await cluster.addresses("orphan") == ["192.0.2.2"]

        await until(is_written, what="the new leader writes")


async def _is_held(cluster: Cluster, lease: str) -> bool:
    return bool(await holder(cluster, lease))


async def test_a_leader_that_ends_in_order_hands_over_at_once(cluster: Cluster) -> None:
    """The Lease is released, so the next does not wait for its end; the default clocks here, 15 seconds."""
    async with (
        controller(cluster, "--election-id", "handover", name="e") as leader,
        controller(cluster, "--election-id", "handover", name="f") as follower,
    ):
        await until(lambda: _is_held(cluster, "handover"), what="one leads")
        if "f" in await holder(cluster, "handover"):
            leader, follower = follower, leader
        assert await leader.terminate() == 0
        await until(holds(cluster, "handover", follower.name), 6.0, what="the other leads")


async def test_without_election_no_lease_is_asked_for(cluster: Cluster, pod: Pod) -> None:
    """A single replica writes from the start."""
    flags = ("--no-leader-election", "--election-id", "none", "--publish-status-address", "192.0.2.3")
    await publish(cluster, "single", "single.example.com", [pod])
    async with controller(cluster, *flags, name="g"):

        async def is_written() -> bool:
            return await cluster.addresses("single") == ["192.0.2.3"]

        await until(is_written, what="the status is written")
    assert not await _is_held(cluster, "none")
