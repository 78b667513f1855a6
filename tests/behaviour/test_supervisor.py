"""Workers are started, fed, replaced, drained and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingress.admin import Totals
from ingress.publish import Publisher, Supervisor, open_listeners, supervisor
from proxy.table import Cluster, Table
from proxy.table.feed import Stats

COMMAND = (sys.executable, "-P", str(Path(__file__).parents[1] / "support" / "fake_worker.py"))


class Listener:
    """A FeedListener that counts as the app does."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.ends: list[int] = []

    def acknowledged(self, worker: int, generation: int) -> None:
        pass

    def refused(self, worker: int, generation: int, reason: str, *, final: bool) -> None:
        raise AssertionError(reason)

    def counted(self, worker: int, stats: Stats) -> None:
        self.totals.add(worker, stats)

    def ended(self, worker: int) -> None:
        self.ends.append(worker)
        self.totals.forget_gauges(worker)


class Running:
    """A supervisor with one port."""

    def __init__(self, workers: int) -> None:
        self.listeners = open_listeners(bind=["127.0.0.1"], ports=[("http", 0)], workers=workers)
        self.port = self.listeners[0][0].port
        self.publisher = Publisher()
        self.publisher.publish(Table())
        self.listener = Listener()
        self.supervisor = Supervisor(
            listeners=self.listeners, publisher=self.publisher, listener=self.listener, command=COMMAND
        )
        self.workers = self.supervisor.workers

    async def until(self, happened: Callable[[], bool], within: float = 5.0) -> None:
        async with asyncio.timeout(within):
            while not happened():
                await asyncio.sleep(0.005)

    async def serving(self) -> None:
        newest = self.publisher.current.generation
        await self.until(lambda: all(worker.pid and worker.generation == newest for worker in self.workers))

    async def get(self, path: str = "/") -> tuple[int, int, int]:
        """Process id, generation and process group of whoever answers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        try:
            answer = await reader.read()
        finally:
            writer.close()
        pid, generation, group = answer.partition(b"\r\n\r\n")[2].split()
        return int(pid), int(generation), int(group)


@asynccontextmanager
async def running(workers: int = 1, mood: str = "", *, ready: bool = True) -> AsyncIterator[Running]:
    os.environ["FAKE_WORKER"] = mood
    parts = Running(workers)
    pids = set()
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(parts.supervisor.run())
            if ready:
                await parts.serving()
            yield parts
            pids = {worker.pid for worker in parts.workers}
            parts.supervisor.kill()
            await task
    finally:
        del os.environ["FAKE_WORKER"]
        for own in parts.listeners:
            for listener in own:
                listener.socket.close()
    assert not any(alive(pid) for pid in pids if pid)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_workers_serve_in_process_groups_of_their_own() -> None:
    """Each worker answers, and a signal to the terminal's foreground group does not reach it."""
    async with running(2) as parts:
        pid, generation, group = await parts.get()
        assert pid in {worker.pid for worker in parts.workers}
        assert (generation, group) == (1, pid)
        assert group != os.getpgrp()


async def test_a_published_table_reaches_every_worker() -> None:
    """Without a restart."""
    async with running(2) as parts:
        before = {worker.pid for worker in parts.workers}
        parts.publisher.publish(Table(clusters={"a": Cluster()}))
        parts.supervisor.publish()
        await parts.serving()
        assert {worker.pid for worker in parts.workers} == before
        assert (await parts.get())[1] == 2


@pytest.mark.alone
async def test_a_killed_worker_is_replaced_at_once_and_gets_the_newest_table() -> None:
    """The successor starts from the whole table, whatever the generation is by then."""
    async with running() as parts:
        parts.publisher.publish(Table(clusters={"a": Cluster()}))
        parts.supervisor.publish()
        await parts.serving()
        (worker,) = parts.workers
        old, killed_at = worker.pid, time.monotonic()
        assert old is not None
        os.kill(old, signal.SIGKILL)
        await parts.until(lambda: worker.pid not in (old, None) and worker.generation == 2)
        assert worker.started_at - killed_at < 0.4
        assert worker.restarts == 1
        assert parts.listener.ends == [0]


