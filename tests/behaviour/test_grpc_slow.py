"""Calls of gRPC take their time: what counts is silence, not how little is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from proxy.table import Settings
from tests.behaviour.test_grpc_errors import call, is_error
from tests.behaviour.test_upstream_grpc import serving
from tests.support.backend import raw_backend
from tests.support.failing import endpoint_of, eventually, hangs, quiet
from tests.support.http2 import Http2Client, http2_client, request_fields
from tests.support.http2_backend import Call, http2_backend
from tests.support.proxy import RunningProxy, one_route, running_proxy

STRICT = Settings(h2c=True, access_log="off", body_timeout=0.3, body_min_rate=1000)
"""Less than 300 bytes in the first 0.3 seconds are too few."""


async def takes_all(call: Call) -> None:
    """A backend that says nothing before the request is whole."""
    await call.ended.wait()


async def drip(proxy: RunningProxy, client: Http2Client, stream: int) -> bool:
    """Send a small message now and then for a second; whether all could be sent."""
    for _ in range(20):
        client.send(stream, b"\0\0\0\0\1x")
        await asyncio.sleep(0.05)
        await proxy.tick()
        if client.answers[stream].fields or client.answers[stream].reset is not None:
            return False
    return True


async def test_a_client_that_streams_little_is_not_cut() -> None:
    """Three times the body timeout at less than a tenth of the minimum rate, and no word from the server meanwhile."""

    async def messages() -> AsyncIterator[bytes]:
        for number in range(18):
            yield b"%d" % number
            await asyncio.sleep(0.05)
            await proxy.tick()

    async with serving(settings=STRICT) as (_, channel, proxy):
        up = channel.stream_unary("/test.Service/Up")
        assert await up(messages()) == b",".join(b"%d" % number for number in range(18))


async def test_a_call_that_is_silent_is_cut() -> None:
    """After the body timeout, as cancelled; the server hears of it, and the next call is served."""

    async def messages() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.sleep(0.4)
        await proxy.tick()
        await asyncio.sleep(5)

    async with serving(settings=STRICT) as (_, channel, proxy):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.stream_unary("/test.Service/Up")(messages())
        assert failed.value.code() is grpc.StatusCode.CANCELLED
        await eventually(lambda: endpoint_of(proxy).active == 0, "the call left its endpoint")
        assert await channel.unary_unary("/test.Service/Unary")(b"x") == b"x"


@pytest.mark.parametrize("kind", [b"application/grpc", b"application/grpc+proto"])
async def test_a_call_is_known_by_its_content_type(kind: bytes) -> None:
    """Whatever codes its messages."""
    async with (
        http2_backend(takes_all) as backend,
        running_proxy(one_route([backend.port], protocol="http2", settings=STRICT)) as proxy,
        http2_client(proxy) as client,
    ):
        assert await drip(proxy, client, client.ask(call(kind=kind), end=False))


@pytest.mark.parametrize("kind", [b"application/json", b"application/grpc-web", b"application/grpcx"])
async def test_other_slow_bodies_are_cut_on_their_way_to_any_backend(kind: bytes) -> None:
    """408: they are no calls, and have a length to come to."""
    async with (
        http2_backend(takes_all) as backend,
        running_proxy(one_route([backend.port], protocol="http2", settings=STRICT)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = client.ask(request_fields("/", (b"content-type", kind), method="POST"), end=False)
        assert not await drip(proxy, client, stream)
        assert (await client.answer(stream)).status == 408


async def test_a_backend_of_http_1_1_is_protected_from_slow_calls_too() -> None:
    """A client need only say gRPC; such a backend may have a thread that waits for each body."""
    async with (
        raw_backend(hangs()) as backend,
        running_proxy(one_route([backend.port], settings=STRICT)) as proxy,
    ):
        async with http2_client(proxy) as client:
            stream = client.ask(call(), end=False)
            assert not await drip(proxy, client, stream)
            is_error(await client.answer(stream), 1)
        await quiet(proxy)
