"""What the harness needs to know of a proxy."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load.scenarios import Scenario

__all__ = ["Launch", "Peer", "Setup", "first_line"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The surroundings of one run."""

    executable: str
    folder: Path
    """For the proxy's files; the working directory of the proxy."""
    port: int
    """The port on 127.0.0.1 to serve the scenario on, with TLS when the scenario says so."""
    backend_port: int
    certificate: Path
    key: Path
    scenario: Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start the proxy, in the foreground."""

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A proxy to measure."""

    name: str
    executable: str
    package: str
    """What to install when the executable is missing."""
    version: Callable[[str], str]
    """Takes the path of the executable."""
    configure: Callable[[Setup], Launch]
    """Writes the configuration into the folder."""
    many_hosts: bool = False
    """Whether ``configure`` heeds ``Scenario.other_hosts``."""


def first_line(*command: str) -> str:
    """The first line that ``command`` prints that is not empty."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0] if lines else "unknown"
