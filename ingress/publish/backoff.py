"""How long to wait before a worker is started again."""

from __future__ import annotations

from typing import Final

__all__ = ["Backoff"]

STEADY: Final = 10.0
"""Seconds after which an end counts as a mishap, not as part of a series."""
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 10.0


class Backoff:
    """Counts ends that follow each other quickly."""

    def __init__(self) -> None:
        self._quick = 0

    def delay_after(self, lived: float) -> float:
        """Seconds to wait after a process that lived for ``lived`` seconds: 0 first, then 0.5, 1, 2 … 10."""
        self._quick = self._quick + 1 if lived < STEADY else 1
        if self._quick == 1:
            return 0.0
        return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (self._quick - 2))
