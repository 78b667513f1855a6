"""How HTTP/2 connections and their streams end: drain, idleness, deadlines, clients that stop reading."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from proxy.http2.codes import CANCEL, INTERNAL_ERROR, NO_ERROR
from proxy.server.http2 import Http2ServerConnection
from proxy.table import Settings
from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.clients import slow_client
from tests.support.failing import OK, Gate, endpoint_of, eventually, hangs, quiet
from tests.support.http2 import (
    CONTINUATION,
    GOAWAY,
    HEADERS,
    block,
    frame,
    headers,
    http2_client,
    request_fields,
    settings,
    start,
)
from tests.support.proxy import RunningProxy, one_route, running_proxy

LAST_OF_ALL = 2**31 - 1


def quick(**changes: float) -> Settings:
    return Settings(h2c=True, access_log="off", **changes)  # type: ignore[arg-type]  # seconds and sizes


def member_of(proxy: RunningProxy) -> Http2ServerConnection:
    (member,) = proxy.worker.connections._members
    return cast(Http2ServerConnection, member)


async def test_a_drain_says_goodbye_twice_and_loses_nothing() -> None:
    """A first GOAWAY names no stream; a request that crosses it is served, as is what was under way; then the end."""
    gate = Gate()
    async with (
        raw_backend(gate) as backend,
        running_proxy(one_route([backend.port], settings=quick())) as proxy,
        http2_client(proxy) as client,
    ):
        first = client.ask()
        await eventually(lambda: len(backend.heads) == 1, "the request is under way")
        draining = asyncio.get_running_loop().create_task(proxy.worker.drain(0.0, 5))
        await asyncio.sleep(0)
        await proxy.tick()
        second = client.ask()
        await client.until(lambda: len(client.goaways) == 2)
        assert client.goaways == [(NO_ERROR, LAST_OF_ALL), (NO_ERROR, second)]
        assert not draining.done()
        gate.open.set()
        for stream in (first, second):
            assert (await client.answer(stream)).body == b"ok"
        await client.until(lambda: client.ended)
        assert await draining == 0
        await quiet(proxy)


async def test_a_request_after_the_last_stream_was_named_is_not_acted_on() -> None:
    """It reaches no backend, and no answer is made up: the client knows that it may send it elsewhere."""
    gate = Gate()
    async with (
        raw_backend(gate) as backend,
        running_proxy(one_route([backend.port], settings=quick())) as proxy,
        http2_client(proxy) as client,
    ):
        first = client.ask()
        await eventually(lambda: len(backend.heads) == 1, "the request is under way")
        draining = asyncio.get_running_loop().create_task(proxy.worker.drain(0.0, 5))
        await asyncio.sleep(0)
        await proxy.tick()
        await client.until(lambda: len(client.goaways) == 2)
        late = client.ask()
        await asyncio.sleep(0.05)
        gate.open.set()
        assert (await client.answer(first)).body == b"ok"
        assert await draining == 0
        await client.until(lambda: client.ended)
        assert (client.answers[late].status, client.answers[late].reset) == (0, None)
        assert len(backend.heads) == 1


@pytest.mark.alone
async def test_an_idle_connection_is_drained_at_once() -> None:
    """It hears of it, answers, and is closed; nobody waits for the drain limit."""
    async with running_proxy(one_route([], settings=quick())) as proxy, http2_client(proxy) as client:
        await client.get()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await proxy.worker.drain(0.0, 5) == 0
        assert loop.time() - begun < 0.5
        await client.until(lambda: client.ended)
        assert [code for code, _ in client.goaways] == [NO_ERROR, NO_ERROR]


async def test_a_deaf_client_is_not_waited_for() -> None:
    """One that does not answer the ping has a second."""
    async with running_proxy(one_route([], settings=quick())) as proxy:
        raw = await proxy.connect()
        raw.send(start() + headers(1))
        await raw.reader.readuntil(b"Request id")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await proxy.worker.drain(0.0, 5) == 0
        assert 1 < loop.time() - begun < 4, "a second for the ping, and one for its bytes on their way"
        raw.close()


@pytest.mark.parametrize(
    ("ask", "limit"), [(False, "header_timeout"), (True, "keepalive_timeout")], ids=["never asked", "asked once"]
)
async def test_an_idle_connection_ends(ask: bool, limit: str) -> None:
    """A client that never asks has the time of a head, one that did the time between requests."""
    changes = {"header_timeout": 100.0, "keepalive_timeout": 100.0, limit: 0.1}
    async with running_proxy(one_route([], settings=quick(**changes))) as proxy, http2_client(proxy) as client:
        await eventually(lambda: len(proxy.worker.connections) == 1, "the client is there")
        if ask:
            await client.get()
        await proxy.tick()
        assert not client.ended
        await asyncio.sleep(0.15)
        await proxy.tick()
        await client.until(lambda: client.ended)
        assert client.goaways[-1][0] == NO_ERROR


async def test_a_stream_under_way_is_not_idle() -> None:
    """However long its backend takes within the read timeout."""
    async with (
        raw_backend(hangs()) as backend,
        running_proxy(one_route([backend.port], settings=quick(keepalive_timeout=0.05))) as proxy,
        http2_client(proxy) as client,
    ):
        client.ask()
        await eventually(lambda: endpoint_of(proxy).active == 1, "the request is under way")
        await asyncio.sleep(0.1)
        await proxy.tick()
        assert not client.goaways


@pytest.mark.parametrize(
    "beginning",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM",
        start() + frame(HEADERS, 0, 1, block(request_fields())),
        start() + headers(1)[:20],
    ],
    ids=["preface", "block", "frame"],
)
async def test_half_a_head_has_its_deadline(beginning: bytes) -> None:
    """Whatever trickles in behind it."""
    async with running_proxy(one_route([], settings=quick(header_timeout=0.2))) as proxy:
        raw = await proxy.connect()
        raw.send(beginning)
        for _ in range(4):
            await asyncio.sleep(0.07)
            if b"SM" not in beginning[-2:] and len(proxy.worker.connections):
                raw.send(frame(CONTINUATION, 0, 1, b"") if beginning[-1:] != headers(1)[19:20] else b"")
            await proxy.tick()
        await asyncio.wait_for(raw.read_to_end(), 5)
        raw.close()
        await quiet(proxy)


async def test_a_slow_body_ends_its_request_alone() -> None:
    """408 on its stream after the body timeout; the connection serves on."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], settings=quick(body_timeout=0.1))) as proxy,
        http2_client(proxy) as client,
    ):
        stream = client.ask(request_fields(method="POST"), end=False)
        await eventually(lambda: endpoint_of(proxy).active == 1, "the request is under way")
        await asyncio.sleep(0.15)
        await proxy.tick()
        answer = client.answers[stream]
        await client.until(lambda: answer.reset is not None)
        assert (answer.status, answer.reset) == (408, NO_ERROR)
        assert (await client.get()).status == 200


