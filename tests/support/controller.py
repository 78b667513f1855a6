"""``pyngress run`` in a cluster, as a process with its workers; requests reach it over sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.cluster import CONTROLLER_NAMESPACE, Cluster, until
from tests.support.proxy import RawClient

__all__ = ["Answer", "Controller", "controller", "start_controller"]

PATIENCE = 15.0
"""Seconds until a controller is ready; two busy cores may be shared by many."""


class Answer:
    """What a request got."""

    def __init__(self, status: int, body: str, headers: Any) -> None:
        self.status = status
        self.body = body
        self.headers = headers


class Controller:
    """One control process; ``log`` is what it said, ``accesses`` its access log where that was asked for."""

    def __init__(self, process: asyncio.subprocess.Process, session: aiohttp.ClientSession, name: str) -> None:
        self.process = process
        self.name = name
        self.log: list[dict[str, Any]] = []
        self.accesses: list[dict[str, Any]] = []
        self.noise: list[str] = []
        self.http = self.https = self.admin = 0
        self._session = session

    async def read_log(self) -> None:
        """Until the process ends."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                entry = json.loads(line)
            except ValueError:
                self.noise.append(line.decode())
                continue
            self.log.append(entry)
            if entry.get("message") == "starting":
                ports = (int(entry[name].rpartition(":")[2]) for name in ("http", "https", "admin"))
                self.http, self.https, self.admin = ports

    async def read_accesses(self) -> None:
        """Until the process ends."""
        if self.process.stdout is not None:
            async for line in self.process.stdout:
                self.accesses.append(json.loads(line))

    async def accessed(self, host: str, target: str = "/", count: int = 1) -> list[dict[str, Any]]:
        """Lines of the access log about requests for this target, once there are so many."""
        lines: list[dict[str, Any]] = []

        def are_there() -> bool:
            lines[:] = [each for each in self.accesses if (each["host"], each["target"]) == (host, target)]
            return len(lines) >= count

        await until(are_there, what=f"{count} lines about {host}{target} in the access log")
        return lines

    async def connect(self, *, tls_name: str | None = None) -> RawClient:
        """A connection that speaks bytes; with a server name over TLS, without looking at the certificate."""
        context = None
        if tls_name is not None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        port = self.http if context is None else self.https
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=tls_name, limit=1 << 22
        )
        return RawClient(reader, writer)

    def said(self, message: str) -> list[dict[str, Any]]:
        """Log entries with this text in their message."""
        return [entry for entry in self.log if message in entry.get("message", "")]

    async def get(self, host: str, path: str = "/", *, headers: dict[str, str] | None = None) -> Answer:
        """One request over http on a connection of its own."""
        return await self._get(f"http://127.0.0.1:{self.http}{path}", host, headers)

    async def get_tls(self, host: str, path: str = "/") -> Answer:
        """Over https, with the host as server name and without looking at the certificate."""
        return await self._get(f"https://127.0.0.1:{self.https}{path}", host, None, ssl=False, server_hostname=host)

    async def _get(self, url: str, host: str, headers: dict[str, str] | None, **options: Any) -> Answer:
        fields = {"Host": host, "Connection": "close"} | (headers or {})
        async with self._session.get(url, headers=fields, allow_redirects=False, **options) as response:
            return Answer(response.status, await response.text(), response.headers)

    async def answers(self, host: str, status: int = 200, body: str | None = None, path: str = "/") -> bool:
        """Whether a request gets this."""
        answer = await self.get(host, path)
        return answer.status == status and body in (None, answer.body)

    async def becomes(self, host: str, status: int = 200, body: str | None = None, path: str = "/") -> float:
        """Wait until a request gets this; seconds that it took."""
        began = time.monotonic()
        await until(lambda: self.answers(host, status, body, path), what=f"{host}{path} answers {status} {body or ''}")
        return time.monotonic() - began

    async def ask(self, page: str) -> tuple[int, str]:
        """A page of the admin server."""
        async with self._session.get(f"http://127.0.0.1:{self.admin}{page}") as response:
            return response.status, await response.text()

    async def table(self) -> dict[str, Any]:
        """What the workers serve."""
        status, text = await self.ask("/table")
        assert status == 200
        table: dict[str, Any] = json.loads(text)
        return table

    async def caught_up(self) -> bool:
        """Whether the worker serves the newest table."""
        _, text = await self.ask("/metrics")
        numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if "_table_generation" in line)
        return numbers["pyngress_table_generation"] == numbers.get(
            'pyngress_worker_table_generation{worker="0"}', "none"
        )

    async def is_ready(self) -> bool:
        if self.process.returncode is not None:
            await asyncio.sleep(0.1)  # for its last words
            raise AssertionError(f"the controller ended: {self.last_words()}")
        if not self.admin:
            return False
        try:
            return (await self.ask("/readyz"))[0] == 200
        except aiohttp.ClientError:
            return False

    def last_words(self) -> str:
        """The end of its log, and of what it said besides."""
        return "\n".join([*map(json.dumps, self.log[-20:]), *self.noise[-20:]])

    def workers(self) -> list[int]:
        """Process ids."""
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill_worker(self) -> int:
        """The id of the one that is dead now."""
        victim = self.workers()[0]
        os.kill(victim, signal.SIGKILL)
        return victim

    async def terminate(self, within: float = 10.0) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), within)

    async def kill(self) -> None:
        """The control process and its workers, as a node that loses its power."""
        if self.process.returncode is None:
            orphans = self.workers()
            self.process.kill()
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
        await self.process.wait()


async def start_controller(
    cluster: Cluster,
    session: aiohttp.ClientSession,
    *flags: str,
    name: str,
    kubeconfig: Path | None = None,
    quick: bool = False,
    access_log: bool = False,
) -> Controller:
    """Start; nothing is waited for. Unless ``flags`` say else, shutdown has no delay and a drain takes 5 s at most.

    ``quick``: with the short clocks of :mod:`tests.support.quick`. ``access_log``: it is kept, for tests with few
    requests.
    """
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "tests.support.quick" if quick else "ingress",
            "run",
            "--kubeconfig",
            str(kubeconfig or cluster.kubeconfig),
        ),
        *("--bind", "127.0.0.1", "--http-port", "0", "--https-port", "0"),
        *("--admin-bind", "127.0.0.1", "--admin-port", "0"),
        *("--log-format", "json", "--workers", "1", "--shutdown-delay", "0", "--drain-timeout", "5"),
        *flags,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE if access_log else asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"POD_NAME": name, "POD_NAMESPACE": CONTROLLER_NAMESPACE, "NODE_NAME": f"node-of-{name}"},
    )
    return Controller(process, session, name)


@asynccontextmanager
async def controller(
    cluster: Cluster,
    *flags: str,
    name: str = "one",
    kubeconfig: Path | None = None,
    quick: bool = False,
    access_log: bool = False,
    wait: bool = True,
) -> AsyncIterator[Controller]:
    """A controller that is ready (unless ``wait`` is off); it and its workers are gone afterwards."""
    timeout = aiohttp.ClientTimeout(total=5.0)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        running = await start_controller(
            cluster, session, *flags, name=name, kubeconfig=kubeconfig, quick=quick, access_log=access_log
        )
        reading = asyncio.gather(running.read_log(), running.read_accesses())
        try:
            if wait:
                try:
                    await until(running.is_ready, PATIENCE, what=f"controller {name} is ready")
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{running.last_words()}") from None
            yield running
        finally:
            await running.kill()
            await reading
    assert running.noise == []
