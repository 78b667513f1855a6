"""The load benchmark leaves no process behind, however the proxy behaves."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.load.processes import BenchmarkError, Process, running, wait_until

FORKS = """
import os, signal, sys, time
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    {leave}
    open("child", "w").write(str(os.getpid())); os.rename("child", "ready"); time.sleep(60)
{then}
"""

CORE = min(os.sched_getaffinity(0))


def wait_for_child(process: Process, folder: Path) -> int:
    wait_until((folder / "ready").read_text, process, seconds=5)
    return int((folder / "ready").read_text())


def is_gone(pid: int) -> bool:
    """Whether the process ends within a second; an orphan is reaped by init a moment after its end."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("leave", ["", "os.setsid()"])
def test_children_that_ignore_the_signal_end_with_the_block(tmp_path: Path, leave: str) -> None:
    """A worker that ignores SIGTERM is killed, also when it has left the session."""
    program = FORKS.format(leave=leave, then="time.sleep(60)")
    with running("proxy", [sys.executable, "-c", program], core=CORE, folder=tmp_path) as process:
        child = wait_for_child(process, tmp_path)
        assert os.sched_getaffinity(child) == {CORE}
    assert is_gone(process.pid)
    assert is_gone(child)


def test_children_of_a_process_that_crashed_end_with_the_block(tmp_path: Path) -> None:
    """The workers of a master that is gone have lost their parent, and still end."""
    program = FORKS.format(leave="", then="while not os.path.exists('crash'): time.sleep(0.01)")
    with running("proxy", [sys.executable, "-c", program], core=CORE, folder=tmp_path) as process:
        child = wait_for_child(process, tmp_path)
        (tmp_path / "crash").touch()
        deadline = time.monotonic() + 5
        with pytest.raises(BenchmarkError, match="proxy ended with 0"):
            while time.monotonic() < deadline:
                process.check_alive()
    assert is_gone(child)


def test_a_proxy_that_does_not_start_is_shown_with_its_last_words(tmp_path: Path) -> None:
    """The person at the terminal reads why, instead of waiting for the time limit."""

    def never() -> None:
        raise OSError("refused")

    command = [sys.executable, "-c", "import sys; sys.exit('no such directive')"]
    with (
        running("proxy", command, core=CORE, folder=tmp_path) as process,
        pytest.raises(BenchmarkError, match="proxy ended with 1:\nno such directive"),
    ):
        wait_until(never, process, seconds=5)
