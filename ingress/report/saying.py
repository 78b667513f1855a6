"""What a writer says of the API server's refusals (each kind once), and how long it waits after them."""

from __future__ import annotations

import random
import time
from typing import Any, Final

from ingress.kube import KubeError

__all__ = ["Sayings", "is_global"]

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds, between attempts while the server is away."""


def is_global(error: KubeError) -> bool:
    """Whether the next object would fare the same: away, overloaded, or broken."""
    return error.status in (0, 429) or error.status >= 500


class Sayings:
    """Of one writer."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._said: set[tuple[int, str, str]] = set()
        self._failures = 0
        self._until = 0.0

    def well(self) -> None:
        """Something was written: what is said of the server as a whole holds no more."""
        if self._failures:
            self._failures = 0
            self._said = {each for each in self._said if each[0] in (403, 422)}

    def say(self, error: KubeError, *, namespace: str, right: str) -> None:
        """``right``: the one that is missing if it is one that is missing."""
        whole = is_global(error)
        key = (error.status, error.reason, "" if whole else namespace)
        if key in self._said:
            return
        self._said.add(key)
        facts = {"namespace": namespace} if not whole else {}
        if error.status == 403:
            facts["right"] = right
        self._log.warning("the API server refuses a write", status=error.status, error=str(error), **facts)

    def pause(self, error: KubeError) -> float:
        """Seconds to wait after a failure of the server as a whole: as it asks, else 1, 2, 4 … 30, with jitter."""
        now = time.monotonic()
        if now >= self._until:  # else one of several requests that failed together
            self._failures += 1
            longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(10, self._failures - 1))
            self._until = now + longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
        if error.retry_after is not None:
            self._until = max(self._until, now + error.retry_after)
        return self._until - now
