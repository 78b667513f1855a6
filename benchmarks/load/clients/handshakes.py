"""Connections with a TLS handshake and one request each, by a program of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import benchmarks
from benchmarks.load.clients.load import Load, LoadResult, output_of

__all__ = ["run_handshakes"]

_PROGRAM: Final = "benchmarks.load.handshakes"


def run_handshakes(load: Load) -> LoadResult:
    """In processes of their own, so that what they burn is the load's, and bounded by its time limit."""
    options = ["--port", str(load.port), "--seconds", str(load.seconds), "--path", load.scenario.path]
    command = [load.program, "-m", _PROGRAM, *options, *(["--resume"] if load.scenario.resume else [])]
    root = str(Path(benchmarks.__file__).parents[1])
    report = json.loads(output_of(load, command, environment={"PYTHONPATH": root}))
    return LoadResult(**report)
