"""One line per request, with what happened and nothing that a client could forge."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from proxy.table import Settings
from tests.support.backend import fixed, raw_backend
from tests.support.clients import ask, curl, get, read_reply
from tests.support.log import LogPipe, log_pipe
from tests.support.proxy import HOST, RunningProxy, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
JSON = Settings(access_log="json")
COMBINED = Settings(access_log="combined")


def backend_port(proxy: RunningProxy) -> int:
    return proxy.table.clusters["default/backend:80"].endpoints[0].port


@asynccontextmanager
async def logged(response: bytes, settings: Settings) -> AsyncIterator[tuple[RunningProxy, LogPipe]]:
    """A proxy whose log can be read, and a backend that answers with ``response``."""
    async with (
        log_pipe() as log,
        raw_backend(fixed(response)) as backend,
        running_proxy(one_route([backend.port], settings=settings), log_fd=log.fd) as proxy,
    ):
        yield proxy, log


async def test_a_json_line_tells_the_whole_request() -> None:
    """Client, request, response, route, upstream, timings: each under its name and with its type."""
    async with logged(OK, JSON) as (proxy, log):
        await curl(
            "-H", f"Host: {HOST}", "-A", "tester/1", "-e", "http://from.example/", "-H", "X-Request-ID: id-1",
            "--data", "body", f"http://127.0.0.1:{proxy.port}/a/b?c=d",
        )  # fmt: skip
        entry = await log.entry(proxy)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert 0 <= entry.pop("upstream_duration") <= entry.pop("duration") < 5
    assert entry == {
        "remote_addr": "127.0.0.1",
        "method": "POST",
        "host": HOST,
        "target": "/a/b?c=d",
        "protocol": "HTTP/1.1",
        "status": 200,
        "request_bytes": 4,
        "response_bytes": 5,
        "referer": "http://from.example/",
        "user_agent": "tester/1",
        "request_id": "id-1",
        "namespace": "default",
        "ingress": "test",
        "service": "backend",
        "port": "80",
        "upstream_addr": f"127.0.0.1:{backend_port(proxy)}",
        "upstream_status": "200",
        "retries": 0,
        "tls": "",
        "error": "",
    }


async def test_a_combined_line_is_that_of_ingress_nginx() -> None:
    """The classic line with ingress-nginx's additions, so that existing parsers go on."""
    async with logged(OK, COMBINED) as (proxy, log):
        await ask(proxy, get("/a?b", "User-Agent: x/1", "X-Request-ID: id-1"))
        (line,) = await log.lines(proxy, 1)
    pattern = (
        r'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /a\?b HTTP/1\.1" 200 5 "-" "x/1" '
        rf"0 \d\.\d{{3}} \[default-backend-80\] \[\] 127\.0\.0\.1:{backend_port(proxy)} 5 \d\.\d{{3}} 200 id-1"
    )
    assert re.fullmatch(pattern, line)


@pytest.mark.parametrize("settings", [JSON, COMBINED])
async def test_a_client_cannot_forge_a_line(settings: Settings) -> None:
    """Quotes, backslashes, controls and bytes above ASCII stay inside their field and inside their line."""
    evil = 'a" 200 0 "-" "\\", "status": 200, \x7f\x9b31m\xff é'
    async with logged(OK, settings) as (proxy, log):
        request = get('/"\\?"', f"User-Agent: {evil}", f"Referer: {evil}", f"X-Request-ID: {evil}")
        reply = await ask(proxy, request)
        await ask(proxy, get("/second"))
        first, second = await log.lines(proxy, 2)
    assert first.isascii()
    assert first.isprintable()
    assert "/second" in second
    if settings is JSON:
        entry = json.loads(first)
        if reply.status == 200:
            assert entry["user_agent"].startswith('a" 200 0')
            assert entry["status"] == 200
    else:
        # Inside its quotes no field holds a quote that is not escaped.
        assert re.fullmatch(r'[^"]*("[^"]*"[^"]*){3}', first)


