"""The pool of connections to an endpoint: what goes in, in which order it comes out, when it ends."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.table import Settings
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.clients import reset
from tests.support.failing import (
    OK,
    answers,
    client_of,
    endpoint_of,
    eventually,
    quiet,
    request,
    status,
)
from tests.support.proxy import RunningProxy, one_route, running_proxy


class Gate:
    """A backend script that answers only while the gate is open; ``waiting`` counts requests in front of it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0

    async def script(self, conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            self.waiting += 1
            await self.open.wait()
            self.waiting -= 1
            backend.heads.append(head)
            conversation.send(OK)


async def _at_once(proxy: RunningProxy, gate: Gate, number: int) -> None:
    """That many requests under way at the same moment, then answered."""
    gate.open.clear()
    clients = [await proxy.connect() for _ in range(number)]
    for client in clients:
        client.send(request())
    await eventually(lambda: gate.waiting == number, f"{number} requests at the backend")
    gate.open.set()
    for client in clients:
        assert status((await client.read_response())[0]) == 200
        client.close()


async def test_connections_are_reused_by_other_clients() -> None:
    """Twenty clients, one after the other, share one upstream connection."""
    async with raw_backend(answers()) as backend, running_proxy(one_route([backend.port])) as proxy:
        for _ in range(20):
            async with client_of(proxy) as client:
                client.send(request())
                await client.read_response()
        await quiet(proxy)
    assert backend.connections == 1
    assert len(backend.heads) == 20


async def test_the_newest_idle_connection_is_used_first() -> None:
    """After a burst one connection carries the load, so that the others can age out."""
    gate = Gate()
    async with raw_backend(gate.script) as backend, running_proxy(one_route([backend.port])) as proxy:
        await _at_once(proxy, gate, 5)
        idle = endpoint_of(proxy).idle
        assert len(idle) == 5
        newest, served = idle[-1], [connection.served for connection in idle]
        for _ in range(10):
            async with client_of(proxy) as client:
                client.send(request())
                await client.read_response()
        assert [connection.served for connection in idle] == [*served[:4], served[4] + 10]
        assert idle[-1] is newest
        assert backend.connections == 5
        await quiet(proxy)


async def test_idle_connections_are_closed_after_their_time() -> None:
    """Those that were idle for longer than the setting are closed; a connection used since then stays."""
    gate = Gate()
    settings = Settings(upstream_keepalive_timeout=0.2)
    async with (
        raw_backend(gate.script) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
    ):
        await _at_once(proxy, gate, 3)
        await asyncio.sleep(0.15)
        async with client_of(proxy) as client:
            client.send(request())
            await client.read_response()
        await asyncio.sleep(0.1)
        await proxy.tick()
        assert len(endpoint_of(proxy).idle) == 1
        await asyncio.sleep(0.2)
        await proxy.tick()
        assert not endpoint_of(proxy).idle
        await quiet(proxy)


async def test_no_more_than_the_limit_stay_idle() -> None:
    """Of ten connections that become idle at once, the limit of three is kept and the others are closed."""
    gate = Gate()
    settings = Settings(upstream_keepalive_connections=3)
    async with (
        raw_backend(gate.script) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
    ):
        await _at_once(proxy, gate, 10)
        assert len(endpoint_of(proxy).idle) == 3
        await quiet(proxy)


async def test_a_limit_of_zero_closes_each_connection() -> None:
    """With no idle connections allowed, every request gets a connection of its own."""
    settings = Settings(upstream_keepalive_connections=0)
    async with (
        raw_backend(answers()) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
        client_of(proxy) as client,
    ):
        for _ in range(3):
            client.send(request())
            await client.read_response()
    assert backend.connections == 3


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok+",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\nok",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_surplus_bytes_end_the_connection(response: bytes) -> None:
    """A response with something behind it is passed on without that, and its connection serves nobody else."""
    async with (
        raw_backend(answers(response)) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        for _ in range(2):
            client.send(request())
            head, body = await client.read_response() if b"200" in response else (await client.read_head(), b"")
            assert b"+" not in body
            assert status(head) == int(response[9:12])
        assert not endpoint_of(proxy).idle
        await asyncio.sleep(0.02)
        assert not client.reader._buffer  # type: ignore[attr-defined]  # nothing of the surplus reached the client
    assert backend.connections == 2


async def test_surplus_bytes_that_come_later_end_the_connection() -> None:
    """What an endpoint sends on an idle connection is nobody's response: the connection is closed."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while await conversation.read_head():
            conversation.send(OK)
            await asyncio.sleep(0.05)
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        assert (await client.read_response())[1] == b"ok"
        assert len(endpoint_of(proxy).idle) == 1
        await eventually(lambda: not endpoint_of(proxy).idle, "the connection is closed")
        client.send(request())
        assert (await client.read_response())[1] == b"ok"
        await quiet(proxy, connections=1)
    assert backend.connections == 2


@pytest.mark.parametrize("fields", [b"Connection: close\r\n", b""])
async def test_a_backend_that_wants_to_close_is_not_kept(fields: bytes) -> None:
    """``Connection: close``, and HTTP/1.0 without keep-alive, end the connection with the response."""
    response = b"HTTP/1.%d 200 OK\r\nContent-Length: 2\r\n%b\r\nok" % (bool(fields), fields)
    async with (
        raw_backend(answers(response)) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        for _ in range(3):
            client.send(request())
            await client.read_response()
            assert not endpoint_of(proxy).idle
    assert backend.connections == 3


async def test_a_client_that_leaves_ends_the_upstream_connection() -> None:
    """A response that nobody waits for any more is not read to its end: the connection is closed, not pooled."""
    gate = Gate()
    async with raw_backend(gate.script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(request())
        await eventually(lambda: gate.waiting == 1, "the request is at the backend")
        reset(client)
        await quiet(proxy)
        assert not endpoint_of(proxy).idle


async def test_an_early_response_ends_the_upstream_connection() -> None:
    """A backend that answers before it read the body gets no further request on that connection."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while await conversation.read_head():
            conversation.send(OK)

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request("POST", fields=b"Content-Length: 100000\r\n") + b"x" * 10)
        assert status((await client.read_response())[0]) == 200
        assert not endpoint_of(proxy).idle
        client.close()
        await quiet(proxy)
    assert backend.connections == 1


async def test_a_response_that_runs_ahead_of_its_request_ends_the_connection() -> None:
    """The client sent its body whole, but the backend answered without reading it: nothing is queued up behind it."""
    responded = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.writer.transport.pause_reading()
        await responded.wait()
        conversation.send(OK)
        await asyncio.sleep(1)

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request("POST", body=b"x" * 16_000_000))
        exchange = next(iter(proxy.worker.connections._members))._exchange
        await eventually(lambda: exchange.upstream is not None, "the request is on its way")
        while not exchange.request_done:
            # Taken in against the back-pressure, as if the end of the body had come in one large read.
            exchange.downstream.resume_body()
            await asyncio.sleep(0.001)
        upstream = exchange.upstream
        assert upstream is not None
        assert upstream.transport.get_write_buffer_size() > 0
        responded.set()
        await client.read_head()
        assert not endpoint_of(proxy).idle
        client.close()
        await quiet(proxy)