@pytest.mark.parametrize("size", [1000, 30_000_000], ids=["that is whole here", "that is not"])
async def test_a_response_that_nobody_takes_ends_its_stream_alone(size: int) -> None:
    """Its window stays closed for the write timeout: the stream is reset and its backend free; others are served."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            length = size if b"/taken" not in head else 0
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length)

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=quick(write_timeout=0.2))) as proxy,
        http2_client(proxy, greedy=False, window=10) as client,
    ):
        stream = client.ask()
        await client.until(lambda: len(client.answers[stream].received) == 10)
        await proxy.tick()
        assert client.answers[stream].reset is None
        await asyncio.sleep(0.25)
        await proxy.tick()
        answer = await client.answer(stream)
        assert answer.reset == (CANCEL if size == 1000 else INTERNAL_ERROR)
        assert (await client.get("/taken")).status == 200
        assert not client.goaways
        await quiet(proxy, connections=1)


async def test_a_slow_reader_of_a_stream_keeps_it() -> None:
    """A window that opens by little, often enough, is progress."""
    async with (
        raw_backend(fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30000)) as backend,
        running_proxy(one_route([backend.port], settings=quick(write_timeout=0.1))) as proxy,
        http2_client(proxy, greedy=False, window=10) as client,
    ):
        stream = client.ask()
        for _ in range(10):
            await client.until(lambda: client.connection.remote_flow_control_window(stream) == 0)
            client.connection.increment_flow_control_window(100, stream)
            client.flush()
            await asyncio.sleep(0.04)
            await proxy.tick()
        assert client.answers[stream].reset is None
        client.connection.increment_flow_control_window(30000, stream)
        client.flush()
        assert len((await client.answer(stream)).body) == 30000


async def test_a_client_that_reads_nothing_at_all_is_cut() -> None:
    """Its connection is aborted after the write timeout, with all its streams."""
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 20_000_000
    async with (
        raw_backend(fixed(big)) as backend,
        running_proxy(one_route([backend.port], settings=quick(write_timeout=0.3))) as proxy,
    ):
        handle = await slow_client(proxy.port)
        window = frame(8, 0, 0, b"\x7f\x00\x00\x00")
        handle.send(start((4, 2**31 - 1)) + window + b"".join(headers(stream) for stream in (1, 3, 5)))
        await eventually(lambda: proxy.worker.runtime.active == 3, "the requests are under way")
        await eventually(lambda: member_of(proxy).is_blocked, "it is blocked")
        await asyncio.sleep(0.1)
        member = member_of(proxy)
        assert member.transport.get_write_buffer_size() < 2_000_000
        assert sum(map(member.codec.waiting, (1, 3, 5))) < 2_000_000
        await proxy.tick()
        assert proxy.worker.runtime.active == 3
        for _ in range(2):
            await asyncio.sleep(0.35)
            await proxy.tick()
        await quiet(proxy)
        handle.close()


async def test_a_broken_client_hears_why() -> None:
    """GOAWAY arrives though bytes of the client were still on their way."""
    async with running_proxy(one_route([], settings=quick())) as proxy:
        raw = await proxy.connect()
        raw.send(start() + frame(GOAWAY, 0, 1, b"\0" * 8) + b"x" * 100_000)
        data = await raw.read_to_end()
        assert data[-17:-13] == b"\0\0\x08\x07"
        assert data[-4:] == b"\0\0\0\x01", "PROTOCOL_ERROR"
        raw.close()
        await quiet(proxy)


async def test_too_many_connections_are_told_so() -> None:
    """GOAWAY, and the close, at the limit of connections."""
    table = one_route([], settings=quick(max_connections=1))
    async with running_proxy(table) as proxy, http2_client(proxy) as first:
        await eventually(lambda: len(proxy.worker.connections) == 1, "the client is there")
        raw = await proxy.connect()
        raw.send(start() + settings())
        assert b"503" in await raw.read_to_end(), "before it said what it speaks, it is HTTP/1.1"
        raw.close()
        assert (await first.get()).status == 503
