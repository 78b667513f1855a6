"""Endpoints that fail and clients that leave, as they look from outside and in the access log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.clients import ask, get, half_close, read_reply, reset, silent
from tests.support.cluster import Cluster, until
from tests.support.controller import Controller, controller
from tests.support.pods import Pod, pods
from tests.support.site import publish, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUTS = [("pyngress.io", "300ms"), ("nginx.ingress.kubernetes.io", "1")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pyngress(cluster: Cluster) -> AsyncIterator[Controller]:
    """A ready controller whose access log is read."""
    async with controller(cluster, access_log=True) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dead(cluster: Cluster) -> Pod:
    """A pod whose port refuses connections."""
    async with pods(cluster.address, "dead") as (gone,):
        pass
    return gone


async def endpoints(pyngress: Controller, name: str, count: int) -> bool:
    """Whether the worker knows so many endpoints of a Service."""
    cluster = (await pyngress.table())["clusters"].get(f"default/{name}:80", {})
    return len(cluster.get("endpoints", ())) == count and await pyngress.caught_up()


class Silent:
    """A script that reads requests and never answers; ``left`` counts connections that ended meanwhile."""

    def __init__(self) -> None:
        self.left = 0

    async def __call__(self, conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            backend.heads.append(head)
        self.left += 1


async def test_another_endpoint_answers_for_one_that_refuses(
    cluster: Cluster, pyngress: Controller, dead: Pod, pod: Pod
) -> None:
    """Every request gets its answer; the log tells both endpoints of one that was tried twice."""
    host = "half.example.com"
    await publish(cluster, "half", host, [pod])
    await pyngress.becomes(host, 200, "pod")
    await serve(cluster, "half", [dead])
    await until(partial(endpoints, pyngress, "half", 2), what="both endpoints are known")
    for _ in range(10):
        assert (await ask(pyngress, get("/counted", host=host))).body == b"pod"
    lines = await pyngress.accessed(host, "/counted", 10)
    assert {line["status"] for line in lines} == {200}
    (tried_twice,) = (line for line in lines if line["retries"])
    both = ", ".join(f"{cluster.address}:{each.port}" for each in (dead, pod))
    assert (tried_twice["upstream_addr"], tried_twice["upstream_status"]) == (both, "-, 200")


async def test_another_endpoint_answers_for_one_that_breaks_off(
    cluster: Cluster, pyngress: Controller, pod: Pod
) -> None:
    """A GET that was cut before its answer is sent again; a POST is not, as it may have been carried out."""

    async def breaks_off(conversation: Conversation, backend: Backend) -> None:
        backend.heads.append(await conversation.read_head())
        conversation.reset()

    host = "broken.example.com"
    async with raw_backend(breaks_off, address=cluster.address, name="broken") as broken:
        await publish(cluster, "broken", host, [pod])
        await publish(cluster, "only-broken", f"only.{host}", [broken])
        await pyngress.becomes(host, 200, "pod")
        await pyngress.becomes(f"only.{host}", 502)
        before = len(broken.heads)
        assert (await ask(pyngress, get(host=f"only.{host}", method="POST"))).status == 502
        assert len(broken.heads) == before + 1
        await serve(cluster, "broken", [broken])
        await until(partial(endpoints, pyngress, "broken", 2), what="both endpoints are known")
        for _ in range(4):
            assert (await ask(pyngress, get(host=host))).body == b"pod"
        assert len(broken.heads) == before + 2


async def test_all_endpoints_refuse(cluster: Cluster, pyngress: Controller, dead: Pod) -> None:
    """502, and the log says what was tried."""
    host = "dead.example.com"
    await publish(cluster, "dead", host, [dead])
    await pyngress.becomes(host, 502)
    assert (await ask(pyngress, get("/last", host=host))).status == 502
    (line,) = await pyngress.accessed(host, "/last")
    assert (line["status"], line["service"], line["port"]) == (502, "dead", "80")
    assert line["upstream_addr"].startswith(f"{cluster.address}:{dead.port}")
    assert line["error"]


async def test_an_endpoint_that_does_not_answer_in_time(cluster: Cluster, pyngress: Controller) -> None:
    """504 after the read timeout of the annotation, or of a TrafficPolicy; without either the client waits on."""
    policy = {"apiVersion": "pyngress.io/v1alpha1", "kind": "TrafficPolicy", "metadata": {"name": "hurried"}}
    target = {"kind": "Ingress", "name": "by-policy"}
    await cluster.apply(policy | {"spec": {"targetRefs": [target], "timeouts": {"read": "300ms"}}})
    hosts = [f"{name}.slow.example.com" for name in ("ours", "nginx", "policy", "patient")]
    async with raw_backend(Silent(), address=cluster.address, name="mute") as mute:
        ours, nginx = ({f"{prefix}/proxy-read-timeout": value} for prefix, value in TIMEOUTS)
        await publish(cluster, "by-ours", hosts[0], [mute], annotations=ours)
        await publish(cluster, "by-nginx", hosts[1], [mute], annotations=nginx)
        await publish(cluster, "by-policy", hosts[2], [mute])
        await publish(cluster, "patient", hosts[3], [mute])
        for name in ("by-ours", "by-nginx", "by-policy", "patient"):
            await until(partial(endpoints, pyngress, name, 1), what=f"{name} is live")
        patient = await pyngress.connect()
        patient.send(get(host=hosts[3]))
        replies = await asyncio.gather(*(ask(pyngress, get(host=host, method="POST")) for host in hosts[:3]))
        assert [reply.status for reply in replies] == [504] * 3
        assert await silent(patient)
        patient.close()
    (line,) = await pyngress.accessed(hosts[2])
    assert (line["status"], line["error"]) == (504, "UpstreamTimeout")
    assert 0.3 <= line["duration"] < 3


@pytest.mark.parametrize("way", ["reset", "close over TLS"])
async def test_a_client_that_leaves_is_a_499(cluster: Cluster, pyngress: Controller, way: str) -> None:
    """Nobody waits for the answer any more: the connection to the endpoint ends too, and the log has the status."""
    host = f"{way.partition(' ')[0]}.leaving.example.com"
    mute = Silent()
    async with raw_backend(mute, address=cluster.address, name="waits") as waits:
        name = f"leaving-{way[:5]}"
        await publish(cluster, name, host, [waits])
        await until(partial(endpoints, pyngress, name, 1), what="the host is live")
        client = await pyngress.connect(tls_name=host if "TLS" in way else None)
        client.send(get(host=host))
        await until(lambda: bool(waits.heads), what="the endpoint has the request")
        if way == "reset":
            reset(client)
        else:
            client.writer.close()
        await until(lambda: mute.left == 1, what="the endpoint is let go")
    (line,) = await pyngress.accessed(host)
    assert (line["status"], line["error"], line["response_bytes"]) == (499, "ClientGone", 0)
    assert line["ingress"] == name
    client.close()


async def test_a_client_that_ends_its_own_direction_still_gets_its_answer(
    cluster: Cluster, pyngress: Controller, pod: Pod
) -> None:
    """A half-close behind a whole request is no hang-up: 200 at the client and in the log."""
    host = "half-closed.example.com"
    await publish(cluster, "half-closed", host, [pod])
    await pyngress.becomes(host, 200, "pod")
    client = await pyngress.connect()
    client.send(get("/half", host=host))
    half_close(client)
    assert (await read_reply(client)).body == b"pod"
    client.close()
    assert [line["status"] for line in await pyngress.accessed(host, "/half")] == [200]
