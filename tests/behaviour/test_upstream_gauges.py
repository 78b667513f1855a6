"""What the metrics say of connections to backends that speak HTTP/2."""

from __future__ import annotations

import asyncio

import msgspec

from proxy.table import Settings
from tests.behaviour.test_upstream_http2 import CLUSTER, multiplexed
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.failing import deaf_port, eventually
from tests.support.http2 import http2_client
from tests.support.http2_backend import Call, http2_backend
from tests.support.proxy import RunningProxy, running_proxy


def connections_of(proxy: RunningProxy) -> tuple[float, float]:
    """Idle ones and used ones, as the metrics say."""
    gauges = proxy.worker.stats().gauges
    return gauges["upstream_idle"], gauges["upstream_active"]


async def test_the_metrics_count_connections_not_requests() -> None:
    """Three requests on one connection use one; after them it is idle, until it is closed for that."""

    async def script(call: Call) -> None:
        await release.wait()
        call.headers(204, end=True)

    release = asyncio.Event()
    settings = Settings(h2c=True, access_log="off", upstream_keepalive_timeout=0.2)
    async with (
        http2_backend(script) as backend,
        running_proxy(multiplexed(backend.port, settings=settings)) as proxy,
        http2_client(proxy) as client,
    ):
        assert connections_of(proxy) == (0, 0)
        streams = [client.ask() for _ in range(3)]
        await eventually(lambda: len(backend.calls) == 3, "all are under way")
        assert (len(backend.connections), connections_of(proxy)) == (1, (0, 1))
        release.set()
        for stream in streams:
            assert (await client.answer(stream)).status == 204
        assert connections_of(proxy) == (1, 0)
        await asyncio.sleep(0.25)
        await proxy.tick()
        assert connections_of(proxy) == (0, 0)


async def test_the_metrics_count_connections_that_are_one_clients() -> None:
    """Behind a PROXY protocol header each request has one of its own, which nobody keeps."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.reader.read()

    async with raw_backend(script) as backend:
        table = multiplexed(backend.port)
        cluster = msgspec.structs.replace(table.clusters[CLUSTER], send_proxy="v1")
        table = msgspec.structs.replace(table, clusters={CLUSTER: cluster})
        async with running_proxy(table) as proxy, http2_client(proxy) as client:
            for _ in range(2):
                client.ask()
            await eventually(lambda: backend.connections == 2, "both are under way")
            assert connections_of(proxy) == (0, 2)


async def test_the_metrics_count_a_connection_that_is_being_made() -> None:
    """One for all who wait for it."""
    with deaf_port() as port:
        async with running_proxy(multiplexed(port)) as proxy, http2_client(proxy) as client:
            for _ in range(3):
                client.ask()
            await eventually(lambda: proxy.worker.runtime.active == 3, "all wait for a connection")
            assert connections_of(proxy) == (0, 1)
