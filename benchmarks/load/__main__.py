"""``python -m benchmarks.load``: measure the peers in turn and print the figures."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks.load import machine
from benchmarks.load.backend import serving_backend
from benchmarks.load.certificate import make_certificate
from benchmarks.load.measure import Bench, Run, measure
from benchmarks.load.peers import PEERS, Peer
from benchmarks.load.peers.peer import first_line
from benchmarks.load.processes import find_executable
from benchmarks.load.report import Report, make_rows, save, text, to_json
from benchmarks.load.scenarios import HOST, SCENARIOS, Scenario

RESULTS = Path(__file__).parents[1] / "results"
BESIDE = Path(sys.executable).parent
_CLIENTS = {"wrk": "the Debian package wrk", "h2load": "the Debian package nghttp2-client"}


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--peers", default=",".join(PEERS), help="Proxies to measure, in this order.")
@click.option("--scenarios", default="http,https", help=f"Of {', '.join(SCENARIOS)}.")
@click.option("--duration", type=click.IntRange(1, 600), default=5, help="Seconds of load per run; 4 or more to trust.")
@click.option("--connections", type=click.IntRange(1, 10_000), default=32, help="Client connections.")
@click.option("--rounds", type=click.IntRange(1, 99), default=3, help="Runs of each peer; figures are medians.")
@click.option("--niceness", type=click.IntRange(-20, 19), default=0, help="Of all processes; below 0 needs root.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the report here too.")
@click.option("--save", "save_results", is_flag=True, help="Write benchmarks/results/load-DATE.json and .md.")
def main(
    peers: str,
    scenarios: str,
    duration: int,
    connections: int,
    rounds: int,
    niceness: int,
    json_file: Path | None,
    save_results: bool,
) -> None:
    """CPU time per request of Pyngress and other proxies.

    Exits with 1 when a peer has no valid result, with 2 when something to run is missing.
    """
    # A plain SIGTERM would skip the blocks that end the processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [PEERS[name] for name in _names(peers, PEERS, "--peers")]
    wanted = [SCENARIOS[name] for name in _names(scenarios, SCENARIOS, "--scenarios")]
    executables = _find_programs(chosen, wanted)
    proxy_core, load_core = _choose_cores()
    _set_niceness(niceness)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="pyngress-load-") as name:
        folder = Path(name)
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        chain_pem, key_pem = make_certificate(HOST)
        certificate.write_text(chain_pem)
        key.write_text(key_pem)
        with serving_backend(executables["nginx"], core=load_core, folder=folder) as backend:
            bench = Bench(
                clients={scenario.client: executables[_program_of(scenario)] for scenario in wanted},
                backend=backend,
                certificate=certificate,
                key=key,
                seconds=duration,
                connections=connections,
                proxy_core=proxy_core,
                load_core=load_core,
            )
            runs = _run_all(bench, chosen, wanted, executables, rounds)
    report = Report(
        date=datetime.now(UTC).date().isoformat(),
        machine=machine.describe(load_before),
        versions={peer.name: peer.version(executables[peer.executable]) for peer in chosen}
        | {program: _client_version(program, path) for program, path in executables.items() if program in _CLIENTS},
        seconds=duration,
        connections=connections,
        rounds=rounds,
        rows=make_rows(runs),
        runs=runs,
    )
    click.echo(text(report), nl=False)
    if json_file:
        json_file.write_bytes(to_json(report))
    for path in save(report, RESULTS) if save_results else ():
        click.echo(f"saved {path}", err=True)
    sys.exit(1 if any(row.problems for row in report.rows) else 0)


def _run_all(
    bench: Bench, peers: Sequence[Peer], scenarios: Sequence[Scenario], executables: dict[str, str], rounds: int
) -> list[Run]:
    """Every peer in turn, then again: a machine that slows down slows all of them."""
    runs = []
    for scenario in scenarios:
        able = [peer for peer in peers if peer.many_hosts or not scenario.other_hosts]
        for round_number in range(1, rounds + 1):
            for peer in able:
                run = measure(bench, peer, executables[peer.executable], scenario, round_number=round_number)
                figure = "; ".join(run.problems) or f"{run.cpu_us:.1f} µs"
                click.echo(f"{scenario.name} round {round_number} of {rounds}: {peer.name} {figure}", err=True)
                runs.append(run)
    return runs


def _names(text_of_names: str, known: Sequence[str] | dict[str, Peer] | dict[str, Scenario], option: str) -> list[str]:
    names = [name.strip() for name in text_of_names.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint=option)
    return names


def _find_programs(peers: Sequence[Peer], scenarios: Sequence[Scenario]) -> dict[str, str]:
    """Executable name to path, for the peers, the clients and the backend."""
    wanted = {_program_of(scenario) for scenario in scenarios}
    packages = (
        {program: package for program, package in _CLIENTS.items() if program in wanted}
        | {
            "nginx": "the Debian package nginx",
            sys.executable: "Python",
            "taskset": "the Debian package util-linux",
            "setpriv": "the Debian package util-linux",
        }
        | {peer.executable: peer.package for peer in peers}
    )
    found = {name: find_executable(name, BESIDE) for name in packages}
    missing = [f"{name} is missing: install {packages[name]}" for name, path in found.items() if path is None]
    if missing:
        raise click.UsageError("\n".join([*missing, "or leave peers out with --peers"]))
    return {name: path for name, path in found.items() if path is not None}


def _program_of(scenario: Scenario) -> str:
    """The executable of the scenario's client."""
    return sys.executable if scenario.client == "handshakes" else scenario.client


def _client_version(program: str, path: str) -> str:
    """``wrk 4.1.0 [epoll]…``; ``h2load nghttp2/1.52.0``."""
    return first_line(path, "-v" if program == "wrk" else "--version").split(" ")[1].removeprefix("nghttp2/")


def _choose_cores() -> tuple[int, int]:
    """One core for the proxy, one for the load; this process moves to the latter."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise click.UsageError("two cores are needed: one for the proxy, one for the load")
    os.sched_setaffinity(0, {cores[1]})
    return cores[0], cores[1]


def _set_niceness(niceness: int) -> None:
    """Of this process, and of all that it starts."""
    try:
        os.nice(niceness)
    except PermissionError as error:
        raise click.UsageError("a niceness below that of the shell needs root") from error


if __name__ == "__main__":
    main()
