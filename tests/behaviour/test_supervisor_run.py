"""``pyngress run`` from start to exit code, with real workers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.cluster import until

INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - host: %s
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets: [{addresses: [{ip: 127.0.0.1}], ports: [{port: %d}]}]
"""


class Backend:
    """Answers ``ok``; a request for ``/slow`` only once ``release`` is set."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.slow = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"GET /slow"):
                    self.slow.set()
                    await self.release.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Pyngress:
    """One control process, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process, client: aiohttp.ClientSession, folder: Path) -> None:
        self.process = process
        self.client = client
        self.folder = folder
        self.log: list[dict[str, Any]] = []
        self.noise: list[str] = []
        self.http = self.https = self.admin = 0

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.noise.append(line.decode())

    def said(self, message: str) -> list[dict[str, Any]]:
        return [entry for entry in self.log if message in entry["message"]]

    async def get(self, path: str = "/", host: str = "one.example.com") -> tuple[int, str]:
        headers = {"Host": host, "Connection": "close"}
        async with self.client.get(f"http://127.0.0.1:{self.http}{path}", headers=headers) as response:
            return response.status, await response.text()

    async def ask(self, page: str) -> tuple[int, str]:
        async with self.client.get(f"http://127.0.0.1:{self.admin}{page}") as response:
            return response.status, await response.text()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    async def exit_code(self, within: float = 5.0) -> int:
        async with asyncio.timeout(within):
            return await self.process.wait()


@asynccontextmanager
async def running(folder: Path, *flags: str, workers: int = 1) -> AsyncIterator[tuple[Pyngress, Backend]]:
    backend = Backend()
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    (folder / "ingress.yaml").write_text(INGRESS % "one.example.com")
    (folder / "service.yaml").write_text(SERVICE % server.sockets[0].getsockname()[1])
    process = await start("--manifests", str(folder), "--workers", str(workers), "--log-format", "json", *flags)
    timeout = aiohttp.ClientTimeout(total=5.0)
    async with aiohttp.ClientSession(timeout=timeout) as client, asyncio.TaskGroup() as tasks:
        pyngress = Pyngress(process, client, folder)
        reading = tasks.create_task(pyngress.read_log())
        try:
            await until(lambda: bool(pyngress.said("ready")), 10.0)
            (starting,) = pyngress.said("starting")
            pyngress.http, pyngress.https, pyngress.admin = (
                int(starting[name].rpartition(":")[2]) for name in ("http", "https", "admin")
            )
            yield pyngress, backend
        finally:
            backend.release.set()
            if process.returncode is None:
                orphans = pyngress.children()
                process.kill()
                for pid in orphans:
                    os.kill(pid, signal.SIGKILL)
            await process.wait()
            await reading
            server.close()
    assert pyngress.noise == []


async def start(*flags: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "ingress", "run", "--bind", "127.0.0.1", "--admin-bind", "127.0.0.1"),
        *("--http-port", "0", "--https-port", "0", "--admin-port", "0"),
        *flags,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


def pid_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.alone
async def test_serves_a_folder_and_follows_its_changes(tmp_path: Path) -> None:
    """Routes, https with the self-made certificate, a change live within a second, the end without a trace."""
    async with running(tmp_path, workers=2) as (pyngress, _):
        assert await pyngress.get() == (200, "ok")
        assert (await pyngress.get(host="two.example.com"))[0] == 404
        url = f"https://127.0.0.1:{pyngress.https}/"
        async with pyngress.client.get(url, headers={"Host": "one.example.com"}, ssl=False) as response:
            assert response.status == 200
        assert (await pyngress.ask("/readyz"))[0] == 200

        children = pyngress.children()
        changed_at = time.monotonic()
        pyngress.write("ingress.yaml", INGRESS % "two.example.com")

        async def is_live() -> bool:
            return (await pyngress.get(host="two.example.com"))[0] == 200

        await until(is_live)
        assert time.monotonic() - changed_at < 1.0
        assert pyngress.children() == children

        pyngress.process.send_signal(signal.SIGINT)
        assert await pyngress.exit_code() == 0
        assert not any(pid_exists(pid) for pid in children)


async def test_a_broken_file_is_reported_and_the_last_good_state_serves(tmp_path: Path) -> None:
    """In the log once and on /problems, until it is mended; SIGHUP in between changes nothing."""
    async with running(tmp_path) as (pyngress, _):
        pyngress.write("ingress.yaml", "kind: [")
        await until(lambda: any(entry["level"] == "error" for entry in pyngress.log))
        assert await pyngress.get() == (200, "ok")
        assert "ingress.yaml" in (await pyngress.ask("/problems"))[1]
        pyngress.process.send_signal(signal.SIGHUP)
        await until(lambda: bool(pyngress.said("SIGHUP")))
        assert await pyngress.get() == (200, "ok")
        assert sum(entry["level"] == "error" for entry in pyngress.log) == 1
        pyngress.write("ingress.yaml", INGRESS % "one.example.com")
        await until(lambda: bool(pyngress.said("cleared")))
        assert await pyngress.ask("/problems") == (200, "No problems.\n")


