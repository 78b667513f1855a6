"""One run: a proxy from its start to its end, with load in between."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.load import accounting
from benchmarks.load.backend import Backend, BackendCount
from benchmarks.load.clients import Load, LoadResult, run_load
from benchmarks.load.peers import Peer, Setup
from benchmarks.load.probe import Probe, probe
from benchmarks.load.processes import BenchmarkError, free_port, running, wait_until
from benchmarks.load.scenarios import ClientName, Scenario

__all__ = ["Bench", "Run", "measure"]

START_SECONDS: Final = 30.0
"""For a proxy to serve its first request."""

WARM_UP_SECONDS: Final = 1
"""Load before the measured load: connections to the backend, caches, compilers."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one run measured. Durations in seconds unless the name says otherwise."""

    scenario: str
    peer: str
    round: int
    problems: list[str] = []
    """Why the run is no result; empty when it is one."""
    cpu_us: float = 0.0
    """CPU time per request, µs: user and system."""
    user_us: float = 0.0
    system_us: float = 0.0
    requests: int = 0
    seconds: float = 0.0
    requests_per_second: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    resident_bytes: int = 0
    """At the end of the load."""
    busy_percent: float = 0.0
    """The proxy's share of its core while under load."""
    others_percent: float = 0.0
    """What everything else took of that core, interrupts included."""
    upstream_connections: int = 0
    """Opened to the backend during the measured load."""
    cipher: str = ""
    resumed_percent: float | None = None
    """Of the connections; ``None``: the scenario makes no new ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What stays the same for all runs."""

    clients: Mapping[ClientName, str]
    """Path of each client's executable."""
    backend: Backend
    certificate: Path
    key: Path
    seconds: int
    connections: int
    proxy_core: int
    load_core: int


def measure(bench: Bench, peer: Peer, executable: str, scenario: Scenario, *, round_number: int) -> Run:
    """Starts the proxy, loads it and ends it. A proxy that fails gives a run with problems."""
    with tempfile.TemporaryDirectory(prefix="pyngress-load-") as name:
        setup = Setup(
            executable=executable,
            folder=Path(name),
            port=free_port(),
            backend_port=bench.backend.port,
            certificate=bench.certificate,
            key=bench.key,
            scenario=scenario,
        )
        try:
            return _measure(bench, peer, setup, round_number)
        except (BenchmarkError, OSError) as error:
            return Run(scenario=scenario.name, peer=peer.name, round=round_number, problems=[str(error)])


def _measure(bench: Bench, peer: Peer, setup: Setup, round_number: int) -> Run:
    scenario = setup.scenario
    launch = peer.configure(setup)
    with running(
        peer.name, launch.command, core=bench.proxy_core, folder=setup.folder, environment=launch.environment
    ) as process:
        wait_until(lambda: _answers(setup), process, START_SECONDS)
        answer = probe(scenario, port=setup.port)
        stranger = probe(scenario, port=setup.port, host="other.mydomain.com")
        _load(bench, setup, WARM_UP_SECONDS)

        backend_before = bench.backend.count()
        core_before = accounting.core_busy(bench.proxy_core)
        before = accounting.read(process.pid)
        load = _load(bench, setup, bench.seconds)
        after = accounting.read(process.pid)
        core_after = accounting.core_busy(bench.proxy_core)
        backend_after = bench.backend.count()

        process.check_alive()
        cpu = accounting.cpu_time(before, after)
        requests = max(load.requests, 1)
        upstream = BackendCount(
            # Less the reading of the counters itself.
            connections=backend_after.connections - backend_before.connections - 1,
            requests=backend_after.requests - backend_before.requests - 1,
        )
        return Run(
            scenario=scenario.name,
            peer=peer.name,
            round=round_number,
            problems=problems_of(scenario, answer=answer, stranger=stranger, load=load, upstream=upstream),
            cpu_us=cpu.total / requests * 1e6,
            user_us=cpu.user / requests * 1e6,
            system_us=cpu.system / requests * 1e6,
            requests=load.requests,
            seconds=load.seconds,
            requests_per_second=load.requests / load.seconds,
            p50=load.p50,
            p99=load.p99,
            resident_bytes=accounting.resident_bytes(process.pid),
            busy_percent=cpu.total / load.seconds * 100,
            others_percent=max(0.0, core_after - core_before - cpu.total) / load.seconds * 100,
            upstream_connections=upstream.connections,
            cipher=answer.cipher,
            resumed_percent=load.resumed / requests * 100 if scenario.client == "handshakes" else None,
        )


def problems_of(
    scenario: Scenario, *, answer: Probe, stranger: Probe, load: LoadResult, upstream: BackendCount
) -> list[str]:
    """Why a run is no result: failed requests, or work that was not the work of the scenario."""
    problems = []
    if answer.status != 200 or answer.body_bytes != scenario.response_bytes:
        problems.append(f"answers {answer.status} with {answer.body_bytes} bytes")
    if stranger.status == 200:
        problems.append("serves a host that it has no route for")
    if load.errors:
        problems.append("errors: " + ", ".join(f"{count} {kind}" for kind, count in load.errors.items()))
    if not load.requests:
        problems.append("no requests")
    if load.resumed and not scenario.resume:
        problems.append(f"{load.resumed} handshakes were resumed")
    if load.bytes < load.requests * scenario.response_bytes:
        problems.append("responses are too short")
    if upstream.requests < load.requests:
        problems.append(f"only {upstream.requests} of {load.requests} requests reached the backend")
    if upstream.connections > load.requests / 10 + 64:
        problems.append(f"{upstream.connections} connections to the backend: no keep-alive")
    return problems


def _load(bench: Bench, setup: Setup, seconds: int) -> LoadResult:
    return run_load(
        Load(
            program=bench.clients[setup.scenario.client],
            scenario=setup.scenario,
            port=setup.port,
            connections=bench.connections,
            seconds=seconds,
            core=bench.load_core,
            folder=setup.folder,
        )
    )


def _answers(setup: Setup) -> None:
    answer = probe(setup.scenario, port=setup.port)
    if answer.status != 200:
        raise OSError(f"answers {answer.status}")
