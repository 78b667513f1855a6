"""Steady load on a host, that counts every request which did not get its 200."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

__all__ = ["Load", "load"]


class Load:
    """``answers`` counts bodies of 200s, ``failures`` everything else by its description."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.over = False

    @property
    def sent(self) -> int:
        return self.answers.total() + self.failures.total()

    def must_be_flawless(self, *, at_least: int = 50) -> None:
        """No request failed, and there were enough to tell."""
        assert not self.failures, (dict(self.failures), self.sent)
        assert self.sent >= at_least


@asynccontextmanager
async def load(
    port: Callable[[], int], host: str, *, clients: int = 8, pause: float = 0.005, keepalive: int = 25
) -> AsyncIterator[Load]:
    """``clients`` connections, each sending one request after the other.

    ``port`` is asked for every new connection, as a load balancer is. A connection serves ``keepalive`` requests. A
    request that a kept connection did not answer with a single byte before it closed is sent again on a new one, as
    browsers and RFC 9112 section 9.3.1 have it.
    """
    counted = Load()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(_client(port, host, counted, pause, keepalive))
        try:
            yield counted
        finally:
            counted.over = True


async def _client(port: Callable[[], int], host: str, counted: Load, pause: float, keepalive: int) -> None:
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    while not counted.over:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port())
        except OSError as error:
            counted.failures[f"connect: {error!r}"] += 1
            await asyncio.sleep(0.05)
            continue
        for number in range(keepalive):
            if counted.over or not await _exchange(reader, writer, request, counted, is_first=number == 0):
                break
            await asyncio.sleep(pause)
        writer.transport.abort()
        await asyncio.sleep(0)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, counted: Load, *, is_first: bool
) -> bool:
    """Whether the connection may serve another."""
    try:
        writer.write(request)
        async with asyncio.timeout(8.0):
            head = await reader.readuntil(b"\r\n\r\n")
            fields = head.lower().split(b"\r\n")
            length = next((line for line in fields if line.startswith(b"content-length:")), b":0")
            body = await reader.readexactly(int(length.split(b":")[1]))
    except asyncio.IncompleteReadError as error:
        if is_first or error.partial:
            counted.failures[f"cut after {error.partial[:40]!r}"] += 1
        return False
    except (OSError, TimeoutError) as error:
        if is_first or not isinstance(error, ConnectionError):
            counted.failures[repr(error)] += 1
        return False
    status = head.split(b" ", 2)[1]
    if status == b"200":
        counted.answers[body.decode()] += 1
    else:
        counted.failures[head.split(b"\r\n", 1)[0].decode()] += 1
    return b"connection: close" not in fields
