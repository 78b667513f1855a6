"""What a cluster knows: objects under one global version that only grows, and the changes that led here.

No HTTP and no waiting in here: whoever watches subscribes with a callback. Values are never changed in place, so a
record that was handed out stays what it was.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Literal

import msgspec

from tests.support.apiserver.failures import already_exists, conflict, expired, not_found
from tests.support.apiserver.kinds import Resource

__all__ = ["Change", "Page", "Record", "Storage"]

HISTORY: Final = 50_000
"""Changes remembered per resource; older ones count as compacted."""
PAGES: Final = 32
"""Lists in pages that may be under way at once; older continue tokens expire."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Record:
    """One version of one object, with its JSON as it goes over the wire."""

    resource: Resource
    namespace: str
    name: str
    version: int
    value: dict[str, Any]
    encoded: bytes

    def shown_as(self, resource: Resource) -> bytes:
        """The JSON under the field names of a view of the stored resource."""
        return _encode(self.value_as(resource)) if resource is not self.resource else self.encoded

    def value_as(self, resource: Resource) -> dict[str, Any]:
        if resource is self.resource:
            return self.value
        renamed = {resource.renames.get(key, key): value for key, value in self.value.items()}
        return renamed | {"kind": resource.kind, "apiVersion": resource.api_version}

    def item_of(self, resource: Resource) -> bytes:
        """The JSON inside a list: built-in kinds leave kind and apiVersion out there, as real servers do."""
        encoded = self.shown_as(resource)
        return encoded if resource.custom else b"{" + encoded[len(_head(resource)) :]


@dataclass(frozen=True, slots=True)
class Change:
    """``record`` is the new state; for ``DELETED`` the last one under the version of the deletion."""

    verb: Literal["ADDED", "MODIFIED", "DELETED"]
    record: Record
    previous: Record | None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list as it was at ``version``; ``token`` continues it."""

    records: list[Record]
    version: int
    token: str
    remaining: int


class Storage:
    """Every write is checked against the version that it was meant for, then gets the next one."""

    def __init__(self) -> None:
        self.version = 1
        self._objects: dict[tuple[str, str], dict[tuple[str, str], Record]] = {}
        self._history: dict[tuple[str, str], list[Change]] = {}
        self._compacted: dict[tuple[str, str], int] = {}
        self._compacted_all = 0
        self._subscribers: dict[tuple[str, str], set[Callable[[Change], None]]] = {}
        self._pages: dict[str, tuple[list[Record], int]] = {}
        self._tokens = 0

    # Reading

    def find(self, resource: Resource, namespace: str, name: str) -> Record | None:
        return self._objects.get(resource.storage, {}).get((namespace, name))

    def read(self, resource: Resource, namespace: str, name: str) -> Record:
        """Raises NotFound."""
        if (record := self.find(resource, namespace, name)) is None:
            raise not_found(resource, name)
        return record

    def records(self, resource: Resource, namespace: str = "") -> list[Record]:
        """All, or those of a namespace, by namespace and name."""
        objects = self._objects.get(resource.storage, {})
        if not namespace:
            return [objects[key] for key in sorted(objects)]
        return [objects[key] for key in sorted(objects) if key[0] == namespace]

    def page(self, records: list[Record], limit: int) -> Page:
        """The first page of a list that was made now; the rest is kept as it is now."""
        return self._cut(records, self.version, limit)

    def next_page(self, token: str, limit: int) -> Page:
        """Raises Expired for a token that is used, too old, or never was."""
        if (found := self._pages.pop(token, None)) is None:
            raise expired("The provided continue parameter is too old to display a consistent list result.")
        return self._cut(*found, limit)

    def _cut(self, records: list[Record], version: int, limit: int) -> Page:
        if not limit or len(records) <= limit:
            return Page(records, version, "", 0)
        self._tokens += 1
        token = f"page-{self._tokens}"
        self._pages[token] = (records[limit:], version)
        while len(self._pages) > PAGES:
            del self._pages[next(iter(self._pages))]
        return Page(records[:limit], version, token, len(records) - limit)

    # Changes

    def changes(self, resource: Resource, since: int) -> list[Change]:
        """What came after a version. Raises Expired when that was compacted."""
        if since < max(self._compacted.get(resource.storage, 0), self._compacted_all):
            raise expired(f"too old resource version: {since} ({self.version})")
        history = self._history.get(resource.storage, [])
        return history[bisect_right(history, since, key=attrgetter("record.version")) :]

    def changed_since(self, resource: Resource, version: int) -> bool:
        """Whether any object of the resource changed after a version, as far as is remembered."""
        history = self._history.get(resource.storage)
        return history is not None and bool(history) and history[-1].record.version > version

    def subscribe(self, resource: Resource, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Calls back for every later change; returns how to end it."""
        subscribers = self._subscribers.setdefault(resource.storage, set())
        subscribers.add(callback)
        return lambda: subscribers.discard(callback)

    def compact(self) -> None:
        """Forget all history, and what pages show."""
        self._history.clear()
        self._pages.clear()
        self._compacted_all = self.version

    # Writing

    def create(self, resource: Resource, value: dict[str, Any]) -> Record:
        """Raises AlreadyExists. ``value`` belongs to the storage from now on."""
        record = self._next(resource, value)
        if self.find(resource, record.namespace, record.name) is not None:
            raise already_exists(resource, record.name)
        return self._commit(Change("ADDED", record, None))

    def replace(self, previous: Record, value: dict[str, Any]) -> Record:
        """Raises Conflict when ``previous`` is not the newest version. A value that is the same changes nothing."""
        self._must_be_newest(previous)
        if value == previous.value:
            return previous
        return self._commit(Change("MODIFIED", self._next(previous.resource, value), previous))

    def remove(self, previous: Record) -> Record:
        """Raises Conflict when ``previous`` is not the newest version."""
        self._must_be_newest(previous)
        return self._commit(Change("DELETED", self._next(previous.resource, previous.value), previous))

    def _must_be_newest(self, record: Record) -> None:
        if self.find(record.resource, record.namespace, record.name) is not record:
            raise conflict(record.resource, record.name)

    def _next(self, resource: Resource, value: dict[str, Any]) -> Record:
        """A record under the version that a commit will take."""
        version = self.version + 1
        head = {"kind": resource.kind, "apiVersion": resource.api_version}
        metadata = value["metadata"] | {"resourceVersion": str(version)}
        value = head | value | head | {"metadata": metadata}
        return Record(resource, metadata.get("namespace", ""), metadata["name"], version, value, _encode(value))

    def _commit(self, change: Change) -> Record:
        record = change.record
        self.version = record.version
        storage = record.resource.storage
        objects = self._objects.setdefault(storage, {})
        if change.verb == "DELETED":
            del objects[record.namespace, record.name]
        else:
            objects[record.namespace, record.name] = record
        history = self._history.setdefault(storage, [])
        history.append(change)
        if len(history) > HISTORY + HISTORY // 10:
            dropped = history[-HISTORY - 1]
            del history[:-HISTORY]
            self._compacted[storage] = dropped.record.version
        for callback in tuple(self._subscribers.get(storage, ())):
            callback(change)
        return record


def _head(resource: Resource) -> bytes:
    return f'{{"kind":"{resource.kind}","apiVersion":"{resource.api_version}",'.encode()
