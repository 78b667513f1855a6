"""WebSocket over HTTP/2 (RFC 8441): an extended CONNECT is a handshake as HTTP/1.1 backends know it."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from proxy.table import Settings
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.clients import parse_request
from tests.support.failing import endpoint_of, eventually, quiet
from tests.support.http2 import Http2Client, http2_client
from tests.support.proxy import HOST, one_route, running_proxy

H2C = Settings(h2c=True, access_log="off")
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)


def switch(head: bytes) -> bytes:
    """The 101 that RFC 6455 wants for a request."""
    key = parse_request(head).fields["sec-websocket-key"].encode()
    proof = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    return SWITCH % base64.b64encode(proof)


def connect(client: Http2Client, protocol: bytes = b"websocket", *more: tuple[bytes, bytes]) -> int:
    """Ask for a tunnel."""
    fields = [(b":method", b"CONNECT"), (b":protocol", protocol), (b":scheme", b"https"), (b":path", b"/chat?a=b")]
    host = (b":authority", HOST.encode())
    return client.ask([*fields, host, (b"sec-websocket-version", b"13"), *more], end=False)


async def _echo(conversation: Conversation, backend: Backend) -> None:
    backend.heads.append(await conversation.read_head())
    conversation.send(switch(backend.heads[-1]) + b"early")
    while data := await conversation.reader.read(65536):
        conversation.send(data)
    backend.bodies.append(b"eof")


async def test_bytes_pass_both_ways_beside_other_requests() -> None:
    """The backend sees an upgrade with a key of ours; the client a 200; the end of either side ends the other."""
    async with (
        raw_backend(_echo) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = connect(client, b"websocket", (b"sec-websocket-protocol", b"chat"), (b"sec-websocket-key", b"mine"))
        answer = client.answers[stream]
        await client.until(lambda: answer.body == b"early")
        assert answer.status == 200
        assert answer.fields["sec-websocket-protocol"] == "chat"
        assert not answer.fields.keys() & {"connection", "upgrade", "sec-websocket-accept"}
        head = parse_request(backend.heads[0])
        assert head.line == "GET /chat?a=b HTTP/1.1"
        assert (head.fields["connection"], head.fields["upgrade"]) == ("Upgrade", "websocket")
        assert len(base64.b64decode(head.fields["sec-websocket-key"])) == 16
        client.send(stream, b"hello")
        await client.until(lambda: answer.body == b"earlyhello")
        assert (await client.get(host="unknown.org")).status == 404
        await client.send_all(stream, b"x" * 1_000_000, end=False)
        await client.until(lambda: len(answer.received) == 1_000_010)
        assert proxy.worker.runtime.tunnels == 1
        client.send(stream, b"", end=True)
        assert (await client.answer(stream)).ended
        await eventually(lambda: backend.bodies == [b"eof"], "the backend saw the end")
        await quiet(proxy, connections=1)


async def test_a_tunnel_that_the_client_resets_is_gone_at_the_backend() -> None:
    """RST_STREAM is the end of the backend's connection."""
    async with (
        raw_backend(_echo) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = connect(client)
        await client.until(lambda: client.answers[stream].body == b"early")
        client.connection.reset_stream(stream, 8)
        client.flush()
        await eventually(lambda: backend.bodies == [b"eof"], "the backend saw the end")
        await quiet(proxy, connections=1)


async def test_a_client_that_takes_nothing_stops_the_backend() -> None:
    """Back-pressure goes through the tunnel."""
    sent = 0

    async def script(conversation: Conversation, backend: Backend) -> None:
        nonlocal sent
        conversation.send(switch(await conversation.read_head()))
        while sent < 20_000_000:
            conversation.send(b"x" * 100_000)
            sent += 100_000
            await conversation.writer.drain()

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy, greedy=False) as client,
    ):
        stream = connect(client)
        await client.until(lambda: len(client.answers[stream].received) == 65535)
        await asyncio.sleep(0.2)
        assert sent < 10_000_000
    await quiet(proxy)


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", 502),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", 502),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 502),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502),
        (SWITCH % b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 502),
    ],
)
async def test_a_backend_that_does_not_switch_opens_no_tunnel(response: bytes, status: int) -> None:
    """Above all, a plain 200 must not look like one to the client."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while await conversation.read_head():
            conversation.send(response)

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = connect(client)
        await client.until(lambda: client.answers[stream].ended)
        assert client.answers[stream].status == status
        await quiet(proxy, connections=1)


@pytest.mark.parametrize(
    ("name", "proof", "more", "status"),
    [
        (b"sec-websocket-accept", b" %b\t", b"", 200),
        (b"Sec-WebSocket-Accept", b"%b", b"Sec-WebSocket-Accept: %b\r\n", 502),
        (b"Sec-WebSocket-Accept", b"%b", b"Sec-WebSocket-Accept: x\r\n", 502),
        (b"Sec-WebSocket-Accept", b"%b, x", b"", 502),
        (b"Sec-WebSocket-Accept", b"%b=", b"", 502),
        (b"X-Sec-WebSocket-Accept", b"%b", b"", 502),
    ],
)
async def test_only_the_one_proof_of_the_key_opens_a_tunnel(
    name: bytes, proof: bytes, more: bytes, status: int
) -> None:
    """Spaces around it and the spelling of its name aside. What is refused is no fault of the endpoint, and nothing of
    what came behind it passes."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        right = switch(await conversation.read_head())
        accept = right.partition(b"Accept: ")[2].partition(b"\r\n")[0]
        lines = (name + b":" + proof + b"\r\n" + more).replace(b"%b", accept)
        conversation.send(right.replace(b"Sec-WebSocket-Accept: %b\r\n" % accept, lines) + b"early")
        await conversation.reader.read()

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = connect(client)
        answer = client.answers[stream]
        await client.until(lambda: answer.body == b"early" if status == 200 else answer.ended)
        assert answer.status == status
        assert not endpoint_of(proxy).suspect
        if status == 502:
            assert b"early" not in answer.body
            await quiet(proxy, connections=1)


async def test_other_protocols_are_refused() -> None:
    """Only WebSocket is tunnelled; plain CONNECT and others are 405, and reach nobody."""
    async with (
        raw_backend(_echo) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        for protocol in (b"connect-udp", b"connect-ip", b"WebSocket2"):
            answer = client.answers[connect(client, protocol)]
            await client.until(lambda answer=answer: answer.ended)  # type: ignore[misc]  # bound at once
            assert answer.status == 405
        assert backend.connections == 0
        assert endpoint_of(proxy).active == 0
