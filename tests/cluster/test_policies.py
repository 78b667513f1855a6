"""TrafficPolicies, from the write of the object to what a client sees, and the status that tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.cluster import Cluster, until
from tests.support.sites import SHOP, Sites, running_sites

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(cluster: Cluster) -> AsyncIterator[Sites]:
    """Its Services are ``web`` with one pod and ``three`` with three."""
    async with running_sites(cluster) as running:
        yield running


def policy(name: str, target: str, **spec: Any) -> dict[str, Any]:
    refs = [{"group": "networking.k8s.io", "kind": "Ingress", "name": target}]
    kind = {"apiVersion": "pyngress.io/v1alpha1", "kind": "TrafficPolicy", "metadata": {"name": name}}
    return kind | {"spec": {"targetRefs": refs, **spec}}


async def accepted(cluster: Cluster, name: str) -> tuple[str, str]:
    """Status and reason of the condition; empty where there is none yet."""
    conditions = (await cluster.get("TrafficPolicy", name)).get("status", {}).get("conditions", [])
    return next(((each["status"], each["reason"]) for each in conditions if each["type"] == "Accepted"), ("", ""))


async def becomes_accepted(cluster: Cluster, name: str, status: str, reason: str = "") -> None:
    async def is_so() -> bool:
        found = await accepted(cluster, name)
        return found[0] == status and reason in found[1]

    await until(is_so, 8.0, what=f"{name} is Accepted: {status} {reason}")


async def test_a_policy_does_what_annotations_do(sites: Sites, cluster: Cluster) -> None:
    """One field for each, live without a touch of the Ingress; gone with the policy."""
    name = await sites.add(to="three")
    await cluster.apply(
        policy(
            "all",
            name,
            limits={"bodySize": "1k"},
            access={"allow": ["198.51.100.0/24"], "deny": ["198.51.100.128/25"]},
            cors={"allowOrigins": [SHOP], "maxAge": "1m"},
            rateLimit={"requests": 1, "per": "Hour", "burst": 40, "exempt": ["198.51.100.1"]},
            responseHeaders={"set": [{"name": "X-Frame-Options", "value": "DENY"}]},
            affinity={"cookie": {"name": "stay"}},
        )
    )
    await until(lambda: shows_policy(sites, name), what="the policy is live")
    assert [await sites.put(name, size) for size in (1024, 1025)] == [200, 413]
    clients = ("198.51.100.1", "198.51.100.200", "192.0.2.1")
    assert [(await sites.get(name, client=client)).status for client in clients] == [200, 403, 403]
    preflight = await sites.preflight(name)
    assert (preflight.status, preflight.fields["access-control-max-age"]) == (204, "60")
    assert (await sites.get(name)).fields["set-cookie"].startswith("stay=")
    statuses = await sites.statuses(name, 45, client="198.51.100.2")
    assert (statuses[0], statuses[-1], set(statuses)) == (200, 429, {200, 429})
    await becomes_accepted(cluster, "all", "True")
    assert (await cluster.get("TrafficPolicy", "all"))["status"]["targets"] == [{"kind": "Ingress", "name": name}]
    await cluster.delete("TrafficPolicy", "all")
    await until(lambda: lacks_policy(sites, name), what="the policy is gone")
    assert await sites.put(name, 2000) == 200


async def shows_policy(sites: Sites, name: str) -> bool:
    return (await sites.get(name)).fields.get("x-frame-options") == "DENY"


async def lacks_policy(sites: Sites, name: str) -> bool:
    return not await shows_policy(sites, name)


async def test_an_annotation_goes_before_a_policy(sites: Sites, cluster: Cluster) -> None:
    """Field by field: the annotated limit and list hold, and of the policy what no annotation says."""
    name = await sites.add({"proxy-body-size": "2k", "denylist-source-range": "192.0.2.0/24"})
    await cluster.apply(
        policy(
            "weaker",
            name,
            limits={"bodySize": "1k"},
            access={"allow": ["192.0.2.0/24", "198.51.100.0/24"], "deny": ["198.51.100.0/24"]},
            responseHeaders={"set": [{"name": "X-Frame-Options", "value": "DENY"}]},
        )
    )
    await until(lambda: shows_policy(sites, name), what="the policy is live")
    assert [await sites.put(name, size) for size in (2048, 2049)] == [200, 413]
    clients = ("198.51.100.1", "192.0.2.1", "203.0.113.1")
    assert [(await sites.get(name, client=client)).status for client in clients] == [200, 403, 403]


async def test_a_policy_tells_what_became_of_it(sites: Sites, cluster: Cluster) -> None:
    """Accepted is False with a reason while it is wrong, and its routes are closed; it heals; one without a target."""
    name = await sites.add()
    await cluster.apply(policy("status", name, access={"allow": ["10.0.0.0/40"]}))
    await until(lambda: answers(sites, name, 503), what="the routes are closed")
    await becomes_accepted(cluster, "status", "False")
    await cluster.apply(policy("status", name, access={"allow": ["198.51.100.0/24"]}))
    await until(lambda: answers(sites, name, 200), what="the routes are open")
    await becomes_accepted(cluster, "status", "True", "Accepted")
    conditions = (await cluster.get("TrafficPolicy", "status"))["status"]["conditions"]
    assert (
        conditions[0]["observedGeneration"] == (await cluster.get("TrafficPolicy", "status"))["metadata"]["generation"]
    )
    await cluster.apply(policy("nowhere", "no-such-ingress", limits={"bodySize": 1}))
    await becomes_accepted(cluster, "nowhere", "False", "NoTarget")


async def answers(sites: Sites, name: str, status: int) -> bool:
    return (await sites.get(name)).status == status
