"""From changes of objects to published tables.

1. Nothing is published before the source has told everything: the first table of a worker is whole.
2. Changes that come while others are translated are taken up together; nothing waits for more to come.
3. Translation has a thread of its own: feeding workers and answering probes go on meanwhile. Objects, options and
   results are frozen, so both may hold them.
4. A translation that fails keeps the last table.
"""

from __future__ import annotations

import asyncio
import datetime
import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import structlog

from ingress.options import Options
from ingress.publish import Publisher, with_default_certificate
from ingress.resources import Change, Ingress, Problem
from ingress.translate import Translation, Translator
from ingress.watch import Source
from proxy.table import Certificate

__all__ = ["Pipeline"]

REJUDGE_INTERVAL: Final = 600.0
"""Seconds after which the dates of certificates are looked at again, though nothing changed."""

R = TypeVar("R")

log = structlog.get_logger("pyngress")


class Pipeline:
    """Run it as a task."""

    def __init__(
        self,
        options: Options,
        source: Source,
        publisher: Publisher,
        *,
        certificate: Certificate,
        translated: Callable[[Translation, tuple[Problem, ...], bool], None],
    ) -> None:
        """``certificate``: the default one where there is no other. ``translated`` hears of each result once the
        source was whole: with all problems, and whether the table changed."""
        self._source = source
        self._publisher = publisher
        self._certificate = certificate
        self._translated = translated
        self._translator = Translator(options)
        self._thread = ThreadPoolExecutor(1, "translate")
        self._pending: list[Change] = []
        self._changed = asyncio.Event()
        self.is_whole = False
        """A table that lacks nothing was published."""
        self._found: tuple[tuple[Problem, ...], ...] = ((), (), ())
        source.on_problems(self._changed.set)

    def take(self, changes: Sequence[Change]) -> None:
        """What the source tells."""
        self._pending += changes
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    async with asyncio.timeout(REJUDGE_INTERVAL if self.is_whole else None):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                self._changed.clear()
                await self._step()
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def judge(self, ingress: Ingress) -> Sequence[Problem] | None:
        """What would be wrong with an Ingress if it were applied now; ``None``: it is of another's class."""
        return await self._in_thread(partial(self._judge, ingress))

    def _judge(self, ingress: Ingress) -> Sequence[Problem] | None:
        problems = self._translator.judge(ingress)
        return problems if problems or self._translator.is_ours(ingress) else None

    async def _step(self) -> None:
        changes, self._pending = self._pending, []
        now, read = datetime.datetime.now(datetime.UTC), self._source.read
        try:
            translation = await self._in_thread(partial(self._translator.update, changes, now=now, read=read))
        except Exception:
            log.exception("translation failed: the last table stays")
            return
        self._source.want(translation.wanted)
        if not self.is_whole and (self._source.unsynced_reason is not None or self._pending):
            return
        problems = self._all_problems(translation)
        table, changed = with_default_certificate(translation.table, self._certificate), translation.changed
        new = self._publisher.publish(table, changed)
        first, self.is_whole = not self.is_whole, True
        self._translated(translation, problems, new)
        if first:
            # What there is now stays, mostly: looking through it for garbage again and again would cost half a second
            # each time with 10,000 Ingresses, in which nothing is fed.
            gc.collect()
            gc.freeze()

    def _all_problems(self, translation: Translation) -> tuple[Problem, ...]:
        """Of reading and of translating; the same tuple as before if none came or went, so that it compares quickly."""
        read, translated = self._source.problems, translation.problems
        if read != self._found[0] or translated is not self._found[1]:
            together = tuple(sorted({*read, *translated}, key=lambda problem: problem.sort_key))
            self._found = (read, translated, together)
        return self._found[2]

    async def _in_thread(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
