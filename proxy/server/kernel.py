"""What the kernel knows of a client's connection."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import termios
from typing import Final

__all__ = ["unsent_bytes"]

_INT: Final = struct.Struct("i")


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Bytes written that the client did not take yet, as far as buffers here and in the kernel tell."""
    size = transport.get_write_buffer_size()
    handle = transport.get_extra_info("socket")
    if handle is not None:
        # The kernel's share can be megabytes, and moves long before it asks for more.
        with contextlib.suppress(OSError):
            (queued,) = _INT.unpack(fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, bytes(_INT.size)))
            size += queued
    return size
