"""Bytes pass when they come, both ways, and no faster than the other side takes them."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.clients import get, parse_request, read_chunks, read_reply, slow_client, within
from tests.support.proxy import RunningProxy, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = 64 * 1024 * 1024
BLOCK = bytes(64 * 1024)
BOUND = 40 * 1024 * 1024
"""What the kernel's and the proxy's buffers together may take in: far less than ``LARGE``, more than any tuning."""


async def test_a_head_does_not_wait_for_its_body() -> None:
    """The client sees the response head while the backend has not sent one byte of the body."""
    gate = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await gate.wait()
        conversation.send(b"ok")
        await conversation.reader.read()

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(get())
        head = await client.read_head()
        gate.set()
        body = await within(client.reader.readexactly(2))
        client.close()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b"ok"


@pytest.mark.parametrize("chunked", [True, False])
async def test_each_server_sent_event_arrives_when_it_is_sent(chunked: bool) -> None:
    """Events are not gathered: each is at the client before the backend sends the next, whatever its framing."""
    received = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        conversation.send(head + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n"))
        for number in range(5):
            event = b"data: %d\n\n" % number
            conversation.send(b"%x\r\n%b\r\n" % (len(event), event) if chunked else event)
            await received.wait()
            received.clear()
        if chunked:
            conversation.send(b"0\r\n\r\n")

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(get("/events"))
        head = await client.read_head()
        for number in range(5):
            size = int(await within(client.reader.readuntil(b"\r\n")), 16)
            assert await within(client.reader.readexactly(size + 2)) == b"data: %d\n\n\r\n" % number
            received.set()
        end = await within(client.reader.readexactly(5))
        client.close()
    assert b"Transfer-Encoding: chunked\r\n" in head
    assert end == b"0\r\n\r\n"


async def test_a_head_with_the_beginning_of_a_chunk_does_not_wait() -> None:
    """A backend that sends its head together with a chunk size only is not held back until the chunk comes."""
    gate = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n")
        await gate.wait()
        conversation.send(b"ok\r\n0\r\n\r\n")

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(get())
        head = await client.read_head()
        gate.set()
        body, _ = await within(read_chunks(client.reader))
        client.close()
    assert head.startswith(b"HTTP/1.1 200")
    assert body == b"ok"


async def test_request_bytes_reach_the_backend_when_they_come() -> None:
    """Each piece of a counted and of a chunked upload is at the backend before the client sends the next."""
    for framing in (b"Content-Length: 6", b"Transfer-Encoding: chunked"):
        pieces: asyncio.Queue[bytes] = asyncio.Queue()

        async def script(conversation: Conversation, backend: Backend, pieces: asyncio.Queue[bytes] = pieces) -> None:
            await conversation.read_head()
            while piece := await conversation.reader.read(1000):
                pieces.put_nowait(piece)
                if piece.endswith((b"ef", b"0\r\n\r\n")):
                    conversation.send(OK)

        async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
            client = await proxy.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: foo.example.com\r\n" + framing + b"\r\n\r\n")
            chunked = framing.endswith(b"chunked")
            for piece in (b"ab", b"cd", b"ef"):
                client.send(b"2\r\n" + piece + b"\r\n" if chunked else piece)
                assert piece in await within(pieces.get())
            if chunked:
                client.send(b"0\r\n\r\n")
            assert (await read_reply(client)).body == b"ok"
            client.close()


async def test_both_directions_stream_at_once() -> None:
    """A backend that echoes while it reads (an early response head) talks with its client piece by piece."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (size := int(await conversation.reader.readuntil(b"\r\n"), 16)) > 0:
            data = await conversation.reader.readexactly(size + 2)
            conversation.send(b"%x\r\n" % size + data)
        conversation.send(b"0\r\n\r\n")

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.read_head()
        for piece in (b"one", b"three"):
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert int(await within(client.reader.readuntil(b"\r\n")), 16) == len(piece)
            assert await within(client.reader.readexactly(len(piece) + 2)) == piece + b"\r\n"
        client.send(b"0\r\n\r\n")
        assert await within(client.reader.readuntil(b"\r\n\r\n")) == b"0\r\n\r\n"
        client.close()


def buffered(proxy: RunningProxy) -> int:
    """Bytes that the proxy's own buffers hold for clients and endpoints."""
    members = proxy.worker.connections._members
    held = sum(member.transport.get_write_buffer_size() + len(member._held) for member in members)
    upstreams = [member._exchange.upstream for member in members]
    return held + sum(one.transport.get_write_buffer_size() for one in upstreams if one is not None)


async def settled(counter: list[int]) -> int:
    """What ``counter`` shows once it stands still."""
    while True:
        before = counter[0]
        await asyncio.sleep(0.15)
        if counter[0] == before:
            return before


