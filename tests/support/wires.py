"""The real client and upstream connections of the proxy, on transports that only remember what was written."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.server.http1 import Http1Connection
from proxy.table import Settings, Table
from proxy.table.feed import difference
from proxy.upstream.connection import UpstreamConnection
from proxy.worker.worker import Worker
from tests.support.proxy import one_route

__all__ = ["Wire", "Wires", "wired"]


class Wire:
    """As much of a transport as the proxy uses."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.ended = False
        """No more bytes will be written: half-closed, closed or aborted."""
        self.paused = False

    def write(self, data: bytes) -> None:
        assert not self.ended, "written behind the end"
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    close = abort = write_eof

    def is_closing(self) -> bool:
        return self.ended

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None:
        """There is no buffer."""

    def can_write_eof(self) -> bool:
        return True


class Wires:
    """A proxy whose one endpoint has one pooled connection at most; nothing here needs the event loop to turn."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.endpoint = worker.runtime.state.clusters["default/backend:80"].endpoints[0]

    def upstream(self) -> tuple[UpstreamConnection, Wire]:
        """A new pooled connection; the next request takes it."""
        self.endpoint.idle.clear()
        connection, wire = UpstreamConnection(self.endpoint, 100), Wire()
        connection.connection_made(wire)  # type: ignore[arg-type]  # as much of a transport as is used
        self.endpoint.keep(connection, 100, 0.0)
        return connection, wire

    def client(self) -> tuple[Http1Connection, Wire]:
        """A new client."""
        connection, wire = Http1Connection(self.worker.connections), Wire()
        connection.connection_made(wire)  # type: ignore[arg-type]  # likewise
        return connection, wire


async def wired() -> Wires:
    """The worker's timers never fire: the loop is left before they could."""
    worker = Worker(asyncio.get_running_loop(), log=None)
    table = one_route([9], settings=Settings(access_log="off"))
    refused = worker.apply(difference(Table(), table, generation=1))
    assert refused is None, refused
    return Wires(worker)
