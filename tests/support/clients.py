"""Clients and what they read: replies as values, curl, and the rude ways to leave."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable
from typing import NamedTuple, Protocol, TypeVar

from tests.support.proxy import HOST, RawClient

__all__ = [
    "Reply",
    "Request",
    "ask",
    "curl",
    "get",
    "half_close",
    "parse_request",
    "read_chunks",
    "read_reply",
    "reset",
    "silent",
    "slow_client",
    "within",
]

Result = TypeVar("Result")

PATIENCE = 10.0
"""Seconds after which something that should happen counts as not happening."""


class Listening(Protocol):
    """What takes connections: a proxy within the test, or a controller's worker process."""

    async def connect(self) -> RawClient: ...


class Reply(NamedTuple):
    """A response as its client understands it; field names in lower case, repeated ones joined by a comma."""

    status: int
    version: str
    fields: dict[str, str]
    body: bytes
    trailers: dict[str, str]


class Request(NamedTuple):
    """A request head as its backend understands it."""

    line: str
    fields: dict[str, str]


def parse_request(head: bytes) -> Request:
    """The parts of a request head."""
    line, _, rest = head.partition(b"\r\n")
    return Request(line.decode("latin-1"), _fields(rest))


def _fields(block: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in block.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b":")
            key, text = name.decode("latin-1").lower(), value.strip().decode("latin-1")
            fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def get(path: str = "/", *fields: str, method: str = "GET", host: str = HOST, version: str = "1.1") -> bytes:
    """A request without a body."""
    lines = [f"{method} {path} HTTP/{version}", f"Host: {host}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_reply(client: RawClient, *, method: str = "GET") -> Reply:
    """The next response, without the informational ones before it. Framed as RFC 9112 section 6.3 says."""
    return await within(_read_reply(client.reader, method))


async def _read_reply(reader: asyncio.StreamReader, method: str) -> Reply:
    while True:
        line, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        version, status, *_ = line.decode("latin-1").split(" ")
        if not status.startswith("1") or status == "101":
            break
    fields = _fields(rest)
    body = b""
    trailers: dict[str, str] = {}
    if method == "HEAD" or status in ("101", "204", "304"):
        pass
    elif fields.get("transfer-encoding") == "chunked":
        body, trailers = await read_chunks(reader)
    elif "content-length" in fields:
        body = await reader.readexactly(int(fields["content-length"]))
    else:
        body = await reader.read()
    return Reply(int(status), version, fields, body, trailers)


async def read_chunks(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, str]]:
    """A chunked body with its trailers."""
    parts: list[bytes] = []
    trailers: dict[str, str] = {}
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        trailers |= _fields(line)
    return b"".join(parts), trailers


async def ask(proxy: Listening, request: bytes) -> Reply:
    """One request on a connection of its own."""
    client = await proxy.connect()
    client.send(request)
    try:
        return await read_reply(client, method=request.split(b" ", 1)[0].decode())
    finally:
        client.close()


async def within(work: Awaitable[Result], seconds: float = PATIENCE) -> Result:
    """What ``work`` gives, in time."""
    return await asyncio.wait_for(work, seconds)


async def silent(client: RawClient, seconds: float = 0.1) -> bool:
    """Whether nothing comes for a while, neither bytes nor an end."""
    try:
        await asyncio.wait_for(client.reader.readexactly(1), seconds)
    except TimeoutError:
        return True
    return False


async def slow_client(port: int) -> socket.socket:
    """A connected socket with a small buffer that reads nothing by itself."""
    handle = socket.socket()
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    handle.setblocking(False)
    await asyncio.get_running_loop().sock_connect(handle, ("127.0.0.1", port))
    return handle


def half_close(client: RawClient) -> None:
    """End the client's direction only (TCP FIN)."""
    client.writer.write_eof()


def reset(client: RawClient) -> None:
    """Leave with a TCP reset, as the kernel does for a client that died with unread bytes."""
    handle: socket.socket = client.writer.get_extra_info("socket")
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


async def curl(*arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Run curl; its exit code, its output and what it said (``-v`` makes that the whole conversation)."""
    process = await asyncio.create_subprocess_exec(
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "15",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out, err.decode("latin-1")
