"""What ``kubectl describe ingress`` tells: an Event for every Problem, once."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster, Json, until
from tests.support.controller import Controller
from tests.support.pods import Pod
from tests.support.site import ingress_of, publish, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def told(cluster: Cluster, name: str, *words: str) -> list[Json]:
    """Events about an Ingress whose text has all these words, once there are any."""
    found: list[Json] = []

    async def is_told() -> bool:
        found[:] = [
            each for each in await cluster.events(name) if all(word in str(each.get("message")) for word in words)
        ]
        return bool(found)

    await until(is_told, 10.0, what=f"an Event on {name} with {words}")
    return found


async def test_a_missing_service_is_told_on_the_ingress(cluster: Cluster, pyngress: Controller) -> None:
    """With a reason, a source, the object with its uid, so that describe shows it."""
    (ingress,) = await cluster.apply(ingress_of("missing", "missing.example.com"))
    (event,) = await told(cluster, "missing", "missing")
    assert event["type"] == "Warning"
    assert event["reason"]
    assert event["involvedObject"]["uid"] == ingress["metadata"]["uid"]
    assert (event.get("reportingComponent") or event["source"]["component"]).startswith("pyngress")
    assert event["firstTimestamp"] or event["eventTime"]


async def test_the_same_problem_is_not_told_again(cluster: Cluster, pyngress: Controller, pod: Pod) -> None:
    """Changes elsewhere in the cluster, and edits that leave the Problem as it is, make no second Event."""
    await cluster.apply(ingress_of("again", "again.example.com"))
    before = await told(cluster, "again", "again")
    for number in range(5):
        await publish(cluster, f"noise-{number}", f"noise-{number}.example.com", [pod])
        await cluster.patch("Ingress", "again", {"metadata": {"labels": {"edit": str(number)}}})
        await pyngress.becomes(f"noise-{number}.example.com", 200)
    after = await cluster.events("again")
    assert [each["metadata"]["name"] for each in after] == [each["metadata"]["name"] for each in before]


async def test_a_bad_annotation_names_itself(cluster: Cluster, pyngress: Controller, pod: Pod) -> None:
    """The Event says which annotation and what is wrong with it; the route goes on with the default."""
    name = "nginx.ingress.kubernetes.io/proxy-read-timeout"
    await publish(cluster, "annotated", "annotated.example.com", [pod], annotations={name: "soon"})
    await pyngress.becomes("annotated.example.com", 200)
    await told(cluster, "annotated", "soon")


async def test_a_healthy_ingress_has_no_warning(cluster: Cluster, pyngress: Controller, pod: Pod) -> None:
    """Also after a Problem of it was cleared nothing is added."""
    await cluster.apply(ingress_of("healed", "healed.example.com"))
    (warning,) = await told(cluster, "healed", "healed")
    await serve(cluster, "healed", [pod])
    await pyngress.becomes("healed.example.com", 200)
    await publish(cluster, "healthy", "healthy.example.com", [pod])
    await pyngress.becomes("healthy.example.com", 200)
    assert [each for each in await cluster.events("healthy") if each["type"] == "Warning"] == []
    warnings = [each for each in await cluster.events("healed") if each["type"] == "Warning"]
    assert [each["metadata"]["uid"] for each in warnings] == [warning["metadata"]["uid"]]
