"""From runs to figures: medians, ratios, the text for people and the JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.load.machine import Machine
from benchmarks.load.measure import Run
from benchmarks.load.scenarios import SCENARIOS

__all__ = ["Report", "Row", "make_rows", "save", "text"]

REFERENCE = "nginx"
"""The peer that ratios are taken to."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The medians of one peer in one scenario, over the runs without problems."""

    scenario: str
    peer: str
    problems: list[str] = []
    """Of all runs; a row with problems is invalid, whatever its figures."""
    cpu_us: float = 0.0
    cpu_us_min: float = 0.0
    cpu_us_max: float = 0.0
    user_us: float = 0.0
    system_us: float = 0.0
    ratio: float | None = None
    """CPU time to that of nginx in the same round. ``None``: nginx was not measured."""
    requests: int = 0
    """Of all rounds together."""
    requests_per_second: float = 0.0
    p99_ms: float = 0.0
    resident_mib: float = 0.0
    busy_percent: float = 0.0
    others_percent: float = 0.0
    """The worst round."""
    resumed_percent: float | None = None
    """Of the connections; ``None``: the scenario makes no new ones."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a results file."""

    date: str
    machine: Machine
    versions: dict[str, str]
    seconds: int
    connections: int
    rounds: int
    rows: list[Row]
    runs: list[Run]


def make_rows(runs: Sequence[Run]) -> list[Row]:
    """One row per scenario and peer, in the order of the runs."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.scenario, run.peer), []).append(run)
    reference = {(run.scenario, run.round): run.cpu_us for run in runs if run.peer == REFERENCE and not run.problems}
    return [_row(group, reference) for group in groups.values()]


def _row(group: list[Run], reference: Mapping[tuple[str, int], float]) -> Row:
    first = group[0]
    problems = [f"round {run.round}: {problem}" for run in group for problem in run.problems]
    good = [run for run in group if not run.problems]
    if not good:
        return Row(scenario=first.scenario, peer=first.peer, problems=problems)
    ratios = [run.cpu_us / reference[run.scenario, run.round] for run in good if (run.scenario, run.round) in reference]
    resumed = [run.resumed_percent for run in good if run.resumed_percent is not None]
    return Row(
        scenario=first.scenario,
        peer=first.peer,
        problems=problems,
        cpu_us=_median(run.cpu_us for run in good),
        cpu_us_min=min(run.cpu_us for run in good),
        cpu_us_max=max(run.cpu_us for run in good),
        user_us=_median(run.user_us for run in good),
        system_us=_median(run.system_us for run in good),
        ratio=_median(ratios) if ratios else None,
        requests=sum(run.requests for run in good),
        requests_per_second=_median(run.requests_per_second for run in good),
        p99_ms=_median(run.p99 for run in good) * 1e3,
        resident_mib=_median(run.resident_bytes for run in good) / 2**20,
        busy_percent=_median(run.busy_percent for run in good),
        others_percent=max(run.others_percent for run in good),
        resumed_percent=_median(resumed) if resumed else None,
    )


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


_COLUMNS = (
    *("peer", "CPU µs/request", "min–max", "user", "system", "× nginx", "requests/s"),
    *("p99 ms", "RSS MiB", "busy %", "others %", "resumed %", "requests"),
)


def text(report: Report) -> str:
    """The report as Markdown, aligned for the terminal."""
    machine = report.machine
    lines = [
        f"# CPU per request, {report.date}",
        "",
        f"{machine.cpu}, {machine.cores} cores, Linux {machine.kernel}, {machine.system}.",
        f"{report.rounds} rounds of {report.seconds} s, {report.connections} connections; medians. "
        f"Load average {machine.load_before:.1f} before, {machine.load_after:.1f} after; revision {machine.revision}.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in report.versions.items()) + ".",
    ]
    for scenario in dict.fromkeys(row.scenario for row in report.rows):
        rows = [row for row in report.rows if row.scenario == scenario]
        lines += ["", f"## {scenario}: {SCENARIOS[scenario].title}", ""]
        lines += _table([_COLUMNS, *(_cells(row) for row in rows)])
        problems = [f"- {row.peer} is invalid: {problem}" for row in rows for problem in row.problems]
        lines += ["", *problems] if problems else []
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    name = f"{row.peer} (INVALID)" if row.problems else row.peer
    if not row.requests:
        return (name, *("-" for _ in _COLUMNS[1:]))
    return (
        name,
        f"{row.cpu_us:.1f}",
        f"{row.cpu_us_min:.1f}–{row.cpu_us_max:.1f}",
        f"{row.user_us:.1f}",
        f"{row.system_us:.1f}",
        "-" if row.ratio is None else f"{row.ratio:.2f}",
        f"{row.requests_per_second:,.0f}",
        f"{row.p99_ms:.2f}",
        f"{row.resident_mib:.1f}",
        f"{row.busy_percent:.0f}",
        f"{row.others_percent:.0f}",
        "-" if row.resumed_percent is None else f"{row.resumed_percent:.0f}",
        f"{row.requests:,}",
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        padded[0] = cells[0].ljust(widths[0])
        return "| " + " | ".join(padded) + " |"

    ruler = "|" + "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)) + "|"
    return [line(rows[0]), ruler, *(line(row) for row in rows[1:])]


def save(report: Report, folder: Path) -> list[Path]:
    """Writes ``load-DATE.json`` and ``load-DATE.md``; those of the same day are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json = folder / f"load-{report.date}.json"
    as_json.write_bytes(to_json(report))
    as_text = folder / f"load-{report.date}.md"
    as_text.write_text(text(report))
    return [as_json, as_text]


def to_json(report: Report) -> bytes:
    """The report as JSON, one field per line."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
