"""Bodies of any size and kind, events, WebSockets and bodiless answers, through a controller process."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import InvalidStatus

from tests.support.apiserver import service, slice_of
from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.clients import get, parse_request, read_chunks, read_reply, silent, within
from tests.support.cluster import Cluster
from tests.support.controller import Controller
from tests.support.pods import Pod
from tests.support.site import ingress_of, publish, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MIB = 1024 * 1024
LARGE = 128 * MIB
BLOCK = bytes(range(256)) * 1024
"""256 KiB."""


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


async def pieces(conversation: Conversation, head: bytes) -> AsyncIterator[bytes]:
    """Of a request body, none of it kept."""
    fields, reader = parse_request(head).fields, conversation.reader
    left = int(fields.get("content-length", 0))
    while left:
        data = await reader.read(min(left, MIB))
        left -= len(data)
        yield data
    while "transfer-encoding" in fields and (size := int(await reader.readuntil(b"\r\n"), 16)):
        yield (await reader.readexactly(size + 2))[:-2]


async def checksum(conversation: Conversation, backend: Backend) -> None:
    """Answer with the length of the body and its CRC."""
    size = crc = 0
    async for data in pieces(conversation, await conversation.read_head()):
        size, crc = size + len(data), zlib.crc32(data, crc)
    told = b"%d %d" % (size, crc)
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told)


async def test_a_large_upload_is_streamed_in_flat_memory(cluster: Cluster, pyngress: Controller) -> None:
    """128 MiB by their length and 128 MiB in chunks, at once: every byte arrives, and the worker does not grow."""
    host, most = "upload.example.com", 0
    async with raw_backend(checksum, address=cluster.address) as backend:
        await publish(cluster, "upload", host, [backend])
        await pyngress.becomes(host, 200, "0 0")
        (worker,) = pyngress.workers()
        before = resident(worker)

        async def upload(framing: str, piece: bytes, end: bytes) -> bytes:
            nonlocal most
            client = await pyngress.connect()
            client.send(get("/", framing, host=host, method="PUT"))
            for _ in range(LARGE // len(BLOCK)):
                client.send(piece)
                await client.writer.drain()
                most = max(most, resident(worker))
            client.send(end)
            reply = await read_reply(client)
            client.close()
            return reply.body

        told = await asyncio.gather(
            upload(f"Content-Length: {LARGE}", BLOCK, b""),
            upload("Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK), b"0\r\n\r\n"),
        )
    crc = 0
    for _ in range(LARGE // len(BLOCK)):
        crc = zlib.crc32(BLOCK, crc)
    assert set(told) == {b"%d %d" % (LARGE, crc)}
    assert most - before < 24 * MIB


async def test_a_chunked_request_arrives_whole(cluster: Cluster, pyngress: Controller) -> None:
    """However it was cut, and in chunks again; extensions stay behind."""
    host = "chunked.example.com"
    async with raw_backend(fixed(OK), address=cluster.address) as backend:
        await publish(cluster, "chunked", host, [backend])
        await pyngress.becomes(host, 200)
        client = await pyngress.connect()
        client.send(get(host=host, method="POST")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n")
        await asyncio.sleep(0.02)
        client.send(b"6\r\n world\r\n0\r\n\r\n")
        assert (await read_reply(client)).body == b"ok"
        client.close()
    assert parse_request(backend.heads[-1]).fields["transfer-encoding"] == "chunked"
    arrived = asyncio.StreamReader()
    arrived.feed_data(backend.bodies[-1])
    assert await read_chunks(arrived) == (b"hello world", {})
    assert b"x=y" not in backend.bodies[-1]


async def test_each_event_arrives_when_it_is_sent(cluster: Cluster, pyngress: Controller) -> None:
    """Server-sent events: the pod sends the next one only when the client has the one before."""
    received = asyncio.Event()

    async def events(conversation: Conversation, backend: Backend) -> None:
        while b"/events" not in await conversation.read_head():
            conversation.send(OK)
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            event = b"data: %d\n\n" % number
            conversation.send(b"%x\r\n%b\r\n" % (len(event), event))
            await received.wait()
            received.clear()
        conversation.send(b"0\r\n\r\n")

    host = "events.example.com"
    async with raw_backend(events, address=cluster.address) as backend:
        await publish(cluster, "events", host, [backend])
        await pyngress.becomes(host, 200)
        client = await pyngress.connect()
        client.send(get("/events", host=host))
        assert b"text/event-stream" in await client.read_head()
        for number in range(5):
            size = int(await within(client.reader.readuntil(b"\r\n")), 16)
            assert await within(client.reader.readexactly(size + 2)) == b"data: %d\n\n\r\n" % number
            received.set()
        assert await within(client.reader.readexactly(5)) == b"0\r\n\r\n"
        client.close()


@asynccontextmanager
async def websocket_echo(address: str) -> AsyncIterator[int]:
    """A WebSocket server that echoes; its port."""

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve_websocket(echo, address, 0, max_size=None) as server:
        port: int = next(iter(server.sockets)).getsockname()[1]
        yield port


async def test_a_websocket_lives_through_every_change(cluster: Cluster, pyngress: Controller, pod: Pod) -> None:
    """Of its Ingress, of its endpoints and of other objects, to the end of all of them; new requests see the change."""
    host = "chat.example.com"

    async def becomes(status: int, body: str | None = None) -> None:
        await pyngress.becomes(host, status, body)

    async with websocket_echo(cluster.address) as port:
        await cluster.apply(service("chat"), slice_of("chat", [cluster.address], port, name="chat-1"))
        await cluster.apply(ingress_of("chat", host))
        await becomes(426)  # what the WebSocket server says to a plain GET
        url = f"ws://{host}:{pyngress.http}/"
        dial = partial(connect, url, host="127.0.0.1", port=pyngress.http, max_size=None, proxy=None)
        async with dial() as socket:

            async def lives() -> None:
                for message in ("hello", bytes(300_000)):
                    await socket.send(message)
                    assert await within(socket.recv()) == message

            await lives()
            denied = {"pyngress.io/denylist-source-range": "127.0.0.0/8"}
            await cluster.apply(ingress_of("chat", host, annotations=denied))
            await becomes(403)
            await lives()
            with pytest.raises(InvalidStatus, match="403"):
                async with dial():
                    pass
            await cluster.apply(ingress_of("chat", host))
            await serve(cluster, "chat", [pod])
            await cluster.delete("EndpointSlice", "chat-1")
            await becomes(200, "pod")
            await lives()
            await cluster.delete("Service", "chat")
            await becomes(503)
            await lives()
            await cluster.delete("Ingress", "chat")
            await becomes(404)
            await lives()
        assert socket.close_code == 1000


async def test_a_client_may_ask_before_it_sends(cluster: Cluster, pyngress: Controller, pod: Pod) -> None:
    """100 Continue comes where a pod takes the body; a body that is too large, or for nobody, is refused without it."""
    host = "asking.example.com"
    limit = {"pyngress.io/proxy-body-size": "1k"}
    await publish(cluster, "taken", "taken." + host, [pod])
    await publish(cluster, "limited", host, [pod], annotations=limit)
    await pyngress.becomes("taken." + host, 200)
    await pyngress.becomes(host, 200)
    for asked, length, status in (("taken." + host, 5000, 100), (host, 5000, 413), ("nobody." + host, 5000, 404)):
        client = await pyngress.connect()
        client.send(get("/", "Expect: 100-continue", f"Content-Length: {length}", host=asked, method="PUT"))
        assert (await client.read_head()).startswith(f"HTTP/1.1 {status} ".encode())
        client.close()


@pytest.mark.parametrize(
    ("method", "answer", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", "5000"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 7\r\n\r\n', "7"),
    ],
)
async def test_answers_without_a_body_end_with_their_head(
    cluster: Cluster, pyngress: Controller, method: str, answer: bytes, length: str | None
) -> None:
    """The next answer on the connection follows at once, and nothing comes between."""
    status = int(answer[9:12])
    name = f"bodiless-{status}"
    host = f"{name}.example.com"

    async def bodiless(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            conversation.send(answer if b"/bodiless" in head else OK)

    async with raw_backend(bodiless, address=cluster.address) as backend:
        await publish(cluster, name, host, [backend])
        await pyngress.becomes(host, 200)
        client = await pyngress.connect()
        client.send(get("/bodiless", host=host, method=method) + get(host=host))
        first = await read_reply(client, method=method)
        assert (first.status, first.fields.get("content-length")) == (status, length)
        assert (await read_reply(client)).body == b"ok"
        assert await silent(client, 0.02)
        client.close()


async def test_head_of_what_is_answered_here(pyngress: Controller) -> None:
    """A 404 for HEAD has the length of its page and no page."""
    client = await pyngress.connect()
    client.send(get(host="nobody.example.com", method="HEAD") + get(host="nobody.example.com"))
    first = await read_reply(client, method="HEAD")
    second = await read_reply(client)
    client.close()
    assert (first.status, second.status) == (404, 404)
    assert first.fields["content-length"] == str(len(second.body)) != "0"
