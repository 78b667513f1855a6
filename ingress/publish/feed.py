"""The feed: tables down to the workers, acknowledgements and counters up.

1. The first message to a worker is the whole table (``reset``); afterwards it gets differences.
2. One delta is under way per worker. What is published meanwhile goes as one accumulated difference after the answer.
3. A worker that refuses a difference gets the whole table; one that refuses that too keeps what it has until the next
   table, which then comes whole as well.
4. Generations count published tables, the same for all workers. A delta, though, is numbered by the worker it goes
   to, which takes a difference only with the number after its own: an accumulated one is one step, whatever it spans.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from itertools import islice
from typing import Final, Protocol

import msgspec

from ingress.publish.certificate import SELF_SIGNED
from proxy.table import Table
from proxy.table.feed import (
    Ack,
    AskStats,
    ChangedKeys,
    Down,
    Drain,
    Drained,
    FrameDecoder,
    Nack,
    Stats,
    Stop,
    Up,
    difference,
    encode_frame,
)

__all__ = ["Feed", "FeedListener", "Published", "Publisher"]

MAX_STEPS: Final = 256
"""Generations that a worker may lag and still be brought up by keys alone; at 100 a second that is a worker that was
silent for seconds, for which comparing whole tables is the smaller worry."""
MAX_KEYS: Final = 10_000
"""Keys beyond which comparing whole tables costs no more."""

_READ_SIZE = 256 * 1024


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A table and the generation it was published as. Generation 0 is the empty table before the first."""

    generation: int
    table: Table


class Publisher:
    """The newest table, and the frames that bring a worker up to it; workers in the same state share one frame."""

    def __init__(self) -> None:
        self.current = Published(generation=0, table=Table())
        self._frames: dict[tuple[int | None, int], bytes] = {}
        self._steps: deque[ChangedKeys] = deque(maxlen=MAX_STEPS)
        """What changed from each generation to the next; the last is that to the current one."""

    def publish(self, table: Table, changed: ChangedKeys | None = None) -> bool:
        """Make ``table`` the newest. False, and no new generation, if it equals the one before.

        ``changed`` holds every key at which it may differ from the table before; ``None``: it may differ anywhere.
        """
        if self.current.generation and self._is_same(table, changed):
            return False
        self.current = Published(generation=self.current.generation + 1, table=table)
        if changed is None:
            self._steps.clear()
        else:
            self._steps.append(_with_self_signed(changed))
        self._frames.clear()
        return True

    def frame(self, since: Published | None, number: int) -> bytes:
        """Delta ``number`` for a worker that has ``since``; ``None``: the whole table."""
        key = (None if since is None else since.generation, number)
        frame = self._frames.get(key)
        if frame is None:
            if since is None:
                delta = difference(Table(), self.current.table, generation=number)
                delta = msgspec.structs.replace(delta, reset=True)
            else:
                changed = self._changed_since(since.generation)
                delta = difference(since.table, self.current.table, generation=number, changed=changed)
            frame = self._frames[key] = encode_frame(delta)
        return frame

    def _is_same(self, table: Table, changed: ChangedKeys | None) -> bool:
        if changed is None:
            return table == self.current.table
        return not changed

    def _changed_since(self, generation: int) -> ChangedKeys | None:
        """``None``: too long ago, or not told."""
        steps = self.current.generation - generation
        if steps > len(self._steps):
            return None
        changed = ChangedKeys()
        for step in islice(reversed(self._steps), steps):
            changed |= step
            if len(changed) > MAX_KEYS:
                return None
        return changed


def _with_self_signed(changed: ChangedKeys) -> ChangedKeys:
    """Whoever made the table tells of its own keys; the self-signed certificate comes and goes with the default one."""
    if not changed.default_certificate:
        return changed
    return msgspec.structs.replace(changed, certificates=changed.certificates | {SELF_SIGNED})


class FeedListener(Protocol):
    """Hears what workers say."""

    def acknowledged(self, worker: int, generation: int) -> None:
        """``generation`` is live in the worker."""

    def refused(self, worker: int, generation: int, reason: str, *, final: bool) -> None:
        """The worker keeps what it had. ``final``: it refused the whole table, and waits for another."""

    def counted(self, worker: int, stats: Stats) -> None:
        """Counters since the last time, gauges as they are."""

    def ended(self, worker: int) -> None:
        """The worker's process is gone."""


