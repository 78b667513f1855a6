"""Responses that have no body whatever their fields say, and those that come before the response."""

from __future__ import annotations

import pytest

from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.clients import curl, get, parse_request, read_reply
from tests.support.proxy import HOST, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("method", "response", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", "5000"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", None),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", None),
        ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 7\r\n\r\n', "7"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", None),
    ],
)
async def test_a_response_without_a_body_ends_with_its_head(method: str, response: bytes, length: str | None) -> None:
    """After HEAD, 204 and 304 both connections go on at once, and Content-Length is kept where it may be."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            conversation.send(response if head.startswith(method.encode()) and b"/first" in head else OK)

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(get("/first", method=method) + get("/second"))
        first = await read_reply(client, method=method)
        second = await read_reply(client)
        client.close()
    assert first.status == int(response[9:12])
    assert first.fields.get("content-length") == length
    assert "transfer-encoding" not in first.fields
    assert second.body == b"ok"
    assert backend.connections == 1


async def test_curl_head_shows_the_length_and_ends() -> None:
    """curl -I gets the head of a response with its Content-Length and does not wait for a body."""
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    async with raw_backend(fixed(response)) as backend, running_proxy(one_route([backend.port])) as proxy:
        code, out, _ = await curl("--head", "-H", f"Host: {HOST}", f"http://127.0.0.1:{proxy.port}/")
    assert code == 0
    assert b"Content-Length: 5000\r\n" in out


async def test_head_is_answered_here_without_a_body() -> None:
    """A page that the proxy makes for HEAD has the length of the page for GET and no body."""
    async with running_proxy(one_route([])) as proxy:
        client = await proxy.connect()
        client.send(get(method="HEAD") + get())
        first = await read_reply(client, method="HEAD")
        second = await read_reply(client)
        client.close()
    assert first.status == second.status == 503
    assert first.fields["content-length"] == str(len(second.body))


async def test_early_hints_reach_the_client_before_the_response() -> None:
    """A 103 is passed on at once, with its fields, while the backend still works on the response."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: close\r\n\r\n")
        await conversation.reader.readexactly(1)

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(get())
        head = await client.read_head()
        client.close()
    assert head == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


async def test_informational_responses_do_not_disturb_the_final_one() -> None:
    """100, 102 and several 103 before the response leave it whole; a 100 that the client did not ask for stays here."""
    response = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" + OK
    )
    async with raw_backend(fixed(response)) as backend, running_proxy(one_route([backend.port])) as proxy:
        answer = await proxy.ask(get("/", "Connection: close"))
    statuses = [line[9:12] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses == [b"102", b"103", b"103", b"200"]
    assert answer.endswith(b"\r\n\r\nok")


async def test_informational_responses_are_kept_from_an_old_client() -> None:
    """HTTP/1.0 knows no 1xx (RFC 9110 section 15.2): such a client sees the final response only."""
    response = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    async with raw_backend(fixed(response)) as backend, running_proxy(one_route([backend.port])) as proxy:
        answer = await proxy.ask(get(version="1.0"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"103" not in answer
    assert parse_request(backend.heads[0]).line == "GET / HTTP/1.1"
