"""The TLS Secrets in use, each read once and again when it changes or when a date in it comes."""

from __future__ import annotations

import datetime
import heapq
from collections.abc import Callable, Iterable

from ingress.resources import Key, Secret
from ingress.translate.certificates import SecretReading, read_secret
from ingress.translate.lookup import Objects

__all__ = ["KnownSecrets"]


class KnownSecrets:
    """Readings by key, with who uses them. What changes is worked off by :meth:`settle`."""

    def __init__(self, objects: Objects) -> None:
        self.readings: dict[Key, SecretReading] = {}
        self._objects = objects
        self._users: dict[Key, set[Key]] = {}
        self._stale: set[Key] = set()
        self._due: list[tuple[datetime.datetime, Key]] = []
        """A heap. What is no longer true of its Secret is passed over."""
        self._judged_at: datetime.datetime | None = None
        self.is_unread: Callable[[Key], bool] = lambda _: False
        """Whether nothing is known yet of a Secret that has not been seen."""

    def take(self, key: Key) -> None:
        """That Secret has changed."""
        if key in self._users:
            self._stale.add(key)

    def use(self, user: Key, old: Iterable[Key], new: Iterable[Key]) -> None:
        """``user`` names the Secrets ``new`` in place of ``old``."""
        before, after = set(old), set(new)
        for key in before - after:
            self._users[key].discard(user)
            if not self._users[key]:
                del self._users[key]
                self._stale.add(key)
        for key in after - before:
            if key not in self._users:
                self._users[key] = set()
                self._stale.add(key)
            self._users[key].add(user)

    def settle(self, now: datetime.datetime | None) -> tuple[set[Key], set[Key]]:
        """Read what is stale or due. Returns the Secrets that give something else now, and their users."""
        self._look_at_clock(now)
        changed: set[Key] = set()
        users: set[Key] = set()
        for key in self._stale:
            if key not in self._users:
                self.readings.pop(key, None)
                changed.add(key)
                continue
            before = self.readings.get(key)
            reading = self.read(key, now)
            if reading == before:
                continue
            self.readings[key] = reading
            if reading.changes_at is not None:
                heapq.heappush(self._due, (reading.changes_at, key))
            changed.add(key)
            users |= self._users[key]
        self._stale.clear()
        return changed, users

    def read(self, key: Key, now: datetime.datetime | None) -> SecretReading:
        """From the Secret as it is now."""
        secret = self._objects.get(Secret, key)
        if secret is None and self.is_unread(key):
            return SecretReading()
        return read_secret(key, secret, now=now)

    def read_if_there(self, key: Key, now: datetime.datetime | None) -> SecretReading | None:
        """``None``: there is none, or it has not been asked for."""
        return None if self._objects.get(Secret, key) is None else self.read(key, now)

    def _look_at_clock(self, now: datetime.datetime | None) -> None:
        """What has a date that was passed since the last time is stale; everything, if the clock went back."""
        before, self._judged_at = self._judged_at, now
        if now == before:
            return
        if now is None or before is None or now < before:
            self._due.clear()
            # Readings that are found the same keep no place in the heap: all are made anew.
            self.readings.clear()
            self._stale.update(self._users)
            return
        while self._due and self._due[0][0] <= now:
            moment, key = heapq.heappop(self._due)
            reading = self.readings.get(key)
            if reading is not None and reading.changes_at == moment:
                self._stale.add(key)
