"""The worker's end of the feed: deltas and orders in, acknowledgements and statistics out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Sequence
from typing import Final, cast

from proxy.table.feed import (
    Ack,
    AskStats,
    Delta,
    Down,
    Drain,
    Drained,
    FrameDecoder,
    Nack,
    Stop,
    Up,
    encode_frame,
)
from proxy.worker.worker import Listen, Worker

__all__ = ["FeedClient"]

logger = logging.getLogger("pyngress.worker")

STATS_INTERVAL: Final = 1.0
ORPHAN_TIME: Final = 60.0
"""Seconds for which a worker serves on after its control process went away, so that another one can take over the
ports; afterwards it drains, since nobody would tell it of changes any more."""


FLUSH_TIME: Final = 1.0
"""Seconds that the control process gets to take the last statistics."""


class FeedClient(asyncio.Protocol):
    """Carries out what the control process says; ``done`` is set when the worker is to end, ``failed`` if it must."""

    def __init__(self, worker: Worker, listens: Sequence[Listen]) -> None:
        self.done = asyncio.Event()
        self.failed = False
        self._worker = worker
        self._listens = listens
        self._decoder: FrameDecoder[Down] = FrameDecoder(Down)
        self._transport: asyncio.Transport | None = None
        self._listening = False
        self._serving = False
        self._draining = False
        self._lost = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._worker.loop.call_later(STATS_INTERVAL, self._report)

    def data_received(self, data: bytes) -> None:
        for message in self._decoder.feed(data):
            if isinstance(message, Delta):
                self._apply(message)
            elif isinstance(message, AskStats):
                self._send(self._worker.stats(message.token))
            elif isinstance(message, Drain):
                self._start_drain(message.delay, message.timeout)
            elif isinstance(message, Stop):
                self.done.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._lost.set()
        if not self.done.is_set():
            logger.warning("the control process is gone; serving on for %.0f s", ORPHAN_TIME)
            self._worker.loop.call_later(ORPHAN_TIME, self.order_drain)

    def order_drain(self) -> None:
        """Drain because a signal, or the absence of the control process, says so."""
        self._start_drain(0.0, ORPHAN_TIME)

    async def close(self) -> None:
        """Let the last words reach the control process, if it listens."""
        if self._transport is not None:
            self._transport.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_TIME):
                    await self._lost.wait()

    def _apply(self, delta: Delta) -> None:
        refused = self._worker.apply(delta)
        if delta.reset:
            # A table lives long: without this the collector walks through all of it (50 ms for 10,000 hosts) again and
            # again, while requests wait.
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        if refused is not None:
            logger.error("generation %d refused: %s", delta.generation, refused)
            self._send(Nack(generation=delta.generation, reason=refused))
        elif self._serving:
            self._send(Ack(generation=delta.generation))
        elif not self._listening:
            self._listening = True
            self._spawn(self._listen_then_ack())

    async def _listen_then_ack(self) -> None:
        await self._worker.listen(self._listens)
        self._serving = True
        self._send(Ack(generation=self._worker.runtime.state.generation))

    def _start_drain(self, delay: float, timeout: float) -> None:
        # Once: whoever is impatient says Stop.
        if not self._draining:
            self._draining = True
            self._spawn(self._drain(delay, timeout))

    async def _drain(self, delay: float, timeout: float) -> None:
        cut = await self._worker.drain(delay, timeout)
        self._send(self._worker.stats())
        self._send(Drained(cut=cut))
        self.done.set()

    def _report(self) -> None:
        if self._transport is None:
            return
        self._worker.loop.call_later(STATS_INTERVAL, self._report)
        if not self._transport.get_write_buffer_size():
            # Else the control process is not listening just now: the counters go on counting until it does.
            self._send(self._worker.stats())

    def _send(self, message: Up) -> None:
        if self._transport is not None:
            self._transport.write(encode_frame(message))

    def _spawn(self, work: asyncio._CoroutineLike[None]) -> None:
        task = self._worker.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # Nothing can be served, or nobody can be told: the supervisor starts a fresh worker.
            logger.critical("worker failed", exc_info=task.exception())
            self.failed = True
            self.done.set()