async def test_a_killed_worker_is_back_and_its_counters_are_kept(tmp_path: Path) -> None:
    """Whoever connects meanwhile is served, in the time that a process takes to start."""
    async with running(tmp_path) as (pyngress, _):

        async def counts(requests: int) -> bool:
            _, metrics = await pyngress.ask("/metrics")
            line = rf'^pyngress_requests_total\{{.*host="one.example.com".*\}} {requests}\.0$'
            return re.search(line, metrics, re.MULTILINE) is not None

        assert await pyngress.get() == (200, "ok")
        await until(lambda: counts(1))
        (worker,) = pyngress.children()
        killed_at = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        assert await pyngress.get() == (200, "ok")
        assert time.monotonic() - killed_at < 4.0
        assert pyngress.children() != [worker]
        _, metrics = await pyngress.ask("/metrics")
        assert 'pyngress_worker_restarts_total{worker="0"} 1.0' in metrics
        await until(lambda: counts(2))


@pytest.mark.alone
async def test_sigterm_is_not_ready_then_accepts_then_finishes_what_is_in_flight(tmp_path: Path) -> None:
    """For the delay new connections are served; then a request under way ends; exit code 0, nothing cut."""
    async with running(tmp_path, "--shutdown-delay", "0.6", "--drain-timeout", "10") as (pyngress, backend):
        slow = asyncio.ensure_future(pyngress.get("/slow"))  # noqa: TID251 - awaited below
        await backend.slow.wait()
        told_at = time.monotonic()
        pyngress.process.send_signal(signal.SIGTERM)
        await until(lambda: bool(pyngress.said("shutting down")))
        assert await pyngress.ask("/readyz") == (503, "shutting down\n")
        assert await pyngress.get() == (200, "ok")
        assert time.monotonic() - told_at < 0.6
        await asyncio.sleep(0.8)
        with pytest.raises(aiohttp.ClientConnectionError):
            await pyngress.get()
        assert pyngress.process.returncode is None
        backend.release.set()
        assert await slow == (200, "ok")
        assert await pyngress.exit_code() == 0
    assert pyngress.said("bye")[0]["cut"] == 0


async def test_the_drain_limit_ends_what_does_not_end(tmp_path: Path) -> None:
    """Still exit code 0; the log tells how many were cut off."""
    async with running(tmp_path, "--shutdown-delay", "0", "--drain-timeout", "0.3") as (pyngress, backend):
        slow = asyncio.ensure_future(pyngress.get("/slow"))  # noqa: TID251 - awaited below
        await backend.slow.wait()
        pyngress.process.send_signal(signal.SIGTERM)
        assert await pyngress.exit_code() == 0
        with pytest.raises(aiohttp.ClientError):
            await slow
    assert pyngress.said("bye")[0]["cut"] == 1


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once(tmp_path: Path, second: signal.Signals) -> None:
    """Neither the delay nor requests in flight are waited for; the exit code names the signal."""
    async with running(tmp_path, "--shutdown-delay", "60", "--drain-timeout", "60") as (pyngress, backend):
        slow = asyncio.ensure_future(pyngress.get("/slow"))  # noqa: TID251 - awaited below
        await backend.slow.wait()
        children = pyngress.children()
        pyngress.process.send_signal(signal.SIGTERM)
        await until(lambda: bool(pyngress.said("shutting down")))
        pyngress.process.send_signal(second)
        assert await pyngress.exit_code(3.0) == 128 + second
        assert not any(pid_exists(pid) for pid in children)
        with pytest.raises(aiohttp.ClientError):
            await slow


async def test_ctrl_c_skips_the_delay(tmp_path: Path) -> None:
    """With the default delay of ten seconds, an idle process is gone at once, exit code 0."""
    async with running(tmp_path) as (pyngress, _):
        pyngress.process.send_signal(signal.SIGINT)
        assert await pyngress.exit_code(3.0) == 0


async def failing(*flags: str) -> tuple[int | None, str]:
    process = await start(*flags)
    _, stderr = await process.communicate()
    return process.returncode, stderr.decode()


async def test_a_taken_port_is_a_clear_message(tmp_path: Path) -> None:
    """For every port; exit code 1, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for flag in ("--http-port", "--admin-port"):
            code, said = await failing("--manifests", str(tmp_path), flag, str(port), "--log-format", "text")
            assert code == 1
            assert f"cannot start: port {port} of 127.0.0.1 is taken by another process" in said
            assert flag in said
            assert "Traceback" not in said


async def test_no_manifests_are_a_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a cluster nor manifests, or none that are there."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    code, said = await failing("--log-format", "text")
    assert code == 1
    assert "cannot start: no cluster" in said
    assert "give --kubeconfig FILE, or --manifests FOLDER" in said
    code, said = await failing("--manifests", str(tmp_path / "gone"), "--log-format", "text")
    assert code == 1
    assert "there is no file or folder" in said
    assert "Traceback" not in said
