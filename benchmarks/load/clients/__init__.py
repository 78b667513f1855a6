"""The clients, each a bounded process on the core of the load: which one, the scenario says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from benchmarks.load.clients.h2load import run_h2load
from benchmarks.load.clients.handshakes import run_handshakes
from benchmarks.load.clients.load import Load, LoadResult
from benchmarks.load.clients.wrk import run_wrk
from benchmarks.load.scenarios import ClientName

__all__ = ["CLIENTS", "Load", "LoadResult", "run_load"]

CLIENTS: Final[Mapping[ClientName, Callable[[Load], LoadResult]]] = {
    "wrk": run_wrk,
    "h2load": run_h2load,
    "handshakes": run_handshakes,
}


def run_load(load: Load) -> LoadResult:
    """Loads the port for the wanted time. Raises ``BenchmarkError`` when the client itself fails."""
    return CLIENTS[load.scenario.client](load)
