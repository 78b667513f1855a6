"""The composition root: builds the parts of the control process, wires them, and runs them until a signal.

1. SIGTERM: not ready at once; workers accept for ``--shutdown-delay`` more, then end what is in flight within
   ``--drain-timeout``; exit code 0.
2. The first Ctrl-C (SIGINT): the same without the delay.
3. Another of either: the end, now.
4. SIGHUP: manifests are read again, which changes nothing if they did not.
"""

from __future__ import annotations

import asyncio
import datetime
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog

from ingress.admin import AdminServer, Totals, View
from ingress.logs import configure_logs, is_text
from ingress.options import Options
from ingress.publish import (
    Listener,
    ListenError,
    Publisher,
    Supervisor,
    listen,
    open_listeners,
    with_default_certificate,
    worker_count,
)
from ingress.publish.certificate import self_signed
from ingress.publish.supervisor import WORKER_COMMAND
from ingress.report import ProblemLog
from ingress.translate import translate
from ingress.watch import Loaded, ManifestFolder, watch
from proxy.table import Table
from proxy.table.feed import Stats

__all__ = ["App", "StartError", "serve"]

DRAIN_MARGIN = 3.0
"""Seconds beyond delay and timeout that workers get to report and exit, before they are killed."""
STOP_LIMIT = 1.0
"""Seconds that workers get to exit when told to end at once."""

log = structlog.get_logger("pyngress")


class StartError(Exception):
    """The text says why, and what to do."""


def serve(
    options: Options,
    *,
    show_table: Callable[[Table], None] | None = None,
    worker_command: Sequence[str] = WORKER_COMMAND,
) -> int:
    """Serve until a signal; returns the exit code: 0 after a signal, 1 if it cannot start.

    ``show_table`` is called with the first table where a person reads the log.
    """
    configure_logs(options.log_format, options.log_level)
    app = App(options, worker_command=worker_command)
    if show_table is not None and is_text(options.log_format, sys.stderr):
        app.show_table = show_table
    try:
        return asyncio.run(app.run())
    except (StartError, ListenError) as error:
        log.critical(f"cannot start: {error}")
        return 1


