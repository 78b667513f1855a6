"""The worker processes: spawn, reap, drain, stop.

1. A worker that ends unasked is replaced: at once, unless it lived for seconds only; then later and later, up to 10 s.
2. Its successor gets the same listening sockets and the whole table.
3. Workers are in sessions of their own, so that a Ctrl-C on the terminal reaches the control process alone, which
   then drains them.
4. A worker that stays silent while it is asked is killed and replaced.
5. No worker outlives :meth:`Supervisor.run`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Final

import structlog

from ingress.publish.backoff import Backoff
from ingress.publish.feed import Feed, FeedListener, Publisher
from ingress.publish.sockets import Listener
from proxy.table.feed import Stop

__all__ = ["WORKER_COMMAND", "Supervisor", "Worker"]

WORKER_COMMAND: Final = (sys.executable, "-P", "-m", "proxy.worker")
"""``-P``: a folder named ``proxy`` in the working directory is not ours."""

TICKET_KEYS: Final = 80
"""Bytes, as OpenSSL takes them."""
TICKET_KEY_TIME: Final = 2 * 3600.0
"""Seconds; as long as OpenSSL lets a session be resumed."""
EXIT_LIMIT: Final = 2.0
"""Seconds that a process gets to end after it was told to, or after its feed closed, before it is killed."""
QUESTION_INTERVAL: Final = 10.0
QUESTION_LIMIT: Final = 6
"""Questions (one per ``QUESTION_INTERVAL`` seconds) that may stay unanswered in a row: a minute of silence."""

log = structlog.get_logger("pyngress.supervisor")


class Worker:
    """One place among the workers, and the process that fills it now."""

    def __init__(self, number: int, listeners: Sequence[Listener]) -> None:
        self.number = number
        self.listeners = listeners
        self.restarts = 0
        self.process: asyncio.subprocess.Process | None = None
        self.feed: Feed | None = None
        self.started_at = 0.0
        self.backoff = Backoff()

    @property
    def pid(self) -> int | None:
        """``None`` while there is no process."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None

    @property
    def generation(self) -> int:
        """The table that is live in it; 0: none."""
        live = self.feed.live if self.feed is not None else None
        return live.generation if live is not None else 0


