"""How long to wait, how much at once."""

from __future__ import annotations

import random
import time
from typing import Final

import msgspec

__all__ = ["Attempt", "Backoff", "Pace"]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    page: int = 500
    """Objects per page of a list, as kubectl and client-go ask for."""
    watch: tuple[float, float] = (300.0, 600.0)
    """A watch ends itself after a random time between these, so that watches do not all end together."""
    inactivity: float = 130.0
    """The server sends a bookmark about each minute: two were missed."""
    first_wait: float = 0.2
    longest_wait: float = 15.0
    """After a failure, at random between the half and the whole, doubled each time."""
    refused: float = 30.0
    """Longest wait where we lack the right, or the kind is not installed."""
    poll: float = 60.0
    """Between two looks at an object that cannot be watched."""
    steady: float = 5.0
    """A watch that stood for so long was a success."""

    def watch_seconds(self) -> int:
        """``timeoutSeconds`` of a new watch."""
        return max(1, round(random.uniform(*self.watch)))  # noqa: S311 - no secret

    def poll_seconds(self) -> float:
        """Until the next look, at random, so that they do not all come in the same second."""
        return self.poll * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


QUICK: Final = 8
"""Doublings that make any sense of ``longest_wait`` reached."""


class Backoff:
    """Waits that grow with each failure in a row."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.failures = 0

    def reset(self) -> None:
        self.failures = 0

    def next(self, longest: float | None = None) -> float:
        """Seconds to wait after one more failure."""
        wait = self._pace.first_wait * 2.0 ** min(self.failures, QUICK)
        self.failures += 1
        return min(wait, self._pace.longest_wait if longest is None else longest) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


class Attempt:
    """One watch. It was of use if it told something or stood for a while; another may then follow at once."""

    def __init__(self, pace: Pace, backoff: Backoff) -> None:
        self._pace = pace
        self._backoff = backoff
        self._stood_at: float | None = None
        self._told = False

    def stands(self) -> None:
        self._stood_at = time.monotonic()

    def told(self) -> None:
        self._told = True

    def end(self) -> bool:
        """Whether it was of use; the failures before it are then forgotten."""
        stood = self._stood_at is not None and time.monotonic() - self._stood_at > self._pace.steady
        if self._told or stood:
            self._backoff.reset()
        return self._told or stood
