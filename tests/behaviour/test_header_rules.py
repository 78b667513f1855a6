"""Header fields that a route removes, sets and adds, towards the backend and towards the client."""

from __future__ import annotations

import pytest

from proxy.table import HeaderRules, Policy, Settings
from tests.support.backend import fixed, raw_backend
from tests.support.clients import ask, get, parse_request, read_reply
from tests.support.failing import refusing_port, request, resets
from tests.support.proxy import one_route, running_proxy

OK = (
    b"HTTP/1.1 200 OK\r\nServer: shop/1.2\r\nX-Powered-By: magic\r\nX-Keep: 1\r\nx-twice: a\r\nX-Twice: b\r\n"
    b"Content-Length: 2\r\n\r\nok"
)


async def test_the_backend_gets_the_request_as_the_rules_want_it() -> None:
    """Removed, set and added in that order, in any spelling, on the proxy's own fields too; framing is untouched."""
    rules = HeaderRules(
        remove=("cookie", "X-Real-IP"),
        set={"X-Forwarded-Proto": "https", "X-Env": "prod", "x-request-id": "fixed"},
        add={"X-Env": "again", "Cookie": "only=this"},
    )
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(request_headers=rules))) as proxy,
    ):
        text = request("POST", body=b"abc", fields=b"COOKIE: a=b\r\nx-env: client\r\nX-Other: kept\r\n")
        assert (await ask(proxy, text)).status == 200
    head = parse_request(backend.heads[0])
    assert head.fields["cookie"] == "only=this"
    assert "x-real-ip" not in head.fields
    assert head.fields["x-forwarded-proto"] == "https"
    assert head.fields["x-env"] == "prod, again"
    assert head.fields["x-request-id"] == "fixed"
    assert head.fields["x-other"] == "kept"
    assert head.fields["host"] == "foo.example.com"
    assert (head.fields["content-length"], backend.bodies[0]) == ("3", b"abc")


async def test_each_try_gets_the_rules_once() -> None:
    """A retried request is changed from what the client sent, not from what the last try was sent."""
    rules = HeaderRules(add={"X-Try": "1"})
    async with raw_backend(resets()) as first, raw_backend(fixed(OK)) as second:
        table = one_route([first.port, second.port], policy=Policy(request_headers=rules))
        async with running_proxy(table) as proxy:
            replies = [await ask(proxy, get()) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 200]
    assert first.heads
    assert all(parse_request(head).fields["x-try"] == "1" for head in [*first.heads, *second.heads])


async def test_the_client_gets_the_response_as_the_rules_want_it() -> None:
    """On every response of a connection alike, and on the proxy's own Server and Date."""
    rules = HeaderRules(
        remove=("X-Powered-By", "server", "x-twice"),
        set={"Strict-Transport-Security": "max-age=1"},
        add={"X-Keep": "2"},
    )
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(response_headers=rules))) as proxy,
    ):
        client = await proxy.connect()
        client.send(get() * 2)
        replies = [await read_reply(client), await read_reply(client)]
        client.close()
    assert replies[0] == replies[1]
    fields = replies[0].fields
    assert not {"x-powered-by", "server", "x-twice"} & fields.keys()
    assert (fields["strict-transport-security"], fields["x-keep"]) == ("max-age=1", "1, 2")
    assert "date" in fields
    assert replies[0].body == b"ok"


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nServer: x\r\nDate: now\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ],
)
async def test_rules_hold_however_a_response_is_framed(response: bytes) -> None:
    """Chunks, a length, or the end of the connection."""

    async with raw_backend(fixed(response)) as backend:
        policy = Policy(response_headers=HeaderRules(set={"Server": "ours"}), read_timeout=1.0)
        async with running_proxy(one_route([backend.port], policy=policy)) as proxy:
            client = await proxy.connect()
            client.send(get())
            head = await client.read_head()
            client.close()
    assert head.lower().count(b"\r\nserver: ") == 1
    assert b"\r\nServer: ours\r\n" in head
    assert head.lower().count(b"\r\ndate: ") == 1


async def test_what_the_proxy_answers_itself_obeys_too() -> None:
    """A 502 and a 413 carry the route's response fields, as a backend's response does."""
    policy = Policy(
        response_headers=HeaderRules(set={"X-Frame-Options": "DENY"}, remove=("server",)),
        max_body_bytes=2,
        max_retries=0,
    )
    with refusing_port() as port:
        async with running_proxy(one_route([port], policy=policy)) as proxy:
            replies = [await ask(proxy, get()), await ask(proxy, request("POST", body=b"abc"))]
    assert [reply.status for reply in replies] == [502, 413]
    for reply in replies:
        assert reply.fields["x-frame-options"] == "DENY"
        assert "server" not in reply.fields


@pytest.mark.parametrize(
    "rules",
    [
        HeaderRules(set={"X-A": "1\r\nX-Injected: 1"}),
        HeaderRules(add={"X-A": "1\nX-Injected: 1"}),
        HeaderRules(set={"X-A\r\nX-Injected": "1"}),
        HeaderRules(set={"X-Injected :": "1"}),
        HeaderRules(set={"X-Injected": "\x00"}),
        HeaderRules(set={"": "1"}),
        HeaderRules(set={"Content-Length": "0"}),
        HeaderRules(remove=("content-length",)),
        HeaderRules(add={"Transfer-Encoding": "chunked"}),
        HeaderRules(add={"transfer_encoding": "chunked"}),
        HeaderRules(set={"Connection": "upgrade"}),
        HeaderRules(set={"Host": "other.example"}),
        HeaderRules(remove=("Host",)),
    ],
)
@pytest.mark.parametrize("side", ["request_headers", "response_headers"])
async def test_rules_that_would_break_framing_are_503(rules: HeaderRules, side: str) -> None:
    """Neither side sees a byte of them."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(**{side: rules}))) as proxy,  # type: ignore[arg-type]
    ):
        reply = await ask(proxy, get())
    assert reply.status == 503
    assert "x-injected" not in reply.fields
    assert backend.heads == []


async def test_a_bad_route_does_not_keep_others_from_going_live() -> None:
    """The delta that brings it is taken, and its neighbours change."""
    async with raw_backend(fixed(OK)) as backend:
        bad = one_route([backend.port], policy=Policy(deny=("nonsense",)))
        async with running_proxy(one_route([])) as proxy:
            proxy.publish(bad)
            assert (await ask(proxy, get())).status == 503
            proxy.publish(one_route([backend.port], settings=Settings(access_log="off", merge_slashes=False)))
            assert (await ask(proxy, get())).status == 200
