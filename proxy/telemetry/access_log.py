"""One line per request, written in batches by a thread of its own.

Rules:

1. The event loop never waits for the log: it formats lines, and hands batches over. When more than ``MAX_QUEUED`` bytes
   wait (nobody reads our output), further batches are dropped and their lines counted.
2. Workers share one output. A batch is written under a lock between processes, so that lines never mix.
3. A line is printable ASCII, whatever a client sent: it can neither forge a second line nor command a terminal.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import time
from queue import SimpleQueue
from threading import Thread
from typing import Final, Literal

import msgspec

from proxy.table import Labels
from proxy.telemetry.counters import Telemetry

__all__ = ["AccessLog"]

BATCH: Final = 64 * 1024
"""Bytes gathered before a batch is handed over without waiting for the tick; what a Linux pipe holds."""
MAX_QUEUED: Final = 4 * 1024 * 1024
"""Bytes that may wait for the writer; beyond, lines are dropped."""

_DELETE: Final = 0x7F
_UNSAFE: Final = re.compile(r"[^\x20-\x7e]")
_QUOTED_UNSAFE: Final = re.compile(r'["\\]')
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class _Line(msgspec.Struct, gc=False):
    """The JSON line; the field names are what users query, so they only ever grow in number."""

    time: str
    remote_addr: str
    method: str
    host: str
    target: str
    protocol: str
    status: int
    request_bytes: int
    response_bytes: int
    duration: float
    referer: str
    user_agent: str
    request_id: str
    namespace: str
    ingress: str
    service: str
    port: str
    upstream_addr: str
    upstream_status: str
    upstream_duration: float | None
    retries: int
    tls: str
    error: str


_encode_line = msgspec.json.Encoder().encode


class AccessLog:
    """The access log of one worker on ``fd``.

    ``lock_fd`` is a file, open for writing, that all workers have in common (:func:`fcntl.lockf` is taken on it);
    ``None``: nobody else writes to ``fd``. The thread starts with the first batch, so a process may fork before.
    """

    def __init__(
        self,
        fd: int,
        format: Literal["json", "combined"],  # noqa: A002 - the user's word for it
        lock_fd: int | None,
        *,
        telemetry: Telemetry,
    ) -> None:
        self._telemetry = telemetry
        self._combined = format == "combined"
        self._lines: list[bytes] = []
        self._size = 0
        self._second = -1
        self._second_text = ""
        self._handed = 0
        """Bytes given to the writer since the start."""
        self._lost_seen = 0
        self._writer = _Writer(fd, lock_fd)

    def write(
        self,
        now: float,
        remote_addr: str,
        method: bytes,
        host: bytes,
        target: bytes,
        protocol: str,
        status: int,
        request_bytes: int,
        response_bytes: int,
        duration: float,
        referer: bytes,
        user_agent: bytes,
        request_id: bytes,
        labels: Labels,
        upstream_addr: str,
        upstream_status: str,
        upstream_duration: float,
        retries: int,
        tls: str,
        error: str,
    ) -> None:
        """Log one request. Positional for speed: this runs once per request.

        ``now`` is Unix time at the end of the request; durations are seconds. Bytes are as the client sent them
        (``target`` with its query; empty: absent). ``status`` is 499 where the client went away. Several upstreams
        are separated by ``", "`` in ``upstream_addr`` and ``upstream_status``, as nginx does; ``upstream_duration`` is
        negative where there was none. ``tls`` is the version or empty; ``error`` a short reason of ours or empty.
        """
        second = int(now)
        if second != self._second:
            self._new_second(second)
        if self._combined:
            request = f"{method.decode('latin-1')} {target.decode('latin-1')} {protocol}" if method else ""
            upstream = _quoted(f"{labels.namespace}-{labels.service}-{labels.port}") if labels.service else ""
            if upstream_addr:
                took = f"{upstream_duration:.3f}" if upstream_duration >= 0.0 else "-"
                tail = f"{upstream_addr} {response_bytes} {took} {upstream_status or '-'}"
            else:
                tail = "- - - -"
            text = (
                f'{remote_addr} - - [{self._second_text}] "{_quoted(request)}" {status} {response_bytes} '
                f'"{_quoted(referer.decode("latin-1"))}" "{_quoted(user_agent.decode("latin-1"))}" '
                f"{request_bytes} {duration:.3f} [{upstream}] [] {tail} {request_id.decode('latin-1') or '-'}"
            )
            line = (text if text.isascii() and text.isprintable() else _UNSAFE.sub(_hex_escape, text)).encode("ascii")
        else:
            line = _encode_line(
                _Line(
                    "%s.%03dZ" % (self._second_text, int((now - second) * 1000.0)),  # noqa: UP031 - faster here
                    remote_addr,
                    method.decode("latin-1"),
                    host.decode("latin-1"),
                    target.decode("latin-1"),
                    protocol,
                    status,
                    request_bytes,
                    response_bytes,
                    int(duration * 1000.0 + 0.5) / 1000.0,
                    referer.decode("latin-1"),
                    user_agent.decode("latin-1"),
                    request_id.decode("latin-1"),
                    labels.namespace,
                    labels.ingress,
                    labels.service,
                    labels.port,
                    upstream_addr,
                    upstream_status,
                    int(upstream_duration * 1000.0 + 0.5) / 1000.0 if upstream_duration >= 0.0 else None,
                    retries,
                    tls,
                    error,
                )
            )
            if not line.isascii() or _DELETE in line:
                # JSON escapes controls below 0x20 itself; a terminal obeys some above 0x7E too.
                line = _UNSAFE.sub(_json_escape, line.decode()).encode("ascii")
        self._lines.append(line)
        self._size += len(line) + 1
        if self._size >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand over what was gathered; called by the worker a few times per second. Never blocks."""
        lost = self._writer.lost
        if lost != self._lost_seen:
            self._telemetry.log_lines_dropped += lost - self._lost_seen
            self._lost_seen = lost
        lines = self._lines
        if not lines:
            return
        if self._handed - self._writer.done + self._size > MAX_QUEUED:
            self._telemetry.log_lines_dropped += len(lines)
        else:
            self._handed += self._size
            self._writer.put(lines)
        self._lines = []
        self._size = 0

    def close(self, timeout: float) -> bool:
        """Write what is left, for ``timeout`` seconds at most. False: the output is stuck, and lines were lost."""
        self.flush()
        return self._writer.close(timeout)

    def _new_second(self, second: int) -> None:
        self._second = second
        year, month, day, hour, minute, sec, *_ = time.gmtime(second)
        if self._combined:
            self._second_text = f"{day:02d}/{_MONTHS[month - 1]}/{year}:{hour:02d}:{minute:02d}:{sec:02d} +0000"
        else:
            self._second_text = f"{year}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{sec:02d}"


