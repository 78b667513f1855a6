"""What goes wrong between a controller and its API server, and what traffic sees of it: nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.apiserver import ApiServer
from tests.support.cluster import Cluster, until
from tests.support.controller import Controller, controller
from tests.support.load import load
from tests.support.pods import Pod
from tests.support.site import ingress_of, publish, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quick(cluster: Cluster) -> AsyncIterator[Controller]:
    """A controller with short clocks and two workers."""
    async with controller(cluster, "--workers", "2", quick=True) as running:
        yield running


async def test_the_api_server_killed_and_back(cluster: Cluster, quick: Controller, pod: Pod) -> None:
    """Traffic goes on without one failure, the controller stays ready, and what changed meanwhile is live after."""
    await publish(cluster, "steady", "steady.example.com", [pod])
    await quick.becomes("steady.example.com", 200)
    async with load(lambda: quick.http, "steady.example.com") as running:
        await cluster.server.stop()
        if isinstance(cluster.server, ApiServer):
            cluster.server.put(ingress_of("meanwhile", "meanwhile.example.com", ("Prefix", "/", "steady")))
        await asyncio.sleep(2.0)
        assert await quick.is_ready()
        await cluster.server.start()
        await cluster.apply(ingress_of("after", "after.example.com", ("Prefix", "/", "steady")))
        await until(lambda: quick.answers("after.example.com", 200), 10.0, what="the later change is live")
        if isinstance(cluster.server, ApiServer):
            await quick.becomes("meanwhile.example.com", 200)
    running.must_be_flawless()


async def test_a_stalled_watch_is_given_up(cluster: Cluster, quick: Controller, pod: Pod) -> None:
    """No byte for the inactivity limit: the watch is opened anew, and nothing that happened meanwhile is missed."""
    await publish(cluster, "stalled", "stalled.example.com", [pod])
    await quick.becomes("stalled.example.com", 200)
    cluster.emulated.stall_watches()
    await cluster.apply(ingress_of("stalled", "unstalled.example.com"))
    assert await quick.answers("stalled.example.com", 200)
    await until(lambda: quick.answers("unstalled.example.com", 200), 10.0, what="the change is live")
    assert await quick.answers("stalled.example.com", 404)


async def test_cut_watches_go_on_where_they_were(cluster: Cluster, quick: Controller, pod: Pod) -> None:
    """Five times in a row; no new list is asked for."""
    await serve(cluster, "cut", [pod])
    lists = len(cluster.emulated.requests(verb="list", plural="ingresses"))
    for number in range(5):
        cluster.emulated.drop_connections()
        await cluster.apply(ingress_of("cut", f"cut-{number}.example.com", ("Prefix", "/", "cut")))
        await quick.becomes(f"cut-{number}.example.com", 200)
    assert len(cluster.emulated.requests(verb="list", plural="ingresses")) == lists


async def test_compaction_is_a_new_list_without_a_gap(cluster: Cluster, quick: Controller, pod: Pod) -> None:
    """410 as an event in the stream: what was deleted meanwhile is gone, everything else was served throughout."""
    await publish(cluster, "kept", "kept.example.com", [pod])
    await publish(cluster, "deleted", "deleted.example.com", [pod])
    await quick.becomes("kept.example.com", 200)
    await quick.becomes("deleted.example.com", 200)
    server = cluster.emulated
    async with load(lambda: quick.http, "kept.example.com") as running:
        await server.stop()
        server.remove("networking.k8s.io/v1", "Ingress", "deleted", "default")
        server.put(ingress_of("created", "created.example.com", ("Prefix", "/", "kept")))
        server.compact()
        await server.start()
        await until(lambda: quick.answers("created.example.com", 200), 10.0, what="the new one is live")
        await until(lambda: quick.answers("deleted.example.com", 404), what="the old one is gone")
        server.expire_watches()
        await cluster.apply(ingress_of("created", "again.example.com", ("Prefix", "/", "kept")))
        await until(lambda: quick.answers("again.example.com", 200), 10.0, what="live after 410 in the stream")
        server.faults.gone_as_http = True
        server.drop_connections()
        server.compact()
        await cluster.apply(ingress_of("created", "third.example.com", ("Prefix", "/", "kept")))
        await until(lambda: quick.answers("third.example.com", 200), 10.0, what="live after 410 as an answer")
    server.faults.clear()
    running.must_be_flawless()


async def test_events_twice_and_late_change_nothing_else(cluster: Cluster, quick: Controller, pod: Pod) -> None:
    """The last state wins whatever the stream repeats."""
    faults = cluster.emulated.faults
    faults.duplicate_events, faults.event_delay = True, 0.2
    await publish(cluster, "twice", "twice.example.com", [pod])
    for number in range(5):
        await cluster.apply(ingress_of("twice", f"twice-{number}.example.com"))
    await quick.becomes("twice-4.example.com", 200)
    await cluster.delete("Ingress", "twice")
    await quick.becomes("twice-4.example.com", 404)
    faults.clear()


async def test_a_server_that_refuses_lists_is_asked_again(cluster: Cluster, pod: Pod) -> None:
    """Overloaded at the start (429, 500, slow): ready later, and not before everything is known."""
    faults = cluster.emulated.faults
    await publish(cluster, "patient", "patient.example.com", [pod])
    faults.fail(429, 1, verb="list", plural="ingresses", retry_after=1)
    faults.fail(500, 2, verb="list", plural="services")
    faults.fail(503, 1, verb="list", plural="endpointslices")
    faults.list_delay = 0.2
    async with controller(cluster, name="patient", quick=True) as patient:
        assert await patient.answers("patient.example.com", 200, "pod")
    faults.clear()


async def test_not_ready_before_everything_is_known(cluster: Cluster, pod: Pod) -> None:
    """While lists are on their way /readyz says what is missing; at the first 200 every host answers."""
    await publish(cluster, "early", "early.example.com", [pod])
    cluster.emulated.faults.list_delay = 1.0
    async with controller(cluster, name="early", wait=False) as early:
        await until(lambda: _says_why(early), 10.0, what="/readyz answers 503 with a reason")
        await until(early.is_ready, 15.0, what="ready")
        assert await early.answers("early.example.com", 200, "pod")
    cluster.emulated.faults.clear()


async def _says_why(pyngress: Controller) -> bool:
    if not pyngress.admin:
        return False
    status, text = await pyngress.ask("/readyz")
    return status == 503 and bool(text.strip())


async def test_an_api_server_that_is_away_at_the_start(cluster: Cluster, pod: Pod) -> None:
    """The controller waits for it, not ready, and does not end."""
    await publish(cluster, "waiting", "waiting.example.com", [pod])
    await cluster.server.stop()
    async with controller(cluster, name="waiting", quick=True, wait=False) as waiting:
        await asyncio.sleep(2.0)
        assert waiting.process.returncode is None
        assert not await waiting.is_ready()
        await cluster.server.start()
        await until(waiting.is_ready, 15.0, what="ready")
        assert await waiting.answers("waiting.example.com", 200)


async def test_a_killed_worker_is_back_with_the_newest_table(cluster: Cluster, quick: Controller, pod: Pod) -> None:
    """What changed while it was dead is served by its successor."""
    await publish(cluster, "reborn", "reborn.example.com", [pod])
    await quick.becomes("reborn.example.com", 200)
    victim = quick.kill_worker()
    await cluster.apply(ingress_of("reborn", "newborn.example.com"))
    await until(lambda: len(quick.workers()) == 2 and victim not in quick.workers(), 5.0, what="two workers again")
    await quick.becomes("newborn.example.com", 200)
    for _ in range(20):
        assert await quick.answers("newborn.example.com", 200)
        assert await quick.answers("reborn.example.com", 404)
    with pytest.raises(ProcessLookupError):
        os.kill(victim, 0)


async def test_objects_of_a_wrong_shape_stop_nothing(cluster: Cluster, quick: Controller, pod: Pod) -> None:
    """What no API server would have let in becomes a Problem; its neighbours are live at once."""
    broken = ingress_of("misshapen", "misshapen.example.com")
    broken["spec"]["rules"] = "none"
    cluster.emulated.put(broken)
    await publish(cluster, "neighbour", "neighbour.example.com", [pod])
    await quick.becomes("neighbour.example.com", 200)

    async def is_told() -> bool:
        return "misshapen" in (await quick.ask("/problems"))[1]

    await until(is_told, what="a Problem names it")
