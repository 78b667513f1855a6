"""Expect: 100-continue (RFC 9110 section 10.1.1): the client asks before it sends a body."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.table import Policy
from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.clients import curl, parse_request, read_reply, silent, within
from tests.support.proxy import HOST, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"PUT /file HTTP/1.1\r\nHost: foo.example.com\r\nExpect: 100-continue\r\n"


async def test_the_client_is_told_to_go_on_once_a_backend_is_there() -> None:
    """The 100 comes when the request head went to a backend, and the body follows; the backend sees no Expect."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(HEAD + b"Content-Length: 3\r\n\r\n")
        assert await client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abc")
        assert (await read_reply(client)).body == b"ok"
        client.close()
    assert backend.bodies == [b"abc"]
    assert "expect" not in parse_request(backend.heads[0]).fields


async def test_no_hundred_continue_where_nobody_would_take_the_body() -> None:
    """Without an endpoint the answer is 503 at once, without a 100, and the connection ends."""
    async with running_proxy(one_route([])) as proxy:
        answer = await proxy.ask(HEAD + b"Content-Length: 3\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nConnection: close\r\n" in answer


async def test_a_body_that_is_too_large_is_refused_without_a_hundred_continue() -> None:
    """The limit is known from Content-Length, so the client keeps its body, and no backend hears of it."""
    async with raw_backend(fixed(OK)) as backend:
        table = one_route([backend.port], policy=Policy(max_body_bytes=10))
        async with running_proxy(table) as proxy:
            answer = await proxy.ask(HEAD + b"Content-Length: 11\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer
    assert backend.connections == 0


async def test_a_client_that_does_not_wait_gets_no_hundred_continue() -> None:
    """Where body bytes are already there, the 100 would be noise; the request goes through all the same."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(HEAD + b"Content-Length: 6\r\n\r\nabc")
        assert await silent(client)
        client.send(b"def")
        assert (await client.read_head()).startswith(b"HTTP/1.1 200 ")
        client.close()
    assert backend.bodies == [b"abcdef"]


@pytest.mark.parametrize("value", [b"200-ok", b"100-continue, x", b"100-continue=1"])
async def test_an_unknown_expectation_is_refused(value: bytes) -> None:
    """417, and the connection ends since a body may follow."""
    request = b"PUT / HTTP/1.1\r\nHost: foo.example.com\r\nExpect: " + value + b"\r\nContent-Length: 3\r\n\r\n"
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        answer = await proxy.ask(request)
    assert answer.startswith(b"HTTP/1.1 417 ")
    assert backend.connections == 0


async def test_an_expectation_without_a_body_is_met_in_silence() -> None:
    """A GET with Expect: 100-continue has nothing to wait for: no 100, just the response (and RFC 9110 wants it so)."""
    request = b"GET / HTTP/1.1\r\nHost: foo.example.com\r\nExpect: 100-continue\r\n\r\n"
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(request)
        assert (await client.read_head()).startswith(b"HTTP/1.1 200 ")
        client.close()


async def test_an_old_client_gets_no_hundred_continue() -> None:
    """Expect in an HTTP/1.0 request is ignored (RFC 9110 section 10.1.1)."""
    request = b"PUT / HTTP/1.0\r\nHost: foo.example.com\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(request)
        assert await silent(client, 0.1)
        client.send(b"abc")
        assert (await client.read_head()).startswith(b"HTTP/1.1 200 ")
        client.close()


async def test_the_answer_may_come_instead_of_the_hundred_continue_of_the_backend() -> None:
    """A backend that refuses by the head has the last word: its response arrives and the connection ends cleanly."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        await conversation.reader.read()

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(HEAD + b"Content-Length: 100\r\n\r\n")
        reply = await read_reply(client)
        assert (reply.status, reply.body) == (401, b"no")
        assert reply.fields["connection"] == "close"
        assert await within(client.reader.read()) == b""
        client.close()


async def test_curl_uploads_a_large_file_after_asking(tmp_path: Path) -> None:
    """curl -T with 3 MiB waits for the 100, is told to go on, and the backend gets every byte."""
    file = tmp_path / "file"
    file.write_bytes(b"0123456789abcdef" * (3 * 65536))
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        code, out, said = await curl(
            "-v",
            "-H",
            f"Host: {HOST}",
            "-H",
            "Expect: 100-continue",
            "--expect100-timeout",
            "10",
            "-T",
            str(file),
            f"http://127.0.0.1:{proxy.port}/",
        )
    assert (code, out) == (0, b"ok")
    assert "< HTTP/1.1 100 Continue" in said
    assert backend.bodies[0] == file.read_bytes()
