"""The CPU accounting of the load benchmark against processes that burn a known amount."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import accounting

BURN = """
import resource, time
def burn(seconds, who=resource.RUSAGE_SELF):
    def used():
        usage = resource.getrusage(who)
        return usage.ru_utime + usage.ru_stime
    start = used()
    while used() - start < seconds:
        sum(range(1000))
"""

TOLERANCE = 0.06
"""Seconds: two roundings to 10 ms ticks per process, and what Python itself does between the readings."""


@contextmanager
def conversation(program: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that tells each step in a line on stdout, and is told to go on by a line on stdin."""
    with subprocess.Popen(
        [sys.executable, "-c", BURN + program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def step(process: subprocess.Popen[bytes]) -> None:
    """Lets the process take its next step; returns when the step is done."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    assert process.stdout.readline() == b"done\n"


def test_counts_what_a_process_burned() -> None:
    """CPU time between two readings is what getrusage gave the process itself, start-up left out."""
    program = "input(); print('done', flush=True); input(); burn(0.3); print('done', flush=True); input()"
    with conversation(program) as process:
        step(process)
        before = accounting.read(process.pid)
        step(process)
        after = accounting.read(process.pid)
    used = accounting.cpu_time(before, after)
    assert used.total == pytest.approx(0.3, abs=TOLERANCE)
    assert used.user > used.system
    assert after.precise - before.precise == pytest.approx(0.3, abs=TOLERANCE)


def test_counts_children_and_grandchildren_that_live() -> None:
    """Processes below the root count, two levels down."""
    program = """
import os
ready, go = os.pipe(), os.pipe()
def work():
    os.write(ready[1], b"."); os.read(go[0], 1); burn(0.2); os.write(ready[1], b"."); time.sleep(30)
if os.fork() == 0:
    os.fork()
    work()
input(); os.read(ready[0], 1); os.read(ready[0], 1); print('done', flush=True)
input(); os.write(go[1], b"12"); os.read(ready[0], 1); os.read(ready[0], 1); print('done', flush=True)
input()
"""
    with conversation(program) as process:
        step(process)
        tree = accounting.descendants(process.pid)
        before = accounting.read(process.pid)
        step(process)
        used = accounting.cpu_time(before, accounting.read(process.pid))
        for child in tree[1:]:
            os.kill(child, signal.SIGKILL)
    assert len(tree) == 3
    assert used.total == pytest.approx(0.4, abs=TOLERANCE)


def test_counts_children_that_started_and_ended_between_the_readings() -> None:
    """A helper process that is gone by the second reading is not lost: its parent waited for it."""
    program = """
import os
input(); print('done', flush=True); input()
child = os.fork()
if child == 0:
    burn(0.2); os._exit(0)
os.waitpid(child, 0); print('done', flush=True); input()
"""
    with conversation(program) as process:
        step(process)
        before = accounting.read(process.pid)
        step(process)
        after = accounting.read(process.pid)
    assert after.processes == 1
    assert after.precise - before.precise == pytest.approx(0.2, abs=TOLERANCE)
    assert accounting.cpu_time(before, after).total == pytest.approx(0.2, abs=TOLERANCE)


def test_counts_threads_that_ended_between_the_readings() -> None:
    """The nanoseconds of an ended thread are gone from /proc; the ticks, which keep them, then decide."""
    program = """
import threading
input(); print('done', flush=True); input()
thread = threading.Thread(target=burn, args=(0.3, resource.RUSAGE_THREAD)); thread.start(); thread.join()
print('done', flush=True); input()
"""
    with conversation(program) as process:
        step(process)
        before = accounting.read(process.pid)
        step(process)
        used = accounting.cpu_time(before, accounting.read(process.pid))
    assert used.total == pytest.approx(0.3, abs=TOLERANCE)


def test_nanoseconds_refine_the_ticks_and_keep_their_proportion() -> None:
    """Where both counters agree the finer one gives the sum, split into user and system as the ticks are."""
    before = accounting.Reading(user=1.0, system=1.0, precise=2.003, processes=1)
    after = accounting.Reading(user=1.3, system=1.1, precise=2.411, processes=1)
    used = accounting.cpu_time(before, after)
    assert used.user == pytest.approx(0.306)
    assert used.system == pytest.approx(0.102)


def test_memory_is_that_of_the_process() -> None:
    """Resident memory is in bytes and follows what a process allocates."""
    before = accounting.resident_bytes(os.getpid())
    # Fresh pages: the allocator of a test process may have some to give that are resident already.
    with mmap.mmap(-1, 32 << 20) as block:
        for offset in range(0, len(block), mmap.PAGESIZE):
            block[offset] = 1
        grown = accounting.resident_bytes(os.getpid()) - before
    assert grown == pytest.approx(32 << 20, rel=0.2)
    assert accounting.resident_bytes(os.getpid()) <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + (
        1 << 20
    )


def test_a_process_that_is_gone_is_told() -> None:
    """A proxy that died during the load is an error, not zero microseconds."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with pytest.raises(ProcessLookupError):
        accounting.read(process.pid)
