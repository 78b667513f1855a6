"""One run: from nothing to all routes live, then changes."""

from __future__ import annotations

import asyncio
import datetime
import gc
import os
import random
import time
from pathlib import Path

import msgspec

from benchmarks.scale.objects import change_of, cluster, slice_of
from ingress.options import Options
from ingress.publish import Publisher, Supervisor, open_listeners, with_default_certificate
from ingress.publish.certificate import self_signed
from ingress.resources import Change, Ingress, IngressHttp, IngressPath
from ingress.translate import Translator
from proxy.table.feed import Stats

__all__ = ["Group", "Result", "cpu_seconds", "measure", "resident_bytes"]

INGRESS_SHARE = 0.05
"""Changes that are of an Ingress: clusters change their pods far more often than their routes."""
PATIENCE = 120.0
"""Seconds for a table to become live, before the run fails."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Group(msgspec.Struct):
    """Changes of one kind, seconds each."""

    control: list[float] = []
    """In the control process, from the change to the written delta."""
    latencies: list[float] = []
    """From the moment that the change was due to the last worker's acknowledgement."""


class Result(msgspec.Struct, kw_only=True):
    """Seconds, bytes, and shares of one core."""

    translated: float
    started: float
    control_bytes: int
    worker_bytes: int
    groups: dict[str, Group]
    control_cpu: float
    worker_cpu: float


class Live:
    """A FeedListener that knows the newest generation that is live in every worker."""

    def __init__(self, workers: int) -> None:
        self._generations = [0] * workers
        self._waiting: list[tuple[int, float, list[float]]] = []
        self._reached = asyncio.Event()

    def acknowledged(self, worker: int, generation: int) -> None:
        self._generations[worker] = generation
        now = time.perf_counter()
        everywhere = min(self._generations)
        while self._waiting and self._waiting[0][0] <= everywhere:
            _, due, latencies = self._waiting.pop(0)
            latencies.append(now - due)
        if not self._waiting:
            self._reached.set()

    def refused(self, worker: int, generation: int, reason: str, *, final: bool) -> None:
        raise AssertionError(reason)

    def counted(self, worker: int, stats: Stats) -> None:
        pass

    def ended(self, worker: int) -> None:
        pass

    def expect(self, generation: int, due: float, latencies: list[float]) -> None:
        """``latencies`` gets the time from ``due`` until that generation is live everywhere."""
        self._waiting.append((generation, due, latencies))
        self._reached.clear()

    async def everywhere(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._reached.wait()


async def measure(*, ingresses: int, endpoints: int, workers: int, rate: float, seconds: float) -> Result:
    """The run, with processes that end with it."""
    listeners = open_listeners(bind=["127.0.0.1"], ports=[("http", 0), ("https", 0)], workers=workers)
    live = Live(workers)
    control = Control(live)
    supervisor = control.supervisor = Supervisor(listeners=listeners, publisher=control.publisher, listener=live)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run())
        try:
            changes = [change_of(value) for value in cluster(ingresses, endpoints)]
            start, cpu = time.perf_counter(), time.process_time()
            await asyncio.to_thread(control.translate, changes)
            translated = time.process_time() - cpu
            began: list[float] = []
            control.publish(start, began)
            await live.everywhere()
            del changes
            gc.collect()
            gc.freeze()
            pids = [worker.pid for worker in supervisor.workers if worker.pid is not None]
            before = [cpu_seconds(pid) for pid in (os.getpid(), pids[0])]
            begin = time.perf_counter()
            groups = await _change(control, ingresses, endpoints, rate=rate, seconds=seconds)
            await live.everywhere()
            took = time.perf_counter() - begin
            used = [cpu_seconds(pid) - was for pid, was in zip((os.getpid(), pids[0]), before, strict=True)]
            return Result(
                translated=translated,
                started=began[0],
                control_bytes=resident_bytes(os.getpid()),
                worker_bytes=max(resident_bytes(pid) for pid in pids),
                groups=groups,
                control_cpu=used[0] / took,
                worker_cpu=used[1] / took,
            )
        finally:
            supervisor.stop()


class Control:
    """What the control process does with changes."""

    supervisor: Supervisor

    def __init__(self, live: Live) -> None:
        self.publisher = Publisher()
        self._live = live
        self._translator = Translator(Options())
        self._certificate = self_signed()

    def translate(self, changes: list[Change]) -> None:
        self._translation = self._translator.update(changes, now=datetime.datetime.now(datetime.UTC))

    def publish(self, due: float, latencies: list[float]) -> None:
        table = with_default_certificate(self._translation.table, self._certificate)
        if self.publisher.publish(table, self._translation.changed):
            self._live.expect(self.publisher.current.generation, due, latencies)
            self.supervisor.publish()


async def _change(control: Control, ingresses: int, endpoints: int, *, rate: float, seconds: float) -> dict[str, Group]:
    groups = {"endpoints": Group(), "Ingresses": Group()}
    chance = random.Random(1)
    routed = {value.ref.name: value for value in cluster(ingresses, 1) if isinstance(value, Ingress)}
    begin = time.perf_counter()
    for count in range(1, int(rate * seconds) + 1):
        due = begin + count / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        number = chance.randrange(ingresses)
        if chance.random() < INGRESS_SHARE:
            group = groups["Ingresses"]
            change = change_of(_with_path(routed[f"app-{number}"], count))
        else:
            group = groups["endpoints"]
            change = change_of(slice_of(number, version=count, endpoints=endpoints))
        start = time.perf_counter()
        control.translate([change])
        control.publish(due, group.latencies)
        group.control.append(time.perf_counter() - start)
    return groups


def _with_path(ingress: Ingress, version: int) -> Ingress:
    """The Ingress with another path on its host."""
    (rule,) = ingress.spec.rules
    assert rule.http is not None, "every made-up rule has paths"
    first = rule.http.paths[0]
    paths = (*rule.http.paths, IngressPath(path=f"/v{version}", path_type="Exact", backend=first.backend))
    rule = msgspec.structs.replace(rule, http=IngressHttp(paths=paths))
    return msgspec.structs.replace(ingress, spec=msgspec.structs.replace(ingress.spec, rules=(rule,)))


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no memory")


def cpu_seconds(pid: int) -> float:
    """Seconds of user and system time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
