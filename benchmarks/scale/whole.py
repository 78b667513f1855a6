"""The whole controller against an emulated API server: ``python -m benchmarks.scale.whole [--ingresses N] …``.

API server, controller and this client are processes of their own. While slices change at a steady rate, the Service of
one host is switched between two backends, again and again, until the last of some connections, spread over the workers,
is answered by the new one. Two times are counted: from the write to the API server, with all that this server does; and
from its answer, about when its watch event is on the way. The watch, translation, the feed and the poll of this client
(about a millisecond) are in both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.scale.measure import cpu_seconds, resident_bytes
from tests.support.apiserver.bulk import slice_of

PATIENCE = 120.0
"""Seconds until everything is ready."""
PROBED = 0
"""Number of the Ingress that is switched."""
CONNECTIONS_PER_WORKER = 3
CLASS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "pyngress"},
    "spec": {"controller": "pyngress.io/ingress-controller"},
}


@asynccontextmanager
async def process(*command: str, output: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.StreamReader]]:
    """A process that ends with the block, and what it says on ``output``."""
    pipes = {"stdout": asyncio.subprocess.DEVNULL, "stderr": None, output: asyncio.subprocess.PIPE}
    running = await asyncio.create_subprocess_exec(sys.executable, *command, **pipes)  # type: ignore[arg-type]  # by name
    stream = running.stdout if output == "stdout" else running.stderr
    assert stream is not None, "it was asked for"
    try:
        yield running, stream
    finally:
        if running.returncode is None:
            running.terminate()
        await running.wait()


class Api:
    """Writes to the API server."""

    def __init__(self, session: aiohttp.ClientSession, url: str, endpoints: int) -> None:
        self._session = session
        self._url = url
        self._endpoints = endpoints

    async def create_class(self) -> None:
        path = "/apis/networking.k8s.io/v1/ingressclasses"
        async with self._session.post(self._url + path, json=CLASS) as answer:
            answer.raise_for_status()

    async def set_endpoints(self, number: int, addresses: list[str], port: int) -> None:
        """Of the Service of one Ingress."""
        name = f"bulk-{number}"
        path = f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{name}-1"
        body = slice_of(name, addresses, port)
        patch = json.dumps({"endpoints": body["endpoints"], "ports": body["ports"]})
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._session.patch(self._url + path, data=patch, headers=headers) as answer:
            answer.raise_for_status()

    async def change_something(self, chance: random.Random, ingresses: int) -> None:
        addresses = [f"10.{chance.randrange(256)}.{chance.randrange(256)}.{n}" for n in range(1, self._endpoints + 1)]
        await self.set_endpoints(chance.randrange(PROBED + 1, ingresses), addresses, 8080)


class Probe:
    """Connections to the controller, and which backend answers on them."""

    def __init__(self, streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        self._streams = streams

    async def switched(self, body: bytes) -> None:
        """Until every connection is answered by the backend that says ``body``, of one length with the other's."""
        waiting = self._streams
        while waiting:
            answers = await asyncio.gather(*(self._ask(*stream, len(body)) for stream in waiting))
            waiting = [stream for stream, answer in zip(waiting, answers, strict=True) if answer != body]
            await asyncio.sleep(0.001 if waiting else 0)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int) -> bytes:
        writer.write(f"GET / HTTP/1.1\r\nHost: host-{PROBED}.example.com\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"a request failed: {head!r}")
        return await reader.readexactly(length)


async def backend(body: bytes) -> int:
    """A server that answers everything with ``body``; returns its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


async def ports_of(log: asyncio.StreamReader) -> dict[str, int]:
    """Where the controller listens, by scheme, as its log says."""
    async for line in log:
        entry: dict[str, Any] = json.loads(line)
        if entry.get("message") == "starting":
            return {name: int(entry[name].rpartition(":")[2]) for name in ("http", "admin")}
    raise RuntimeError("the controller ended")


async def run(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        server = ("-m", "tests.support.apiserver", "--kubeconfig", str(kubeconfig))
        sizes = ("--ingresses", str(arguments.ingresses), "--endpoints", str(arguments.endpoints))
        async with process(*server, *sizes, output="stdout") as (_, said), aiohttp.ClientSession() as session:
            url = (await said.readline()).decode().split()[-1]
            api = Api(session, url, arguments.endpoints)
            await api.create_class()
            bodies = [b"blue", b"teal"]
            ports = [await backend(body) for body in bodies]
            await api.set_endpoints(PROBED, ["127.0.0.1"], ports[0])
            await _with_controller(arguments, kubeconfig, session, api, list(zip(bodies, ports, strict=True)))


async def _with_controller(
    arguments: argparse.Namespace,
    kubeconfig: Path,
    session: aiohttp.ClientSession,
    api: Api,
    backends: list[tuple[bytes, int]],
) -> None:
    began = time.perf_counter()
    listen = ("--bind", "127.0.0.1", "--http-port", "0", "--https-port", "0")
    admin = ("--admin-bind", "127.0.0.1", "--admin-port", "0", "--log-format", "json", "--no-leader-election")
    quiet = ("--no-update-status", "--workers", str(arguments.workers), "--shutdown-delay", "0", "--drain-timeout", "1")
    command = ("-m", "ingress", "run", "--kubeconfig", str(kubeconfig), *listen, *admin, *quiet)
    async with process(*command, output="stderr") as (controller, log), asyncio.TaskGroup() as tasks:
        ports = await ports_of(log)
        reading = tasks.create_task(_ignore(log))
        await _ready(session, ports["admin"])
        print(f"ready after                     {time.perf_counter() - began:8.2f} s")
        count = arguments.workers * CONNECTIONS_PER_WORKER
        probe = Probe([await asyncio.open_connection("127.0.0.1", ports["http"]) for _ in range(count)])
        await probe.switched(backends[0][0])
        used = cpu_seconds(controller.pid)
        background = tasks.create_task(_keep_changing(arguments, api))
        latencies = await _switch(arguments, api, probe, backends)
        background.cancel()
        share = (cpu_seconds(controller.pid) - used) / arguments.seconds
        _show(latencies, share, controller.pid)
        reading.cancel()


async def _keep_changing(arguments: argparse.Namespace, api: Api) -> None:
    chance = random.Random(1)
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for count in range(int(arguments.rate * arguments.seconds * 10)):
            await asyncio.sleep(max(0.0, begin + count / arguments.rate - time.perf_counter()))
            tasks.create_task(api.change_something(chance, arguments.ingresses))


async def _switch(
    arguments: argparse.Namespace, api: Api, probe: Probe, backends: list[tuple[bytes, int]]
) -> list[tuple[float, float]]:
    latencies: list[tuple[float, float]] = []
    begin = time.perf_counter()
    turn = 0
    while time.perf_counter() - begin < arguments.seconds:
        turn += 1
        body, port = backends[turn % 2]
        start = time.perf_counter()
        await api.set_endpoints(PROBED, ["127.0.0.1"], port)
        answered = time.perf_counter()
        await probe.switched(body)
        end = time.perf_counter()
        latencies.append((end - start, end - answered))
        await asyncio.sleep(0.05)
    return latencies


def _show(latencies: list[tuple[float, float]], share: float, pid: int) -> None:
    workers = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    print(f"memory of the control process   {resident_bytes(pid) / 2**20:8.0f} MiB")
    print(f"memory of a worker              {max(map(resident_bytes, workers)) / 2**20:8.0f} MiB")
    for since, values in zip(("write", "answer"), zip(*latencies, strict=True), strict=True):
        ordered = sorted(values)
        median, tail = ordered[len(ordered) // 2] * 1e3, ordered[len(ordered) * 99 // 100] * 1e3
        print(f"live after the {since:<6}: {len(ordered)} times, median {median:.1f} ms, p99 {tail:.1f} ms")
    print(f"CPU of the control process while changes came: {share:.0%} of a core")


async def _ready(session: aiohttp.ClientSession, port: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.02)


async def _ignore(log: asyncio.StreamReader) -> None:
    async for line in log:
        if b'"level": "error"' in line or b'"level":"error"' in line:
            sys.stderr.write(line.decode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ingresses", type=int, default=10_000, help="each with a Service")
    parser.add_argument("--endpoints", type=int, default=3, help="of each Service")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=float, default=100.0, help="changes per second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of changes")
    os.environ.setdefault("POD_NAMESPACE", "default")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
