"""What the figures depend on besides the proxies."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import msgspec

__all__ = ["Machine", "describe"]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where and on what the runs were made."""

    cpu: str
    cores: int
    kernel: str
    system: str
    python: str
    revision: str
    """Of the checkout; ``+`` when files differ from it."""
    load_before: float
    """Load average of one minute when the runs began."""
    load_after: float


def describe(load_before: float) -> Machine:
    """The facts of this machine; call it after the runs."""
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 0,
        kernel=platform.release(),
        system=_system_name(),
        python=platform.python_version(),
        revision=_revision(),
        load_before=load_before,
        load_after=os.getloadavg()[0],
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model", "Hardware"}:
            return value.strip()
    return platform.machine()


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _revision() -> str:
    here = Path(__file__).parent
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=here, timeout=10, check=False).returncode
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{revision}+" if changed else revision
