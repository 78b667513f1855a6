"""Pods for tests: listeners that say who they are, leave as pods do, and the objects that point at them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from tests.support.apiserver import slice_of

__all__ = ["Listener", "Pod", "pods", "slice_for"]


class Listener(Protocol):
    """What a slice can point at."""

    @property
    def name(self) -> str: ...

    @property
    def port(self) -> int: ...


class Pod:
    """Answers every request with its name, and keeps connections open."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.requests = 0
        self.heads: list[bytes] = []
        """The last hundred."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, address: str) -> None:
        self._server = await asyncio.start_server(self._serve, address, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        body = self.name.encode()
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                self.heads = [*self.heads[-99:], head]
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def stop(self) -> None:
        """Gone at once: the port refuses, connections end."""
        self.refuse()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    def refuse(self) -> None:
        """No new connection from now on; those that are there go on."""
        if self._server is not None:
            self._server.close()
            self._server = None


@asynccontextmanager
async def pods(address: str, *names: str) -> AsyncIterator[list[Pod]]:
    """Running pods."""
    started = [Pod(name) for name in names]
    try:
        for pod in started:
            await pod.start(address)
        yield started
    finally:
        for pod in started:
            await pod.stop()
        await asyncio.sleep(0.01)


def slice_for(
    service: str, address: str, running: Sequence[Listener], *, namespace: str = "default"
) -> list[dict[str, Any]]:
    """EndpointSlices, one per pod because each has a port of its own."""
    return [
        slice_of(service, [address], pod.port, namespace=namespace, name=f"{service}-{pod.name}") for pod in running
    ]
