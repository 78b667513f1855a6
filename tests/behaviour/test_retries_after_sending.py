"""Tries that failed after the request was sent: what is sent again, what is not, and what the client sees of it."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.failing import (
    IDEMPOTENT,
    OTHERS,
    answers,
    client_of,
    endpoint_of,
    eventually,
    quiet,
    request,
    resets,
    status,
    status_of,
    turn_to,
)
from tests.support.proxy import one_route, running_proxy


@pytest.mark.parametrize("method", IDEMPOTENT)
async def test_an_idempotent_request_that_was_reset_is_sent_elsewhere(method: str) -> None:
    """The endpoint read the request and reset: another one serves it, body included."""
    body = b"abc"
    async with (
        raw_backend(resets()) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        assert await status_of(proxy, request(method, body=body)) == 200
    assert (len(broken.heads), len(backend.heads)) == (1, 1)
    assert backend.bodies == [body]


@pytest.mark.parametrize("method", OTHERS)
@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_another_request_that_was_reset_is_not_sent_again(method: str, body: bytes) -> None:
    """The endpoint may have executed it: 502, and it was executed once."""
    async with (
        raw_backend(resets()) as broken,
        raw_backend(resets()) as other,
        running_proxy(one_route([broken.port, other.port])) as proxy,
    ):
        assert await status_of(proxy, request(method, body=body)) == 502
    assert len(broken.heads) + len(other.heads) == 1


@pytest.mark.parametrize(("method", "expected"), [("GET", 200), ("POST", 502)])
async def test_a_request_that_an_endpoint_closed_on_is_sent_elsewhere_if_idempotent(method: str, expected: int) -> None:
    """A backend that takes a request in and closes without a word may have executed it."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        backend.heads.append(b"")
        await asyncio.sleep(0.02)
        conversation.writer.close()

    async with (
        raw_backend(script) as closing,
        raw_backend(answers()) as backend,
        running_proxy(one_route([closing.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        assert await status_of(proxy, request(method, body=b"abc")) == expected
        assert endpoint_of(proxy, 0).suspect
    assert (len(closing.heads), len(backend.heads)) == (1, expected == 200)


@pytest.mark.parametrize(("size", "expected"), [(64 * 1024, 200), (64 * 1024 + 1, 502)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_replayed_up_to_a_limit(size: int, expected: int, chunked: bool) -> None:
    """A PUT with up to 64 KiB of body is sent again with all of it; a longer one is not sent again."""
    body = bytes(range(256)) * (size // 256) + b"!" * (size % 256)
    text = request("PUT", body=body)
    if chunked:
        text = request("PUT", fields=b"Transfer-Encoding: chunked\r\n") + b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    async with (
        raw_backend(resets()) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        assert await status_of(proxy, text) == expected
    assert len(broken.heads) == 1
    if expected == 502:
        assert not backend.heads
    elif not chunked:
        assert backend.bodies == [body]
    else:
        assert _dechunked(backend.bodies[0]) == body


@pytest.mark.parametrize(("size", "expected"), [(64 * 1024, 200), (64 * 1024 + 1, 502)])
async def test_the_limit_holds_on_a_pooled_connection_too(size: int, expected: int) -> None:
    """There the body flows as it comes, and what went by is kept up to the limit and no further."""
    async with raw_backend(resets(after=1)) as backend, running_proxy(one_route([backend.port])) as proxy:
        assert await status_of(proxy, request()) == 200
        assert await status_of(proxy, request("PUT", body=b"x" * size)) == expected
    assert [len(body) for body in backend.bodies] == [0, size, size][: len(backend.bodies)]
    assert len(backend.bodies) == (3 if expected == 200 else 2)


def _dechunked(text: bytes) -> bytes:
    parts = []
    while True:
        size, _, text = text.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(parts)
        parts.append(text[:length])
        text = text[length + 2 :]


async def test_a_body_that_still_comes_goes_on_at_the_other_endpoint() -> None:
    """The first endpoint resets in the middle of an upload: what was sent is replayed, and the rest follows."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        await conversation.reader.readexactly(5)
        conversation.reset()

    async with (
        raw_backend(script) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        async with client_of(proxy) as client:
            client.send(request("PUT", fields=b"Content-Length: 10\r\n") + b"01234")
            await eventually(lambda: endpoint_of(proxy, 1).active == 1, "the request is at the other endpoint")
            client.send(b"56789" + request("GET", "/next"))
            assert status((await client.read_response())[0]) == 200
            assert status((await client.read_response())[0]) == 200
        await quiet(proxy)
    assert backend.bodies[0] == b"0123456789"


@pytest.mark.parametrize(
    "response",
    [
        b"HELLO\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_a_malformed_response_is_502_and_not_retried(response: bytes) -> None:
    """The endpoint answered, if badly: another try would execute the request twice, and its health is not in doubt."""
    async with (
        raw_backend(fixed(response)) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        assert await status_of(proxy, request()) == 502
        assert not endpoint_of(proxy, 0).suspect
        assert not endpoint_of(proxy, 0).idle
    assert (len(broken.heads), len(backend.heads)) == (1, 0)


async def test_a_response_that_breaks_off_in_its_head_is_not_retried() -> None:
    """A byte of the response came, so the request was executed: 502."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        backend.heads.append(await conversation.read_head())
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-")
        await conversation.writer.drain()
        await asyncio.sleep(0.02)
        conversation.writer.close()

    async with (
        raw_backend(script) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        assert await status_of(proxy, request()) == 502
    assert (len(broken.heads), len(backend.heads)) == (1, 0)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 100\r\n", b"half"),
        (b"Transfer-Encoding: chunked\r\n", b"4\r\nhalf\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"4\r\nhalf\r\n5\r\nmo"),
        (b"Transfer-Encoding: chunked\r\n", b"4\r\nhalf\r\n0\r\nX-Trailer: "),
    ],
)
async def test_a_truncated_response_stays_truncated(head: bytes, body: bytes, end: str) -> None:
    """The client gets what came and sees that it is not all: no final chunk, not the bytes announced."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
        await conversation.writer.drain()
        await asyncio.sleep(0.02)
        conversation.writer.close() if end == "close" else conversation.reset()

    async with raw_backend(script) as broken, running_proxy(one_route([broken.port])) as proxy:
        answer = await proxy.ask(request())
        await quiet(proxy)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"half" in answer
    assert not answer.endswith(b"\r\n0\r\n\r\n")
    assert len(answer.partition(b"\r\n\r\n")[2]) < 100


@pytest.mark.parametrize("minor", [0, 1])
async def test_a_response_until_close_that_is_reset_is_no_clean_end(minor: int) -> None:
    """HTTP/1.1 clients miss the last chunk; HTTP/1.0 clients, who have nothing else to tell it by, see a reset."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await conversation.writer.drain()
        await asyncio.sleep(0.02)
        conversation.reset()

    async with raw_backend(script) as broken, running_proxy(one_route([broken.port])) as proxy:
        async with client_of(proxy) as client:
            client.send(request().replace(b"HTTP/1.1", b"HTTP/1.%d" % minor))
            await client.read_head()
            if minor == 0:
                with pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(client.reader.read(), 5)
            else:
                assert await asyncio.wait_for(client.reader.read(), 5) == b"4\r\nhalf\r\n"
        await quiet(proxy)