class Feed:
    """The conversation with one process of a worker, over ``channel``, which it owns."""

    def __init__(self, worker: int, channel: socket.socket, publisher: Publisher, listener: FeedListener) -> None:
        self.live: Published | None = None
        """What the worker serves; ``None``: nothing yet, or it has gone."""
        self.drained: Drained | None = None
        self.unanswered = 0
        """Questions for Stats since the worker's last message."""
        self._worker = worker
        self._channel = channel
        self._publisher = publisher
        self._listener = listener
        self._writer: asyncio.StreamWriter | None = None
        self._under_way: Published | None = None
        self._number = 0
        """Of the delta that was sent last."""
        self._early: list[bytes] = []
        """Frames from before the channel was up."""
        self._whole = True
        """The next delta is the whole table."""
        self._refused = 0
        """The generation that was refused even as a whole."""
        self._asked: dict[int, asyncio.Future[None]] = {}

    async def run(self) -> None:
        """Feed the worker until its end of the channel closes. Raises ``ValueError`` if it talks nonsense."""
        reader, writer = await asyncio.open_connection(sock=self._channel)
        self._writer = writer
        writer.writelines(self._early)
        decoder: FrameDecoder[Up] = FrameDecoder(Up)
        try:
            self.wake()
            while data := await reader.read(_READ_SIZE):
                self.unanswered = 0
                for message in decoder.feed(data):
                    self._receive(message)
        except ConnectionError:
            pass  # a worker that was killed with unread messages resets the channel: the same as its end
        finally:
            self.live = None
            for waiting in self._asked.values():
                waiting.cancel()
            writer.close()

    def wake(self) -> None:
        """Send the newest table if the worker lacks it and is not busy with another."""
        current = self._publisher.current
        if self._under_way is not None or current.generation in (0, self._refused):
            return
        if self.live is not None and self.live.generation == current.generation:
            return
        self._under_way = current
        self._number = current.generation if self._whole else self._number + 1
        self._send_frame(self._publisher.frame(None if self._whole else self.live, self._number))

    async def ask_stats(self) -> None:
        """Ask for Stats and wait for them; returns early if the worker ends."""
        token = max(self._asked, default=0) + 1
        waiting = self._asked[token] = asyncio.get_running_loop().create_future()
        try:
            self.nudge(token)
            await asyncio.wait({waiting})
        finally:
            del self._asked[token]

    def nudge(self, token: int = 0) -> None:
        """Ask for Stats without waiting."""
        self.unanswered += 1
        self.send(AskStats(token=token))

    def drain(self, *, delay: float, timeout: float) -> None:
        """See :class:`~proxy.table.feed.Drain`."""
        self.send(Drain(delay=delay, timeout=timeout))

    def send(self, message: Down) -> None:
        """Send ``message``, now or when the channel is up; nothing happens if the worker has gone."""
        self._send_frame(encode_frame(message))

    def _send_frame(self, frame: bytes) -> None:
        if self._writer is None:
            self._early.append(frame)
        elif not self._writer.is_closing():
            self._writer.write(frame)

    def _receive(self, message: Up) -> None:
        if isinstance(message, Ack):
            self._acknowledge(message)
        elif isinstance(message, Nack):
            self._refuse(message)
        elif isinstance(message, Drained):
            self.drained = message
            self.send(Stop())
        else:
            self._listener.counted(self._worker, message)
            waiting = self._asked.get(message.token)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def _acknowledge(self, message: Ack) -> None:
        sent = self._under_way
        if sent is None or self._number != message.generation:
            return
        self.live, self._under_way, self._whole = sent, None, False
        self._listener.acknowledged(self._worker, sent.generation)
        self.wake()

    def _refuse(self, message: Nack) -> None:
        sent = self._under_way
        if sent is None or self._number != message.generation:
            return
        final = self._whole
        self._under_way, self._whole = None, True
        if final:
            self._refused = sent.generation
        self._listener.refused(self._worker, sent.generation, message.reason, final=final)
        self.wake()
