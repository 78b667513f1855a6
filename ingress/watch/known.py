"""What is known of the objects of one kind, and what really changes in it."""

from __future__ import annotations

from collections.abc import Iterable, KeysView
from typing import Any, Protocol

from ingress.resources import Change, Key, LoadBalancerAddress, Problem
from ingress.watch.kinds import WatchedKind
from ingress.watch.stored import Stored

__all__ = ["Known", "Listener"]


class Listener(Protocol):
    """Hears of differences, in the thread of the event loop."""

    def changed(self, change: Change, before: Any) -> None:
        """An object came (``before`` is ``None``), is different, or went."""

    def addressed(self, key: Key, addresses: tuple[LoadBalancerAddress, ...]) -> None:
        """The addresses in the status of an Ingress are different."""

    def found(self, kind: WatchedKind, key: Key, problems: tuple[Problem, ...]) -> None:
        """All problems of an object, where they are different now."""

    def settled(self) -> None:
        """Something that readiness waits for may be known now."""


class Known:
    """Keeps the last version of each object. Nothing that stays the same is told."""

    def __init__(self, kind: WatchedKind, listener: Listener) -> None:
        self._kind = kind
        self._listener = listener
        self._items: dict[Key, Stored] = {}

    def keys(self) -> KeysView[Key]:
        return self._items.keys()

    def get(self, key: Key) -> Stored | None:
        return self._items.get(key)

    def put(self, stored: Stored) -> None:
        """The newest version of an object."""
        before = self._items.get(stored.key)
        self._items[stored.key] = stored
        self._tell(stored.key, before, stored)

    def remove(self, key: Key) -> None:
        """It is gone, if it was there."""
        before = self._items.pop(key, None)
        if before is not None:
            self._tell(key, before, None)

    def replace(self, items: Iterable[Stored]) -> None:
        """These are all: what is missing went meanwhile."""
        before, self._items = self._items, {stored.key: stored for stored in items}
        for key, stored in self._items.items():
            self._tell(key, before.get(key), stored)
        for key, gone in before.items():
            if key not in self._items:
                self._tell(key, gone, None)

    def _tell(self, key: Key, before: Stored | None, after: Stored | None) -> None:
        old, new = before or _NOTHING, after or _NOTHING
        if old is new:
            return
        if old.value != new.value:
            self._listener.changed(Change(kind=self._kind.type, key=key, value=new.value), old.value)
        if old.addresses != new.addresses:
            self._listener.addressed(key, new.addresses)
        if old.problems != new.problems:
            self._listener.found(self._kind, key, new.problems)


_NOTHING = Stored(key=("", ""), version="", value=None)
