"""A thousand calls of gRPC at the same time, and what becomes of them that one connection does not hold."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from proxy.engine.exchange import Exchange
from proxy.http2 import Limits
from proxy.table import Settings, Table
from proxy.upstream.http2_stream import UpstreamStream
from tests.support.failing import eventually, quiet
from tests.support.process import ProxyProcess, proxy_process
from tests.support.proxy import HOST, RunningProxy, one_route, running_proxy

CHANNELS, CALLS_PER_CHANNEL = 10, 100
CALLS = CHANNELS * CALLS_PER_CHANNEL
ROUNDS = 3
"""Messages each way on each call."""
METHOD = "/test.Service/Both"
HELD = 16 * 1024
"""Bytes of a worker that one open call may take, with its share of the connections."""
KEPT = 3 * 1024 * 1024
"""Bytes that a worker may grow by from one thousand of calls to the next: what allocators do."""


class Echo(grpc.GenericRpcHandler):
    """Each message of a call comes back at once."""

    def __init__(self) -> None:
        self.active = 0
        self.most = 0
        self.peers: set[str] = set()
        """The connections on which calls came."""

    def service(self, details: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(self.both)

    async def both(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        self.active += 1
        self.most = max(self.most, self.active)
        self.peers.add(context.peer())
        async for message in requests:
            yield message
        self.active -= 1


@asynccontextmanager
async def echoing(most_streams: int | None = None) -> AsyncIterator[tuple[Echo, Table]]:
    """A server that takes so many streams on a connection, and the table of a proxy before it."""
    service = Echo()
    options = [] if most_streams is None else [("grpc.max_concurrent_streams", most_streams)]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield service, one_route([port], protocol="http2", settings=Settings(h2c=True, access_log="off"))
    await server.stop(0)


def channel_to(proxy: ProxyProcess | RunningProxy) -> grpc.aio.Channel:
    """A channel with a connection that it shares with no other."""
    options = [("grpc.default_authority", HOST), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}", options=options)


async def say(call: Any, word: bytes) -> None:
    """One message there and back."""
    await call.write(word)
    assert await call.read() == word


async def end(call: Any) -> None:
    """The call ends as it should."""
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def a_thousand(proxy: ProxyProcess, service: Echo) -> int:
    """A thousand calls, all open while each says its words; the bytes that the worker held meanwhile."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel_to(proxy)) for _ in range(CHANNELS)]
        calls = [channel.stream_stream(METHOD)() for channel in channels for _ in range(CALLS_PER_CHANNEL)]
        for turn in range(ROUNDS):
            await asyncio.gather(*(say(call, b"%d" % turn) for call in calls))
            assert service.active == CALLS
        held = proxy.resident()
        await asyncio.gather(*(end(call) for call in calls))
    await eventually(lambda: service.active == 0, "the server knows of their end")
    return held


@pytest.mark.slow
async def test_a_thousand_calls_at_a_time_and_a_thousand_more(tmp_path: Path) -> None:
    """All are answered by a server that has no limit, and the second thousand needs no more memory than the first."""
    async with echoing() as (service, table), proxy_process(table, tmp_path) as proxy:
        before = proxy.resident()
        held = await a_thousand(proxy, service)
        assert held - before < CALLS * HELD
        again = await a_thousand(proxy, service)
        assert again - held < KEPT


@pytest.mark.slow
async def test_a_server_with_a_limit_gets_as_many_connections_as_it_takes(tmp_path: Path) -> None:
    """A thousand calls to a server that takes 100 streams on each: ten connections, and no call waits or fails."""
    async with echoing(100) as (service, table), proxy_process(table, tmp_path) as proxy:
        await a_thousand(proxy, service)
        assert len(service.peers) == CALLS // 100


async def test_calls_beyond_the_limit_of_a_connection_wait_in_the_client() -> None:
    """A client with one channel keeps to what the proxy announces: nothing is refused, all are answered, and nothing
    of them is left."""
    limit = Limits().max_streams
    async with echoing() as (service, table), running_proxy(table) as proxy:
        await _beyond(limit, service, proxy)
        await quiet(proxy)
        gc.collect()
        assert [each for each in gc.get_objects() if isinstance(each, (Exchange, UpstreamStream))] == []


async def _beyond(limit: int, service: Echo, proxy: RunningProxy) -> None:
    """Three times as many calls as a connection may have open."""
    async with channel_to(proxy) as channel:

        async def whole(number: int) -> None:
            call = channel.stream_stream(METHOD)()
            for turn in range(ROUNDS):
                await say(call, b"%d of %d" % (turn, number))
            await eventually(lambda: service.most == limit, "as many are open as may be", 5.0)
            await end(call)

        await asyncio.gather(*(whole(number) for number in range(3 * limit)))
        assert service.most == limit
        assert len(proxy.worker.connections) == 1
        assert proxy.worker.telemetry.http2_resets == 0
