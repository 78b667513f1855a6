"""Backends made of bytes, for what no well-behaved server would answer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

__all__ = ["Backend", "Conversation", "Script", "fixed", "raw_backend"]


class Conversation:
    """One connection that the proxy made to a backend."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read_head(self) -> bytes:
        """A request head with its empty line; ``b""`` when the proxy closed instead."""
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def read_body(self, head: bytes) -> bytes:
        """The body that belongs to ``head``, chunks as they are on the wire."""
        lowered = head.lower()
        if b"\r\ntransfer-encoding: chunked" in lowered:
            return await self.reader.readuntil(b"0\r\n\r\n")
        for line in lowered.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return await self.reader.readexactly(int(line.split(b":")[1]))
        return b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        """Break the connection off with a TCP reset."""
        import socket
        import struct

        handle = self.writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Backend:
    """``name`` is that of its pod; ``port`` listens; ``heads`` and ``bodies`` are the requests that ``fixed`` read;
    ``connections`` were made."""

    def __init__(self, name: str = "backend") -> None:
        self.name = name
        self.port = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0


Script = Callable[[Conversation, Backend], Awaitable[None]]


@asynccontextmanager
async def raw_backend(
    script: Script,
    *,
    tls: ssl.SSLContext | None = None,
    address: str = "127.0.0.1",
    port: int = 0,
    name: str = "backend",
) -> AsyncIterator[Backend]:
    """A backend that runs ``script`` for each connection; with ``tls``, for each whose handshake succeeded."""
    backend = Backend(name)
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend.connections += 1
        writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await script(Conversation(reader, writer), backend)
        writers.discard(writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, address, port, limit=1 << 22, ssl=tls)
    backend.port = server.sockets[0].getsockname()[1]
    try:
        yield backend
    finally:
        server.close()
        for writer in tuple(writers):
            writer.transport.abort()
        await asyncio.sleep(0.01)


def fixed(response: bytes) -> Script:
    """A script that answers every request, whole, with the same bytes."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            backend.heads.append(head)
            backend.bodies.append(await conversation.read_body(head))
            conversation.send(response)

    return script
