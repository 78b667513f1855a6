"""A look at the first bytes of an accepted connection, before any protocol or TLS has it.

For what stands before the TLS handshake (a PROXY protocol header) and for what decides who does the handshake (the
server name in a ClientHello). The bytes stay in the kernel; whoever looked takes off what is his with ``recv``.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Final, TypeVar

__all__ = ["look"]

T = TypeVar("T")

_ENDED: Final = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_PRESSURE: Final = 0.02
"""Seconds between two looks where the kernel, short of memory, wakes for fewer bytes than it was asked to."""


async def look(
    loop: asyncio.AbstractEventLoop, accepted: socket.socket, judge: Callable[[bytes], T | None], limit: int
) -> T:
    """What ``judge`` finds in the first bytes of ``accepted``, of which it sees all that came so far, up to ``limit``.

    ``judge`` returns ``None`` while it needs more; what it raises, this raises. The time limit is the caller's.

    Raises:
        EOFError: no more bytes come, or ``limit`` of them were not enough.
        OSError: the connection broke.
    """
    seen = 0
    wanted = 1
    try:
        while True:
            try:
                data = accepted.recv(limit, socket.MSG_PEEK)
            except BlockingIOError:
                await _readable(loop, accepted)
                continue
            if len(data) <= seen:
                if not data or _has_ended(accepted):
                    raise EOFError
                await asyncio.sleep(_PRESSURE)
                await _readable(loop, accepted)
                continue
            seen = len(data)
            found = judge(data)
            if found is not None:
                return found
            if seen >= limit:
                raise EOFError
            # Else the socket would be readable all the time, for bytes that were looked at already.
            wanted = seen + 1
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            await _readable(loop, accepted)
    finally:
        if wanted > 1 and accepted.fileno() >= 0:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _has_ended(accepted: socket.socket) -> bool:
    """Whether the peer sends no more than what is there."""
    poll = select.poll()
    poll.register(accepted, _ENDED)
    return bool(poll.poll(0))


async def _readable(loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> None:
    """Wait until there is something to read: as many bytes as SO_RCVLOWAT says, or the end."""
    ready = loop.create_future()

    def wake() -> None:
        loop.remove_reader(accepted.fileno())
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(accepted.fileno(), wake)
    try:
        await ready
    finally:
        loop.remove_reader(accepted.fileno())
