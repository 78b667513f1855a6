"""The load benchmark refuses runs that are no result, and takes its figures from the others."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from benchmarks.load.backend import BackendCount
from benchmarks.load.clients import LoadResult
from benchmarks.load.machine import Machine
from benchmarks.load.measure import Run, problems_of
from benchmarks.load.probe import Probe
from benchmarks.load.report import Report, make_rows, text
from benchmarks.load.scenarios import SCENARIOS

LOAD = LoadResult(requests=1000, seconds=1.0, bytes=1_200_000, p50=0.001, p99=0.002, errors={})
ANSWER = Probe(status=200, body_bytes=1024, cipher="")
STRANGER = Probe(status=404, body_bytes=0, cipher="")
UPSTREAM = BackendCount(connections=0, requests=1032)


@pytest.mark.parametrize(
    ("what", "changed", "problem"),
    [
        ("answer", dataclasses.replace(ANSWER, body_bytes=1023), "answers 200 with 1023 bytes"),
        ("stranger", dataclasses.replace(STRANGER, status=200), "serves a host that it has no route for"),
        ("load", dataclasses.replace(LOAD, errors={"read": 3, "status": 1}), "errors: 3 read, 1 status"),
        ("load", dataclasses.replace(LOAD, requests=0), "no requests"),
        ("load", dataclasses.replace(LOAD, bytes=1_000_000), "responses are too short"),
        ("load", dataclasses.replace(LOAD, resumed=7), "7 handshakes were resumed"),
        ("upstream", dataclasses.replace(UPSTREAM, requests=999), "only 999 of 1000 requests reached the backend"),
        ("upstream", dataclasses.replace(UPSTREAM, connections=990), "990 connections to the backend: no keep-alive"),
    ],
)
def test_a_run_that_did_other_work_is_no_result(what: str, changed: object, problem: str) -> None:
    """Each way in which a run can look cheap without doing the work is named; a proper run has no problem."""
    proper = {"answer": ANSWER, "stranger": STRANGER, "load": LOAD, "upstream": UPSTREAM}
    scenario = SCENARIOS["http"]
    assert problems_of(scenario, **proper) == []  # type: ignore[arg-type]  # the values have the types of their names
    assert problems_of(scenario, **(proper | {what: changed})) == [problem]  # type: ignore[arg-type]  # as above


def run(peer: str, round_number: int, cpu_us: float, **fields: object) -> Run:
    values = {"scenario": "http", "peer": peer, "round": round_number, "cpu_us": cpu_us, "requests": 10} | fields
    return msgspec.convert(values, Run)


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is twice as slow in one round changes no ratio."""
    rows = make_rows(
        [
            *(run("pyngress", 1, 45.0), run("nginx", 1, 30.0)),
            *(run("pyngress", 2, 90.0), run("nginx", 2, 60.0)),
            *(run("pyngress", 3, 48.0), run("nginx", 3, 30.0)),
        ]
    )
    assert [row.peer for row in rows] == ["pyngress", "nginx"]
    assert rows[0].ratio == pytest.approx(1.5)
    assert (rows[0].cpu_us, rows[0].cpu_us_min, rows[0].cpu_us_max) == (48.0, 45.0, 90.0)
    assert rows[1].ratio == pytest.approx(1.0)


def test_a_failed_round_invalidates_the_row_and_gives_no_figure() -> None:
    """The figures come from the good rounds, the row says that it is not to be trusted, and why."""
    rows = make_rows([run("nginx", 1, 30.0), run("nginx", 2, 1.0, problems=["errors: 5 read"]), run("nginx", 3, 32.0)])
    assert rows[0].cpu_us == 31.0
    assert rows[0].problems == ["round 2: errors: 5 read"]
    machine = Machine(
        cpu="a CPU", cores=2, kernel="6", system="Debian", python="3.11", revision="abc", load_before=0, load_after=0
    )
    report = Report(
        date="2026-01-01", machine=machine, versions={}, seconds=5, connections=32, rounds=3, rows=rows, runs=[]
    )
    assert "nginx (INVALID)" in text(report)
    assert "- nginx is invalid: round 2: errors: 5 read" in text(report)


def test_a_peer_without_a_good_round_has_no_figures() -> None:
    """No medians of nothing, and no ratio to it."""
    rows = make_rows([run("nginx", 1, 0.0, problems=["ended with 1"]), run("envoy", 1, 120.0)])
    assert rows[0].requests == 0
    assert rows[1].ratio is None
