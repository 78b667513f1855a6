"""Heads made to be misread: hosts, paths, forwarding fields, sizes and slowness."""

from __future__ import annotations

import asyncio
from time import monotonic

import msgspec
import pytest

from proxy.table import Host, Respond, Route, Settings, Table
from tests.support.backend import fixed, raw_backend
from tests.support.proxy import HOST, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(*lines: bytes, target: bytes = b"/", host: bytes = b"foo.example.com") -> bytes:
    head = b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n"
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 ")
    return int(answer[9:12])


def field_values(head: bytes, name: bytes) -> list[bytes]:
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    return [value.strip() for key, _, value in lines if key.lower() == name.lower()]


def guarded(port: int) -> Table:
    """``/admin`` and below is forbidden, everything else goes to the backend."""
    table = one_route([port])
    (route,) = table.hosts[HOST].routes
    forbidden = Respond(status=403, reason="forbidden")
    routes = (route, Route(path="/admin", action=forbidden), Route(path="/only", kind="exact", action=forbidden))
    return msgspec.structs.replace(table, hosts={HOST: Host(routes=routes)})


@pytest.mark.parametrize(
    "target",
    [
        b"/admin", b"/admin/", b"/admin/x", b"//admin", b"/admin//x", b"/./admin", b"/x/../admin", b"/%61dmin",
        b"/%2e/admin", b"/x/%2E%2e/admin", b"/admin/.", b"/admin?x", b"/admin/%2e", b"http://foo.example.com/%61dmin",
        b"/only", b"/x/../only", b"/%6Fnly", b"/only?/../x",
    ],
)  # fmt: skip
async def test_no_spelling_of_a_path_dodges_its_route(target: bytes) -> None:
    """Matched in its one normal form, whatever form it came in (CVE-2022-4886 and kin)."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(guarded(backend.port)) as proxy:
        assert status(await proxy.ask(get(target=target))) == 403
    assert backend.heads == []


@pytest.mark.parametrize(
    "target",
    [
        b"/x/..;/admin", b"/x/..%2fadmin", b"/x/..%5Cadmin", b"/x\\..\\admin", b"/../admin", b"/%2e%2e/admin",
        b"/x/.%2e%2Fadmin", b"/admin%00", b"/x#/../admin", b"/x%0d%0aX:y", b"/x/..%3b/admin",
    ],
)  # fmt: skip
async def test_paths_that_a_backend_might_read_otherwise_are_refused(target: bytes) -> None:
    """Dot segments that appear only after another decoding, and bytes that cut a path short."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(guarded(backend.port)) as proxy:
        assert status(await proxy.ask(get(target=target))) == 400
    assert backend.heads == []


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        (b"/a%2fb", b"/a%2Fb"), (b"/administer", b"/administer"), (b"/Admin", b"/Admin"), (b"/a;b=c/d", b"/a;b=c/d"),
        (b"/a/../b?x=/../admin", b"/b?x=/../admin"), (b"/%7Euser/%c3%a9", b"/~user/%C3%A9"), (b"/a%20b", b"/a%20b"),
    ],
)  # fmt: skip
async def test_the_backend_gets_the_form_that_was_matched(target: bytes, forwarded: bytes) -> None:
    """Never the raw one; an escaped slash stays one element, case stays, the query is left alone."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(guarded(backend.port)) as proxy:
        assert status(await proxy.ask(get(target=target))) == 200
    assert backend.heads[0].startswith(b"GET " + forwarded + b" HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "host",
    [b"foo.example.com", b"FOO.EXAMPLE.COM", b"foo.example.com.", b"foo.example.com:80", b"Foo.Example.com.:8080"],
)
async def test_no_spelling_of_a_host_dodges_its_rules(host: bytes) -> None:
    """Case, a trailing dot and a port lead to the same route, here one that redirects to https (CVE-2022-23632)."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], https_redirect=True)) as proxy,
    ):
        answers = [
            await proxy.ask(get(host=host)),
            await proxy.ask(get(target=b"http://" + host + b"/", host=b"other.example.com")),
        ]
    assert [status(answer) for answer in answers] == [308, 308]
    assert backend.heads == []


