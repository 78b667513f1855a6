"""Events for Problems: what is told and when, on a fake clock and against an API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from structlog.testing import capture_logs

from ingress.kube import KubeClient
from ingress.report.event_plan import EventPlan, EventText
from ingress.report.events import EventWriter
from ingress.resources import ObjectRef, Problem
from tests.support.apiserver import ApiServer, Rule, User, api_server
from tests.support.kube_client import client_of, until

REF = ObjectRef(kind="Ingress", namespace="default", name="shop")
OTHER = ObjectRef(kind="Ingress", namespace="default", name="other")


def problem(message: str = "no Service shop", *, ref: ObjectRef = REF, field: str = "spec.rules[0]") -> Problem:
    return Problem(object=ref, field=field, reason="ServiceNotFound", message=message)


def uid_of(ref: ObjectRef) -> str:
    return f"uid-{ref.name}"


class Told:
    """A plan on a clock that stands still between steps, and what it wanted written."""

    def __init__(self) -> None:
        self.now = 0.0
        self.plan = EventPlan(now=0.0)

    def show(self, *problems: Problem, served: tuple[ObjectRef, ...] = (REF, OTHER)) -> None:
        self.plan.show(problems, served, uid_of, now=self.now)

    def after(self, seconds: float) -> list[EventText]:
        """What is written from now until then."""
        end = self.now + seconds
        written: list[EventText] = []
        while True:
            again, texts = self.plan.due(self.now)
            if not texts:
                if again > end:
                    self.now = end
                    return written
                assert again > self.now
                self.now = again
            for text in texts:
                assert self.plan.take(text, self.now)
                self.plan.told(text, self.now)
                written.append(text)


def test_a_problem_is_told_once_and_renewed_while_it_lasts() -> None:
    """After a second, then every ten minutes, whatever is shown in between."""
    told = Told()
    told.show(problem())
    assert told.after(0.9) == []
    (text,) = told.after(0.2)
    assert (text.type, text.reason, text.message) == (
        "Warning",
        "ServiceNotFound",
        "spec.rules[0]: no Service shop",
    )
    for _ in range(100):
        told.show(problem())
        assert told.after(5) == []
    assert told.after(101) == [text]


def test_a_problem_of_a_moment_is_not_told() -> None:
    """Gone before it was told: neither it nor its end is news."""
    told = Told()
    told.show(problem())
    told.after(0.5)
    told.show()
    assert told.after(60) == []


def test_the_end_of_a_problem_is_told_once() -> None:
    """A Normal event says what is no longer so; back again, it is told again."""
    told = Told()
    told.show(problem())
    told.after(2)
    told.show()
    (text,) = told.after(60)
    assert (text.type, text.reason, text.message) == (
        "Normal",
        "Resolved",
        "ServiceNotFound no longer: spec.rules[0]: no Service shop",
    )
    told.show(problem())
    assert [each.type for each in told.after(60)] == ["Warning"]


def test_a_problem_with_other_words_is_not_resolved() -> None:
    """The certificate that expires in 12 days instead of 13 is no better."""
    told = Told()
    told.show(problem("expires in 13 days"))
    told.after(2)
    told.show(problem("expires in 12 days"))
    assert [(each.type, each.message) for each in told.after(60)] == [("Warning", "spec.rules[0]: expires in 12 days")]


def test_nothing_is_told_of_what_is_not_ours() -> None:
    """Not of Ingresses of other classes, of Secrets and Services, of objects that are gone, nor when one leaves."""
    told = Told()
    secret = ObjectRef(kind="Secret", namespace="default", name="tls")
    told.show(problem(), problem(ref=secret), served=())
    told.plan.show([problem()], [REF], lambda _: "", now=0.0)
    assert told.after(60) == []
    told.show(problem())
    assert len(told.after(60)) == 1
    told.show(served=())
    assert told.after(60) == []


def test_an_object_made_anew_is_told_anew() -> None:
    """kubectl describe finds Events by the uid."""
    told = Told()
    told.show(problem())
    (first,) = told.after(2)
    told.plan.show([problem()], [REF], lambda _: "another", now=told.now)
    (second,) = told.after(2)
    assert (first.uid, second.uid) == ("uid-shop", "another")
    assert first.name != second.name


def test_one_object_cannot_flood() -> None:
    """A burst of 25, then one in five minutes; another object is not held up by it."""
    told = Told()
    told.show(*(problem(f"no Service {number}") for number in range(60)), problem(ref=OTHER))
    texts = told.after(60)
    assert [sum(text.object == ref for text in texts) for ref in (REF, OTHER)] == [25, 1]
    new = [text for text in told.after(1200) if text.object == REF]
    assert 4 <= len(new) <= 5


def test_what_is_new_goes_before_renewals() -> None:
    """Tokens that are few are not spent on what was told already."""
    told = Told()
    told.show(*(problem(f"no Service {number}") for number in range(25)))
    told.after(700)
    told.show(*(problem(f"no Service {number}") for number in range(25)), problem("new"))
    assert told.after(300)[0].message.endswith("new")


def test_many_objects_are_told_at_a_bounded_rate() -> None:
    """A hundred at once, then five per second."""
    told = Told()
    refs = [ObjectRef(kind="Ingress", namespace="default", name=f"i{number}") for number in range(1000)]
    told.show(*(problem(ref=ref) for ref in refs), served=tuple(refs))
    assert 100 <= len(told.after(1.1)) <= 101
    assert 49 <= len(told.after(10)) <= 51


def test_long_texts_are_cut_between_characters() -> None:
    """The API takes 1,024 bytes."""
    told = Told()
    told.show(problem("ä" * 2000))
    (text,) = told.after(2)
    assert 1020 <= len(text.message.encode()) <= 1024
    assert text.message.endswith("ä…")


# ---- against an API server


@asynccontextmanager
async def running(client: KubeClient, *, renew: float = 600.0) -> AsyncIterator[EventWriter]:
    writer = EventWriter(client, identity="pod-1", settle=0.0, renew=renew)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(writer.run())
        yield writer
        task.cancel()


def events(server: ApiServer, namespace: str = "default") -> list[dict[str, Any]]:
    return server.all("v1", "Event", namespace)


async def test_describe_shows_the_problem(server: ApiServer, client: KubeClient) -> None:
    """The Event names the object as kubectl looks for it."""
    async with running(client) as writer:
        writer.leader(True)
        writer.show([problem()], [REF], uid_of)
        await until(lambda: events(server))
    (event,) = events(server)
    assert event["involvedObject"] == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "namespace": "default",
        "name": "shop",
        "uid": "uid-shop",
    }
    assert (event["type"], event["reason"], event["count"]) == ("Warning", "ServiceNotFound", 1)
    assert event["source"]["component"] == "pyngress"
    assert event["firstTimestamp"] == event["lastTimestamp"]


async def test_an_object_without_namespace_has_its_events_in_default(server: ApiServer, client: KubeClient) -> None:
    """As the API asks for cluster-scoped objects."""
    ref = ObjectRef(kind="IngressClassParameters", name="wide")
    async with running(client) as writer:
        writer.leader(True)
        writer.show([problem(ref=ref)], [], uid_of)
        await until(lambda: events(server))
    (event,) = events(server)
    assert event["involvedObject"] == {
        "apiVersion": "pyngress.io/v1alpha1",
        "kind": "IngressClassParameters",
        "name": "wide",
        "uid": "uid-wide",
    }


async def test_renewals_count_on_the_same_event(server: ApiServer, client: KubeClient) -> None:
    """Also when the Event expired meanwhile: then there is a new one."""
    async with running(client, renew=0.05) as writer:
        writer.leader(True)
        writer.show([problem()], [REF], uid_of)
        await until(lambda: events(server) and events(server)[0]["count"] >= 3)
        (event,) = events(server)
        server.remove("v1", "Event", event["metadata"]["name"], "default")
        await until(lambda: events(server))
        assert events(server)[0]["metadata"]["name"] == event["metadata"]["name"]
    assert writer.errors == 0


async def test_the_next_leader_goes_on_with_the_same_event(server: ApiServer, client: KubeClient) -> None:
    """A follower is silent; when it leads, it finds what was told and repeats nothing."""
    async with running(client) as first, running(client) as second:
        first.leader(True)
        for writer in (first, second):
            writer.show([problem()], [REF], uid_of)
        await until(lambda: first.writes == 1)
        assert second.writes == 0
        first.leader(False)
        second.leader(True)
        await until(lambda: second.writes == 1)
        (event,) = events(server)
        assert event["count"] == 1
        second.show([], [REF], uid_of)
        await until(lambda: len(events(server)) == 2)
        assert {each["type"] for each in events(server)} == {"Warning", "Normal"}


async def test_a_missing_right_is_named_once(server: ApiServer) -> None:
    """403 ends nothing, and is not tried again soon."""
    rule = Rule(verbs=("get",), groups=("*",), resources=("*",))
    async with api_server(users={"t": User(name="u", rules=(rule,))}) as server, client_of(server, token="t") as client:
        with capture_logs() as lines:
            async with running(client) as writer:
                writer.leader(True)
                writer.show([problem(), problem("other")], [REF], uid_of)
                await until(lambda: writer.errors == 2)
                await asyncio.sleep(0.1)
        assert [line["right"] for line in lines] == ["create, patch events"]
        assert writer.errors == 2


async def test_a_server_that_is_away_is_told_later(server: ApiServer, client: KubeClient) -> None:
    """Nothing is lost by it."""
    async with running(client) as writer:
        writer.leader(True)
        await server.stop()
        writer.show([problem()], [REF], uid_of)
        await until(lambda: writer.errors)
        await server.start()
        await until(lambda: events(server))
