"""Status of TrafficPolicies: where each applies, and whether it is valid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from ingress.kube import KubeClient
from ingress.report.policy_status import Condition, PolicyStatus, PolicyStatusWriter, Target, next_status, state_of
from ingress.resources import ObjectMeta, ObjectRef, Problem, TrafficPolicy
from tests.support.apiserver import ApiServer, api_server
from tests.support.kube_client import client_of, until

KEY = ("default", "slow")
REF = ObjectRef(kind="TrafficPolicy", namespace="default", name="slow")
SHOP = ObjectRef(kind="Ingress", namespace="default", name="shop")
CART = ObjectRef(kind="Service", namespace="default", name="cart")
WRONG = Problem(object=REF, field="spec.timeouts.read", reason="InvalidValue", message="is no duration")
ODD = Problem(object=REF, field="", reason="TargetNotFound", message="no Ingress cart", severity="warning")


def test_the_state_follows_from_targets_and_problems() -> None:
    """Errors and the lack of a target make it not accepted; warnings are told."""
    applied = state_of([CART, SHOP], [])
    assert (applied.status, applied.reason, applied.message) == ("True", "Accepted", "applies to 2 objects")
    assert applied.targets == (Target(kind="Ingress", name="shop"), Target(kind="Service", name="cart"))
    assert state_of([SHOP], [ODD]).message == "no Ingress cart"
    assert state_of([SHOP], [ODD]).status == "True"
    wrong = state_of([SHOP], [ODD, WRONG])
    assert (wrong.status, wrong.reason) == ("False", "InvalidValue")
    assert wrong.message == "no Ingress cart; spec.timeouts.read: is no duration"
    assert (state_of([], []).status, state_of([], []).reason) == ("False", "NoTarget")
    many = [ObjectRef(kind="Ingress", namespace="default", name=f"i{number}") for number in range(150)]
    assert (len(state_of(many, []).targets), state_of(many, []).message) == (100, "applies to 150 objects")


def test_the_time_changes_with_the_status_alone() -> None:
    """Another message or generation is written with the old time; the same again is not written."""
    good, bad = state_of([SHOP], []), state_of([SHOP], [WRONG])
    first = next_status(PolicyStatus(), good, generation=1, now="t1")
    assert first is not None
    assert first.conditions[0].last_transition_time == "t1"
    assert next_status(first, good, generation=1, now="t2") is None
    second = next_status(first, good, generation=2, now="t2")
    assert second is not None
    assert (second.conditions[0].observed_generation, second.conditions[0].last_transition_time) == (2, "t1")
    third = next_status(second, bad, generation=2, now="t3")
    assert third is not None
    assert third.conditions[0].last_transition_time == "t3"


def test_conditions_of_others_stay() -> None:
    """A list of conditions is replaced as a whole by a merge patch."""
    other = Condition(type="Audited", status="True", last_transition_time="t0", reason="R", message="m")
    status = next_status(PolicyStatus(conditions=(other,)), state_of([SHOP], []), generation=1, now="t1")
    assert status is not None
    assert [each.type for each in status.conditions] == ["Accepted", "Audited"]


@asynccontextmanager
async def running(client: KubeClient) -> AsyncIterator[PolicyStatusWriter]:
    writer = PolicyStatusWriter(client)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(writer.run())
        yield writer
        task.cancel()


def put(server: ApiServer, read: str = "5s") -> TrafficPolicy:
    spec = {"targetRefs": [{"kind": "Ingress", "name": "shop"}], "timeouts": {"read": read}}
    metadata = {"name": "slow", "namespace": "default"}
    value = server.put(
        {"apiVersion": "pyngress.io/v1alpha1", "kind": "TrafficPolicy", "metadata": metadata, "spec": spec}
    )
    return TrafficPolicy(metadata=ObjectMeta(name="slow", namespace="default", uid=value["metadata"]["uid"]))


def status(server: ApiServer) -> dict[str, Any]:
    value = server.get("pyngress.io/v1alpha1", "TrafficPolicy", "slow", "default")
    assert value is not None
    found: dict[str, Any] = value.get("status", {})
    return found


async def test_the_status_is_written_on_difference_by_the_leader() -> None:
    """Repeating the same costs no request; a status that says so already costs one GET."""
    async with api_server() as server, client_of(server) as client, running(client) as writer:
        policy = put(server)
        writer.update({KEY: policy}, {KEY: (SHOP,)}, [])
        await asyncio.sleep(0.05)
        assert server.requests() == []
        writer.leader(True)
        await until(lambda: status(server))
        assert status(server)["targets"] == [{"kind": "Ingress", "name": "shop"}]
        (condition,) = status(server)["conditions"]
        assert (condition["type"], condition["status"], condition["observedGeneration"]) == ("Accepted", "True", 1)
        await until(lambda: writer.writes == 1)
        count = len(server.requests())
        writer.update({KEY: policy}, {KEY: (SHOP,)}, [])
        await asyncio.sleep(0.05)
        assert len(server.requests()) == count
        writer.leader(False)
        writer.leader(True)
        await until(lambda: len(server.requests()) > count)
        await asyncio.sleep(0.05)
        assert [each.verb for each in server.requests()[count:]] == ["get"]
        writer.update({KEY: policy}, {}, [WRONG])
        await until(lambda: status(server)["conditions"][0]["status"] == "False")
        assert status(server).get("targets", []) == []


async def test_a_new_version_with_the_same_outcome_is_observed() -> None:
    """observedGeneration follows the spec."""
    async with api_server() as server, client_of(server) as client, running(client) as writer:
        writer.leader(True)
        writer.update({KEY: put(server)}, {KEY: (SHOP,)}, [])
        await until(lambda: status(server))
        changed = put(server, "9s")
        changed = msgspec.structs.replace(
            changed, metadata=msgspec.structs.replace(changed.metadata, labels={"seen": "new"})
        )
        writer.update({KEY: changed}, {KEY: (SHOP,)}, [])
        await until(lambda: status(server)["conditions"][0]["observedGeneration"] == 2)


async def test_troubles_are_overcome_and_what_is_gone_is_left_alone() -> None:
    """409 and 500 are tried again; 404 is not."""
    async with api_server() as server, client_of(server) as client, running(client) as writer:
        writer.leader(True)
        server.faults.fail(409, verb="patch", plural="trafficpolicies/status")
        server.faults.fail(500, verb="get", plural="trafficpolicies")
        gone = TrafficPolicy(metadata=ObjectMeta(name="gone", namespace="default"))
        writer.update({KEY: put(server), ("default", "gone"): gone}, {KEY: (SHOP,)}, [])
        await until(lambda: status(server))
        await until(lambda: len(server.requests(verb="get")) == 4)
        await asyncio.sleep(0.1)
        assert writer.errors == 1
        assert len(server.requests(verb="get")) == 4
