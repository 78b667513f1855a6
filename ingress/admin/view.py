"""What the admin pages show. The app writes it, the pages read it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ingress.admin.totals import RouteKey, Totals, route_keys
from ingress.admin.webhook import WebhookCounts
from ingress.publish import Publisher, Supervisor
from ingress.resources import Problem
from proxy.table import Table

__all__ = ["ClusterView", "View"]


class ClusterView(Protocol):
    """What is shown of the conversation with the API server. Counts are since the start."""

    @property
    def is_leader(self) -> bool: ...

    @property
    def silence(self) -> float:
        """Seconds since the API server was last heard."""

    @property
    def status_writes(self) -> int: ...

    @property
    def event_writes(self) -> int: ...

    @property
    def write_errors(self) -> int: ...

    @property
    def reviews(self) -> WebhookCounts | None:
        """``None``: there is no webhook."""


class View:
    """The state of the control process, as far as it is shown."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        supervisor: Supervisor,
        totals: Totals,
        unsynced: Callable[[], str | None] = lambda: None,
        cluster: ClusterView | None = None,
    ) -> None:
        """``unsynced`` says why there is no whole table yet; ``cluster`` of ``None``: there is none."""
        self.publisher = publisher
        self.supervisor = supervisor
        self.totals = totals
        self.cluster = cluster
        self._unsynced = unsynced
        self.problems: tuple[Problem, ...] = ()
        self.draining = False
        self.refused: dict[int, str] = {}
        """Worker → why it refused the newest table."""
        self.table_changed_at = time.time()
        self._was_ready = False
        self._keys: tuple[Table, frozenset[RouteKey]] | None = None

    @property
    def table(self) -> Table:
        return self.publisher.current.table

    @property
    def unready(self) -> str | None:
        """Why requests should not come here; ``None``: they may.

        Ready once everything was read and every worker has served a table; after that as long as one worker does, for a
        worker that is being replaced is no reason to lose the others.
        """
        if self.draining:
            return "shutting down"
        unsynced = None if self._was_ready else self._unsynced()
        if unsynced is not None:
            return unsynced
        live = sum(worker.generation > 0 and worker.pid is not None for worker in self.supervisor.workers)
        if not self._was_ready and live == len(self.supervisor.workers):
            self._was_ready = True
        if self._was_ready:
            return None if live else "no worker is serving"
        return f"{live} of {len(self.supervisor.workers)} workers are serving"

    @property
    def live_generation(self) -> int:
        """The oldest table that a worker serves; 0: none does."""
        served = [worker.generation for worker in self.supervisor.workers if worker.generation]
        return min(served, default=0)

    def drop_gone(self) -> None:
        """Let go of counters whose routes are long gone."""
        table = self.table
        if self._keys is None or self._keys[0] is not table:
            self._keys = (table, route_keys(table))
        self.totals.drop_gone(self._keys[1], time.monotonic())
