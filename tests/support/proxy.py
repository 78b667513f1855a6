"""The data plane on loopback, inside the test's own event loop: real sockets, no second process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from proxy.table import (
    Affinity,
    Balance,
    Certificate,
    Cluster,
    Ejection,
    Endpoint,
    Forward,
    Host,
    Labels,
    Policy,
    Route,
    RouteAction,
    Settings,
    Table,
    UpstreamProtocol,
    UpstreamTls,
)
from proxy.table.feed import difference
from proxy.worker.worker import LogTarget, Worker

__all__ = ["HOST", "RunningProxy", "one_route", "running_proxy"]

HOST = "foo.example.com"
"""The host that :func:`one_route` serves."""


class RunningProxy:
    """A worker that serves; ``port`` for http, ``tls_port`` for https."""

    def __init__(self, worker: Worker, table: Table, port: int, tls_port: int) -> None:
        self.worker = worker
        self.table = table
        self.port = port
        self.tls_port = tls_port
        self._generation = 1

    def publish(self, table: Table) -> None:
        """Make ``table`` live, as a delta from the present one."""
        self._generation += 1
        refused = self.worker.apply(difference(self.table, table, generation=self._generation))
        assert refused is None, refused
        self.table = table

    async def connect(self, *, tls_context: Any = None, server_hostname: str | None = None) -> RawClient:
        """A connection that speaks bytes."""
        port = self.port if tls_context is None else self.tls_port
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls_context, server_hostname=server_hostname, limit=1 << 22
        )
        return RawClient(reader, writer)

    async def ask(self, request: bytes) -> bytes:
        """Send bytes on a new connection and return everything that comes until the proxy closes it."""
        client = await self.connect()
        client.send(request)
        answer = await client.read_to_end()
        client.close()
        return answer

    async def tick(self) -> None:
        """Let the worker's once-a-second work happen now."""
        self.worker._tick()
        await asyncio.sleep(0)


class RawClient:
    """A client made of bytes, for what no well-behaved client would send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read_head(self) -> bytes:
        """A response head with its empty line."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)

    async def read_response(self) -> tuple[bytes, bytes]:
        """Head and body of a response with a length or chunks; the chunks come as they are on the wire."""
        head = await self.read_head()
        lowered = head.lower()
        if b"\r\ntransfer-encoding: chunked" in lowered:
            return head, await asyncio.wait_for(self.reader.readuntil(b"0\r\n\r\n"), 10)
        for line in lowered.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head, await asyncio.wait_for(self.reader.readexactly(int(line.split(b":")[1])), 10)
        return head, b""

    async def read_to_end(self) -> bytes:
        """Everything until the other side closes (or resets)."""
        parts: list[bytes] = []
        while True:
            try:
                part = await asyncio.wait_for(self.reader.read(1 << 20), 10)
            except ConnectionError:
                part = b""
            if not part:
                return b"".join(parts)
            parts.append(part)

    def close(self) -> None:
        self.writer.transport.abort()


def one_route(
    ports: Iterable[int],
    *,
    settings: Settings | None = None,
    policy: Policy | None = None,
    balance: Balance | None = None,
    affinity: Affinity | None = None,
    ejection: Ejection | None = None,
    action: RouteAction | None = None,
    path: str = "/",
    https_redirect: bool = False,
    certificates: dict[str, Certificate] | None = None,
    server_names: dict[str, str] | None = None,
    tls: UpstreamTls | None = None,
    protocol: UpstreamProtocol = "http1",
) -> Table:
    """A table in which :data:`HOST` goes to backends on loopback; any port may be one that nobody listens on.

    ``action``: what the route does instead.
    """
    route = Route(
        path=path,
        action=action or Forward(cluster="default/backend:80"),
        policy=policy or Policy(),
        https_redirect=https_redirect,
        labels=Labels(namespace="default", ingress="test", path="/", service="backend", port="80"),
    )
    endpoints = tuple(Endpoint(address="127.0.0.1", port=port) for port in ports)
    return Table(
        hosts={HOST: Host(routes=(route,))},
        clusters={
            "default/backend:80": Cluster(
                endpoints=endpoints,
                balance=balance or Balance(),
                affinity=affinity,
                ejection=ejection or Ejection(),
                tls=tls,
                protocol=protocol,
            )
        },
        certificates=certificates or {},
        server_names=server_names or {},
        settings=settings or Settings(access_log="off"),
    )


@asynccontextmanager
async def running_proxy(table: Table, *, log_fd: int | None = None) -> AsyncIterator[RunningProxy]:
    """The data plane serving ``table``; everything of it is gone afterwards."""
    worker = Worker(asyncio.get_running_loop(), log=None if log_fd is None else LogTarget(fd=log_fd))
    if log_fd is None:
        table = msgspec.structs.replace(table, settings=msgspec.structs.replace(table.settings, access_log="off"))
    refused = worker.apply(difference(Table(), table, generation=1))
    assert refused is None, refused
    listeners = [_listener(), _listener()]
    await worker.listen([("http", listeners[0]), ("https", listeners[1])])
    ports = [listener.getsockname()[1] for listener in listeners]
    try:
        yield RunningProxy(worker, table, *ports)
    finally:
        await worker.close()
        await asyncio.sleep(0.01)


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener
