"""``status.loadBalancer`` of Ingresses: where their traffic may be sent.

1. Only the leader writes, and only where the watch shows something else than what should be there.
2. An Ingress gets addresses once every worker serves its routes: an address means traffic.
3. One that leaves our class loses them, if they are still ours: read again first, and written on that very version.
   Known are those that this process saw being served, whether it led then or not. Others are never touched: that they
   show our addresses proves nothing, since two controllers may run on the same nodes. So an Ingress that leaves while
   no replica runs keeps its last address, until the controller of its new class writes its own.
4. Who changes them back is answered after a growing wait (1 s … 5 min): two controllers at odds must not keep the API
   server busy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import msgspec
import structlog

from ingress.kube import KubeClient, KubeError
from ingress.report.keyed_queue import KeyedQueue
from ingress.report.saying import Sayings, is_global
from ingress.resources import Key, LoadBalancer, LoadBalancerAddress

__all__ = ["Addresses", "StatusWriter", "in_order"]

Addresses = tuple[LoadBalancerAddress, ...]

IN_FLIGHT: Final = 8
"""Requests at the same time: 1,000 Ingresses take 2.5 s at 20 ms each."""
LONGEST_WAIT: Final = 300.0
"""Seconds between two writes to one Ingress that does not stay as written."""
FORGET: Final = 600.0
"""Seconds of peace after which a write is not one of a series."""
REMEMBERED: Final = 16
"""Address lists that count as ours, newest last."""

log = structlog.get_logger("pyngress.status")


class _Meta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    resource_version: str = ""


class _Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    load_balancer: LoadBalancer = LoadBalancer()


class _Ingress(msgspec.Struct, frozen=True, kw_only=True):
    metadata: _Meta = _Meta()
    status: _Status = _Status()


_decoder: Final = msgspec.json.Decoder(_Ingress)


class _Series(msgspec.Struct, kw_only=True):
    """Writes to one Ingress that follow each other."""

    tries: int = 0
    last: float = 0.0
    not_before: float = 0.0


def in_order(addresses: Iterable[LoadBalancerAddress]) -> Addresses:
    """Sorted, each once: equal lists are equal whatever order they came in."""
    return tuple(sorted(set(addresses)))


class StatusWriter:
    """Told what is and what should be, writes the difference. All methods but :meth:`remove_all` return at once."""

    def __init__(
        self, client: KubeClient, *, in_flight: int = IN_FLIGHT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._in_flight = in_flight
        self._clock = clock
        self._leading = False
        self._closing = False
        self._addresses: Addresses | None = None
        self._ours: list[Addresses] = []
        self._generation_of: dict[Key, int] = {}
        """Each served Ingress, and the generation that first held its routes."""
        self._waiting: set[Key] = set()
        """Those of them that no worker, or not every one, serves yet."""
        self._live = -1
        self._left: set[Key] = set()
        self._seen: dict[Key, Addresses] = {}
        self._series: dict[Key, _Series] = {}
        self._queue = KeyedQueue()
        self._sayings = Sayings(log)
        self.writes = 0
        self.errors = 0

    # ---- what should be

    def update(self, served: Collection[Key], generation: int) -> None:
        """``served``: all Ingresses of our class now; ``generation``: of the table that holds their routes."""
        before = self._generation_of
        now = served if isinstance(served, set | frozenset) else frozenset(served)
        for key in now - before.keys():
            before[key] = generation
            self._left.discard(key)
            self._series.pop(key, None)
            if generation > self._live:
                self._waiting.add(key)
            self._mark(key)
        for key in before.keys() - now:
            del before[key]
            self._waiting.discard(key)
            self._series.pop(key, None)
            if key in self._seen or self._queue.is_taken(key):  # else it is gone
                self._left.add(key)
                self._mark(key)

    def live(self, generation: int) -> None:
        """The smallest generation that every worker acknowledged. A later, smaller one (a worker that starts again)
        takes no address back."""
        if generation <= self._live:
            return
        self._live = generation
        ready = {key for key in self._waiting if self._generation_of[key] <= generation}
        self._waiting -= ready
        for key in ready:
            self._mark(key)

    def addresses(self, addresses: Collection[LoadBalancerAddress] | None) -> None:
        """What served Ingresses show; ``None``: unknown, so that whatever they show stays."""
        wanted = None if addresses is None else in_order(addresses)
        if wanted == self._addresses:
            return
        self._addresses = wanted
        if wanted:
            self._ours = [*(each for each in self._ours if each != wanted), wanted][-REMEMBERED:]
        self._series.clear()
        self._mark_all()

    def leader(self, leading: bool) -> None:
        """Whether this process writes."""
        self._leading = leading
        if leading:
            self._mark_all()

    # ---- what is

    def observed(self, key: Key, addresses: Collection[LoadBalancerAddress]) -> None:
        """What the watch shows of an Ingress, of whatever class; empty: no address, or no such Ingress."""
        self._see(key, addresses)
        if key in self._generation_of or key in self._left:
            self._mark(key)

    def _see(self, key: Key, addresses: Collection[LoadBalancerAddress]) -> None:
        if addresses:
            self._seen[key] = in_order(addresses)
        else:
            self._seen.pop(key, None)

    @property
    def pending(self) -> int:
        """Ingresses whose status is about to be looked at or written."""
        return len(self._queue)

    # ---- the work

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._in_flight):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            async with self._queue.take() as key:
                await self._look_at(key)

    async def _look_at(self, key: Key) -> None:
        wanted = self._due(key)
        if wanted is None:
            return
        series = self._series.setdefault(key, _Series())
        now = self._clock()
        if now < series.not_before:
            self._queue.put_later(key, series.not_before - now)
            return
        if now - series.last > FORGET:
            series.tries = 0
        series.tries += 1
        series.last = now
        series.not_before = now + min(LONGEST_WAIT, 2.0 ** (series.tries - 1))
        try:
            await (self._write(key, wanted) if wanted else self._clear(key))
            self._sayings.well()
        except KubeError as error:
            await self._failed(key, error, series)

    def _due(self, key: Key) -> Addresses | None:
        """What to write now; ``()``: take ours away; ``None``: nothing."""
        if not self._leading or self._closing:
            return None
        seen = self._seen.get(key, ())
        if key in self._generation_of:
            if self._addresses is None or key in self._waiting or seen == self._addresses:
                return None
            return self._addresses
        if key in self._left and self._addresses is None:
            return None  # whose they are is not known yet
        if key in self._left and seen in self._ours:
            return ()
        self._forget(key)
        return None

    async def _write(self, key: Key, wanted: Addresses) -> None:
        value = [msgspec.to_builtins(address) for address in wanted]
        await self._patch(key, {"status": {"loadBalancer": {"ingress": value}}})

    async def _clear(self, key: Key) -> None:
        """Takes addresses away that still have to go on the version just read."""
        found = await self._read(key)
        shown = self._seen.get(key, ())
        if (shown in self._ours) if self._closing else (self._due(key) == ()):
            body: dict[str, Any] = {"status": {"loadBalancer": {"ingress": None}}}
            await self._patch(key, body | {"metadata": {"resourceVersion": found.metadata.resource_version}})
            log.info("status cleared", ingress="/".join(key))
        self._forget(key)

    def _forget(self, key: Key) -> None:
        """Of one that left, unless it is back."""
        self._left.discard(key)
        if key not in self._generation_of:
            self._series.pop(key, None)

    async def _read(self, key: Key) -> _Ingress:
        namespace, name = key
        return self._take(key, await self._client.get(f"{_path(namespace)}/{name}"))

    async def _patch(self, key: Key, body: dict[str, Any]) -> None:
        namespace, name = key
        self._take(key, await self._client.patch(f"{_path(namespace)}/{name}/status", body))
        self.writes += 1

    def _take(self, key: Key, body: bytes) -> _Ingress:
        try:
            found = _decoder.decode(body)
        except msgspec.DecodeError as error:
            raise KubeError(f"the answer is no Ingress: {error}", reason="Unreadable") from error
        self._see(key, found.status.load_balancer.ingress)
        return found

    async def _failed(self, key: Key, error: KubeError, series: _Series) -> None:
        if error.status == 404:
            self._forget(key)
            self._seen.pop(key, None)
            return
        if error.status == 409:
            series.not_before = 0.0
            try:
                await self._read(key)
            except KubeError as later:
                error = later
            else:
                self._queue.put_later(key, min(1.0, 0.05 * series.tries))
                return
        self.errors += 1
        self._sayings.say(error, namespace=key[0], right="patch ingresses/status.networking.k8s.io")
        if is_global(error):  # the server's trouble, not this object's
            series.tries -= 1
            series.not_before = 0.0
            pause = self._sayings.pause(error)
            self._queue.put_later(key, pause)
            await asyncio.sleep(pause)
            return
        series.not_before = max(series.not_before, self._clock() + (60.0 if error.status == 403 else 5.0))
        self._queue.put_later(key, series.not_before - self._clock())

    # ---- the end

    async def remove_all(self) -> int:
        """Take the addresses of every served Ingress away, for nobody serves them from now on. Nothing is written
        afterwards. Returns how many still show them because the API server refused."""
        self._closing = True
        for _ in range(50):  # a write under way must not land after ours
            if not self._queue.taken:
                break
            await asyncio.sleep(0.02)
        keys = asyncio.Queue[Key]()
        for key in (*self._generation_of, *self._left):
            if self._seen.get(key, ()) in self._ours or self._queue.is_taken(key):
                keys.put_nowait(key)
        kept = 0

        async def clear() -> None:
            nonlocal kept
            while not keys.empty():
                key = keys.get_nowait()
                kept += not await self._cleared(key)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._in_flight):
                tasks.create_task(clear())
        return kept

    async def _cleared(self, key: Key) -> bool:
        for _ in range(3):
            try:
                await self._clear(key)
            except KubeError as error:
                if error.status == 404:
                    return True
                self.errors += 1
                self._sayings.say(error, namespace=key[0], right="patch ingresses/status.networking.k8s.io")
                await asyncio.sleep(min(2.0, error.retry_after or 0.1))
            else:
                return True
        return False

    def _mark_all(self) -> None:
        for key in (*self._generation_of, *self._left):
            self._mark(key)

    def _mark(self, key: Key) -> None:
        if self._leading:
            self._queue.put(key)


def _path(namespace: str) -> str:
    return f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"
