"""``python -m tests.support.apiserver``: the server as a process. Says ``listening on URL``; serves until a signal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import uvloop

from tests.support.apiserver.access import ADMIN, User
from tests.support.apiserver.bulk import fill
from tests.support.apiserver.server import ApiServer


async def serve(arguments: argparse.Namespace) -> None:
    users: dict[str, User] = {}
    for each in arguments.token:
        token, _, name = each.partition("=")
        users[token] = User(name=name) if name else ADMIN
    server = ApiServer(users=users, port=arguments.port, bookmark_interval=arguments.bookmark_interval)
    if arguments.ingresses:
        fill(server.storage, ingresses=arguments.ingresses, endpoints=arguments.endpoints)
    await server.start()
    if arguments.kubeconfig:
        token = next(iter(users), "")
        server.kubeconfig(arguments.kubeconfig, token=token)
    sys.stdout.write(f"listening on {server.url}\n")
    sys.stdout.flush()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await over.wait()
    await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--kubeconfig", type=Path, help="write one that reaches this server")
    parser.add_argument("--token", action="append", default=[], help="TOKEN for the admin, TOKEN=USER for RBAC")
    parser.add_argument("--bookmark-interval", type=float, default=60.0, help="seconds")
    parser.add_argument("--ingresses", type=int, default=0, help="create so many, each with a Service and a slice")
    parser.add_argument("--endpoints", type=int, default=3, help="of each Service")
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
