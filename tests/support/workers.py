"""Worker processes under their supervisor, and nothing else of the control process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from ingress.publish import Publisher, Supervisor, open_listeners
from proxy.table import Table
from proxy.table.feed import Stats

__all__ = ["SupervisedWorkers", "supervised_workers"]


class SupervisedWorkers:
    """``port``: of all of them."""

    def __init__(self, supervisor: Supervisor, port: int) -> None:
        self.port = port
        self._supervisor = supervisor

    @property
    def pids(self) -> set[int]:
        return {worker.pid for worker in self._supervisor.workers if worker.pid is not None}

    async def serving(self, *, not_by: Collection[int] = ()) -> None:
        """Until each has its table, and none is one of these processes."""
        async with asyncio.timeout(15):
            while not all(worker.generation and worker.pid not in not_by for worker in self._supervisor.workers):
                await asyncio.sleep(0.01)


class _Deaf:
    """A listener of the feed that needs to hear nothing."""

    def acknowledged(self, worker: int, generation: int) -> None:
        pass

    def refused(self, worker: int, generation: int, reason: str, *, final: bool) -> None:
        raise AssertionError(reason)

    def counted(self, worker: int, stats: Stats) -> None:
        pass

    def ended(self, worker: int) -> None:
        pass


@asynccontextmanager
async def supervised_workers(table: Table, count: int, *, protocol: str = "http") -> AsyncIterator[SupervisedWorkers]:
    """So many, serving ``table``; they are killed at the end."""
    listeners = open_listeners(bind=["127.0.0.1"], ports=[(protocol, 0)], workers=count)
    publisher = Publisher()
    publisher.publish(table)
    supervisor = Supervisor(listeners=listeners, publisher=publisher, listener=_Deaf())
    workers = SupervisedWorkers(supervisor, listeners[0][0].port)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(supervisor.run())
            try:
                await workers.serving()
                yield workers
            finally:
                supervisor.kill()
    finally:
        for own in listeners:
            for listener in own:
                listener.socket.close()
