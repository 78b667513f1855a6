"""Processes of a run: pinned to a core, ended by their id, gone when the run is over whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from benchmarks.load import accounting

__all__ = [
    "BenchmarkError",
    "Process",
    "find_executable",
    "free_port",
    "nice_session",
    "pinned",
    "running",
    "wait_until",
]

STOP_SECONDS: Final = 5.0
"""From SIGTERM to SIGKILL."""

_AUTOGROUP: Final = Path("/proc/self/autogroup")


class BenchmarkError(Exception):
    """The run cannot go on; the message is for the person who started it."""


class Process:
    """A started process with the file that takes its output."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = popen.pid
        self._popen = popen
        self._log = log

    def check_alive(self) -> None:
        """Raises ``BenchmarkError`` with the last output when the process has ended."""
        code = self._popen.poll()
        if code is not None:
            raise BenchmarkError(f"{self.name} ended with {code}:\n{self.output()}")

    def output(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """Ends the process and all that it started; returns when it is gone."""
        tree: list[int] = []
        with suppress(ProcessLookupError):
            tree = accounting.descendants(self.pid)[1:]
        self._popen.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_SECONDS)
        # What is left: descendants by their id, and the session's group, which outlives a process that crashed.
        for process in tree:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()


def pinned(command: Sequence[str], core: int) -> list[str]:
    """``command`` bound to ``core``, with all its children. It ends when this process ends, even by a kill.

    It is to be started in a session of its own.
    """
    return nice_session(["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", str(core), *command])


def nice_session(command: Sequence[str]) -> list[str]:
    """``command``, which gives the session that it is started in the niceness of this process.

    Between sessions the kernel weighs the niceness of the sessions, not that of their processes: sched(7), "The
    autogroup feature". A new session begins with 0.
    """
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness == 0 or not _AUTOGROUP.exists():
        return list(command)
    return ["sh", "-c", f'echo {niceness} > {_AUTOGROUP}; exec "$@"', "sh", *command]


@contextmanager
def running(
    name: str, command: Sequence[str], *, core: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """``command`` on ``core`` in ``folder`` for the time of the block."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            pinned(command, core),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # Ctrl-C reaches this process only, which then ends the others
        )
    process = Process(name, popen, log)
    try:
        yield process
    finally:
        process.stop()


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(ready: Callable[[], object], process: Process, seconds: float) -> None:
    """Calls ``ready`` until it returns; ``OSError`` means not yet. Raises ``BenchmarkError`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        process.check_alive()
        try:
            ready()
        except OSError as error:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{process.name} is not ready: {error}\n{process.output()}") from error
            time.sleep(0.05)
        else:
            return


def find_executable(name: str, beside: Path) -> str | None:
    """The program ``name`` on PATH, in the system's sbin, or in the folder ``beside``."""
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", str(beside)])
    return shutil.which(name, path=folders)
