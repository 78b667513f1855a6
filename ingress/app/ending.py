"""How the control process ends.

1. SIGTERM: not ready at once; workers accept for ``--shutdown-delay`` more, then end what is in flight within
   ``--drain-timeout``; exit code 0. The cluster is watched to the end: endpoints that go meanwhile are not used.
2. The first Ctrl-C (SIGINT): the same without the delay.
3. Another of either: the end, now.
4. SIGHUP: manifests are read again, which changes nothing if they did not.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from ingress.options import Options
from ingress.publish import Supervisor

__all__ = ["Ending"]

DRAIN_MARGIN: Final = 3.0
"""Seconds beyond delay and timeout that workers get to report and exit, before they are killed."""
STOP_LIMIT: Final = 1.0
"""Seconds that workers get to exit when told to end at once."""

log = structlog.get_logger("pyngress")


class Reloadable(Protocol):
    """A source that can be told to look again."""

    async def reload(self) -> None:
        """Look now."""


class Ending:
    """Takes the signals over when it is made."""

    def __init__(
        self, options: Options, supervisor: Supervisor, source: Reloadable, *, going: Callable[[], None]
    ) -> None:
        self._options = options
        self._supervisor = supervisor
        self._source = source
        self._going = going
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._signals.put_nowait, number)

    async def wait(self, workers: asyncio.Task[None]) -> int:
        """Until it is time to exit, with every worker gone; returns the exit code."""
        while True:
            number = await self._signals.get()
            if number != signal.SIGHUP:
                return await self._drain(number, workers)
            log.info("SIGHUP: reading again")
            await self._source.reload()

    async def _drain(self, number: signal.Signals, workers: asyncio.Task[None]) -> int:
        delay = self._options.shutdown_delay if number == signal.SIGTERM else 0.0
        timeout = self._options.drain_timeout
        self._going()
        log.info("shutting down", signal=number.name, delay=delay, drain_timeout=timeout)
        self._supervisor.drain(delay=delay, timeout=timeout)
        async with asyncio.TaskGroup() as tasks:
            second = tasks.create_task(self._second_signal())
            await asyncio.wait(
                {workers, second}, timeout=delay + timeout + DRAIN_MARGIN, return_when=asyncio.FIRST_COMPLETED
            )
            if second.done():
                return await self._end_now(second.result(), workers)
            second.cancel()
        killed = self._supervisor.kill()
        await workers
        cut = self._supervisor.cut
        (log.warning if cut or killed else log.info)("bye", cut=cut, workers_killed=killed)
        return 0

    async def _second_signal(self) -> signal.Signals:
        while True:
            number = await self._signals.get()
            if number != signal.SIGHUP:
                return number

    async def _end_now(self, number: signal.Signals, workers: asyncio.Task[None]) -> int:
        log.warning("ending at once", signal=number.name)
        self._supervisor.stop()
        await asyncio.wait({workers}, timeout=STOP_LIMIT)
        self._supervisor.kill()
        await workers
        return 128 + number