async def test_connections_that_wait_for_a_dead_worker_are_served_by_its_successor() -> None:
    """The control process keeps the sockets open: whoever was queued waits, and loses nothing."""
    async with running() as parts:
        (worker,) = parts.workers
        old = worker.pid
        assert old is not None
        os.kill(old, signal.SIGSTOP)
        waiting = [asyncio.ensure_future(parts.get()) for _ in range(20)]  # noqa: TID251 - gathered below
        await asyncio.sleep(0.1)
        os.kill(old, signal.SIGKILL)
        answers = await asyncio.gather(*waiting)
        assert {pid for pid, _, _ in answers} == {worker.pid}
        assert worker.pid != old


async def test_a_worker_that_keeps_dying_is_restarted_less_and_less() -> None:
    """At once, after half a second, after one: three starts and no more in the first second and a half or so."""
    async with running(mood="dies", ready=False) as parts:
        (worker,) = parts.workers
        await parts.until(lambda: worker.restarts >= 2)
        second = time.monotonic()
        await parts.until(lambda: worker.restarts >= 3)
        assert time.monotonic() - second > 0.4


async def test_a_worker_that_talks_nonsense_is_replaced() -> None:
    """It is killed: what it does is unknown."""
    async with running(mood="nonsense", ready=False) as parts:
        await parts.until(lambda: parts.workers[0].restarts >= 1)


async def test_a_worker_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions go unanswered for as long as is allowed, then it is killed; one that answers is left alone."""
    monkeypatch.setattr(supervisor, "QUESTION_INTERVAL", 0.15)
    async with running(mood="mute") as parts:
        await parts.until(lambda: parts.workers[0].restarts >= 1)
    async with running() as parts:
        await asyncio.sleep(1.2)
        assert parts.workers[0].restarts == 0


async def test_counters_survive_a_worker() -> None:
    """Two requests, one before and one after a worker was killed, are two; the gauges of the dead one are gone."""
    async with running() as parts:
        (worker,) = parts.workers
        await parts.get()
        await parts.supervisor.refresh_stats(2.0)
        old = worker.pid
        assert old is not None
        os.kill(old, signal.SIGKILL)
        await parts.until(lambda: bool(parts.listener.ends))
        assert parts.listener.totals.gauges == {}
        await parts.until(lambda: worker.pid not in (old, None) and worker.generation == 1)
        await parts.get()
        await parts.supervisor.refresh_stats(2.0)
        (route,) = parts.listener.totals.routes.values()
        assert route.requests == {("GET", "200"): 2}


async def test_a_mute_worker_costs_a_scrape_no_more_than_the_limit() -> None:
    """The scrape goes on without its newest counters."""
    async with running(mood="mute") as parts:
        began = time.monotonic()
        await parts.supervisor.refresh_stats(0.1)
        assert 0.09 <= time.monotonic() - began < 3.0  # the event loop counts whole milliseconds


async def test_drained_workers_end_and_are_not_replaced() -> None:
    """run() returns once all are gone; what they cut off is added up."""
    async with running(2, "slow-drain") as parts:
        pids = [worker.pid for worker in parts.workers]
        parts.supervisor.drain(delay=0.0, timeout=5.0)
        await parts.until(lambda: not any(alive(pid) for pid in pids if pid))
        assert parts.supervisor.cut == 4
        assert [worker.restarts for worker in parts.workers] == [0, 0]
        assert parts.supervisor.kill() == 0


async def test_a_worker_that_does_not_end_can_be_killed() -> None:
    """Neither drain nor stop moves it; kill does, and says how many."""
    async with running(mood="stubborn") as parts:
        parts.supervisor.drain(delay=0.0, timeout=0.0)
        parts.supervisor.stop()
        await asyncio.sleep(0.1)
        assert parts.workers[0].pid is not None
        assert parts.supervisor.kill() == 1
        await parts.until(lambda: parts.workers[0].pid is None)


async def test_no_worker_outlives_a_supervisor_that_fails() -> None:
    """When the control process comes down with an error, its children do too."""
    pids: list[int] = []
    with pytest.raises(ExceptionGroup) as caught:
        async with running(2, "stubborn") as parts:
            pids = [worker.pid for worker in parts.workers if worker.pid]
            raise RuntimeError("defect")
    assert caught.group_contains(RuntimeError, match="defect")
    try:
        async with asyncio.timeout(2):
            while any(alive(pid) for pid in pids):
                await asyncio.sleep(0.01)
    finally:
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
