"""Secrets and ConfigMaps, each read only because another object names it. The rights ``get`` and ``watch`` are enough.

1. A named object is got, and then watched by its name. When its watch stands it is got once more, so that nothing
   that happened in between is missed.
2. There is a bound on such watches; what is beyond it, and what may be got but not watched, is looked at each minute.
3. What is not there (404), and what we may not read (403, a Problem), is known to be absent.
4. What is no longer named is forgotten.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

import msgspec
import structlog

from ingress.kube import KubeClient, KubeError
from ingress.resources import ObjectRef, Problem, Wanted
from ingress.watch.kinds import NAMED_KINDS
from ingress.watch.known import Known, Listener
from ingress.watch.pace import Attempt, Backoff, Pace
from ingress.watch.reflector import UnreadableLineError, read_event
from ingress.watch.stored import Stored, decode, decode_head, is_older

__all__ = ["NamedObjects"]

MAX_WATCHES: Final = 256
"""A watch costs a connection (or stream) and a goroutine here and in the API server; certificates beyond it come a
minute late."""
GETS_AT_ONCE: Final = 16
"""A start with many Secrets must not look like an attack to the API server."""

log = structlog.get_logger("pyngress.watch")


class NamedObjects:
    """Tell it what is wanted; run it as a task."""

    def __init__(
        self, client: KubeClient, listener: Listener, *, pace: Pace | None = None, max_watches: int = MAX_WATCHES
    ) -> None:
        self._client = client
        self._listener = listener
        self._pace = pace or Pace()
        self._known = {name: Known(kind, listener) for name, kind in NAMED_KINDS.items()}
        self._gets = asyncio.Semaphore(GETS_AT_ONCE)
        self._free_watches = max_watches
        self._tasks: asyncio.TaskGroup | None = None
        self._wanted: frozenset[Wanted] = frozenset()
        self._running: dict[Wanted, asyncio.Task[None]] = {}
        self._settled: set[Wanted] = set()
        self._no_watch_said = False

    @property
    def unsettled(self) -> str:
        """Why what is known is not yet all; empty: it is."""
        missing = self._wanted - self._settled
        if not missing:
            return ""
        first = min(missing)
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"{first.kind} {first.namespace}/{first.name}{more} not read yet"

    @property
    def read(self) -> frozenset[Wanted]:
        """What is known, or known to be absent."""
        return frozenset(self._settled)

    def want(self, wanted: frozenset[Wanted]) -> None:
        """These, and no others."""
        self._wanted = wanted
        if self._tasks is not None:
            self._start_and_end()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                self._start_and_end()
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def _start_and_end(self) -> None:
        assert self._tasks is not None
        for wanted in self._running.keys() - self._wanted:
            self._running.pop(wanted).cancel()
            self._settled.discard(wanted)
            self._known[wanted.kind].remove(wanted.key)
        for wanted in sorted(self._wanted - self._running.keys()):
            self._running[wanted] = self._tasks.create_task(self._keep(wanted))

    # ---- one object

    async def _keep(self, wanted: Wanted) -> None:
        backoff = Backoff(self._pace)
        may_watch = True
        while True:
            try:
                if wanted not in self._settled:
                    await self._get(wanted)
                if may_watch and self._free_watches > 0:
                    wait = 0.0 if await self._watch(wanted, backoff) else backoff.next()
                else:
                    backoff.reset()
                    await asyncio.sleep(self._pace.poll_seconds())
                    await self._get(wanted)
                    wait = 0.0
            except KubeError as error:
                log.debug("named object cannot be read", **_fields(wanted), error=error.message)
                wait = backoff.next() + (error.retry_after or 0.0)
                if error.status == 403:  # of its watch
                    may_watch = False
                    self._say_no_watch(wanted, error)
            except UnreadableLineError as error:
                log.warning("a watch event cannot be read", **_fields(wanted), error=str(error))
                wait = backoff.next()
            except Exception:
                log.exception("reading failed", **_fields(wanted))
                wait = backoff.next()
            await asyncio.sleep(wait)

    async def _get(self, wanted: Wanted) -> None:
        """Settles the object. Raises :class:`KubeError` for what says nothing of the object itself."""
        kind, known = NAMED_KINDS[wanted.kind], self._known[wanted.kind]
        async with self._gets:
            try:
                data = await self._client.get(kind.path(wanted.namespace, wanted.name))
            except KubeError as error:
                if error.status == 404:
                    known.remove(wanted.key)
                elif error.status == 403:
                    known.put(_forbidden(wanted, error))
                else:
                    raise
            else:
                known.put(decode(kind, data, decode_head(data)))
        self._settle(wanted)

    def _settle(self, wanted: Wanted) -> None:
        if wanted not in self._settled:
            self._settled.add(wanted)
            self._listener.settled()

    async def _watch(self, wanted: Wanted, backoff: Backoff) -> bool:
        """Until the server ends it in order; whether it was of any use: otherwise the next must not follow at once."""
        kind = NAMED_KINDS[wanted.kind]
        # No resourceVersion: that of the object is its last change, long forgotten by the server's history. The watch
        # begins with the object as it is.
        params: dict[str, str | int] = {
            "fieldSelector": f"metadata.name={wanted.name}",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": self._pace.watch_seconds(),
        }
        stream = self._client.watch(kind.path(wanted.namespace), params, inactivity=self._pace.inactivity)
        attempt = Attempt(self._pace, backoff)
        self._free_watches -= 1
        try:
            async with aclosing(stream):
                async for lines in stream:
                    if not lines:
                        attempt.stands()
                        await self._get(wanted)
                    for line in lines:
                        self._obey(wanted, line)
        finally:
            self._free_watches += 1
            of_use = attempt.end()
        return of_use

    def _obey(self, wanted: Wanted, line: bytes) -> None:
        event = read_event(line)
        if event is None or event.type == "BOOKMARK":
            return
        known = self._known[wanted.kind]
        try:
            head = decode_head(event.object)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnreadableLineError(str(error)) from error
        before = known.get(wanted.key)
        if head.key != wanted.key or (before is not None and is_older(head.version, before.version)):
            return
        if event.type == "DELETED":
            known.remove(wanted.key)
        else:
            known.put(decode(NAMED_KINDS[wanted.kind], event.object, head))

    def _say_no_watch(self, wanted: Wanted, error: KubeError) -> None:
        if not self._no_watch_said:
            self._no_watch_said = True
            log.warning("may not be watched: looked at each minute", **_fields(wanted), error=error.message)


def _forbidden(wanted: Wanted, error: KubeError) -> Stored:
    problem = Problem(
        object=ObjectRef(kind=wanted.kind, namespace=wanted.namespace, name=wanted.name),
        field="",
        reason="Forbidden",
        message=f"may not be read by the controller: {error.message}",
    )
    return Stored(key=wanted.key, version="", value=None, problems=(problem,))


def _fields(wanted: Wanted) -> dict[str, str]:
    return {"kind": wanted.kind, "namespace": wanted.namespace, "name": wanted.name}