async def test_a_slow_reader_stops_the_backend() -> None:
    """With 64 MiB unread the proxy stops taking them; once the client reads, all of them arrive."""
    sent = [0]

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        while sent[0] < LARGE:
            conversation.send(BLOCK)
            await conversation.writer.drain()
            sent[0] += len(BLOCK)
        await conversation.reader.read()

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        loop = asyncio.get_running_loop()
        client = await slow_client(proxy.port)
        await loop.sock_sendall(client, get())
        stopped_at = await settled(sent)
        held = buffered(proxy)
        received = 0
        while received < LARGE:
            data = await within(loop.sock_recv(client, 1 << 20))
            assert data
            received += len(data)
        client.close()
    assert 0 < stopped_at < BOUND
    assert 0 < held < 1024 * 1024


async def test_a_slow_backend_stops_the_client() -> None:
    """With 64 MiB to upload the proxy stops reading while the backend does not; then all of them arrive."""
    gate = asyncio.Event()
    arrived = [0]
    sent = [0]

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        await gate.wait()
        while arrived[0] < LARGE:
            arrived[0] += len(await conversation.reader.read(1 << 20))
        conversation.send(OK)

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(b"PUT / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: %d\r\n\r\n" % LARGE)

        async def upload() -> None:
            while sent[0] < LARGE:
                client.send(BLOCK)
                await client.writer.drain()
                sent[0] += len(BLOCK)

        async with asyncio.TaskGroup() as group:
            group.create_task(upload())
            stopped_at = await settled(sent)
            held = buffered(proxy)
            gate.set()
            reply = await read_reply(client)
        client.close()
    assert reply.body == b"ok"
    assert 0 < stopped_at < BOUND
    assert 0 < held < 1024 * 1024


async def test_a_connection_that_was_slowed_down_serves_again() -> None:
    """An upstream connection whose last bytes filled the client's buffers is read again for the next request."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            size = int(head.split(b" ", 2)[1][1:])
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        loop = asyncio.get_running_loop()
        endpoint = proxy.worker.runtime.state.clusters["default/backend:80"].endpoints[0]

        async def try_size(size: int) -> tuple[bool, bool]:
            """Whether a response of ``size`` bytes that nobody reads left the backend whole; whether it blocks."""
            stalled = await slow_client(proxy.port)
            await loop.sock_sendall(stalled, get(f"/{size}"))
            for _ in range(100):
                await asyncio.sleep(0.001)
                if endpoint.idle:
                    break
            whole = bool(endpoint.idle)
            blocked = any(member._write_blocked for member in proxy.worker.connections._members)
            if whole and blocked:
                other = await proxy.connect()
                other.send(get("/2"))
                assert len((await within(read_reply(other), 2)).body) == 2
                other.close()
            stalled.close()
            return whole, blocked

        # How much the kernel takes in is unknown: the first size that gets stuck is searched for, then approached.
        size, step = 256 * 1024, 96 * 1024
        while (await try_size(size))[0]:
            size += step
        size -= step
        while (outcome := await try_size(size)) == (True, False):
            size += 1024
    assert outcome == (True, True)


async def test_a_client_that_does_not_read_cannot_ask_for_more() -> None:
    """While one response waits unread, a next request waits too: its response does not pile up in the proxy."""
    size = 4 * 1024 * 1024
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    async with raw_backend(fixed(response)) as backend, running_proxy(one_route([backend.port])) as proxy:
        loop = asyncio.get_running_loop()
        client = await slow_client(proxy.port)
        most = 0
        for _ in range(10):
            await loop.sock_sendall(client, get())
            await asyncio.sleep(0.03)
            most = max(most, buffered(proxy))
        received = 0
        while received < 10 * size:
            data = await within(loop.sock_recv(client, 1 << 20))
            assert data
            received += len(data)
            most = max(most, buffered(proxy))
        client.close()
    assert most < 1024 * 1024


async def test_a_truncated_response_looks_truncated() -> None:
    """A response that breaks off reaches its client without an end: no last chunk, fewer bytes than announced."""
    for head in (b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n"):
        body = b"3\r\nabc\r\n" if b"chunked" in head else b"abc"

        async def script(
            conversation: Conversation,
            backend: Backend,
            response: bytes = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body,
        ) -> None:
            await conversation.read_head()
            conversation.send(response)

        async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
            answer = await proxy.ask(get())
        assert answer.endswith(b"\r\n\r\n" + body)


async def test_a_truncated_response_resets_a_client_that_knows_no_lengths() -> None:
    """An HTTP/1.0 client of a chunked response takes a close for its end, so a truncation is a reset."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await conversation.reader.readexactly(1)

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(get(version="1.0"))
        await client.read_head()
        assert await within(client.reader.readexactly(3)) == b"abc"
        for connection in tuple(proxy.worker.connections._members):
            upstream = connection._exchange.upstream
            assert upstream is not None
            upstream.transport.abort()
        with pytest.raises(ConnectionResetError):
            await within(client.reader.read())
        client.close()


async def test_upload_head_tells_the_framing() -> None:
    """A counted upload is counted at the backend, whatever its size."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(b"PUT / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 300000\r\n\r\n" + bytes(300000))
        assert (await read_reply(client)).body == b"ok"
        client.close()
    fields = parse_request(backend.heads[0]).fields
    assert fields["content-length"] == "300000"
    assert "transfer-encoding" not in fields
    assert len(backend.bodies[0]) == 300000
