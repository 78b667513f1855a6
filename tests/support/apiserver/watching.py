"""One watch: which changes it is told, in which form, and when a bookmark is due. Asyncio, no HTTP."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from tests.support.apiserver.failures import ApiError
from tests.support.apiserver.kinds import Resource
from tests.support.apiserver.selectors import Selector
from tests.support.apiserver.storage import Change, Storage

__all__ = ["Watch"]


class Watch:
    """Collects what one watcher is to be told.

    A watch with a selector is told that an object was added when it comes to match, and deleted when it ceases to.
    """

    def __init__(self, storage: Storage, resource: Resource, namespace: str, selected: Selector) -> None:
        self.resource = resource
        self.is_stalled = False
        self._storage = storage
        self._namespace = namespace
        self._selected = selected
        self._pending: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._ending: bytes | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def begin(self, since: int | None, *, initial: bool) -> None:
        """Everything after a version (``None``: now), with the present objects first if ``initial``. Raises Expired."""
        if initial:
            for record in self._storage.records(self.resource, self._namespace):
                if self._selected(record.value):
                    self._add("ADDED", record.shown_as(self.resource))
        elif since is not None:
            for change in self._storage.changes(self.resource, since):
                self.push(change)
        self._unsubscribe = self._storage.subscribe(self.resource, self.push)

    def push(self, change: Change) -> None:
        """A change happened."""
        record = change.record
        if self._namespace and record.namespace != self._namespace:
            return
        before = change.previous is not None and self._selected(change.previous.value)
        after = change.verb != "DELETED" and self._selected(record.value)
        if before or after:
            verb = "MODIFIED" if before and after else "ADDED" if after else "DELETED"
            self._add(verb, self._last_seen(change) if verb == "DELETED" else record.shown_as(self.resource))

    def _last_seen(self, change: Change) -> bytes:
        """A deleted object: its last state that matched, under the version at which it went."""
        if change.verb == "DELETED":
            return change.record.shown_as(self.resource)
        assert change.previous is not None
        value = change.previous.value_as(self.resource)
        metadata = value["metadata"] | {"resourceVersion": str(change.record.version)}
        return msgspec.json.encode(value | {"metadata": metadata})

    def _add(self, verb: str, encoded: bytes) -> None:
        self._pending.append(b'{"type":"%b","object":%b}\n' % (verb.encode(), encoded))
        self._wake.set()

    def end(self, error: ApiError | None = None) -> None:
        """The watch ends after what is pending, with an ERROR event if given."""
        told = msgspec.json.encode({"type": "ERROR", "object": error.status()}) + b"\n" if error else b""
        self._ending = told
        self._wake.set()

    def close(self) -> None:
        self._unsubscribe()

    async def next(self, seconds: float) -> list[bytes] | None:
        """Events to send; none when the time was up; ``None`` after the last."""
        if not self._pending and self._ending is None:
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), seconds)
            except TimeoutError:
                return []
        if self._pending:
            events = [*self._pending]
            self._pending.clear()
            return events
        if self._ending:
            events, self._ending = [self._ending], b""
            return events
        return None

    def bookmark(self, *, initial_events_end: bool = False) -> bytes:
        """Tells how far this watch is; nothing may be pending."""
        assert not self._pending
        metadata: dict[str, Any] = {"resourceVersion": str(self._storage.version), "creationTimestamp": None}
        if initial_events_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        shown = {"kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": metadata}
        return msgspec.json.encode({"type": "BOOKMARK", "object": shown}) + b"\n"

    @property
    def is_current(self) -> bool:
        """Whether nothing is pending."""
        return not self._pending
