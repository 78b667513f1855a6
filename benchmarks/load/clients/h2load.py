"""h2load: HTTP/2 over TLS, several streams at a time on each connection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from benchmarks.load.clients.load import Load, LoadResult, output_of, percentile
from benchmarks.load.processes import BenchmarkError
from benchmarks.load.scenarios import HOST

__all__ = ["STREAMS", "read_report", "run_h2load"]

STREAMS: Final = 4
"""At a time on a connection. There are so many fewer connections, which leaves as many requests under way."""

_REQUESTS: Final = re.compile(
    r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
)
_STATUSES: Final = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_DATA: Final = re.compile(r"\((\d+)\) data$", re.MULTILINE)
_TIME: Final = re.compile(r"finished in ([\d.]+)(us|ms|s|m)\b")
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def run_h2load(load: Load) -> LoadResult:
    """One thread."""
    log = load.folder / "h2load.log"
    log.unlink(missing_ok=True)
    numbers = ("--clients", str(max(load.connections // STREAMS, 1)), "--max-concurrent-streams", str(STREAMS))
    where = (f"--connect-to=127.0.0.1:{load.port}", f"https://{HOST}{load.scenario.path}")
    options = ("--threads", "1", "--duration", str(load.seconds), f"--log-file={log}", *numbers)
    return read_report(output_of(load, [load.program, *options, *where]), _durations(log))


def read_report(report: str, durations: list[float]) -> LoadResult:
    """From h2load's words, and the durations of its requests. Raises ``BenchmarkError`` where they are no report."""
    if "Application protocol: h2\n" not in report:
        raise BenchmarkError(f"h2load has not spoken HTTP/2: {report}")
    requests, statuses, data, time = (pattern.search(report) for pattern in (_REQUESTS, _STATUSES, _DATA, _TIME))
    if requests is None or statuses is None or data is None or time is None:
        raise BenchmarkError(f"h2load reports in an unknown way: {report}")
    _done, succeeded, failed, errored, late = map(int, requests.groups())
    errors = {"status": sum(map(int, statuses.groups()[1:])), "stream": failed, "connection": errored, "timeout": late}
    return LoadResult(
        requests=succeeded,
        # To three digits at best, and with the time to connect: what it takes is known before it ends.
        seconds=float(time[1]) * _UNITS[time[2]],
        bytes=int(data[1]),
        p50=percentile(durations, 0.5),
        p99=percentile(durations, 0.99),
        errors={kind: count for kind, count in errors.items() if count},
    )


def _durations(log: Path) -> list[float]:
    """Of each request, from lines of start (µs), status and duration (µs)."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [int(line.rpartition("\t")[2]) / 1e6 for line in lines]
