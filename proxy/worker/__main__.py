"""``python -m proxy.worker``: started by the control process, never by hand.

Every ``--listen`` and ``--feed-fd`` names a file descriptor inherited from the parent.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys

import uvloop

from proxy.http2 import CODEC
from proxy.worker.feed import FeedClient
from proxy.worker.logs import LogFormatter
from proxy.worker.worker import Listen, LogTarget, Worker


def main() -> int:
    """The process from start to end; returns its exit code."""
    arguments = _parse(sys.argv[1:])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter(arguments.id, as_json=arguments.log_json))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.info("HTTP/2 codec: %s", CODEC)
    # The terminal's Ctrl-C and hang-up are for the control process, which tells the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return uvloop.run(_serve(arguments))


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="proxy.worker")
    parser.add_argument("--id", type=int, required=True)
    parser.add_argument("--feed-fd", type=int, required=True)
    parser.add_argument("--listen", action="append", default=[], metavar="http:FD|https:FD")
    parser.add_argument("--log-fd", type=int)
    parser.add_argument("--log-lock-fd", type=int)
    parser.add_argument("--allowances-fd", type=int, help="of a memory file that all workers share")
    parser.add_argument("--ticket-keys-fd", type=int, help="of a memory file with the keys of session tickets")
    parser.add_argument("--log-json", action="store_true", help="of the worker's own log, on standard error")
    return parser.parse_args(words)


async def _serve(arguments: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    listens: list[Listen] = []
    for text in arguments.listen:
        kind, _, fd = text.partition(":")
        listens.append(("https" if kind == "https" else "http", socket.socket(fileno=int(fd))))
    log = None if arguments.log_fd is None else LogTarget(fd=arguments.log_fd, lock_fd=arguments.log_lock_fd)
    worker = Worker(loop, log=log, allowances_fd=arguments.allowances_fd, ticket_keys_fd=arguments.ticket_keys_fd)
    feed = FeedClient(worker, listens)
    loop.add_signal_handler(signal.SIGTERM, feed.order_drain)
    await loop.create_connection(lambda: feed, sock=socket.socket(fileno=arguments.feed_fd))
    await feed.done.wait()
    await worker.close()
    await feed.close()
    return 1 if feed.failed else 0


if __name__ == "__main__":
    sys.exit(main())
