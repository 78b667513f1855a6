"""A backend to try things with: answers every request with a JSON description of it.

``python examples/echo.py NAME PORT`` listens on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import click
from aiohttp import web


def application(name: str) -> web.Application:
    """Answers with ``name``, method, path, headers, and the size of the request's body."""

    async def answer(request: web.Request) -> web.Response:
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        described = {
            "name": name,
            "method": request.method,
            "path": request.path_qs,
            "headers": [[field, value] for field, value in request.headers.items()],
            "body_bytes": size,
        }
        return web.json_response(described)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


async def serve(name: str, port: int) -> None:
    """Until SIGINT or SIGTERM. Raises ``OSError`` if the port is taken."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = web.AppRunner(application(name), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        click.echo(f"backend {name} listens on 127.0.0.1:{port}")
        await ended.wait()
    finally:
        await runner.cleanup()


@click.command()
@click.argument("name")
@click.argument("port", type=click.IntRange(1, 65535))
def main(name: str, port: int) -> None:
    """Answer requests on PORT as backend NAME."""
    try:
        asyncio.run(serve(name, port))
    except OSError as error:
        click.echo(f"backend {name} cannot listen on port {port}: {error.strerror}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
