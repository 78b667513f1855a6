"""Requests hidden in requests: none of them reaches a backend as one of its own."""

from __future__ import annotations

import asyncio

import pytest

from proxy.table import Policy, Settings
from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.proxy import one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOST = b"Host: foo.example.com\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


def post(*lines: bytes) -> bytes:
    return b"POST /a HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


DOUBTFUL = {
    "CL.TE": post(b"Content-Length: 6", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "TE.CL": post(b"Transfer-Encoding: chunked", b"Content-Length: 4") + b"0\r\n\r\n",
    "TE.TE, second unknown": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x") + b"0\r\n\r\n",
    "TE.TE, first identity": post(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "TE with a vertical tab": post(b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "TE with a space before the colon": post(b"Transfer-Encoding : chunked") + b"0\r\n\r\n",
    "TE folded": post(b"X: a\r\n Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "TE behind a bare line feed": post(b"X: a\nTransfer-Encoding: chunked") + b"0\r\n\r\n",
    "TE behind a bare carriage return": post(b"X: a\rTransfer-Encoding: chunked") + b"0\r\n\r\n",
    "TE in HTTP/1.0": b"POST /a HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "CL twice": post(b"Content-Length: 0", b"Content-Length: 49"),
    "CL list": post(b"Content-Length: 0, 49"),
    "CL signed": post(b"Content-Length: +0"),
    "CL with a no-break space": post(b"Content-Length: 0\xa0"),
    "CL over 64 bits": post(b"Content-Length: 18446744073709551616"),
    "no CL in HTTP/1.0": b"POST /a HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n",
    "name empty": post(b": a"),
    "NUL in a name": post(b"X\0: a"),
    "two Hosts": post(b"Host: evil.example.com"),
    "line feed for the line end": b"GET /a HTTP/1.1\n" + HOST + b"\r\n",
    "space in the target": b"GET /a HTTP/1.1\r\nX: HTTP/1.1\r\n" + HOST.replace(b"Host:", b"Host :") + b"\r\n",
    "fragment": b"GET /a#/../b HTTP/1.1\r\n" + HOST + b"\r\n",
    "chunk size signed": CHUNKED + b"+0\r\n\r\n",
    "chunk size 0x": CHUNKED + b"0x0\r\n\r\n",
    "chunk ended by line feed": CHUNKED + b"1\r\nZ\n0\r\n\r\n",
    "chunk extension with a line feed": CHUNKED + b"1;\nZ\r\nZ\r\n0\r\n\r\n",
    "chunk without its line end": CHUNKED + b"1\r\nZ0\r\n\r\n",
    "trailer that frames": CHUNKED + b"0\r\nContent-Length: 49\r\n\r\n",
    "trailer with a bare carriage return": CHUNKED + b"0\r\nX: a\rb\r\n\r\n",
}


@pytest.mark.parametrize("name", DOUBTFUL)
async def test_doubtful_framing_ends_the_connection_before_a_backend_hears_of_it(name: str) -> None:
    """Behind a good request on the same connection: refused, closed, and no byte of it or behind it gets through."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(GET)
        assert (await client.read_response())[1] == b"ok"
        client.send(DOUBTFUL[name] + SMUGGLED)
        answer = await client.read_to_end()
        client.close()
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1
        assert (await proxy.ask(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).startswith(b"HTTP/1.1 200")
    assert [head.split(b"\r\n")[0] for head in backend.heads] == [b"GET /a HTTP/1.1"] * 2


@pytest.mark.parametrize("name", [name for name in DOUBTFUL if not name.startswith(("chunk ", "trailer"))])
async def test_doubtful_heads_are_refused_byte_by_byte_too(name: str) -> None:
    """Where the cuts fall changes nothing, even though most of the head may have been read before."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        data = DOUBTFUL[name].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        for index in range(len(data)):
            client.send(data[index : index + 1])
            await asyncio.sleep(0)
        answer = await client.read_to_end()
        client.close()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert backend.connections == 0


async def test_a_chunk_that_breaks_later_never_completes_its_request() -> None:
    """The part before it was sent on; the backend sees it cut off, on a connection that serves nobody else."""
    received = bytearray()
    ended = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        if backend.connections > 1:
            await fixed(OK)(conversation, backend)
            return
        try:
            while data := await conversation.reader.read(1 << 16):
                received.extend(data)
        except ConnectionError:
            pass
        ended.set()

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(CHUNKED + b"3\r\nabc\r\n")
        while not received.endswith(b"3\r\nabc\r\n"):
            await asyncio.sleep(0.001)
        client.send(b"3\r\nabcd\r\n0\r\n\r\n" + SMUGGLED)
        answer = await client.read_to_end()
        client.close()
        await asyncio.wait_for(ended.wait(), 5)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert received.endswith(b"\r\n\r\n3\r\nabc\r\n")
        client = await proxy.connect()
        client.send(GET)
        assert (await client.read_response())[1] == b"ok"
        client.close()
    assert backend.connections == 2


@pytest.mark.parametrize("lines", [(), (b"Expect: 100-continue",)])
async def test_an_unwanted_body_is_no_request(lines: tuple[bytes, ...]) -> None:
    """A body for which no route exists is dropped by its length, or closed on; it is never read as a request."""
    request = post(b"Content-Length: %d" % len(SMUGGLED), *lines).replace(HOST, b"Host: none.example.com\r\n")
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(request)
        head, _ = await client.read_response()
        assert head.startswith(b"HTTP/1.1 404 ")
        client.send(SMUGGLED)
        if lines:
            assert b"\r\nConnection: close\r\n" in head
            assert await client.read_to_end() == b""
        else:
            client.send(GET)
            assert (await client.read_response())[1] == b"ok"
        client.close()
    assert len(backend.heads) == (0 if lines else 1)
    assert not any(b"/smuggled" in head for head in backend.heads)


@pytest.mark.parametrize("framing", ["counted", "chunked"])
async def test_a_body_over_its_limit_ends_the_connection(framing: str) -> None:
    """413, and what follows is not parsed any more."""
    body = SMUGGLED * 3
    if framing == "counted":
        request = post(b"Content-Length: %d" % len(body)) + body
    else:
        request = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(max_body_bytes=100))) as proxy,
    ):
        client = await proxy.connect()
        client.send(request + SMUGGLED)
        answer = await client.read_to_end()
        client.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert not any(b"/smuggled" in head for head in backend.heads)


async def test_an_early_response_costs_both_connections() -> None:
    """The backend answers while the body still comes: the client is told to close, and nobody inherits the upstream."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        if head := await conversation.read_head():
            backend.heads.append(head)
            conversation.send(OK)
            await conversation.reader.read(1)
            await asyncio.sleep(10)

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(post(b"Content-Length: %d" % (len(SMUGGLED) + 5)) + b"hello")
        head, body = await client.read_response()
        assert (body, b"\r\nConnection: close\r\n" in head) == (b"ok", True)
        client.send(SMUGGLED)
        assert await client.read_to_end() == b""
        client.close()
        client = await proxy.connect()
        client.send(GET)
        assert (await client.read_response())[1] == b"ok"
        client.close()
    assert backend.connections == 2
    assert [head.split(b" ")[1] for head in backend.heads] == [b"/a", b"/a"]


async def test_a_client_that_leaves_within_its_body_costs_the_upstream_connection() -> None:
    """The next request goes out on another one, or its head would become the rest of that body."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(post(b"Content-Length: 1000") + b"hello")
        while not backend.heads:
            await asyncio.sleep(0.001)
        client.close()
        client = await proxy.connect()
        client.send(GET)
        assert (await client.read_response())[1] == b"ok"
        client.close()
    assert backend.connections == 2


UPGRADE = b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def test_bytes_behind_an_upgrade_wait_for_the_101() -> None:
    """The backend sees none of them before it has switched; then they are the tunnel's, not a request."""
    seen: list[bytes] = []

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        try:
            async with asyncio.timeout(0.1):
                seen.append(await conversation.reader.read(100))
        except TimeoutError:
            seen.append(b"nothing")
        conversation.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        seen.append(await conversation.reader.readexactly(len(SMUGGLED)))

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(UPGRADE + SMUGGLED)
        assert (await client.read_head()).startswith(b"HTTP/1.1 101 ")
        assert await client.read_to_end() == b""
        client.close()
    assert seen == [b"nothing", SMUGGLED]


async def test_bytes_behind_a_declined_upgrade_are_the_next_request() -> None:
    """A 200 for an upgrade opens no tunnel: what follows goes through every rule, its Host and its path."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(UPGRADE + GET.replace(b"foo.", b"none.") + b"GET /../x HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED)
        heads = [(await client.read_response())[0][:12] for _ in range(3)]
        assert await client.read_to_end() == b""
        client.close()
    assert heads == [b"HTTP/1.1 200", b"HTTP/1.1 404", b"HTTP/1.1 400"]
    assert len(backend.heads) == 1


async def test_h2c_is_neither_tunnelled_nor_passed_on() -> None:
    """An upgrade to HTTP/2 would carry requests past every rule; even a backend that switches opens nothing."""
    request = GET.replace(
        b"\r\n\r\n", b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"
    )
    switch = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with raw_backend(fixed(switch)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(request)
        head, _ = await client.read_response()
        client.close()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert all(b"h2c" not in head.lower() and b"http2" not in head.lower() for head in backend.heads)


async def test_pipelined_requests_are_routed_each_by_its_own_head() -> None:
    """Nothing of one request, neither its Host nor its body's framing, decides about the next."""
    stream = (
        post(b"Content-Length: 5") + b"hello"
        + GET.replace(b"foo.", b"none.")
        + CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"
        + GET
    )  # fmt: skip
    settings = Settings(access_log="off")
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port], settings=settings)) as proxy:
        client = await proxy.connect()
        client.send(stream)
        heads = [(await client.read_response())[0][:12] for _ in range(4)]
        client.close()
    assert heads == [b"HTTP/1.1 200", b"HTTP/1.1 404", b"HTTP/1.1 200", b"HTTP/1.1 200"]
    assert backend.bodies == [b"hello", b"5\r\nhello\r\n0\r\n\r\n", b""]
