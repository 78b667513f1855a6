"""When each client may ask again: one table for all workers.

The generic cell rate algorithm (ITU-T I.371) needs one number per client: the time at which its next request would be
exactly on time. The numbers lie in memory that the workers share, under hashes with a key that nobody outside knows, in
buckets of four; where a bucket is full the oldest entry goes. So memory is bounded whatever clients there are, and who
wants to push out somebody's entry must bring more addresses than the table has places.

Workers read and write without a lock. A race can let a request pass that was one too many; an entry is written in an
order in which nothing worse can happen. Times are those of ``CLOCK_MONOTONIC``, which is the same in all processes.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from hashlib import blake2b
from typing import Final

__all__ = ["PLACES", "Allowances"]

PLACES: Final = 65536
_WAYS: Final = 4
_BUCKETS: Final = PLACES // _WAYS
_HEAD: Final = 64
"""Bytes before the first bucket: the key of the hash, and nothing."""
_KEY: Final = 32
_ROUNDING: Final = 1e-9
"""Seconds: sums of intervals are not exact."""
_SIZE: Final = _HEAD + PLACES * 16


class Allowances:
    """A view of the table. A place is a hash (0: free) and a time; both eight bytes, written at once."""

    __slots__ = ("_hashes", "_key", "_memory", "_times")

    def __init__(self, fd: int | None = None) -> None:
        """``fd``: the memory file that all workers have, empty when the first of them comes; ``None``: nobody else
        counts. Raises ``OSError``."""
        if fd is None:
            self._memory = mmap.mmap(-1, _SIZE)
            self._memory[:_KEY] = os.urandom(_KEY)
        else:
            self._memory = _shared(fd)
        self._key = self._memory[:_KEY]
        view = memoryview(self._memory)
        self._hashes = view.cast("Q")
        self._times = view.cast("d")

    def take(self, key: bytes, interval: float, tolerance: float, now: float) -> float:
        """Take one request off the allowance of ``key``; 0 where it passes, else the seconds until one would.

        ``interval`` seconds lie between two requests that keep to the rate; one may come ``tolerance`` seconds early.
        """
        digest = int.from_bytes(blake2b(key, digest_size=8, key=self._key).digest(), "little") or 1
        hashes, times = self._hashes, self._times
        first = (_HEAD >> 3) + (digest % _BUCKETS) * (2 * _WAYS)
        oldest = first
        for place in range(first, first + 2 * _WAYS, 2):
            if hashes[place] == digest:
                due = times[place + 1]
                # Later than any request under this rate can have made it: the rate was another one.
                due = min(due, now + tolerance + interval)
                break
            if times[place + 1] < times[oldest + 1]:
                oldest = place
        else:
            # First the hash: until the time follows, this client is taken for one that asked long ago.
            place, due = oldest, now
            hashes[place] = digest
        early = due - tolerance - now
        if early > _ROUNDING:
            return early
        times[place + 1] = max(due, now) + interval
        return 0.0

    def close(self) -> None:
        """Let the memory go."""
        self._hashes.release()
        self._times.release()
        self._memory.close()


def _shared(fd: int) -> mmap.mmap:
    """The memory behind ``fd``, made ready by whoever comes first."""
    fcntl.lockf(fd, fcntl.LOCK_EX)
    try:
        if os.fstat(fd).st_size < _SIZE:
            os.ftruncate(fd, _SIZE)
            os.pwrite(fd, os.urandom(_KEY), 0)
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN)
    return mmap.mmap(fd, _SIZE)