async def test_the_host_of_an_absolute_target_replaces_host() -> None:
    """Routing and the backend see the same one (RFC 9112 section 3.2.2)."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        assert status(await proxy.ask(get(target=b"http://foo.example.com:81/a", host=b"evil.example.com"))) == 200
        assert status(await proxy.ask(get(target=b"http://evil.example.com/a", host=b"foo.example.com"))) == 404
    (head,) = backend.heads
    assert field_values(head, b"Host") == field_values(head, b"X-Forwarded-Host") == [b"foo.example.com:81"]


SPOOFED = (
    b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil", b"X-Forwarded-Port: 6",
    b"X-Forwarded-Scheme: https", b"X-Scheme: https", b"X-Real-IP: 6.6.6.6", b"Forwarded: for=6.6.6.6",
    b"X-Forwarded-Prefix: /evil", b"X-Forwarded-User: root", b"X-Forwarded-Ssl: on", b"X-Original-URL: /evil",
    b"X-Original-Forwarded-For: 6.6.6.6", b"X_Forwarded_For: 6.6.6.6", b"X_REAL_IP: 6.6.6.6",
    b"X.Forwarded.For: 6.6.6.6",
)  # fmt: skip


@pytest.mark.parametrize(
    "extra", [b"X-Harmless: 1", b"Connection: X-Forwarded-For, X-Real-IP, X-Forwarded-Proto, Host"]
)
async def test_a_client_cannot_speak_for_the_proxy(extra: bytes) -> None:
    """Whatever it sends, and whatever Connection names, the backend reads each field once, with the proxy's words."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        assert status(await proxy.ask(get(*SPOOFED, extra))) == 200
    (head,) = backend.heads
    assert not any(word in head for word in (b"6.6.6.6", b"evil", b"root", b"https", b"on\r\n"))
    for name in (b"X-Forwarded-For", b"X-Real-IP"):
        assert field_values(head, name) == [b"127.0.0.1"]
    assert field_values(head, b"X-Forwarded-Proto") == field_values(head, b"X-Scheme") == [b"http"]
    assert field_values(head, b"X-Forwarded-Host") == field_values(head, b"Host") == [b"foo.example.com"]
    assert field_values(head, b"X-Forwarded-Port") == [b"80"]
    assert len(field_values(head, b"X-Request-ID")) == 1


async def test_a_trusted_peer_is_believed_where_it_makes_sense() -> None:
    """Its chain is extended, its scheme, host, port and prefix kept; underscored aliases are nobody's word."""
    settings = Settings(access_log="off", trusted_proxies=("127.0.0.0/8",))
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port], settings=settings)) as proxy:
        assert status(await proxy.ask(get(*SPOOFED))) == 200
    (head,) = backend.heads
    assert field_values(head, b"X-Forwarded-For") == [b"6.6.6.6, 127.0.0.1"]
    assert field_values(head, b"X-Real-IP") == [b"6.6.6.6"]
    assert field_values(head, b"X-Forwarded-Proto") == [b"https"]
    assert field_values(head, b"X-Forwarded-Host") == [b"evil"]
    assert field_values(head, b"X-Forwarded-Prefix") == [b"/evil"]
    assert field_values(head, b"Host") == [b"foo.example.com"]
    for name in (b"X_Forwarded_For", b"X.Forwarded.For", b"X_REAL_IP", b"X-Original-URL", b"Forwarded"):
        assert field_values(head, name) == []


async def test_underscores_pass_where_they_are_allowed_but_alias_nothing() -> None:
    """The switch is for fields of applications, not for a second spelling of what the proxy says."""
    settings = Settings(access_log="off", allow_underscores=True)
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port], settings=settings)) as proxy:
        assert status(await proxy.ask(get(b"my_field: 1", b"X_Forwarded_For: 6.6.6.6"))) == 200
    assert field_values(backend.heads[0], b"my_field") == [b"1"]
    assert b"6.6.6.6" not in backend.heads[0]


