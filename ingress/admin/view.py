"""What the admin pages show. The app writes it, the pages read it."""

from __future__ import annotations

import time

from ingress.admin.totals import RouteKey, Totals, route_keys
from ingress.publish import Publisher, Supervisor
from ingress.resources import Problem
from proxy.table import Table

__all__ = ["View"]


class View:
    """The state of the control process, as far as it is shown."""

    def __init__(self, *, publisher: Publisher, supervisor: Supervisor, totals: Totals) -> None:
        self.publisher = publisher
        self.supervisor = supervisor
        self.totals = totals
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

        Ready once every worker has served a table; after that as long as one worker does, for a worker that is being
        replaced is no reason to lose the others.
        """
        if self.draining:
            return "shutting down"
        live = sum(worker.generation > 0 and worker.pid is not None for worker in self.supervisor.workers)
        if not self._was_ready and live == len(self.supervisor.workers):
            self._was_ready = True
        if self._was_ready:
            return None if live else "no worker is serving"
        return f"{live} of {len(self.supervisor.workers)} workers are serving"

    def drop_gone(self) -> None:
        """Let go of counters whose routes are long gone."""
        table = self.table
        if self._keys is None or self._keys[0] is not table:
            self._keys = (table, route_keys(table))
        self.totals.drop_gone(self._keys[1], time.monotonic())
