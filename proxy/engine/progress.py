"""Whether a client takes what is written for it."""

from __future__ import annotations

__all__ = ["Progress"]


class Progress:
    """Judges one stretch of time after the other, so that a steady slow reader is not cut off, and one that read well
    once may not then stop for good."""

    __slots__ = ("_at", "unsent")

    def __init__(self) -> None:
        self.unsent = 0
        """Bytes that waited at the beginning of the present stretch; 0: none has begun."""
        self._at = 0.0

    def begin(self, now: float, unsent: int) -> None:
        """A stretch begins, with so many bytes waiting."""
        self._at, self.unsent = now, unsent

    def is_stuck(self, now: float, unsent: int, *, time: float, min_rate: int, since: float) -> bool:
        """Whether fewer than ``min_rate`` bytes a second were taken in a stretch of more than ``time`` seconds.

        A stretch that began before ``since`` was about something else, and counts no more.
        """
        if not unsent or not self.unsent or self._at < since:
            self.begin(now, unsent)
            return False
        waited = now - self._at
        if waited <= time:
            return False
        taken = self.unsent - unsent
        if taken < min_rate * waited:
            return True
        self.begin(now, unsent)
        return False
