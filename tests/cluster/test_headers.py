"""What a pod is told about its client, and whom the controller believes about it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.clients import ask, get, parse_request
from tests.support.cluster import Cluster, until
from tests.support.controller import Controller, controller
from tests.support.pods import Pod
from tests.support.proxy import RawClient
from tests.support.site import publish

pytestmark = pytest.mark.asyncio(loop_scope="module")

SITE = "headers.example.com"
LIES = (
    "X-Forwarded-For: 6.6.6.6",
    "X-Real-IP: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example.org",
    "X-Forwarded-Port: 666",
    "X-Original-URL: /admin",
    "Forwarded: for=6.6.6.6;proto=https",
)
"""Of a client that would be somebody else."""
HONEST = {
    "x-forwarded-for": "127.0.0.1",
    "x-real-ip": "127.0.0.1",
    "x-forwarded-proto": "http",
    "x-forwarded-host": SITE,
    "x-forwarded-port": "80",
}
BELIEVED = {
    "x-forwarded-for": "6.6.6.6, 127.0.0.1",
    "x-real-ip": "6.6.6.6",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "evil.example.org",
    "x-forwarded-port": "666",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(cluster: Cluster, pyngress: Controller, pod: Pod) -> AsyncIterator[Controller]:
    """A controller that serves :data:`SITE`."""
    await publish(cluster, "headers", SITE, [pod])
    await pyngress.becomes(SITE, 200)
    yield pyngress


class Secure:
    """Connections to a controller over TLS."""

    def __init__(self, running: Controller) -> None:
        self._running = running

    async def connect(self) -> RawClient:
        return await self._running.connect(tls_name=SITE)


async def told(running: Controller | Secure, pod: Pod, *fields: str, host: str = SITE) -> dict[str, str]:
    """What the pod reads when a client sends these fields."""
    assert (await ask(running, get("/", *fields, host=host))).status == 200
    return parse_request(pod.heads[-1]).fields


def shown(fields: dict[str, str], expected: dict[str, str]) -> dict[str, str | None]:
    return {name: fields.get(name) for name in expected}


async def test_a_pod_is_told_its_client(site: Controller, pod: Pod) -> None:
    """Address, scheme and host as they are seen, the port that the scheme has outside; Host is what was asked for."""
    fields = await told(site, pod, host=f"{SITE}:8080")
    assert shown(fields, HONEST) == HONEST | {"x-forwarded-host": f"{SITE}:8080"}
    assert fields["host"] == f"{SITE}:8080"
    fields = await told(Secure(site), pod)
    assert shown(fields, HONEST) == HONEST | {"x-forwarded-proto": "https", "x-forwarded-port": "443"}


async def test_each_request_has_an_id(site: Controller, pod: Pod) -> None:
    """A new one each time, unless the client brought one that is harmless."""
    first, second = [(await told(site, pod))["x-request-id"] for _ in range(2)]
    assert first != second
    assert len(first) == len(second) == 32
    assert (await told(site, pod, "X-Request-ID: abc-1"))["x-request-id"] == "abc-1"
    assert len((await told(site, pod, 'X-Request-ID: "; drop'))["x-request-id"]) == 32


async def test_a_client_cannot_speak_for_a_proxy(site: Controller, pod: Pod) -> None:
    """What it claims about itself is overwritten or dropped, in any spelling."""
    fields = await told(site, pod, *LIES, "X_Forwarded_For: 6.6.6.6", "Connection: X-Real-IP")
    assert shown(fields, HONEST) == HONEST
    assert not {"x-original-url", "forwarded", "x_forwarded_for"} & fields.keys()


async def test_what_ends_at_a_hop_ends_here(site: Controller, pod: Pod) -> None:
    """Proxy (httpoxy), fields of the connection and those that Connection names are dropped."""
    hop = (
        "Keep-Alive: timeout=5",
        "TE: trailers, gzip",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eA==",
    )
    fields = await told(site, pod, "Proxy: http://evil.example.org", *hop, "Connection: X-Hop", "X-Hop: 1", "X-End: 1")
    assert fields["x-end"] == "1"
    assert not {"proxy", "keep-alive", "proxy-connection", "proxy-authorization", "x-hop"} & fields.keys()
    assert (fields["te"], fields["connection"]) == ("trailers", "TE")


async def test_a_proxy_in_a_trusted_range_is_believed(cluster: Cluster, site: Controller, pod: Pod) -> None:
    """``--trusted-proxies``: the chain is kept and extended by the peer, scheme, host and port are passed on."""
    async with controller(cluster, "--trusted-proxies", "127.0.0.0/8", name="trusting") as trusting:
        fields = await told(trusting, pod, *LIES)
        assert shown(fields, BELIEVED) == BELIEVED
        assert fields["host"] == SITE
        assert not {"x-original-url", "forwarded"} & fields.keys()
    async with controller(cluster, "--trusted-proxies", "192.0.2.0/24", name="distant") as distant:
        assert shown(await told(distant, pod, *LIES), HONEST) == HONEST


async def test_the_parameters_of_the_class_say_whom_to_trust(cluster: Cluster, site: Controller, pod: Pod) -> None:
    """``trustedProxies`` is live without a restart, on new connections; taken away, nobody is believed."""
    parameters = {"apiVersion": "pyngress.io/v1alpha1", "kind": "IngressClassParameters", "metadata": {"name": "trust"}}
    reference = {"apiGroup": "pyngress.io", "kind": "IngressClassParameters", "name": "trust"}
    await cluster.apply(parameters | {"spec": {"trustedProxies": ["127.0.0.0/8"]}})
    await cluster.patch("IngressClass", "pyngress", {"spec": {"parameters": reference}})

    async def is_told(expected: dict[str, str]) -> bool:
        return shown(await told(site, pod, *LIES), expected) == expected

    await until(lambda: is_told(BELIEVED), what="the peer is believed")
    await cluster.patch("IngressClassParameters", "trust", {"spec": {"trustedProxies": None}})
    await until(lambda: is_told(HONEST), what="the peer is no longer believed")