async def test_the_lines_of_one_connection_keep_their_order_and_their_values() -> None:
    """Three pipelined requests make three lines; nothing of one shows in the next."""
    async with logged(OK, JSON) as (proxy, log):
        client = await proxy.connect()
        client.send(get("/1", "User-Agent: one") + get("/2", host="unknown.example.com") + get("/3"))
        for _ in range(3):
            await read_reply(client)
        client.close()
        entries = [await log.entry(proxy) for _ in range(3)]
    assert [entry["target"] for entry in entries] == ["/1", "/2", "/3"]
    assert [entry["status"] for entry in entries] == [200, 404, 200]
    assert [entry["user_agent"] for entry in entries] == ["one", "", ""]
    assert [entry["service"] for entry in entries] == ["backend", "", "backend"]
    assert [entry["error"] for entry in entries] == ["", "NoRoute", ""]
    assert entries[1]["upstream_addr"] == entries[1]["upstream_status"] == ""
    assert entries[1]["upstream_duration"] is None
    assert len({entry["request_id"] for entry in entries}) == 3


async def test_a_refused_request_is_logged_with_its_reason() -> None:
    """What never became a request (here: no Host) is logged too, with address, status and reason."""
    async with log_pipe() as log, running_proxy(one_route([], settings=JSON), log_fd=log.fd) as proxy:
        reply = await ask(proxy, b"GET / HTTP/1.1\r\n\r\n")
        entry = await log.entry(proxy)
    assert (entry["status"], entry["error"], entry["remote_addr"]) == (400, "MissingHost", "127.0.0.1")
    assert entry["request_id"] == reply.fields["x-request-id"]


async def test_a_page_of_the_proxy_is_logged_with_the_id_it_shows() -> None:
    """The id on an error page finds its line in the log."""
    async with log_pipe() as log, running_proxy(one_route([], settings=JSON), log_fd=log.fd) as proxy:
        reply = await ask(proxy, get())
        entry = await log.entry(proxy)
    assert entry["status"] == 503
    assert entry["error"] == "NoEndpoints"
    assert entry["request_id"] in reply.body.decode()


async def test_the_client_behind_a_trusted_proxy_is_the_one_that_is_logged() -> None:
    """``remote_addr`` is the address that the backend is told, not that of the load balancer."""
    settings = Settings(access_log="json", trusted_proxies=("127.0.0.0/8",))
    async with logged(OK, settings) as (proxy, log):
        await ask(proxy, get("/", "X-Forwarded-For: 203.0.113.7"))
        entry = await log.entry(proxy)
    assert entry["remote_addr"] == "203.0.113.7"


async def test_bytes_are_counted_without_their_framing() -> None:
    """Chunk sizes and heads are not part of the bodies that the log counts, either way."""
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    request = b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"
    async with logged(response, JSON) as (proxy, log):
        await ask(proxy, request)
        entry = await log.entry(proxy)
    assert (entry["request_bytes"], entry["response_bytes"]) == (5, 7)


async def test_a_truncated_response_is_logged_as_such() -> None:
    """The status that the client saw, and why it was not the whole of it."""
    async with logged(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", JSON) as (proxy, log):
        client = await proxy.connect()
        client.send(get())
        await client.read_head()
        await asyncio.sleep(0.02)
        (member,) = proxy.worker.connections._members
        upstream = member._exchange.upstream
        assert upstream is not None
        upstream.transport.close()
        entry = await log.entry(proxy)
        client.close()
    assert (entry["status"], entry["error"], entry["response_bytes"]) == (200, "UpstreamClosed", 3)


async def test_the_log_can_be_turned_on_and_off_by_the_table() -> None:
    """A change of ``access_log`` counts from the next request on, on the same connection."""
    async with logged(OK, JSON) as (proxy, log):
        client = await proxy.connect()
        for path, settings in (("/1", JSON), ("/2", Settings(access_log="off")), ("/3", COMBINED)):
            proxy.publish(msgspec.structs.replace(proxy.table, settings=settings))
            client.send(get(path))
            await read_reply(client)
        client.close()
        lines = await log.lines(proxy, 2)
    assert '"target":"/1"' in lines[0]
    assert '"GET /3 HTTP/1.1"' in lines[1]
