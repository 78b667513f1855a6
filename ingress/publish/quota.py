"""How many workers ``auto`` is: as many as the container may keep busy, which is not the host's number of cores."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["cpu_quota", "worker_count"]

_CGROUPS = Path("/sys/fs/cgroup")


def worker_count(wanted: int, *, cgroups: Path = _CGROUPS) -> int:
    """``wanted``, or with 0 the CPU quota rounded up, at most the cores that this process may run on."""
    if wanted:
        return wanted
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota(cgroups)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(cgroups: Path = _CGROUPS) -> float | None:
    """Cores that the cgroup (v2, else v1) grants; ``None``: no limit. A container sees its own cgroup as the root."""
    unified = _read(cgroups / "cpu.max").split()
    if len(unified) == 2:
        return _share(unified[0], unified[1])
    for folder in ("cpu", "cpu,cpuacct"):
        quota, period = _read(cgroups / folder / "cpu.cfs_quota_us"), _read(cgroups / folder / "cpu.cfs_period_us")
        if quota and period:
            return _share(quota, period)
    return None


def _share(quota: str, period: str) -> float | None:
    """v2 writes ``max`` for no limit, v1 ``-1``."""
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period) or None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
