"""The data plane as a process of its own: ``python -m proxy --table FILE``."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from proxy.table import Table

__all__ = ["ProxyProcess", "proxy_process"]

_LISTENING = re.compile(rb"listening for (https?) on \S+:(\d+)$")
PATIENCE = 10.0
"""Seconds to start or to end."""


class ProxyProcess:
    """``port`` serves http, ``tls_port`` https."""

    def __init__(self, process: asyncio.subprocess.Process, ports: dict[bytes, int]) -> None:
        self.process = process
        self.port = ports[b"http"]
        self.tls_port = ports[b"https"]

    def resident(self) -> int:
        """Bytes of memory that the process holds now (VmRSS)."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """Most bytes of memory that the process ever held (VmHWM)."""
        return self._status("VmHWM")

    def computed(self) -> float:
        """Seconds of CPU time since it was started, its own and the kernel's for it."""
        # What clock_getcpuclockid(3) answers for a process; Python has no name for it.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def open_files(self) -> int:
        """Sockets and all else."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        assert match is not None
        return int(match.group(1)) * 1024


@asynccontextmanager
async def proxy_process(table: Table, folder: Path) -> AsyncIterator[ProxyProcess]:
    """The process serving ``table``, written into ``folder``. At the end it must drain and exit 0 by SIGTERM."""
    file = folder / "table.json"
    file.write_bytes(msgspec.json.encode(table))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "--table", str(file), "--http-port", "0", "--https-port", "0"),
        *("--no-access-log", "--drain-timeout", "2"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield ProxyProcess(process, await asyncio.wait_for(_read_ports(process), PATIENCE))
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _read_ports(process: asyncio.subprocess.Process) -> dict[bytes, int]:
    """The ports that the process says it listens on; whatever it says later must not fill the pipe, and does not."""
    assert process.stderr is not None
    ports: dict[bytes, int] = {}
    while len(ports) < 2:
        line = await process.stderr.readline()
        assert line, "the proxy ended before it listened"
        if match := _LISTENING.search(line.rstrip()):
            ports[match.group(1)] = int(match.group(2))
    return ports
