"""Backends that answer before the request is whole, and clients that leave before the response is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import pytest

from proxy.table import Settings
from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.clients import get, half_close, read_reply, reset, within
from tests.support.failing import eventually
from tests.support.log import log_pipe
from tests.support.proxy import RawClient, RunningProxy, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NO = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
JSON = Settings(access_log="json")


def idle(proxy: RunningProxy) -> int:
    """Connections in the pool."""
    (endpoint,) = proxy.worker.runtime.state.clusters["default/backend:80"].endpoints
    return len(endpoint.idle)


async def early(conversation: Conversation, backend: Backend) -> None:
    """Answers by the head, and reads nothing of the body."""
    head = await conversation.read_head()
    backend.heads.append(head)
    conversation.send(NO)
    await asyncio.sleep(5)


async def keep_sending(client: RawClient, size: int) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(size // 65536):
            client.send(bytes(65536))
            await client.writer.drain()


@pytest.mark.parametrize("framing", [b"Content-Length: 16777216", b"Transfer-Encoding: chunked"])
async def test_an_early_response_arrives_while_the_client_still_sends(framing: bytes) -> None:
    """The response is whole at the client, which ends up with a clean close and no reset that eats it."""
    async with raw_backend(early) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(b"PUT / HTTP/1.1\r\nHost: foo.example.com\r\n" + framing + b"\r\n\r\n")
        if b"chunked" in framing:
            client.send(b"1000000\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_sending(client, 8 * 1024 * 1024))
            await asyncio.sleep(0.1)
            reply = await read_reply(client)
            assert await within(client.reader.read(), 2) == b""
        client.close()
        assert idle(proxy) == 0
    assert (reply.status, reply.body) == (403, b"no")
    assert reply.fields["connection"] == "close"


async def test_an_early_response_that_comes_in_parts_ends_its_connection() -> None:
    """Where the head comes first and the body later, both before the request is whole, the rule is the same."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(NO[:-2])
        await asyncio.sleep(0.05)
        conversation.send(NO[-2:])
        await asyncio.sleep(5)

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(b"PUT / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 10\r\n\r\nabc")
        reply = await read_reply(client)
        assert await within(client.reader.read(), 2) == b""
        client.close()
        assert idle(proxy) == 0
    assert (reply.status, reply.body) == (403, b"no")
    assert reply.fields["connection"] == "close"


async def test_an_early_response_does_not_pool_its_connection() -> None:
    """A backend that has not seen the whole request would take its rest for the next one."""
    async with raw_backend(early) as backend, running_proxy(one_route([backend.port])) as proxy:
        for _ in range(2):
            client = await proxy.connect()
            client.send(b"PUT / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 10\r\n\r\nabc")
            assert (await read_reply(client)).status == 403
            assert idle(proxy) == 0
            client.close()
    assert backend.connections == 2


async def test_an_early_head_may_be_followed_by_the_rest_of_the_request() -> None:
    """When the request is whole before the response is, the upstream connection is as good as any."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while await conversation.read_head():
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
            conversation.send(await conversation.reader.readexactly(6))

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(b"PUT / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 6\r\n\r\nabc")
        await client.read_head()
        client.send(b"def")
        assert await within(client.reader.readexactly(6)) == b"abcdef"
        client.close()
        assert idle(proxy) == 1


async def test_a_small_body_that_nobody_wants_does_not_cost_the_connection() -> None:
    """A page of the proxy for a request whose small body is still coming leaves the connection in use."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: unknown.example.com\r\nContent-Length: 10\r\n\r\nabc")
        assert (await read_reply(client)).status == 404
        client.send(b"defghij" + get())
        assert (await read_reply(client)).body == b"ok"
        client.close()


async def test_a_large_body_that_nobody_wants_ends_the_connection_cleanly() -> None:
    """A page of the proxy for a request with megabytes to come arrives, and the connection ends behind it."""
    async with running_proxy(one_route([])) as proxy:
        client = await proxy.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: unknown.example.com\r\nContent-Length: 16777216\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_sending(client, 4 * 1024 * 1024))
            await asyncio.sleep(0.1)
            reply = await read_reply(client)
            assert await within(client.reader.read(), 2) == b""
        client.close()
    assert reply.status == 404
    assert reply.fields["connection"] == "close"


