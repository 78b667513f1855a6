"""Pages that the proxy makes: for people and for programs, and never more than they need to know."""

from __future__ import annotations

import json

import msgspec
import pytest

from proxy.table import Host, Respond, Route
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.clients import Reply, ask, curl, get
from tests.support.proxy import HOST, one_route, running_proxy


async def page(*fields: str, host: str = HOST) -> Reply:
    """The page for a host without endpoints (503), or for an unknown one (404)."""
    async with running_proxy(one_route([])) as proxy:
        return await ask(proxy, get("/secret?token=1", *fields, host=host))


async def test_a_page_for_people_is_plain_text() -> None:
    """Status, phrase, a sentence and the request id; the length is right and nothing of the request is shown."""
    reply = await page("Accept: text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8", "X-Request-ID: id-1")
    assert reply.status == 503
    assert reply.fields["content-type"] == "text/plain; charset=utf-8"
    assert reply.fields["x-request-id"] == "id-1"
    lines = reply.body.decode().splitlines()
    assert lines[0] == "503 Service Unavailable"
    assert lines[-1] == "Request id: id-1"
    assert "secret" not in reply.body.decode()
    assert {"server", "date"} <= reply.fields.keys()


@pytest.mark.parametrize("accept", ["application/json", "application/problem+json, text/html", "Application/JSON; q=1"])
async def test_a_page_for_programs_is_json(accept: str) -> None:
    """Who prefers JSON gets the same facts as fields."""
    reply = await page(f"Accept: {accept}", "X-Request-ID: id-1", host="unknown.example.com")
    assert reply.status == 404
    assert reply.fields["content-type"] == "application/json"
    assert json.loads(reply.body) == {
        "status": 404,
        "error": "Not Found",
        "message": "No route matches this host and path.",
        "request_id": "id-1",
    }


@pytest.mark.parametrize("fields", [(), ("Accept: */*",), ("Accept: ",), ("Accept: text/plain",)])
async def test_without_a_preference_the_page_is_text(fields: tuple[str, ...]) -> None:
    """curl and its like get text."""
    assert (await page(*fields)).fields["content-type"].startswith("text/plain")


async def test_each_page_has_an_id_of_its_own() -> None:
    """Two requests without an id get different ones, in field and body alike."""
    first, second = await page(), await page()
    assert first.fields["x-request-id"] != second.fields["x-request-id"]
    assert first.fields["x-request-id"] in first.body.decode()


async def test_a_malformed_request_gets_an_id_too() -> None:
    """Whoever asks support about a 400 can name it."""
    async with running_proxy(one_route([])) as proxy:
        reply = await ask(proxy, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-Request-ID: mine\r\n\r\n")
    assert reply.status == 400
    assert len(reply.fields["x-request-id"]) == 32
    assert reply.fields["x-request-id"] in reply.body.decode()


async def test_a_route_may_be_answered_by_the_table() -> None:
    """A route whose configuration is unsafe answers with its status and its reason, and the connection goes on."""
    action = Respond(status=503, reason="The access list of this route cannot be read.")
    table = msgspec.structs.replace(one_route([]), hosts={HOST: Host(routes=(Route(action=action),))})
    async with running_proxy(table) as proxy:
        reply = await ask(proxy, get())
    assert reply.status == 503
    assert "The access list of this route cannot be read." in reply.body.decode()
    assert "connection" not in reply.fields


@pytest.mark.parametrize(
    "response",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
async def test_a_backend_that_makes_no_sense_is_a_bad_gateway(response: bytes) -> None:
    """502 with our own page; nothing of what the backend said, and not its address."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(response)

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        reply = await ask(proxy, get(method="POST"))
    assert reply.status == 502
    assert reply.body.decode().startswith("502 Bad Gateway\n")
    assert str(backend.port) not in reply.body.decode()


async def test_curl_shows_the_page() -> None:
    """A person with curl sees what is wrong and the id to ask about."""
    async with running_proxy(one_route([])) as proxy:
        code, out, _ = await curl("-H", "Host: unknown.example.com", f"http://127.0.0.1:{proxy.port}/")
    assert code == 0
    assert out.startswith(b"404 Not Found\nNo route matches this host and path.\nRequest id: ")
