"""Request bodies have a largest size, where one is set."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from proxy.table import Policy, Settings
from tests.support.backend import fixed, raw_backend
from tests.support.clients import ask, curl, get, read_reply, within
from tests.support.log import log_pipe
from tests.support.proxy import HOST, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LIMIT = Policy(max_body_bytes=1000)


def counted(size: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)


def chunked(size: int, chunk: int = 100) -> bytes:
    head = b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [bytes(min(chunk, size - start)) for start in range(0, size, chunk)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("make", [counted, chunked])
async def test_a_body_up_to_the_limit_passes(make: Callable[[int], bytes]) -> None:
    """The limit itself is allowed, and counts the body only, not its chunks."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=LIMIT)) as proxy,
    ):
        assert (await ask(proxy, make(1000))).status == 200


@pytest.mark.parametrize("make", [counted, chunked])
async def test_a_body_over_the_limit_is_refused_and_the_connection_ends(make: Callable[[int], bytes]) -> None:
    """413 and Connection: close; what comes behind is not served, since nobody reads that far."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=LIMIT)) as proxy,
    ):
        client = await proxy.connect()
        client.send(make(1001) + get("/behind"))
        reply = await read_reply(client)
        assert await within(client.reader.read()) == b""
        client.close()
        await asyncio.sleep(0.02)
    assert reply.status == 413
    assert reply.fields["connection"] == "close"
    assert not any(b"/behind" in head for head in backend.heads)


async def test_a_refused_length_never_reaches_a_backend() -> None:
    """Content-Length tells enough: no connection is made and no byte of the body is needed."""
    request = b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 1001\r\n\r\n"
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=LIMIT)) as proxy,
    ):
        assert (await ask(proxy, request)).status == 413
    assert backend.connections == 0


async def test_a_body_that_grows_over_the_limit_is_cut_off_on_both_sides() -> None:
    """The backend sees the request break off, never end; the log names the reason."""
    async with log_pipe() as log, raw_backend(fixed(OK)) as backend:
        table = one_route([backend.port], policy=LIMIT, settings=Settings(access_log="json"))
        async with running_proxy(table, log_fd=log.fd) as proxy:
            client = await proxy.connect()
            whole = chunked(5000, 500)
            for start in range(0, len(whole), 300):
                client.send(whole[start : start + 300])
                await asyncio.sleep(0.005)
            assert (await read_reply(client)).status == 413
            entry = await log.entry(proxy)
            client.close()
            (endpoint,) = proxy.worker.runtime.state.clusters["default/backend:80"].endpoints
            assert endpoint.idle == []
            assert endpoint.active == 0
    assert (entry["status"], entry["error"]) == (413, "BodyTooLarge")
    assert backend.bodies == []


async def test_a_client_that_goes_on_sending_still_reads_the_refusal() -> None:
    """With megabytes still coming the 413 arrives whole, and the connection ends without a reset before it."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=LIMIT)) as proxy,
    ):
        client = await proxy.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nTransfer-Encoding: chunked\r\n\r\n")

        async def upload() -> None:
            with contextlib.suppress(ConnectionError):
                for _ in range(64):
                    client.send(b"10000\r\n" + bytes(65536) + b"\r\n")
                    await client.writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(upload())
            await asyncio.sleep(0.1)
            assert (await read_reply(client)).status == 413
        client.close()


@pytest.mark.parametrize(
    ("general", "own", "allowed"),
    [(1000, None, False), (1000, 0, True), (1000, 5000, True), (0, 1000, False), (0, None, True)],
)
async def test_a_route_may_differ_from_the_general_limit(general: int, own: int | None, allowed: bool) -> None:
    """The route's own limit comes first; 0 is no limit."""
    table = one_route([], policy=Policy(max_body_bytes=own), settings=Settings(max_body_bytes=general))
    async with raw_backend(fixed(OK)) as backend:
        table = msgspec.structs.replace(table, clusters=one_route([backend.port]).clusters)
        async with running_proxy(table) as proxy:
            assert (await ask(proxy, counted(2000))).status == (200 if allowed else 413)


async def test_curl_reports_the_refusal(tmp_path: Path) -> None:
    """curl -T with 2 MiB against a limit of 1000 bytes sees 413, with and without a length."""
    file = tmp_path / "file"
    file.write_bytes(bytes(2 * 1024 * 1024))
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=LIMIT)) as proxy,
    ):
        for extra in ((), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect:")):
            code, out, said = await curl(
                "-H",
                f"Host: {HOST}",
                *extra,
                "-T",
                str(file),
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                f"http://127.0.0.1:{proxy.port}/",
            )
            assert (code, out) == (0, b"413"), said
