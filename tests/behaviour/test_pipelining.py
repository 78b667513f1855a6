"""Requests that are sent before the responses to earlier ones came: answered one by one, in order."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.clients import get, read_reply, within
from tests.support.proxy import one_route, running_proxy


async def echo(conversation: Conversation, backend: Backend) -> None:
    """Answers with the path and the body of each request, the first one late."""
    while head := await conversation.read_head():
        body = await conversation.read_body(head)
        path = head.split(b" ", 2)[1]
        backend.heads.append(path)
        await asyncio.sleep(0.02 if path == b"/1" else 0)
        answer = path + b" " + body
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))


def post(path: bytes, framing: bytes, body: bytes) -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\nHost: foo.example.com\r\n" + framing + b"\r\n\r\n" + body


async def test_responses_come_in_the_order_of_the_requests() -> None:
    """A slow first response holds the others back, those of the proxy itself among them."""
    requests = get("/1") + get("/x", host="unknown.example.com") + get("/2") + get("/3")
    async with raw_backend(echo) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(requests)
        replies = [await read_reply(client) for _ in range(4)]
        client.close()
    assert [reply.status for reply in replies] == [200, 404, 200, 200]
    assert [reply.body for reply in replies if reply.status == 200] == [b"/1 ", b"/2 ", b"/3 "]


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
async def test_requests_behind_bodies_are_found_wherever_the_bytes_are_split(size: int) -> None:
    """Counted and chunked bodies with requests behind them, in pieces of any size, give each request its own body."""
    requests = (
        post(b"/1", b"Content-Length: 5", b"GET /")
        + post(b"/2", b"Transfer-Encoding: chunked", b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
        + get("/3")
        + post(b"/4", b"Content-Length: 2", b"hi")
        + get("/5", "Connection: close")
    )
    async with raw_backend(echo) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        for start in range(0, len(requests), size):
            client.send(requests[start : start + size])
            if size < 1000:
                await asyncio.sleep(0)
        bodies = [(await read_reply(client)).body for _ in range(5)]
        rest = await client.read_to_end()
        client.close()
    assert bodies[0] == b"/1 GET /"
    assert bodies[1].startswith(b"/2 ")
    assert b"abc" in bodies[1]
    assert bodies[1].endswith(b"0\r\n\r\n")
    assert bodies[2:] == [b"/3 ", b"/4 hi", b"/5 "]
    assert rest == b""


async def test_a_body_that_ends_later_does_not_lose_the_request_behind_it() -> None:
    """The end of a pipelined body and the next request may come long after, together."""
    async with raw_backend(echo) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(get("/1") + post(b"/2", b"Content-Length: 6", b"abc"))
        assert (await read_reply(client)).body == b"/1 "
        await asyncio.sleep(0.02)
        client.send(b"def" + get("/3"))
        assert (await read_reply(client)).body == b"/2 abcdef"
        assert (await read_reply(client)).body == b"/3 "
        client.close()


async def test_hundreds_of_requests_in_one_write_are_all_answered() -> None:
    """A long pipeline, answered here and by a backend in turn, comes back whole and in order."""
    count = 300
    requests = b"".join(get(f"/{number}") + get("/x", host="unknown.example.com") for number in range(count))
    async with raw_backend(echo) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(requests)
        replies = [await read_reply(client) for _ in range(2 * count)]
        client.close()
    assert [reply.body for reply in replies[::2]] == [b"/%d " % number for number in range(count)]
    assert {reply.status for reply in replies[1::2]} == {404}


async def test_local_answers_to_a_long_pipeline_leave_turns_to_others() -> None:
    """A client that pipelines thousands of cheap requests does not hold up another one's."""
    cheap = get("/x", host="unknown.example.com")
    async with raw_backend(echo) as backend, running_proxy(one_route([backend.port])) as proxy:
        greedy = await proxy.connect()
        modest = await proxy.connect()
        greedy.send(cheap * 2000)
        modest.send(get("/2"))
        assert (await read_reply(modest)).body == b"/2 "
        assert 0 < proxy.worker.telemetry.unrouted < 2000
        for _ in range(2000):
            assert (await read_reply(greedy)).status == 404
        greedy.close()
        modest.close()


async def test_requests_behind_the_last_one_do_not_reset_its_response_away() -> None:
    """After Connection: close nothing more is served, and what else the client sent does not cost it the response."""
    body = b"x" * 200_000

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            backend.heads.append(head)
            await asyncio.sleep(0.05)
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        for _ in range(5):
            client = await proxy.connect()
            client.send(get("/1", "Connection: close") + get("/2") * 20_000)
            await asyncio.sleep(0.1)
            reply = await read_reply(client)
            assert reply.body == body
            assert await within(client.reader.read()) == b""
            client.close()
    assert len(backend.heads) == 5


async def test_requests_behind_a_last_page_of_the_proxy_do_not_reset_it_away() -> None:
    """The same where the last response is made here, before the requests behind it were even looked at."""
    last = get("/1", "Connection: close", host="unknown.example.com")
    async with running_proxy(one_route([])) as proxy:
        for _ in range(20):
            client = await proxy.connect()
            client.send(last + get("/2") * 40_000)
            await asyncio.sleep(0.02)
            assert (await read_reply(client)).status == 404
            assert await within(client.reader.read()) == b""
            client.close()


async def test_empty_lines_between_requests_are_tolerated() -> None:
    """A client that ends its body with a line end too much (RFC 9112 section 2.2) is served on."""
    async with raw_backend(echo) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(post(b"/1", b"Content-Length: 2", b"hi") + b"\r\n" + get("/2") + b"\r\n")
        assert (await read_reply(client)).body == b"/1 hi"
        assert (await read_reply(client)).body == b"/2 "
        client.send(get("/3"))
        assert (await read_reply(client)).body == b"/3 "
        client.close()