class _Writer:
    """The thread that may block. ``done`` and ``lost`` are written by it alone, and read by the event loop's thread."""

    def __init__(self, fd: int, lock_fd: int | None) -> None:
        self._fd = fd
        self._lock_fd = lock_fd
        self._queue: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self.done = 0
        """Bytes written or given up since the start."""
        self.lost = 0
        """Lines given up because the output failed."""

    def put(self, lines: list[bytes]) -> None:
        if self._thread is None:
            # A daemon: a stuck output must not keep the process from ending.
            self._thread = Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()
        self._queue.put(lines)

    def close(self, timeout: float) -> bool:
        thread = self._thread
        if thread is None:
            return True
        self._queue.put(None)
        thread.join(timeout)
        return not thread.is_alive()

    def _run(self) -> None:
        while (lines := self._queue.get()) is not None:
            batch = b"\n".join(lines) + b"\n"
            try:
                self._write_locked(batch)
            except OSError:
                self.lost += len(lines)
            self.done += len(batch)

    def _write_locked(self, batch: bytes) -> None:
        if self._lock_fd is None:
            self._write_all(batch)
            return
        fcntl.lockf(self._lock_fd, fcntl.LOCK_EX)
        try:
            self._write_all(batch)
        finally:
            fcntl.lockf(self._lock_fd, fcntl.LOCK_UN)

    def _write_all(self, batch: bytes) -> None:
        rest = memoryview(batch)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # Whoever shares the output made it non-blocking; here waiting is the point.
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()


def _quoted(text: str) -> str:
    """``text`` for a place between quotes; empty becomes ``-``."""
    if '"' in text or "\\" in text:
        return _QUOTED_UNSAFE.sub(_hex_escape, text)
    return text or "-"


def _hex_escape(match: re.Match[str]) -> str:
    """Each byte as ``\\xHH``, as nginx ``log_format escape=default``."""
    character = match.group()
    code = ord(character)
    if code < 0x100:  # one byte of a client, read as Latin-1
        return f"\\x{code:02X}"
    return "".join(f"\\x{byte:02X}" for byte in character.encode())


def _json_escape(match: re.Match[str]) -> str:
    character = match.group()
    return json.dumps(character)[1:-1] if character > "\x7f" else "\\u007f"
