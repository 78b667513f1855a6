"""Backends that fail, and the look for what a failure left behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from proxy.upstream.cluster import ClusterState
from proxy.upstream.endpoint import EndpointState
from tests.support.backend import Backend, Conversation, Script
from tests.support.proxy import HOST, RawClient, RunningProxy

__all__ = [
    "CLUSTER",
    "IDEMPOTENT",
    "OK",
    "OTHERS",
    "Gate",
    "answers",
    "client_of",
    "closes_after",
    "cluster_of",
    "deaf_port",
    "endpoint_of",
    "eventually",
    "hangs",
    "quiet",
    "refusing_port",
    "request",
    "resets",
    "status",
    "status_of",
    "turn_to",
]

CLUSTER = "default/backend:80"

IDEMPOTENT = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]
OTHERS = ["POST", "PATCH"]
"""Methods that may be sent again, and ones that may not."""
"""The cluster of :func:`tests.support.proxy.one_route`."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def request(method: str = "GET", path: str = "/", *, body: bytes | None = None, fields: bytes = b"") -> bytes:
    """A request for the host of ``one_route``; ``fields`` are whole lines."""
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    return f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n".encode() + fields + length + b"\r\n" + (body or b"")


def status(head: bytes) -> int:
    """The status of a response head."""
    return int(head.split(b" ", 2)[1])


def cluster_of(proxy: RunningProxy) -> ClusterState:
    """The cluster as the worker knows it."""
    return proxy.worker.runtime.state.clusters[CLUSTER]


def endpoint_of(proxy: RunningProxy, index: int = 0) -> EndpointState:
    """An endpoint as the worker knows it."""
    return cluster_of(proxy).endpoints[index]


def turn_to(proxy: RunningProxy, index: int) -> None:
    """The next round robin choice is the endpoint of that index."""
    cluster_of(proxy)._turn = index - 1


async def eventually(condition: object, what: str, limit: float = 2.0) -> None:
    """Wait until ``condition()`` holds."""
    assert callable(condition)
    deadline = asyncio.get_running_loop().time() + limit
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not so within {limit} s: {what}"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def client_of(proxy: RunningProxy) -> AsyncIterator[RawClient]:
    """A client connection that ends with the block."""
    client = await proxy.connect()
    try:
        yield client
    finally:
        client.close()


async def quiet(proxy: RunningProxy, *, connections: int = 0) -> None:
    """Nothing is under way any more, and nothing was left behind: no request, no dial, no client connection."""
    runtime = proxy.worker.runtime
    await eventually(lambda: runtime.active == 0, f"{runtime.active} exchanges under way")
    await eventually(lambda: len(proxy.worker.connections) == connections, "client connections left")
    await eventually(lambda: not proxy.worker._dialer._tasks, "dials left")
    assert runtime.tunnels == 0
    for cluster in runtime.state.clusters.values():
        for endpoint in cluster.endpoints:
            assert endpoint.active == 0, endpoint.name
            assert all(idle.usable and idle.exchange is None for idle in endpoint.idle)


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else can get meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port on which connections are neither taken nor refused: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = []
        try:
            for _ in range(3):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(address)
                fillers.append(filler)
            yield address[1]
        finally:
            for filler in fillers:
                filler.close()


def answers(response: bytes = OK) -> Script:
    """Each request, whole, gets the same bytes."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            backend.heads.append(head)
            backend.bodies.append(await conversation.read_body(head))
            conversation.send(response)

    return script


class Gate:
    """A backend that holds every request until it is open. ``ended``: connections that ended."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.ended = 0

    async def __call__(self, conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            backend.heads.append(head)
            backend.bodies.append(await conversation.read_body(head))
            await self.open.wait()
            conversation.send(OK)
        self.ended += 1


def closes_after(response: bytes, *, requests: int = 1) -> Script:
    """Answers as many requests on a connection, and closes it without having said so."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        for _ in range(requests):
            head = await conversation.read_head()
            if not head:
                return
            backend.heads.append(head)
            backend.bodies.append(await conversation.read_body(head))
            conversation.send(response)
        conversation.writer.close()

    return script


def resets(*, after: int = 0) -> Script:
    """Answers that many requests on a connection; reads the next one whole and resets."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        for number in range(after + 1):
            head = await conversation.read_head()
            if not head:
                return
            backend.heads.append(head)
            backend.bodies.append(await conversation.read_body(head))
            if number < after:
                conversation.send(OK)
        conversation.reset()

    return script


def hangs() -> Script:
    """Reads requests and never answers."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            backend.heads.append(head)
            backend.bodies.append(await conversation.read_body(head))

    return script


async def status_of(proxy: RunningProxy, text: bytes) -> int:
    """The status of one request on a connection of its own; afterwards nothing is left of it."""
    async with client_of(proxy) as client:
        client.send(text)
        answer = status(await client.read_head())
    await quiet(proxy)
    return answer