async def test_a_connection_is_read_again_when_a_slow_client_met_the_end_of_its_response() -> None:
    """The very last bytes of a response block the client's side: the upstream connection goes to the pool unpaused."""
    almost = asyncio.Event()
    size = 230_000

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size + 1000) + b"x" * size)
        await almost.wait()
        conversation.send(b"y" * 1000)
        await answers()(conversation, backend)

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as slow,
        client_of(proxy) as other,
    ):
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        members = proxy.worker.connections._members
        await eventually(lambda: len(members) == 2, "both clients are there")
        for each in members:
            each.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        slow.send(request())
        await eventually(lambda: proxy.worker.runtime.active == 1, "the request is under way")
        (member,) = (one for one in members if one._exchange.running)
        await eventually(lambda: member._exchange.response_bytes == size, "all but the end has come")
        assert not member._write_blocked
        unsent = member.transport.get_write_buffer_size()
        assert unsent > 0
        member.transport.set_write_buffer_limits(high=unsent)
        almost.set()
        await eventually(lambda: bool(endpoint_of(proxy).idle), "the response is whole")
        assert member._write_blocked
        other.send(request())
        assert (await other.read_response())[1] == b"ok"
        assert backend.connections == 1
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await slow.read_response())[1] == b"x" * size + b"y" * 1000
        await quiet(proxy, connections=2)
