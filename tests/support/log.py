"""The access log of a proxy under test, read back."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.proxy import RunningProxy

__all__ = ["LogPipe", "log_pipe"]


class LogPipe:
    """A pipe whose writing end is for ``running_proxy(log_fd=…)``."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.fd = write_fd
        self._read_fd = read_fd
        self._rest = b""

    async def lines(self, proxy: RunningProxy, count: int) -> list[str]:
        """The next ``count`` lines; the proxy writes them in batches."""
        while self._rest.count(b"\n") < count:
            proxy.worker._flush_log()
            self._rest += await asyncio.wait_for(asyncio.to_thread(os.read, self._read_fd, 1 << 16), 5)
        *lines, self._rest = self._rest.split(b"\n", count)
        return [line.decode("ascii") for line in lines]

    async def entry(self, proxy: RunningProxy) -> dict[str, Any]:
        """The next line of a JSON log."""
        (line,) = await self.lines(proxy, 1)
        entry: dict[str, Any] = json.loads(line)
        return entry


@asynccontextmanager
async def log_pipe() -> AsyncIterator[LogPipe]:
    """A pipe for an access log."""
    read_fd, write_fd = os.pipe()
    try:
        yield LogPipe(read_fd, write_fd)
    finally:
        os.close(write_fd)
        os.close(read_fd)
