"""``python -m proxy --table FILE``: the data plane alone, in one process, from a table in its canonical JSON.

For benchmarks, behaviour tests and whoever wants the proxy without Kubernetes. The table is read once.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from proxy.table import Table
from proxy.table.feed import difference
from proxy.worker.worker import Listen, LogTarget, Worker

_BACKLOG = 4096


def main() -> int:
    """The process from start to end; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m proxy", description="Serve a routing table without Kubernetes.")
    parser.add_argument("--table", type=Path, required=True, help="file with the table in JSON")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--http-port", type=int, default=8080, help="0: any free one (default: %(default)s)")
    parser.add_argument("--https-port", type=int, help="0: any free one (default: no TLS)")
    parser.add_argument("--no-access-log", action="store_true", help="whatever the table says")
    parser.add_argument("--drain-timeout", type=float, default=30.0, help="seconds (default: %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        table = msgspec.json.decode(arguments.table.read_bytes(), type=Table)
    except (OSError, msgspec.DecodeError) as error:
        parser.exit(1, f"{arguments.table}: {error}\n")
    return uvloop.run(_serve(table, arguments))


async def _serve(table: Table, arguments: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    worker = Worker(loop, log=None if arguments.no_access_log else LogTarget(fd=1))
    refused = worker.apply(difference(Table(), table, generation=1))
    if refused is not None:
        logging.critical("%s: %s", arguments.table, refused)
        return 1
    listens: list[Listen] = [("http", _listener(arguments.bind, arguments.http_port))]
    if arguments.https_port is not None:
        listens.append(("https", _listener(arguments.bind, arguments.https_port)))
    for kind, listener in listens:
        logging.info("listening for %s on %s:%d", kind, *listener.getsockname()[:2])
    await worker.listen(listens)
    signals: asyncio.Queue[None] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, None)
    await signals.get()
    # The second signal ends what the first one began to end well.
    ends = {
        loop.create_task(worker.drain(0.0, arguments.drain_timeout)),
        loop.create_task(signals.get()),
    }
    _, pending = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await worker.close()
    return 0


def _listener(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(_BACKLOG)
    return listener


if __name__ == "__main__":
    sys.exit(main())
