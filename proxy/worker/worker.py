"""A worker: everything that serves, put together.

It holds one :class:`~proxy.engine.state.State` and replaces it by one assignment; requests under way keep theirs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable, Sequence
from random import Random
from time import monotonic
from typing import Final, Literal

import msgspec

from proxy.engine.runtime import Runtime
from proxy.engine.state import CompileError, compile_state
from proxy.filters import Allowances
from proxy.http2 import CODEC
from proxy.server.connections import Connections
from proxy.server.listeners import Listeners
from proxy.table import AccessLogFormat
from proxy.table.feed import Delta, Stats
from proxy.telemetry import AccessLog, Telemetry
from proxy.tls import CertificateStore, silence_bad_server_names
from proxy.tls.openssl import TICKET_KEYS
from proxy.upstream.dial import Dialer

__all__ = ["Listen", "LogTarget", "Worker"]

logger = logging.getLogger("pyngress.worker")

_TICK: Final = 1.0
_LOG_TICK: Final = 0.2
_DRAIN_TICK: Final = 0.05
_RESERVED_DESCRIPTORS: Final = 128
"""Open files that are no connections: listeners, feed, log, event loop, name lookups, certificates being loaded."""
_LOG_CLOSE_TIME: Final = 2.0

Listen = tuple[Literal["http", "https"], socket.socket]


class LogTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where access log lines go; ``lock_fd`` is shared by all who write to ``fd``."""

    fd: int
    lock_fd: int | None = None


