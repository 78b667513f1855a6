"""Clients that end their own direction (TCP FIN) and still read: ``nc -N``, scripts, old libraries."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.clients import get, half_close, within
from tests.support.proxy import one_route, running_proxy

SIZE = 3 * 1024 * 1024


async def slow(conversation: Conversation, backend: Backend) -> None:
    while head := await conversation.read_head():
        backend.heads.append(head)
        backend.bodies.append(await conversation.read_body(head))
        await asyncio.sleep(0.05)
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE))


@pytest.mark.parametrize(
    "request_bytes",
    [
        get(),
        b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ],
)
async def test_a_half_closed_client_gets_its_whole_response(request_bytes: bytes) -> None:
    """An end behind a whole request is not a hang-up; after the response the proxy closes as well."""
    async with raw_backend(slow) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(request_bytes)
        half_close(client)
        head = await client.read_head()
        body = await within(client.reader.read())
        body += await client.read_to_end()
        client.close()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert len(body) == SIZE
    assert len(backend.heads) == 1


async def test_a_half_closed_client_gets_all_pipelined_responses() -> None:
    """Requests that were sent before the end are all served."""
    async with raw_backend(slow) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(get("/1") + get("/2") + get("/x", host="unknown.example.com") + get("/3"))
        half_close(client)
        answer = await client.read_to_end()
        client.close()
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert answer.count(b"HTTP/1.1 404 ") == 1
    assert len(backend.heads) == 3


async def test_an_end_between_requests_ends_the_connection() -> None:
    """A client that has nothing more to ask is answered by a close."""
    async with running_proxy(one_route([])) as proxy:
        client = await proxy.connect()
        half_close(client)
        assert await within(client.reader.read()) == b""
        client.close()
