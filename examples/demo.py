"""``make demo``: two echo backends and Pyngress in front of them, until Ctrl-C. Leaves nothing running.

The children are in process groups of their own: Ctrl-C reaches this script, which ends them in order. Exit code 0 after
Ctrl-C or SIGTERM; 1 if a part does not start, or ends by itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import click

HERE = Path(__file__).parent
MANIFESTS = HERE / "quickstart"
BACKENDS = {"foo": 9101, "bar": 9102}
HTTP_PORT, HTTPS_PORT, ADMIN_PORT = 8080, 8443, 10254
PORTS = ", ".join(str(port) for port in (*BACKENDS.values(), HTTP_PORT, HTTPS_PORT, ADMIN_PORT))
START_LIMIT = 20.0
END_LIMIT = 15.0
"""Seconds."""

TRY = f"""
Try:
  curl -H 'Host: foo.mydomain.com' http://127.0.0.1:{HTTP_PORT}/hello
  curl -H 'Host: mydomain.com' http://127.0.0.1:{HTTP_PORT}/bar/baz
  curl -k https://127.0.0.1:{HTTPS_PORT}/anything-else

Change examples/{MANIFESTS.name}/ingress.yaml and try again: routes are live at once. Metrics, table and problems are
on http://127.0.0.1:{ADMIN_PORT}/. Ctrl-C ends it all.
"""

Process = asyncio.subprocess.Process


class DemoError(Exception):
    """The text says what went wrong; the part that failed has said why."""


class Demo:
    """Starts the parts, waits, ends them in the opposite order."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, Process]] = []
        self._ended = asyncio.Event()

    async def run(self) -> int:
        """Returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._ended.set)
        try:
            await self._start()
            if not self._ended.is_set():
                click.echo(TRY, err=True)
            await self._wait()
        except DemoError as error:
            click.echo(f"demo: {error}", err=True)
            return 1
        finally:
            await self._end()
        return 0

    async def _start(self) -> None:
        for name, port in BACKENDS.items():
            await self._spawn(f"backend {name}", str(HERE / "echo.py"), name, str(port))
            await self._wait_for(f"http://127.0.0.1:{port}/")
        arguments = ["--manifests", str(MANIFESTS), "--bind", "127.0.0.1", "--admin-bind", "127.0.0.1"]
        arguments += ["--http-port", str(HTTP_PORT), "--https-port", str(HTTPS_PORT), "--admin-port", str(ADMIN_PORT)]
        arguments += ["--https-redirect-port", str(HTTPS_PORT), "--log-format", "text"]
        await self._spawn("pyngress", "-m", "ingress", "run", *arguments, "--access-log-format", "combined")
        await self._wait_for(f"http://127.0.0.1:{ADMIN_PORT}/readyz")

    async def _spawn(self, name: str, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=asyncio.subprocess.DEVNULL, process_group=0
        )
        self._parts.append((name, process))

    async def _wait_for(self, url: str) -> None:
        """Until ``url`` answers 200, or Ctrl-C. Raises :class:`DemoError` if the newest part ends or takes too long."""
        name, process = self._parts[-1]
        deadline = asyncio.get_running_loop().time() + START_LIMIT
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as client:
            while not self._ended.is_set():
                await asyncio.sleep(0.05)
                if process.returncode is not None:
                    raise DemoError(f"{name} did not start; ports {PORTS} must be free")
                if asyncio.get_running_loop().time() > deadline:
                    raise DemoError(f"{name} did not answer within {START_LIMIT:g} seconds")
                try:
                    async with client.get(url) as response:
                        if response.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    continue

    async def _wait(self) -> None:
        """Until Ctrl-C. Raises :class:`DemoError` if a part ends by itself."""
        while not self._ended.is_set():
            for name, process in self._parts:
                if process.returncode is not None:
                    raise DemoError(f"{name} ended with exit code {process.returncode}")
            try:
                async with asyncio.timeout(0.25):
                    await self._ended.wait()
            except TimeoutError:
                continue

    async def _end(self) -> None:
        """Pyngress first, so that its last requests still find their backends. Ctrl-C once more hurries it."""
        self._ended.clear()
        for _, process in reversed(self._parts):
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            try:
                async with asyncio.timeout(END_LIMIT):
                    await self._gone(process)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def _gone(self, process: Process) -> None:
        while process.returncode is None:
            if self._ended.is_set():
                self._ended.clear()
                process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.02)


@contextmanager
def in_the_foreground() -> Iterator[None]:
    """Be the terminal's foreground job: Ctrl-C reaches this script and not ``make``, which would call it an error."""
    if not sys.stdin.isatty() or os.getpgrp() == os.getpid():
        yield
        return
    terminal = sys.stdin.fileno()
    before = os.tcgetpgrp(terminal)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # sent to whoever changes the foreground from the background
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        os.tcsetpgrp(terminal, before)


if __name__ == "__main__":
    with in_the_foreground():
        code = asyncio.run(Demo().run())
    sys.exit(code)
