"""One replica leads: decisions on a fake clock, and elections against an API server."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from ingress.kube import KubeClient
from ingress.report.election import LeaderElection
from ingress.report.lease import Lease, LeaseSpec, Sighting, Step, decide, released, renewed, sighted, taken
from tests.support.apiserver import ApiServer, Rule, User, api_server
from tests.support.kube_client import client_of, until

AT = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
QUICK: dict[str, Any] = {"lease_duration": 1, "renew_deadline": 0.6, "retry_period": 0.1}


def lease(holder: str | None, **spec: Any) -> Lease:
    return Lease(spec=LeaseSpec(holder_identity=holder, **({"lease_duration_seconds": 15} | spec)))


@pytest.mark.parametrize(
    ("known", "since", "step"),
    [
        (None, 0.0, "create"),
        (lease("me"), 99.9, "renew"),
        (lease("me"), 0.0, "renew"),
        (lease("other"), 86.0, "wait"),
        (lease("other"), 85.0, "take"),
        (lease("other", lease_duration_seconds=60), 41.0, "wait"),
        (lease("other", lease_duration_seconds=None), 85.0, "take"),
        (lease(""), 100.0, "take"),
        (lease(None), 100.0, "take"),
    ],
)
def test_the_step_follows_from_the_holder_and_how_long_nothing_changed(
    known: Lease | None, since: float, step: Step
) -> None:
    """Ours is renewed, a free or silent one taken, another's left alone for as long as it says."""
    sighting = None if known is None else Sighting(lease=known, since=since)
    assert decide(sighting, identity="me", now=100.0) == step


def test_silence_is_counted_from_when_we_saw_the_last_change() -> None:
    """A renew time far in the past or future changes nothing; a new version starts the count again."""
    old = lease("other", renew_time="1999-01-01T00:00:00.000000Z")
    first = sighted(None, old, 50.0)
    assert decide(first, identity="me", now=64.9) == "wait"
    assert sighted(first, msgspec.structs.replace(old), 60.0).since == 50.0
    changed = sighted(first, lease("other", renew_time="2099-01-01T00:00:00.000000Z"), 60.0)
    assert (changed.since, decide(changed, identity="me", now=74.0)) == (60.0, "wait")
    assert decide(changed, identity="me", now=75.0) == "take"


def test_what_is_written_keeps_the_version_and_counts_the_holders() -> None:
    """A renewal keeps the time of the takeover; a takeover counts; a release names nobody for one second."""
    known = msgspec.convert(
        {
            "metadata": {"resourceVersion": "7"},
            "spec": {"holderIdentity": "other", "acquireTime": "then", "leaseTransitions": 3},
        },
        Lease,
    )
    kept = renewed("ns", "name", known, identity="me", at=AT, duration=15)
    assert kept["metadata"] == {"name": "name", "namespace": "ns", "resourceVersion": "7"}
    assert kept["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": "then",
        "renewTime": "2026-01-02T03:04:05.000006Z",
        "leaseTransitions": 3,
    }
    took = taken("ns", "name", known, identity="me", at=AT, duration=15)["spec"]
    assert (took["leaseTransitions"], took["acquireTime"]) == (4, "2026-01-02T03:04:05.000006Z")
    gone = released("ns", "name", known, at=AT)["spec"]
    assert (gone["holderIdentity"], gone["leaseDurationSeconds"], gone["leaseTransitions"]) == ("", 1, 3)


def test_times_that_let_two_lead_are_refused() -> None:
    """The renewals must end before the lease does."""
    with pytest.raises(ValueError, match="two replicas lead"):
        LeaderElection(None, namespace="a", name="b", identity="c", renew_deadline=15.0)  # type: ignore[arg-type]


class Replica:
    """An election that runs, and what it said."""

    def __init__(self, client: KubeClient, identity: str, **more: Any) -> None:
        self.heard: list[bool] = []
        self.election = LeaderElection(
            client,
            namespace="default",
            name="pyngress-leader",
            identity=identity,
            on_change=self.heard.append,
            **(QUICK | more),
        )

    @property
    def leads(self) -> bool:
        return self.election.is_leader


@asynccontextmanager
async def running(*replicas: Replica) -> AsyncIterator[list[asyncio.Task[None]]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(replica.election.run()) for replica in replicas]
        yield tasks
        for task in tasks:
            task.cancel()


def stored(server: ApiServer) -> dict[str, Any]:
    found = server.get("coordination.k8s.io/v1", "Lease", "pyngress-leader", "default")
    assert found is not None
    spec: dict[str, Any] = found["spec"]
    return spec


