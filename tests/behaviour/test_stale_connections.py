"""Pooled connections that the backend gives up in the very moment in which they are used again."""

from __future__ import annotations

import os
import socket

import pytest

from proxy.table import Settings
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.failing import (
    OK,
    answers,
    client_of,
    closes_after,
    endpoint_of,
    eventually,
    quiet,
    request,
    resets,
    status,
)
from tests.support.proxy import one_route, running_proxy


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_backend_that_closes_after_each_response_costs_no_request(method: str) -> None:
    """500 requests in a row, each racing the close behind the response before: all answered, each executed once."""
    async with (
        raw_backend(closes_after(OK)) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        statuses = []
        for number in range(500):
            client.send(request(method, f"/{number}", body=b"x" if method == "POST" else None))
            statuses.append(status((await client.read_response())[0]))
        assert statuses == [200] * 500
        client.close()
        await quiet(proxy)
    assert [head.split(b" ")[1] for head in backend.heads] == [b"/%d" % number for number in range(500)]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_on_a_connection_that_is_closed_meanwhile_is_sent_again(method: str) -> None:
    """The close crosses the request: it goes out again on a fresh connection, even with no retries allowed."""
    conversations: list[Conversation] = []

    async def script(conversation: Conversation, backend: Backend) -> None:
        conversations.append(conversation)
        await answers()(conversation, backend)

    settings = Settings(max_retries=0, retry_budget_percent=0)
    async with raw_backend(script) as backend:
        table = one_route([backend.port], settings=settings)
        async with running_proxy(table) as proxy, client_of(proxy) as client:
            client.send(request("GET"))
            await client.read_response()
            (idle,) = endpoint_of(proxy).idle
            # The close is in the kernel, the event loop has not seen it: exactly what the race looks like.
            with socket.socket(fileno=os.dup(conversations[0].writer.get_extra_info("socket").fileno())) as handle:
                handle.shutdown(socket.SHUT_RDWR)
            head = request(method, "/again", body=b"abc" if method == "POST" else None)
            proxy_side = next(iter(proxy.worker.connections._members))
            proxy_side.data_received(head)
            assert idle.exchange is not None
            assert status((await client.read_response())[0]) == 200
            assert endpoint_of(proxy).failures == 0
            client.close()
            await quiet(proxy)
    assert len(backend.heads) == 2
    assert backend.connections == 2


@pytest.mark.parametrize("body", [None, b"pay"])
async def test_a_post_that_was_read_before_the_reset_is_never_sent_again(body: bytes | None) -> None:
    """On a warm connection acknowledgements are delayed: the kernel's count alone would call this POST undelivered."""
    async with (
        raw_backend(resets(after=40)) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        for number in range(41):
            client.send(request("POST", f"/{number}", body=body))
            head, _ = await client.read_response()
            assert status(head) == (200 if number < 40 else 502)
        client.close()
        await quiet(proxy)
    assert [head.split(b" ")[1] for head in backend.heads] == [b"/%d" % number for number in range(41)]


async def test_a_get_on_a_connection_that_is_reset_is_sent_again() -> None:
    """A GET may be executed twice: it is sent again on a fresh connection to the same endpoint."""
    async with (
        raw_backend(resets(after=3)) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        for number in range(30):
            client.send(request("GET", f"/{number}"))
            assert status((await client.read_response())[0]) == 200
        client.close()
        await quiet(proxy)
    assert backend.connections == 10


async def test_a_body_that_is_only_half_read_is_not_undelivered() -> None:
    """The peer read a part of a POST and closed on the rest: the answer is 502, and it is not sent again."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        for _ in range(20):
            head = await conversation.read_head()
            await conversation.read_body(head)
            conversation.send(OK)
        backend.heads.append(await conversation.reader.readexactly(20))
        conversation.writer.transport.abort()

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        for _ in range(20):
            client.send(request("POST", body=b"x"))
            assert status((await client.read_response())[0]) == 200
        client.send(request("POST", body=b"x" * 60_000))
        assert status((await client.read_response())[0]) == 502
        client.close()
        await quiet(proxy)
    assert len(backend.heads) == 1


async def test_an_idle_connection_that_the_backend_closes_leaves_the_pool() -> None:
    """The pool holds no connection that is known to be closed."""
    async with (
        raw_backend(closes_after(OK)) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        await client.read_response()
        await eventually(lambda: not endpoint_of(proxy).idle, "the closed connection is gone")
