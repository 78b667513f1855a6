"""What a client is told, and what it tells."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.load.processes import BenchmarkError, pinned
from benchmarks.load.scenarios import Scenario

__all__ = ["Load", "LoadResult", "output_of", "percentile"]

_EXTRA_SECONDS: Final = 30
"""For a client to begin and to end; then it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The order to a client."""

    program: str
    """Path of its executable."""
    scenario: Scenario
    port: int
    connections: int
    """At a time; a client with several requests per connection makes so many fewer of them."""
    seconds: int
    core: int
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What the client saw. Durations in seconds."""

    requests: int
    seconds: float
    bytes: int
    """Of the responses; clients of HTTP/1.1 count heads too."""
    p50: float
    p99: float
    errors: dict[str, int] = field(default_factory=dict)
    """Kinds of failure that happened, such as ``connect``, ``read``, ``timeout``, ``status`` (not 200)."""
    resumed: int = 0
    """Connections whose TLS session was resumed."""


def output_of(load: Load, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> str:
    """What the client prints, which runs on the core of the load. Raises ``BenchmarkError`` when it fails."""
    name = Path(load.program).name
    try:
        done = subprocess.run(
            pinned(command, load.core),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=load.seconds + _EXTRA_SECONDS,
            check=True,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.CalledProcessError as error:
        raise BenchmarkError(f"{name}: {error.stdout}{error.stderr}") from error
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{name} has not ended {error.timeout} s after its start") from error
    return done.stdout


def percentile(durations: Sequence[float], share: float) -> float:
    """The duration that ``share`` (0 to 1) of them do not exceed; 0 of none."""
    ordered = sorted(durations)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
