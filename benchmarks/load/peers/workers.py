"""``python -m benchmarks.load.peers.workers``: several workers of Pyngress, kept and fed by its own supervisor."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import msgspec

from benchmarks.load.processes import nice_session
from ingress.publish import Publisher, Supervisor, open_listeners
from ingress.publish.supervisor import WORKER_COMMAND
from proxy.table import Table
from proxy.table.feed import Stats


class _Watcher:
    """Hears what workers say; a table that is refused is an end."""

    def acknowledged(self, worker: int, generation: int) -> None:
        """The port tells it."""

    def refused(self, worker: int, generation: int, reason: str, *, final: bool) -> None:
        sys.exit(f"worker {worker}: {reason}")

    def counted(self, worker: int, stats: Stats) -> None:
        """Nobody asks."""

    def ended(self, worker: int) -> None:
        """The supervisor says it."""


async def _serve(arguments: argparse.Namespace) -> None:
    publisher = Publisher()
    publisher.publish(msgspec.json.decode(arguments.table.read_bytes(), type=Table))
    listeners = open_listeners(
        bind=["127.0.0.1"],
        ports=[("http", arguments.http_port), ("https", arguments.https_port)],
        workers=arguments.workers,
    )
    command = nice_session(WORKER_COMMAND)  # each is in a session of its own
    supervisor = Supervisor(listeners=listeners, publisher=publisher, listener=_Watcher(), command=command)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, supervisor.stop)
    await supervisor.run()


def main() -> None:
    """The supervisor from start to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--https-port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
