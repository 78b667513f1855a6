"""CPU time and memory of a process and all its descendants, from Linux' /proc.

Two counters are read. ``stat`` has user and system time of all threads, ended ones included, and of children that
were waited for; it counts in ticks (mostly 10 ms). ``schedstat`` has nanoseconds, but of the threads that are alive.
The nanoseconds are used where they agree with the ticks, which they do unless a thread ended meanwhile.

Not seen: a process that leaves the tree (a daemon), and one whose parent ignores SIGCHLD.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["CpuTime", "Reading", "core_busy", "cpu_time", "descendants", "read", "resident_bytes"]

TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds."""

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a process tree had burned at one moment, seconds."""

    user: float
    system: float
    precise: float
    """User and system time with the nanoseconds of ``schedstat``."""
    processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTime:
    """CPU time between two readings, seconds."""

    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stat:
    parent: int
    user: int
    system: int
    reaped: int
    """Ticks of children that ended and were waited for; they are part of ``user`` and ``system`` too."""


def read(root: int) -> Reading:
    """What ``root`` and its descendants have burned so far. Raises ``ProcessLookupError`` when ``root`` is gone."""
    stats = _tree(root)
    ticks_reaped = sum(stat.reaped for stat in stats.values())
    return Reading(
        user=sum(stat.user for stat in stats.values()) * TICK,
        system=sum(stat.system for stat in stats.values()) * TICK,
        precise=sum(_thread_nanoseconds(process) for process in stats) / 1e9 + ticks_reaped * TICK,
        processes=len(stats),
    )


def cpu_time(before: Reading, after: Reading) -> CpuTime:
    """What was burned between two readings of one tree."""
    user = after.user - before.user
    system = after.system - before.system
    ticks = user + system
    precise = after.precise - before.precise
    # Each process rounds two values down in each reading, and a running thread is seen as of its last tick.
    rounding = 4 * TICK * max(before.processes, after.processes)
    if ticks <= 0 or abs(precise - ticks) > rounding:
        return CpuTime(user=user, system=system)
    return CpuTime(user=precise * user / ticks, system=precise * system / ticks)


def descendants(root: int) -> list[int]:
    """``root`` and all its descendants, parents first. Raises ``ProcessLookupError`` when ``root`` is gone."""
    return list(_tree(root))


def resident_bytes(root: int) -> int:
    """Memory in RAM of the tree. Pages that its processes share count once per process."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for process in _tree(root):
        fields = _text(_PROC / str(process) / "statm").split()
        total += int(fields[1]) * page if fields else 0
    return total


def core_busy(core: int) -> float:
    """Seconds in which ``core`` has run anything, interrupts included, since boot."""
    for line in (_PROC / "stat").read_text().splitlines():
        name, *values = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, interrupts, soft_interrupts = map(int, values[:7])
            return (user + nice + system + interrupts + soft_interrupts) * TICK
    raise ValueError(f"no core {core}")


def _tree(root: int) -> dict[int, _Stat]:
    everything: dict[int, _Stat] = {}
    for entry in os.listdir(_PROC):
        if entry.isdigit() and (text := _text(_PROC / entry / "stat")):
            everything[int(entry)] = _parse_stat(text)
    if root not in everything:
        raise ProcessLookupError(f"no process {root}")
    children: dict[int, list[int]] = {}
    for process, stat in everything.items():
        children.setdefault(stat.parent, []).append(process)
    found = [root]
    for process in found:  # grows while it is walked
        found.extend(children.get(process, ()))
    return {process: everything[process] for process in found}


def _parse_stat(text: str) -> _Stat:
    # The name in parentheses may hold anything, spaces and parentheses too: proc_pid_stat(5).
    fields = text[text.rindex(")") + 2 :].split()
    user, system, children_user, children_system = map(int, fields[11:15])
    return _Stat(
        parent=int(fields[1]),
        user=user + children_user,
        system=system + children_system,
        reaped=children_user + children_system,
    )


def _thread_nanoseconds(process: int) -> int:
    total = 0
    folder = _PROC / str(process) / "task"
    try:
        threads = os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for thread in threads:
        fields = _text(folder / thread / "schedstat").split()
        total += int(fields[0]) if fields else 0
    return total


def _text(path: Path) -> str:
    """Empty when the process has just ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