async def waiting(conversation: Conversation, backend: Backend) -> None:
    """Says nothing, and notes when the proxy goes away."""
    backend.heads.append(await conversation.read_head())
    rest = await conversation.reader.read()
    backend.bodies.append(rest)


async def test_a_client_that_resets_cancels_its_request() -> None:
    """The backend sees its connection end at once, and the log says 499."""
    async with (
        log_pipe() as log,
        raw_backend(waiting) as backend,
        running_proxy(one_route([backend.port], settings=JSON), log_fd=log.fd) as proxy,
    ):
        client = await proxy.connect()
        client.send(get("/slow"))
        await eventually(lambda: bool(backend.heads), "the request is under way")
        reset(client)
        await eventually(lambda: bool(backend.bodies), "the connection to the backend ends")
        entry = await log.entry(proxy)
        assert idle(proxy) == 0
    assert backend.bodies == [b""]
    assert (entry["status"], entry["error"], entry["target"]) == (499, "ClientGone", "/slow")


async def test_a_client_that_leaves_in_its_body_cancels_its_request() -> None:
    """Half a body and an end: the backend gets no whole request out of it, and the log says 499."""
    async with (
        log_pipe() as log,
        raw_backend(waiting) as backend,
        running_proxy(one_route([backend.port], settings=JSON), log_fd=log.fd) as proxy,
    ):
        client = await proxy.connect()
        client.send(b"PUT / HTTP/1.1\r\nHost: foo.example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await eventually(lambda: bool(backend.heads), "the request is under way")
        half_close(client)
        await eventually(lambda: bool(backend.bodies), "the connection to the backend ends")
        entry = await log.entry(proxy)
        client.close()
    assert backend.bodies == [b"3\r\nabc\r\n"]
    assert (entry["status"], entry["error"]) == (499, "RequestTruncated")


async def test_a_client_that_leaves_in_the_response_stops_the_backend() -> None:
    """A backend that streams for ever is stopped when its client is gone; the status that was sent stays."""
    stopped = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                conversation.send(b"3\r\nabc\r\n")
                await conversation.writer.drain()
                await asyncio.sleep(0.005)
        finally:
            stopped.set()

    async with (
        log_pipe() as log,
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=JSON), log_fd=log.fd) as proxy,
    ):
        client = await proxy.connect()
        client.send(get())
        await client.read_head()
        client.close()
        await within(stopped.wait())
        entry = await log.entry(proxy)
    assert (entry["status"], entry["error"]) == (200, "ClientGone")


async def test_a_client_that_leaves_while_the_proxy_connects_is_forgotten() -> None:
    """The connection that comes too late serves somebody else."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        await asyncio.sleep(0.02)
        (member,) = proxy.worker.connections._members
        member.data_received(get())
        assert member._exchange.dial is not None
        reset(client)
        await eventually(lambda: not len(proxy.worker.connections), "the client is gone")
        await eventually(lambda: idle(proxy) == 1, "the connection to the backend is kept")
        other = await proxy.connect()
        other.send(get())
        assert (await read_reply(other)).body == b"ok"
        other.close()
    assert len(backend.heads) == 1
    assert backend.connections == 1


def refuse_and_close(listener: socket.socket, times: int) -> None:
    """A backend in a thread: answers by the head and closes on the body, which makes the kernel send a reset."""
    for _ in range(times):
        connection, _ = listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(100)
        connection.recv(10_000)
        connection.sendall(NO)
        connection.close()


def upload_and_read(port: int) -> bytes:
    """A client in threads of its own: sends for as long as it can, and reads at the same time."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"PUT / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 16777216\r\n\r\n")

        def send() -> None:
            with contextlib.suppress(OSError):
                for _ in range(200):
                    connection.sendall(bytes(16384))

        sender = threading.Thread(target=send)
        sender.start()
        answer = connection.recv(1000)
        sender.join()
        return answer[:12]


async def test_a_refusal_survives_the_reset_behind_it() -> None:
    """A backend that refuses a body and closes on it is heard, even where the proxy first learns of it by a write."""
    rounds = 30
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with running_proxy(one_route([listener.getsockname()[1]])) as proxy:
            backend = asyncio.to_thread(refuse_and_close, listener, rounds)
            async with asyncio.TaskGroup() as group:
                group.create_task(backend)
                answers = [await asyncio.to_thread(upload_and_read, proxy.port) for _ in range(rounds)]
    assert answers == [b"HTTP/1.1 403"] * rounds
