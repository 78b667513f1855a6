"""Values that many owners contribute, shown sorted and once each, at a cost that grows with the change."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, Generic, TypeVar

__all__ = ["SortedBag"]

T = TypeVar("T", bound=Hashable)

REBUILD_SHARE: Final = 8
"""Sorting everything is cheaper once more than one in so many values changed."""


class SortedBag(Generic[T]):
    """Counts how often each value is there. ``key`` must tell any two values apart."""

    def __init__(self, key: Callable[[T], Any]) -> None:
        self._key = key
        self._counts: dict[T, int] = {}
        self._keys: list[Any] = []
        self._values: list[T] = []
        self._touched: set[T] = set()
        """Came or went since ``_shown`` was made, perhaps both."""
        self._shown: tuple[T, ...] = ()

    def replace(self, old: Iterable[T], new: Iterable[T]) -> None:
        """Take out one of each of ``old`` and put in one of each of ``new``."""
        counts = self._counts
        for value in new:
            count = counts.get(value, 0)
            counts[value] = count + 1
            if not count:
                self._touched.add(value)
        for value in old:
            count = counts[value] - 1
            if count:
                counts[value] = count
            else:
                del counts[value]
                self._touched.add(value)

    def shown(self) -> tuple[T, ...]:
        """The values, sorted; the same tuple as before if nothing changed."""
        if not self._touched:
            return self._shown
        if len(self._touched) * REBUILD_SHARE > len(self._counts):
            self._values = sorted(self._counts, key=self._key)
            self._keys = [self._key(value) for value in self._values]
        else:
            for value in self._touched:
                self._settle(value)
        self._touched.clear()
        self._shown = tuple(self._values)
        return self._shown

    def _settle(self, value: T) -> None:
        key = self._key(value)
        place = bisect_left(self._keys, key)
        there = place < len(self._keys) and self._keys[place] == key
        if there and value not in self._counts:
            del self._keys[place], self._values[place]
        elif not there and value in self._counts:
            self._keys.insert(place, key)
            self._values.insert(place, value)
