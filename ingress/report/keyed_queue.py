"""A queue of keys for several takers: each key once, and never with two of them at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ingress.resources import Key

__all__ = ["KeyedQueue"]


class KeyedQueue:
    """Of one event loop."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._taken: set[Key] = set()
        self._again: set[Key] = set()
        self._later: dict[Key, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Keys that wait or are taken."""
        return len(self._queued | self._taken)

    @property
    def taken(self) -> frozenset[Key]:
        return frozenset(self._taken)

    def is_taken(self, key: Key) -> bool:
        return key in self._taken

    def put(self, key: Key) -> None:
        """To be taken; one that is taken now will be again."""
        if key in self._taken:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)

    def put_later(self, key: Key, seconds: float) -> None:
        """:meth:`put` after a while; the last such wish for a key counts."""
        before = self._later.pop(key, None)
        if before is not None:
            before.cancel()
        self._later[key] = asyncio.get_running_loop().call_later(seconds, self._now, key)

    def _now(self, key: Key) -> None:
        del self._later[key]
        self.put(key)

    @asynccontextmanager
    async def take(self) -> AsyncGenerator[Key, None]:
        """The next key, for as long as the context lasts."""
        key = await self._queue.get()
        self._queued.discard(key)
        self._taken.add(key)
        try:
            yield key
        finally:
            self._taken.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.put(key)