class App:
    """One control process."""

    show_table: Callable[[Table], None] | None = None

    def __init__(self, options: Options, *, worker_command: Sequence[str] = WORKER_COMMAND) -> None:
        self._options = options
        self._worker_command = tuple(worker_command)
        if not is_text(options.log_format, sys.stderr):
            self._worker_command += ("--log-json",)
        self._certificate = self_signed()
        self._publisher = Publisher()
        self._totals = Totals()
        self._problems = ProblemLog()
        self._loaded = Loaded()
        self._changed = asyncio.Event()
        self._stop_watching = asyncio.Event()
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._said_ready = False

    async def run(self) -> int:
        """From the start to the exit code. Raises :class:`StartError`, :class:`ListenError`."""
        folder = self._open_folder()
        with ExitStack() as opened:
            listeners, admin_sockets = self._open_sockets(opened)
            self._supervisor = Supervisor(
                listeners=listeners, publisher=self._publisher, listener=self, command=self._worker_command
            )
            self._view = View(publisher=self._publisher, supervisor=self._supervisor, totals=self._totals)
            self._loaded = await asyncio.to_thread(folder.reload)
            await self._translate_and_publish()
            self._announce(listeners, admin_sockets)
            admin = AdminServer(self._view, admin_sockets)
            try:
                await admin.start()
                return await self._serve(folder)
            finally:
                await admin.close()

    async def _serve(self, folder: ManifestFolder) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        async with asyncio.TaskGroup() as tasks:
            workers = tasks.create_task(self._supervisor.run())
            translating = tasks.create_task(self._keep_translating())
            watching = tasks.create_task(watch(folder, self._take, stop=self._stop_watching))
            code = await self._obey_signals(folder, workers, tasks)
            self._stop_watching.set()
            translating.cancel()
            watching.cancel()
        return code

    # ---- from manifests to workers

    def _open_folder(self) -> ManifestFolder:
        path = Path(self._options.manifests)
        if not self._options.manifests:
            raise StartError("say which manifests to serve: --manifests FOLDER")
        if not path.exists():
            raise StartError(f"--manifests: there is no file or folder {str(path)!r}")
        return ManifestFolder(path)

    def _take(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._changed.set()

    async def _keep_translating(self) -> None:
        """Changes that come while one is translated are taken up together."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                changed = await self._translate_and_publish()
            except Exception:
                log.exception("translation failed: the last table stays")
                continue
            if changed:
                log.info("table changed", generation=self._publisher.current.generation)

    async def _translate_and_publish(self) -> bool:
        """Whether the table changed."""
        loaded = self._loaded
        now = datetime.datetime.now(datetime.UTC)
        # Objects, options and the result are frozen: a thread may work on them while this one goes on feeding.
        translation = await asyncio.to_thread(translate, loaded.snapshot, self._options, now=now)
        problems = tuple(sorted({*loaded.problems, *translation.problems}, key=lambda problem: problem.sort_key))
        self._problems.show(problems)
        self._view.problems = problems
        if not self._publisher.publish(with_default_certificate(translation.table, self._certificate)):
            return False
        self._view.refused.clear()
        self._view.table_changed_at = time.time()
        self._supervisor.publish()
        return True

    # ---- sockets

    def _open_sockets(self, opened: ExitStack) -> tuple[tuple[tuple[Listener, ...], ...], list[socket.socket]]:
        options = self._options
        listeners = open_listeners(
            bind=options.bind,
            ports=(("http", options.http_port), ("https", options.https_port)),
            workers=worker_count(options.workers),
        )
        for own in listeners:
            for listener in own:
                opened.callback(listener.socket.close)
        admin: list[socket.socket] = []
        port = options.admin_port
        for address in options.admin_bind:
            listening = listen(address, port, flag="--admin-port")
            if listening is not None:
                opened.callback(listening.close)
                admin.append(listening)
                port = int(listening.getsockname()[1])
        return listeners, admin

    def _announce(self, listeners: Sequence[Sequence[Listener]], admin: Sequence[socket.socket]) -> None:
        table = self._publisher.current.table
        if self.show_table is not None:
            self.show_table(table)
        counts = {"hosts": len(table.hosts), "clusters": len(table.clusters), "problems": len(self._view.problems)}
        log.info("starting", workers=len(listeners), **counts, **_addresses(listeners, admin))

    # ---- what workers say (FeedListener)

    def acknowledged(self, worker: int, generation: int) -> None:
        self._view.refused.pop(worker, None)
        log.debug("table is live", worker=worker, generation=generation)
        if not self._said_ready and self._view.unready is None:
            self._said_ready = True
            log.info("ready")

    def refused(self, worker: int, generation: int, reason: str, *, final: bool) -> None:
        if final:
            self._view.refused[worker] = reason
        what = "worker refused the table and keeps the one before" if final else "worker asks for the whole table"
        (log.error if final else log.warning)(what, worker=worker, generation=generation, reason=reason)

    def counted(self, worker: int, stats: Stats) -> None:
        self._totals.add(worker, stats)

    def ended(self, worker: int) -> None:
        self._totals.forget_gauges(worker)
        self._view.refused.pop(worker, None)

    # ---- signals

    async def _obey_signals(self, folder: ManifestFolder, workers: asyncio.Task[None], tasks: asyncio.TaskGroup) -> int:
        """Until it is time to exit; returns the exit code."""
        while True:
            number = await self._signals.get()
            if number == signal.SIGHUP:
                log.info("SIGHUP: reading the manifests again")
                self._take(await asyncio.to_thread(folder.reload))
                continue
            return await self._drain(number, workers, tasks)

    async def _drain(self, number: signal.Signals, workers: asyncio.Task[None], tasks: asyncio.TaskGroup) -> int:
        delay = self._options.shutdown_delay if number == signal.SIGTERM else 0.0
        timeout = self._options.drain_timeout
        self._view.draining = True
        log.info("shutting down", signal=number.name, delay=delay, drain_timeout=timeout)
        self._supervisor.drain(delay=delay, timeout=timeout)
        second = tasks.create_task(self._second_signal())
        await asyncio.wait(
            {workers, second}, timeout=delay + timeout + DRAIN_MARGIN, return_when=asyncio.FIRST_COMPLETED
        )
        if second.done():
            return await self._end_now(second.result(), workers)
        second.cancel()
        killed = self._supervisor.kill()
        await workers
        cut = self._supervisor.cut
        (log.warning if cut or killed else log.info)("bye", cut=cut, workers_killed=killed)
        return 0

    async def _second_signal(self) -> signal.Signals:
        while True:
            number = await self._signals.get()
            if number != signal.SIGHUP:
                return number

    async def _end_now(self, number: signal.Signals, workers: asyncio.Task[None]) -> int:
        log.warning("ending at once", signal=number.name)
        self._supervisor.stop()
        await asyncio.wait({workers}, timeout=STOP_LIMIT)
        self._supervisor.kill()
        await workers
        return 128 + number


def _addresses(listeners: Sequence[Sequence[Listener]], admin: Sequence[socket.socket]) -> dict[str, str]:
    """What each port listens on, for the log."""
    found: dict[str, list[str]] = {}
    for listener in listeners[0]:
        found.setdefault(listener.scheme, []).append(_address(listener.socket))
    found["admin"] = [_address(each) for each in admin]
    return {name: " ".join(dict.fromkeys(addresses)) for name, addresses in found.items()}


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