async def test_one_of_several_leads_and_stays(server: ApiServer, client: KubeClient) -> None:
    """Three start together; one leads through many renewals, and says so once."""
    replicas = [Replica(client, name) for name in "abc"]
    async with running(*replicas):
        await until(lambda: any(each.leads for each in replicas))
        for _ in range(100):
            assert sum(each.leads for each in replicas) == 1
            await asyncio.sleep(0.015)
        first = next(each for each in replicas if each.leads)
        assert first.heard == [True]
        assert stored(server)["holderIdentity"] == first.election.holder
        assert stored(server)["leaseTransitions"] == 0


async def test_a_released_lease_is_taken_at_the_next_look(server: ApiServer, client: KubeClient) -> None:
    """Shutdown empties the holder, so that another leads long before the lease would have run out."""
    first, second = (Replica(client, name, lease_duration=15) for name in "ab")
    async with running(first) as (task,):
        await until(lambda: first.leads)
        async with running(second):
            await asyncio.sleep(0.2)
            assert not second.leads
            first.election.stop()
            await task
            assert first.heard == [True, False]
            await until(lambda: second.leads, seconds=1.0)
    assert stored(server)["leaseTransitions"] == 1


@pytest.mark.alone
async def test_a_dead_leader_is_followed_after_the_lease_time(server: ApiServer, client: KubeClient) -> None:
    """One that is gone without a word is waited for as long as its lease says, and no longer."""
    first, second = Replica(client, "a"), Replica(client, "b")
    async with running(first):
        await until(lambda: first.leads)
    loop = asyncio.get_running_loop()
    died = loop.time()
    async with running(second):
        await until(lambda: second.leads)
        assert 0.85 < loop.time() - died < 1.8


@pytest.mark.alone
async def test_a_leader_that_cannot_renew_stops_before_the_lease_ends(server: ApiServer, client: KubeClient) -> None:
    """With the server away the lead is lost at the renew deadline; with it back somebody leads again."""
    replica = Replica(client, "a")
    async with running(replica):
        await until(lambda: replica.leads)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await server.stop()
        await until(lambda: not replica.leads)
        assert replica.heard == [True, False]
        assert loop.time() - began < 1.0
        await server.start()
        await until(lambda: replica.leads)


async def test_a_lease_that_another_took_ends_the_lead(server: ApiServer, client: KubeClient) -> None:
    """The conflict of the next renewal is read up, and the newcomer respected."""
    replica = Replica(client, "a")
    async with running(replica):
        await until(lambda: replica.leads)
        server.put(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": "pyngress-leader", "namespace": "default"},
                "spec": {"holderIdentity": "thief", "leaseDurationSeconds": 60},
            }
        )
        await until(lambda: not replica.leads, seconds=0.5)
        assert replica.election.holder == "thief"


async def test_a_deleted_lease_is_made_anew(server: ApiServer, client: KubeClient) -> None:
    """The leader goes on leading."""
    replica = Replica(client, "a")
    async with running(replica):
        await until(lambda: replica.leads)
        server.remove("coordination.k8s.io/v1", "Lease", "pyngress-leader", "default")
        await asyncio.sleep(0.4)
        assert replica.heard == [True]
        assert stored(server)["holderIdentity"] == "a"


async def test_short_refusals_do_not_end_the_lead(server: ApiServer, client: KubeClient) -> None:
    """429, 500 and 409 are tried again within the deadline."""
    replica = Replica(client, "a")
    async with running(replica):
        await until(lambda: replica.leads)
        for code in (500, 409, 503):
            server.faults.fail(code, verb="update", plural="leases")
            await asyncio.sleep(0.25)
        assert replica.heard == [True]
        assert replica.election.errors == 2


async def test_without_the_right_nobody_leads_and_one_line_says_why() -> None:
    """403 is no crash; the missing right is named once."""
    users = {"poor": User(name="poor", rules=(Rule(verbs=("get",), groups=("*",), resources=("leases",)),))}
    async with api_server(users=users) as server, client_of(server, token="poor") as client:
        replica = Replica(client, "a")
        with capture_logs() as lines:
            async with running(replica):
                await until(lambda: replica.election.errors >= 3)
        assert replica.heard == []
        assert [line["right"] for line in lines] == ["get, create, update leases.coordination.k8s.io"]


async def test_without_an_election_it_leads_at_once(server: ApiServer, client: KubeClient) -> None:
    """No Lease is read or written."""
    replica = Replica(client, "a", enabled=False)
    async with running(replica) as (task,):
        await until(lambda: replica.leads)
        replica.election.stop()
        await task
    assert replica.heard == [True, False]
    assert server.requests() == []


async def test_a_process_that_slept_knows_that_it_leads_no_more(client: KubeClient) -> None:
    """The own clock decides, before any request is answered."""
    now = 0.0
    replica = Replica(client, "a", clock=lambda: now)
    async with running(replica):
        await until(lambda: replica.leads)
        now = 1.5
        assert not replica.leads