class Worker:
    """Plain verbs: ``apply``, ``listen``, ``drain``, ``close``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        log: LogTarget | None,
        allowances_fd: int | None = None,
        ticket_keys_fd: int | None = None,
    ) -> None:
        """``allowances_fd``: a memory file that all workers share, for limits that they count together; ``None``: there
        are no others. ``ticket_keys_fd``: one with the keys of TLS session tickets, read again each second; ``None``:
        there are no tickets. Raises ``OSError`` where the former cannot be mapped."""
        self.loop = loop
        silence_bad_server_names()
        self.telemetry = Telemetry()
        self.certificates = CertificateStore()
        self._ticket_keys_fd = ticket_keys_fd
        self._read_ticket_keys()
        self._log_target = log
        self._random = Random(int.from_bytes(os.urandom(16), "big"))  # noqa: S311 - for balance and request ids
        self._dialer = Dialer(loop)
        self._allowances = Allowances(allowances_fd)
        self.runtime = Runtime(
            telemetry=self.telemetry,
            dialer=self._dialer,
            access_log=None,
            random=self._random,
            allowances=self._allowances,
        )
        self.connections = Connections(self.runtime, loop, _connection_limit())
        self._listeners = Listeners(self.connections, loop, self.certificates)
        self._log_format: AccessLogFormat = "off"
        self._timers: list[asyncio.TimerHandle] = []
        self._closed = False
        self._every(_TICK, self._tick)
        self._every(_LOG_TICK, self._flush_log)

    # ---- the table

    def apply(self, delta: Delta) -> str | None:
        """Make ``delta`` live; ``None`` when it is, else the reason why nothing changed."""
        try:
            state, settle = compile_state(self.runtime.state, delta, self.telemetry, self._random)
        except CompileError as error:
            return str(error)
        # From here on nothing fails: certificates that do not load are the store's to report, one by one.
        self.certificates.update(
            delta.certificates,
            delta.server_names,
            state.table.default_certificate,
            reset=delta.reset,
            min_version=state.settings.tls_min_version,
            ciphers=state.settings.tls_ciphers,
            http2=state.settings.http2,
        )
        self.runtime.state = state
        settle()
        self._dialer.keep_limit = state.settings.upstream_keepalive_connections
        self._dialer.allow_local_names = state.settings.allow_local_names
        self._set_log(state.settings.access_log)
        return None

    # ---- serving

    async def listen(self, listens: Sequence[Listen]) -> None:
        """Serve on sockets that already listen."""
        context = None
        for kind, listener in listens:
            if kind == "http":
                await self._listeners.listen_http(listener)
            else:
                context = context or self.certificates.server_context()
                self._listeners.listen_https(listener, context)

    async def drain(self, delay: float, timeout: float) -> int:
        """Shut down so that nothing is lost; returns how many connections were still busy at the time limit.

        1. For ``delay`` seconds: serve, new connections too, and say ``Connection: close`` with each response.
        2. Stop accepting; close idle connections. 3. Wait up to ``timeout`` seconds for the rest. 4. Cut it off.
        """
        self.runtime.draining = True
        if delay > 0:
            await asyncio.sleep(delay)
        await self._listeners.stop()
        self.connections.closing = True
        deadline = monotonic() + timeout
        while True:
            # One turn of the event loop reads what the kernel holds already: a connection with a request is not idle.
            await asyncio.sleep(0)
            now = monotonic()
            self.connections.close_idle(now)
            if not len(self.connections) and not self._listeners.handshakes:
                return 0
            if now >= deadline:
                return self.connections.kill_all() + self._listeners.cut_handshakes()
            await asyncio.sleep(_DRAIN_TICK)

    async def close(self) -> None:
        """End everything now."""
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        await self._listeners.stop()
        self._listeners.cut_handshakes()
        self.connections.kill_all()
        await self._dialer.close()
        for cluster in self.runtime.state.clusters.values():
            cluster.retire()
        self._set_log("off")
        await asyncio.sleep(0)
        self._allowances.close()

    def stats(self, token: int = 0) -> Stats:
        """What happened since the last call, and how things stand."""
        idle = active = 0
        for cluster in self.runtime.state.clusters.values():
            for endpoint in cluster.endpoints:
                free, used = endpoint.connections_now()
                idle += free
                active += used
        gauges = {
            "connections": float(len(self.connections)),
            "active_requests": float(self.runtime.active - self.runtime.tunnels),
            "tunnels": float(self.runtime.tunnels),
            "upstream_idle": float(idle),
            "upstream_active": float(active),
            "generation": float(self.runtime.state.generation),
        }
        return self.telemetry.drain(gauges, token, codec=CODEC)

    # ---- time

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        slot = len(self._timers)

        def run() -> None:
            if self._closed:
                return
            self._timers[slot] = self.loop.call_later(seconds, run)
            work()

        self._timers.append(self.loop.call_later(seconds, run))

    def _tick(self) -> None:
        now = monotonic()
        self.runtime.tick()
        self._read_ticket_keys()
        self.connections.check(now)
        before = now - self.runtime.state.settings.upstream_keepalive_timeout
        for cluster in self.runtime.state.clusters.values():
            for endpoint in cluster.endpoints:
                endpoint.expire(before)

    def _read_ticket_keys(self) -> None:
        if self._ticket_keys_fd is not None:
            self.certificates.use_ticket_keys(os.pread(self._ticket_keys_fd, TICKET_KEYS, 0))

    def _flush_log(self) -> None:
        if self.runtime.access_log is not None:
            self.runtime.access_log.flush()

    def _set_log(self, wanted: AccessLogFormat) -> None:
        if wanted == self._log_format or self._log_target is None:
            return
        old = self.runtime.access_log
        self._log_format = wanted
        self.runtime.access_log = (
            None
            if wanted == "off"
            else AccessLog(self._log_target.fd, wanted, self._log_target.lock_fd, telemetry=self.telemetry)
        )
        if old is not None:
            old.close(_LOG_CLOSE_TIME)


def _connection_limit() -> int:
    """Client connections that the limit of open files allows, each with one to an endpoint; raises the soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError) as error:
            logger.warning("limit of open files stays at %d: %s", soft, error)
    return max((soft - _RESERVED_DESCRIPTORS) // 2, 64)