class Supervisor:
    """Keeps one process per entry of ``listeners`` running and fed."""

    def __init__(
        self,
        *,
        listeners: Sequence[Sequence[Listener]],
        publisher: Publisher,
        listener: FeedListener,
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self.workers = [Worker(number, own) for number, own in enumerate(listeners)]
        self._publisher = publisher
        self._listener = listener
        self._command = command
        self._ending = asyncio.Event()
        self._log_lock = os.memfd_create("pyngress-access-log-lock")
        self._allowances = os.memfd_create("pyngress-allowances")
        """What clients may still ask for under rate limits; outlives the workers, who know what is in it."""

        self._ticket_keys = os.memfd_create("pyngress-ticket-keys")
        self.change_ticket_keys()

    def change_ticket_keys(self) -> None:
        """Give the workers new keys for TLS session tickets. They notice within a second; the old ones are gone, and
        with them what could be read of recorded TLS 1.2 traffic."""
        os.pwrite(self._ticket_keys, os.urandom(TICKET_KEYS), 0)

    async def run(self) -> None:
        """Keep the workers until :meth:`drain` or :meth:`stop` has ended them all."""
        try:
            async with asyncio.TaskGroup() as tasks:
                silence = tasks.create_task(self._watch_for_silence())
                turns = tasks.create_task(self._turn_ticket_keys())
                keepers = [tasks.create_task(self._keep(worker)) for worker in self.workers]
                await asyncio.wait(keepers)
                silence.cancel()
                turns.cancel()
        finally:
            for worker in self.workers:
                self._kill(worker)
            os.close(self._log_lock)
            os.close(self._allowances)
            os.close(self._ticket_keys)

    def publish(self) -> None:
        """Bring the publisher's newest table to every worker."""
        for worker in self.workers:
            if worker.feed is not None:
                worker.feed.wake()

    async def refresh_stats(self, limit: float) -> None:
        """Have every worker tell its counters now; after ``limit`` seconds go on without the rest."""
        feeds = [worker.feed for worker in self.workers if worker.feed is not None and worker.generation]
        try:
            async with asyncio.timeout(limit):
                await asyncio.gather(*(feed.ask_stats() for feed in feeds))
        except TimeoutError:
            pass

    def drain(self, *, delay: float, timeout: float) -> None:
        """Have every worker drain and end; see :class:`~proxy.table.feed.Drain`. None is replaced from here on.

        Closes the control process's copies of the listening sockets: they are for successors, and while one is open
        the kernel queues connections that nobody accepts any more, where it should refuse them.
        """
        self._ending.set()
        for worker in self.workers:
            for each in worker.listeners:
                each.socket.close()
            if worker.feed is not None:
                worker.feed.drain(delay=delay, timeout=timeout)

    def stop(self) -> None:
        """Have every worker end at once."""
        self._ending.set()
        for worker in self.workers:
            if worker.feed is not None:
                worker.feed.send(Stop())

    def kill(self) -> int:
        """Kill what is left; returns how many processes that were."""
        self._ending.set()
        return sum(self._kill(worker) for worker in self.workers)

    @property
    def cut(self) -> int:
        """Requests and tunnels that drained workers had to cut off."""
        ends = [worker.feed.drained for worker in self.workers if worker.feed is not None]
        return sum(end.cut for end in ends if end is not None)

    async def _turn_ticket_keys(self) -> None:
        while True:
            await asyncio.sleep(TICKET_KEY_TIME)
            self.change_ticket_keys()

    async def _keep(self, worker: Worker) -> None:
        while not self._ending.is_set():
            lived = await self._live_once(worker)
            if self._ending.is_set():
                return
            worker.restarts += 1
            await self._pause(worker.backoff.delay_after(lived))

    async def _live_once(self, worker: Worker) -> float:
        """One process from start to end; returns the seconds it lived."""
        worker.started_at = time.monotonic()
        try:
            feed = await self._spawn(worker)
        except OSError as error:
            log.critical("worker cannot be started", worker=worker.number, error=str(error))
            return 0.0
        try:
            await feed.run()
        except ValueError as error:
            log.critical("worker talks nonsense", worker=worker.number, error=str(error))
            self._kill(worker)
        await self._reap(worker)
        return time.monotonic() - worker.started_at

    async def _spawn(self, worker: Worker) -> Feed:
        """Start the process of ``worker``. Raises ``OSError``."""
        ours, theirs = socket.socketpair()
        try:
            worker.process = await asyncio.create_subprocess_exec(
                *self._command,
                *self._arguments(worker, theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[
                    theirs.fileno(),
                    self._log_lock,
                    self._allowances,
                    self._ticket_keys,
                    *(each.socket.fileno() for each in worker.listeners),
                ],
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        worker.feed = Feed(worker.number, ours, self._publisher, self._listener)
        if self._ending.is_set():  # it was asked for before the end was
            worker.feed.send(Stop())
        log.debug("worker started", worker=worker.number, pid=worker.process.pid)
        return worker.feed

    def _arguments(self, worker: Worker, feed: int) -> list[str]:
        """``--log-fd`` is standard output, which the worker inherits as it is."""
        arguments = ["--id", str(worker.number), "--feed-fd", str(feed)]
        arguments += ["--log-fd", "1", "--log-lock-fd", str(self._log_lock)]
        arguments += ["--allowances-fd", str(self._allowances), "--ticket-keys-fd", str(self._ticket_keys)]
        for each in worker.listeners:
            arguments += ["--listen", f"{each.scheme}:{each.socket.fileno()}"]
        return arguments

    async def _reap(self, worker: Worker) -> None:
        """Collect the process after its feed has closed."""
        process = worker.process
        assert process is not None, "only a process that was started is collected"
        try:
            async with asyncio.timeout(EXIT_LIMIT):
                await process.wait()
        except TimeoutError:
            self._kill(worker)
            await process.wait()
        say = log.debug if self._ending.is_set() else log.warning
        say("worker ended", worker=worker.number, pid=process.pid, how=_how(process.returncode))
        self._listener.ended(worker.number)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not into the end."""
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            pass

    async def _watch_for_silence(self) -> None:
        while True:
            await asyncio.sleep(QUESTION_INTERVAL)
            for worker in self.workers:
                if worker.feed is None or worker.pid is None:
                    continue
                if worker.feed.unanswered >= QUESTION_LIMIT:
                    log.error("worker does not answer: killing it", worker=worker.number, pid=worker.pid)
                    self._kill(worker)
                else:
                    worker.feed.nudge()

    def _kill(self, worker: Worker) -> bool:
        if worker.process is None or worker.process.returncode is not None:
            return False
        try:
            worker.process.kill()
        except ProcessLookupError:
            return False
        return True


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
