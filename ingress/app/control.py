"""The control process from its start to its exit code."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import structlog

from ingress.admin import AdminServer, Totals, View
from ingress.app.cluster import ClusterSide
from ingress.app.ending import Ending
from ingress.app.pipeline import Pipeline
from ingress.app.sockets import addresses_of, open_admin_sockets, open_traffic_sockets
from ingress.kube import KubeConfigError
from ingress.logs import configure_logs, is_text
from ingress.options import Options
from ingress.publish import ListenError, Publisher, Supervisor, self_signed
from ingress.publish.supervisor import WORKER_COMMAND
from ingress.report import ProblemLog
from ingress.resources import Problem
from ingress.translate import Translation
from ingress.watch import FolderSource
from proxy.table import Table
from proxy.table.feed import Stats

__all__ = ["App", "StartError", "serve"]

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
    except (StartError, ListenError, KubeConfigError) as error:
        log.critical(f"cannot start: {error}")
        return 1


class App:
    """One control process. As the listener of the feed it hears what workers say."""

    show_table: Callable[[Table], None] | None = None

    def __init__(self, options: Options, *, worker_command: Sequence[str] = WORKER_COMMAND) -> None:
        self._options = options
        self._worker_command = tuple(worker_command)
        if not is_text(options.log_format, sys.stderr):
            self._worker_command += ("--log-json",)
        self._publisher = Publisher()
        self._totals = Totals()
        self._problems = ProblemLog()
        self._cluster: ClusterSide | None = None
        self._said_ready = False

    async def run(self) -> int:
        """From the start to the exit code. Raises :class:`StartError`, ``ListenError``, ``KubeConfigError``."""
        if self._options.configmap is not None:
            log.warning(
                "--configmap is ignored: set what it sets by flags or an IngressClassParameters",
                configmap="/".join(self._options.configmap),
            )
        with ExitStack() as opened:
            async with self._open_source() as source:
                self._source = source
                listeners = open_traffic_sockets(self._options, opened)
                admin_sockets = open_admin_sockets(self._options, opened)
                self._supervisor = Supervisor(
                    listeners=listeners, publisher=self._publisher, listener=self, command=self._worker_command
                )
                self._pipeline = Pipeline(
                    self._options,
                    source,
                    self._publisher,
                    certificate=self_signed(),
                    translated=self._translated,
                )
                self._view = View(
                    publisher=self._publisher,
                    supervisor=self._supervisor,
                    totals=self._totals,
                    unsynced=self._unsynced,
                    cluster=self._cluster,
                )
                log.info("starting", workers=len(listeners), **addresses_of(listeners, admin_sockets))
                return await self._serve(source, admin_sockets, opened)

    @asynccontextmanager
    async def _open_source(self) -> AsyncIterator[FolderSource | ClusterSide]:
        options = self._options
        if not options.manifests:
            async with ClusterSide.open(options) as self._cluster:
                yield self._cluster
            return
        yield FolderSource(_existing(options.manifests))

    async def _serve(
        self, source: FolderSource | ClusterSide, admin_sockets: Sequence[socket.socket], opened: ExitStack
    ) -> int:
        ending = Ending(self._options, self._supervisor, source, going=self._going)
        admin = AdminServer(self._view, admin_sockets)
        try:
            await admin.start()
            if self._cluster is not None:
                await self._cluster.start_webhook(self._pipeline.judge, opened)
            async with asyncio.TaskGroup() as tasks:
                workers = tasks.create_task(self._supervisor.run())
                background = [
                    tasks.create_task(self._pipeline.run()),
                    tasks.create_task(source.run(self._pipeline.take)),
                ]
                if self._cluster is not None:
                    background += [tasks.create_task(each) for each in self._cluster.jobs()]
                code = await ending.wait(workers)
                if self._cluster is not None and code == 0:
                    await self._cluster.farewell()
                for task in background:
                    task.cancel()
            return code
        finally:
            await admin.close()

    # ---- what the pipeline says

    def _translated(self, translation: Translation, problems: tuple[Problem, ...], changed: bool) -> None:
        generation = self._publisher.current.generation
        if problems is not self._view.problems:
            self._problems.show(problems)
            self._view.problems = problems
        if changed:
            self._view.refused.clear()
            self._view.table_changed_at = time.time()
            self._supervisor.publish()
            self._say_what_changed(generation)
        if self._cluster is not None:
            self._cluster.translated(translation, problems, generation)
            self._cluster.live(self._view.live_generation)

    def _say_what_changed(self, generation: int) -> None:
        if generation > 1:
            log.debug("table changed", generation=generation)
            return
        table = self._publisher.current.table
        if self.show_table is not None:
            self.show_table(table)
        counts = {"hosts": len(table.hosts), "clusters": len(table.clusters), "problems": len(self._view.problems)}
        log.info("first table", **counts)

    def _unsynced(self) -> str | None:
        """Why there is no whole table yet."""
        return None if self._pipeline.is_whole else self._source.unsynced_reason or "the first table is being made"

    # ---- what workers say (FeedListener)

    def acknowledged(self, worker: int, generation: int) -> None:
        self._view.refused.pop(worker, None)
        log.debug("table is live", worker=worker, generation=generation)
        if not self._said_ready and self._view.unready is None:
            self._said_ready = True
            log.info("ready")
        if self._cluster is not None:
            self._cluster.live(self._view.live_generation)

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

    def _going(self) -> None:
        """The first signal came."""
        self._view.draining = True
        if self._cluster is not None:
            self._cluster.shutting_down()


def _existing(manifests: str) -> Path:
    path = Path(manifests)
    if not path.exists():
        raise StartError(f"--manifests: there is no file or folder {manifests!r}")
    return path
