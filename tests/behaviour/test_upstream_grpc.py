"""gRPC through the proxy: grpcio servers behind it and grpcio clients before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from proxy.table import Policy, Settings
from tests.support.failing import eventually
from tests.support.proxy import HOST, RunningProxy, one_route, running_proxy

H2C = Settings(h2c=True, access_log="off")
CLUSTER = "default/backend:80"
LARGE = [("grpc.max_receive_message_length", 1 << 26), ("grpc.max_send_message_length", 1 << 26)]


class Service(grpc.GenericRpcHandler):
    """Four methods whose messages are bytes, and a few that misbehave."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.active = 0
        self.most = 0

    def service(self, details: Any) -> Any:
        method = details.method.rpartition("/")[2]
        if method in ("Unary", "Fail", "Slow"):
            return grpc.unary_unary_rpc_method_handler(getattr(self, method.lower()))
        if method == "Down":
            return grpc.unary_stream_rpc_method_handler(self.down)
        if method == "Up":
            return grpc.stream_unary_rpc_method_handler(self.up)
        if method == "Both":
            return grpc.stream_stream_rpc_method_handler(self.both)
        return None

    async def unary(self, request: bytes, context: Any) -> bytes:
        self.active += 1
        self.most = max(self.most, self.active)
        await asyncio.sleep(0.05 if request == b"wait" else 0)
        self.active -= 1
        await context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", "2"), ("x-bytes-bin", b"\x00\xff")))
        return request

    async def fail(self, request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ä")
        raise AssertionError

    async def slow(self, request: bytes, context: Any) -> bytes:
        try:
            await asyncio.sleep(15)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b""

    async def down(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    async def up(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b",".join([message async for message in requests])

    async def both(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in requests:
            yield message.upper()


@asynccontextmanager
async def serving(**changes: Any) -> AsyncIterator[tuple[Service, grpc.aio.Channel, RunningProxy]]:
    """A grpcio server, the proxy before it, and a grpcio client of that."""
    service = Service()
    server = grpc.aio.server(options=LARGE)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    table = one_route([port], protocol="http2", **{"settings": H2C, **changes})
    async with running_proxy(table) as proxy:
        options = [("grpc.default_authority", HOST), *LARGE]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}", options=options) as channel:
            yield service, channel, proxy
        await server.stop(0)


async def test_a_unary_call_with_its_metadata() -> None:
    """Message, initial and trailing metadata come through, binary ones too."""
    async with serving() as (_, channel, _):
        call = channel.unary_unary("/test.Service/Unary")(b"hello", metadata=(("x-own", "a"),))
        assert await call == b"hello"
        assert ("x-first", "1") in tuple(await call.initial_metadata())
        trailing = tuple(await call.trailing_metadata())
        assert ("x-last", "2") in trailing
        assert ("x-bytes-bin", b"\x00\xff") in trailing
        assert await call.code() is grpc.StatusCode.OK


async def test_the_three_kinds_of_streaming() -> None:
    """Server, client and bidirectional; the last one message by message, so that nothing waits for the end."""
    async with serving() as (_, channel, _):
        down = channel.unary_stream("/test.Service/Down")(b"200")
        assert [message async for message in down] == [b"%d" % number for number in range(200)]

        async def messages() -> AsyncIterator[bytes]:
            for number in range(100):
                yield b"%d" % number

        up = channel.stream_unary("/test.Service/Up")
        assert await up(messages()) == b",".join(b"%d" % number for number in range(100))
        both = channel.stream_stream("/test.Service/Both")()
        for word in (b"a", b"b", b"c"):
            await both.write(word)
            assert await asyncio.wait_for(both.read(), 5) == word.upper()
        await both.done_writing()
        assert await both.read() is grpc.aio.EOF


async def test_large_messages() -> None:
    """Eight MiB there and back, beyond every window."""
    async with serving() as (_, channel, _):
        message = bytes(range(256)) * 32768
        assert await channel.unary_unary("/test.Service/Unary")(message) == message


async def test_statuses_of_the_server_come_through() -> None:
    """A status in a head that ends the stream, an unknown method, and a message beyond ASCII."""
    async with serving() as (_, channel, proxy):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/test.Service/Fail")(b"")
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
        assert failed.value.details() == "no such thing: ä"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/test.Service/Nothing")(b"")
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert proxy.worker.telemetry.ejections == 0


async def test_a_deadline_ends_the_call_on_both_sides() -> None:
    """The client hears of it in time, and the server does not work on."""
    async with serving() as (service, channel, _):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/test.Service/Slow")(b"", timeout=0.3)
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: service.cancelled == 1, "the server stopped")


async def test_a_cancelled_call_is_cancelled_at_the_server() -> None:
    """The stream is reset through the proxy; the next call on the same channel works."""
    async with serving() as (service, channel, _):
        call = channel.unary_unary("/test.Service/Slow")(b"")
        await asyncio.sleep(0.2)
        call.cancel()
        await eventually(lambda: service.cancelled == 1, "the server stopped")
        assert await channel.unary_unary("/test.Service/Unary")(b"x") == b"x"


async def test_many_calls_at_a_time() -> None:
    """100 calls on one channel, over one connection to the server."""
    async with serving() as (service, channel, proxy):
        unary = channel.unary_unary("/test.Service/Unary")
        assert await asyncio.gather(*(unary(b"wait") for _ in range(100))) == [b"wait"] * 100
        (endpoint,) = proxy.worker.runtime.state.clusters[CLUSTER].endpoints
        assert len(endpoint.connections) == 1  # type: ignore[attr-defined]
        assert service.most > 20


async def test_a_server_that_is_away_is_unavailable() -> None:
    """No endpoint that answers: gRPC clients hear status 14, which they may retry, not HTML."""
    async with running_proxy(one_route([1], protocol="http2", settings=H2C, policy=Policy(max_retries=0))) as proxy:
        options = [("grpc.default_authority", HOST)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}", options=options) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary("/test.Service/Unary")(b"")
            assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
