"""Routes that answer by themselves: status, fields and body as the table has them, on every kind of request."""

from __future__ import annotations

import pytest

from proxy.table import Respond
from tests.support.clients import ask, curl, get, read_reply
from tests.support.proxy import HOST, one_route, running_proxy

PAGE = "<h1>Closed for repair – back at 8</h1>\n"


async def test_status_fields_and_body_are_those_of_the_table() -> None:
    """The body goes out byte by byte, with its own Content-Type and an exact length, whatever the client accepts."""
    action = Respond(
        status=503,
        reason="",
        headers={"Content-Type": "text/html; charset=utf-8", "Retry-After": "600", "X-Note": "a, b"},
        body=PAGE,
    )
    async with running_proxy(one_route([], action=action)) as proxy:
        reply = await ask(proxy, get("/", "Accept: application/json"))
    assert reply.status == 503
    assert reply.body == PAGE.encode()
    assert reply.fields["content-type"] == "text/html; charset=utf-8"
    assert reply.fields["content-length"] == str(len(PAGE.encode()))
    assert (reply.fields["retry-after"], reply.fields["x-note"]) == ("600", "a, b")


async def test_a_body_without_a_type_is_plain_text() -> None:
    """In UTF-8; an empty body is a body, too."""
    async with running_proxy(one_route([], action=Respond(status=200, reason="", body=""))) as proxy:
        reply = await ask(proxy, get())
    assert (reply.status, reply.body, reply.fields["content-length"]) == (200, b"", "0")
    assert reply.fields["content-type"] == "text/plain; charset=utf-8"


async def test_without_a_body_the_standard_page_stands_in() -> None:
    """It tells the status and the reason; a Content-Type in the fields is not that of the page."""
    action = Respond(status=410, reason="This shop is gone.", headers={"content-type": "image/png", "X-A": "1"})
    async with running_proxy(one_route([], action=action)) as proxy:
        reply = await ask(proxy, get())
    assert reply.status == 410
    assert reply.body.startswith(b"410 Gone\nThis shop is gone.\n")
    assert reply.fields["content-type"] == "text/plain; charset=utf-8"
    assert reply.fields["x-a"] == "1"


async def test_head_gets_the_length_of_what_it_does_not_get() -> None:
    """And the connection serves the next request."""
    async with running_proxy(one_route([], action=Respond(status=200, reason="", body=PAGE))) as proxy:
        client = await proxy.connect()
        client.send(get(method="HEAD") + get())
        head = await read_reply(client, method="HEAD")
        whole = await read_reply(client)
        client.close()
    assert head.fields["content-length"] == str(len(PAGE.encode()))
    assert whole.body == PAGE.encode()


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("body", [None, "never sent"])
async def test_statuses_without_a_body_have_none(status: int, body: str | None) -> None:
    """Neither bytes nor a length that a client would wait for (RFC 9110 sections 8.6, 15.3.5 and 15.4.5)."""
    async with running_proxy(one_route([], action=Respond(status=status, reason="x", body=body))) as proxy:
        client = await proxy.connect()
        client.send(get() + get())
        replies = [await read_reply(client), await read_reply(client)]
        client.close()
    for reply in replies:
        assert reply.status == status
        assert "content-length" not in reply.fields
        assert "content-type" not in reply.fields


async def test_http_1_0_gets_it_and_the_end_of_the_connection() -> None:
    """Unless it asks for more."""
    async with running_proxy(one_route([], action=Respond(status=200, reason="", body="hi"))) as proxy:
        answer = await proxy.ask(get(version="1.0"))
        client = await proxy.connect()
        client.send(get("/", "Connection: keep-alive", version="1.0") * 2)
        kept = [await read_reply(client), await read_reply(client)]
        client.close()
    assert answer.endswith(b"\r\n\r\nhi")
    assert b"\r\nConnection: close\r\n" in answer
    assert [reply.body for reply in kept] == [b"hi", b"hi"]


@pytest.mark.parametrize(
    "action",
    [
        Respond(status=101, reason=""),
        Respond(status=600, reason=""),
        Respond(status=200, reason="", headers={"X-A": "1\r\nSet-Cookie: a=b"}),
        Respond(status=200, reason="", headers={"X-A: 1\r\nX-B": "1"}),
        Respond(status=200, reason="", headers={"Content-Length": "5"}, body="a"),
        Respond(status=200, reason="", headers={"Transfer-Encoding": "chunked"}, body="a"),
        Respond(status=200, reason="", headers={"Connection": "close"}, body="a"),
    ],
)
async def test_a_response_that_would_break_framing_is_503(action: Respond) -> None:
    """The route says so, nothing of it reaches the wire, and the connection goes on."""
    async with running_proxy(one_route([], action=action)) as proxy:
        client = await proxy.connect()
        client.send(get() + get())
        replies = [await read_reply(client), await read_reply(client)]
        client.close()
    for reply in replies:
        assert reply.status == 503
        assert not {"set-cookie", "x-a", "x-b"} & reply.fields.keys()


async def test_curl_shows_the_page() -> None:
    """A real client reads it, too."""
    async with running_proxy(one_route([], action=Respond(status=200, reason="", body=PAGE))) as proxy:
        _, out, _ = await curl("-H", f"Host: {HOST}", f"http://127.0.0.1:{proxy.port}/any/thing")
    assert out == PAGE.encode()
