"""What a backend may not do to the clients behind it."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.backend import Backend, Conversation, Script, fixed, raw_backend
from tests.support.proxy import one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOST = b"Host: foo.example.com\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
HEAD = b"HEAD" + GET[3:]
UPGRADE = b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


def once_then_ok(first: bytes) -> Script:
    """Answers the first connection's first request with ``first``, and everything else with OK."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        number = backend.connections
        while head := await conversation.read_head():
            backend.heads.append(head)
            conversation.send(first if number == 1 and len(backend.heads) == 1 else OK)

    return script


SURPLUS = {
    "counted body": (GET, OK + EVIL),
    "chunked body": (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + EVIL),
    "empty body": (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + EVIL),
    "body of a HEAD": (HEAD, OK),
    "response behind a HEAD": (HEAD, OK[:-2] + EVIL),
    "body of a 204": (GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n" + EVIL),
    "body of a 304": (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 63\r\n\r\n" + EVIL),
    "chunks of a 204": (GET, b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("name", SURPLUS)
async def test_surplus_bytes_reach_nobody(name: str) -> None:
    """Bytes behind a response end the upstream connection; the same client and others get answers of their own."""
    request, first = SURPLUS[name]
    async with raw_backend(once_then_ok(first)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(request)
        if request is HEAD or b" 204 " in first or b" 304 " in first:
            head, body = await client.read_head(), b""
        else:
            head, body = await client.read_response()
        client.send(GET)
        answers = [await client.read_response()]
        client.close()
        other = await proxy.connect()
        other.send(GET)
        answers.append(await other.read_response())
        other.close()
    assert b"evil" not in head + body
    assert [answer[1] for answer in answers] == [b"ok", b"ok"]
    assert backend.connections == 2


async def test_bytes_nobody_asked_for_end_an_idle_connection() -> None:
    """A backend that speaks between requests would answer the next one with it."""
    spoken = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        while await conversation.read_head():
            conversation.send(OK)
            if backend.connections == 1:
                await asyncio.sleep(0.02)
                conversation.send(EVIL)
                spoken.set()

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(GET)
        assert (await client.read_response())[1] == b"ok"
        await spoken.wait()
        await asyncio.sleep(0.02)
        client.send(GET)
        assert (await client.read_response())[1] == b"ok"
        client.close()
    assert backend.connections == 2


MALFORMED = {
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "control in a value": b"HTTP/1.1 200 OK\r\nX: a\x08b\r\nContent-Length: 2\r\n\r\nok",
    "bare line feed in a value": b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
    "bare carriage return in a value": b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "no colon": b"HTTP/1.1 200 OK\r\nwords\r\nContent-Length: 2\r\n\r\nok",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "length signed": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "coding unknown": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    "status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
    "version 2": b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "no status line": b"Content-Length: 2\r\n\r\nok",
    "a request": GET,
    "head without an end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000,
    "head over 64 KiB": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "endless 1xx": b"HTTP/1.1 102 Processing\r\n\r\n" * 17 + OK,
    "switch that nobody asked for": b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    + EVIL,
    "switch of four digits": b"HTTP/1.1 1011 Switching\r\n\r\n" + EVIL,
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_response_is_502(name: str) -> None:
    """The client gets an answer of ours and nothing of the backend's; the upstream connection is not used again."""
    async with raw_backend(fixed(MALFORMED[name])) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(GET)
        head = await client.read_head()
        while head.startswith(b"HTTP/1.1 102 "):
            head = await client.read_head()
        client.send(GET)
        client.close()
        other = await proxy.connect()
        other.send(GET)
        await other.read_head()
        other.close()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"Set-Cookie" not in head
    assert backend.connections >= 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: a\0b\r\n\r\n",
    ],
)
async def test_a_switch_to_something_else_is_502(answer: bytes) -> None:
    """Only the protocol that was asked for, in a head without fault, opens a tunnel."""
    async with raw_backend(fixed(answer)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(UPGRADE)
        assert (await client.read_head()).startswith(b"HTTP/1.1 502 ")
        client.close()


async def test_a_200_for_an_upgrade_is_no_tunnel() -> None:
    """It is a response like any other, with its length, and the connection goes on in HTTP."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(UPGRADE)
        assert (await client.read_response())[1] == b"ok"
        client.send(GET)
        assert (await client.read_response())[1] == b"ok"
        client.close()
    assert len(backend.heads) == 2


TRUNCATED = {
    "counted": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "chunked, within a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\nhello",
    "chunked, without the last": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "chunked, within trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("name", TRUNCATED)
async def test_a_truncated_response_is_seen_to_be_truncated(name: str, reset: bool) -> None:
    """The client gets what came and a closed connection, never the end of a message."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(TRUNCATED[name])
        if reset:
            await asyncio.sleep(0.02)
            conversation.reset()

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        answer = await proxy.ask(GET)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    if name == "counted":
        assert b"\r\nContent-Length: 10" in head
        assert body == b"hello"
    else:
        assert b"\r\nTransfer-Encoding: chunked" in head
        assert body == b"5\r\nhello\r\n"


async def test_a_reset_is_not_the_end_of_a_body_that_ends_by_closing() -> None:
    """Neither for HTTP/1.1, which gets no last chunk, nor for HTTP/1.0, which gets a reset."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await asyncio.sleep(0.02)
        conversation.reset()

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        answer = await proxy.ask(GET)
        assert answer.endswith(b"\r\n\r\n5\r\nhello\r\n")
        client = await proxy.connect()
        client.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        await client.read_head()
        assert await client.reader.readexactly(5) == b"hello"
        with pytest.raises(ConnectionResetError):
            await client.reader.read(1)
        client.close()


@pytest.mark.parametrize(
    "wire", [b"5\r\nhello\r\nx\r\n", b"5\r\nhelloXX", b"5\nhello\r\n", b"5\r\nhello\r\n0\r\nContent-Length: 1\r\n\r\n"]
)
async def test_broken_chunks_of_a_response_truncate_it(wire: bytes) -> None:
    """The response had begun: the client sees no last chunk."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire
    async with raw_backend(fixed(answer)) as backend, running_proxy(one_route([backend.port])) as proxy:
        got = await proxy.ask(GET)
    assert got.startswith(b"HTTP/1.1 ")
    assert not got.endswith(b"0\r\n\r\n")


async def test_trailers_of_a_response_are_filtered() -> None:
    """Those that could change how the message is understood stay behind."""
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n"
        b"0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nContent-Type: text/html\r\n\r\n"
    )
    request = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with raw_backend(fixed(answer)) as backend, running_proxy(one_route([backend.port])) as proxy:
        got = await proxy.ask(request)
    assert got.endswith(b"\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")


async def test_hop_by_hop_fields_of_a_response_stay_behind() -> None:
    """Keep-Alive, Upgrade, Proxy-Connection and what Connection names concern the upstream connection only."""
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\nUpgrade: h2c\r\n"
        b"Proxy-Connection: close\r\nX-End: 1\r\nContent-Length: 2\r\n\r\nok"
    )
    async with raw_backend(fixed(answer)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(GET)
        head, body = await client.read_response()
        client.close()
    assert body == b"ok"
    assert b"X-End: 1" in head
    for name in (b"Connection", b"X-Hop", b"Keep-Alive", b"Upgrade"):
        assert name not in head


async def test_early_hints_pass_and_continue_does_not() -> None:
    """103 is for the client; the proxy itself answers Expect."""
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    async with raw_backend(fixed(answer)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(GET)
        assert await client.read_head() == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        assert (await client.read_response())[1] == b"ok"
        client.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert (await client.read_response())[0].startswith(b"HTTP/1.1 200 ")
        client.close()