OVERSIZED = {
    "request line": (b"GET /" + b"a" * 9000, 414),
    "query": (b"GET /?" + b"a" * 9000, 414),
    "one field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 34_000, 431),
    "many fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: aaaaaaaa\r\n" * 3000, 431),
}


@pytest.mark.parametrize("name", OVERSIZED)
async def test_a_head_is_refused_once_it_is_too_large_not_once_it_ends(name: str) -> None:
    """The client need not finish it: memory is bounded by the limits, and the answer comes while it still sends."""
    data, expected = OVERSIZED[name]
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        for start in range(0, len(data), 1000):
            client.send(data[start : start + 1000])
            await asyncio.sleep(0)
        answer = await client.read_to_end()
        client.close()
    assert status(answer) == expected
    assert backend.connections == 0


async def test_a_valid_head_may_come_byte_by_byte() -> None:
    """Slowness alone is no fault, and the bytes behind it are the body."""
    request = b"\r\nPOST /a HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 5\r\n\r\nhello"
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        for index in range(len(request)):
            client.send(request[index : index + 1])
            await asyncio.sleep(0.0002)
        assert (await client.read_response())[1] == b"ok"
        client.close()
    assert backend.bodies == [b"hello"]


async def test_empty_lines_win_no_time() -> None:
    """A client that only ever sends line ends is cut off like one that sends nothing."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        begun = monotonic()
        client.send(b"\r\n")
        await asyncio.sleep(0.05)
        client.send(b"\r\n")
        await asyncio.sleep(0.05)
        proxy.worker.connections.check(begun + 15.02)
        assert await client.read_to_end() == b""
        client.close()


async def test_the_refusal_is_read_although_more_was_sent() -> None:
    """Closing on unread bytes would reset the answer away; a client in mid-upload still learns why."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        for _ in range(50):
            client.send(b"x" * 20_000)
            await asyncio.sleep(0)
        answer = await client.read_to_end()
        client.close()
    assert status(answer) == 400
    assert b"\r\nConnection: close\r\n" in answer


async def test_a_refusal_repeats_nothing_of_the_request() -> None:
    """Neither in its head nor in its body: no way to put words into a page of this host."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        for request in (
            b"GET /<script> HTTP/9.9\r\nHost: <script>\r\n\r\n",
            b"GET /<script> HTTP/1.1\r\nHost: script.example\r\nConnection: close\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: foo.example.com\r\nX\0script: <script>\r\n\r\n",
        ):
            answer = await proxy.ask(request)
            assert status(answer) in (400, 404)
            assert b"script" not in answer


@pytest.mark.parametrize("method", [b"CONNECT", b"connect"])
@pytest.mark.parametrize("target", [b"foo.example.com:443", b"/", b"http://foo.example.com/"])
async def test_connect_opens_nothing(method: bytes, target: bytes) -> None:
    """No form of CONNECT reaches a backend, whose 2xx would turn the connection into a tunnel."""
    request = method + b" " + target + b" HTTP/1.1\r\nHost: foo.example.com\r\n\r\n"
    tunnel = b"HTTP/1.1 200 OK\r\n\r\n"
    async with raw_backend(fixed(tunnel)) as backend, running_proxy(one_route([backend.port])) as proxy:
        answer = await proxy.ask(request)
    assert status(answer) in (405, 501)
    assert backend.connections == 0


async def test_an_unknown_host_gets_404_and_no_backend() -> None:
    """A host that no table knows, and one below a known host."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        for host in (b"bar.example.com", b"x.foo.example.com", b"example.com", b"127.0.0.1", b"[::1]"):
            assert status(await proxy.ask(get(host=host))) == 404
    assert backend.connections == 0
