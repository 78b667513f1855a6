"""Plain requests to hosts with TLS are sent to https, and only those."""

from __future__ import annotations

import pytest

from proxy.table import Settings
from tests.support.backend import fixed, raw_backend
from tests.support.clients import ask, curl, get, read_reply
from tests.support.proxy import HOST, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/", f"https://{HOST}/"),
        ("/a/b?c=d&e=%2F", f"https://{HOST}/a/b?c=d&e=%2F"),
        ("/a%20b;c?", f"https://{HOST}/a%20b;c?"),
        ("/a/../b//c", f"https://{HOST}/b/c"),
        ("http://FOO.example.com:8080/abs?x=1", f"https://{HOST}/abs?x=1"),
        ("/x?%0d%0aSet-Cookie:%20a=1", f"https://{HOST}/x?%0d%0aSet-Cookie:%20a=1"),
    ],
)
async def test_the_redirect_names_the_same_resource(target: str, location: str) -> None:
    """308 with the host without its port, the path as it would be forwarded, and the query untouched."""
    async with running_proxy(one_route([], https_redirect=True)) as proxy:
        reply = await ask(proxy, get(target, host=f"{HOST}:{proxy.port}"))
    assert reply.status == 308
    assert reply.fields["location"].lower() == location.lower()
    assert "connection" not in reply.fields
    assert "set-cookie" not in reply.fields


async def test_status_and_port_are_settings() -> None:
    """Whoever reaches https on another port is sent there, with the status that the operator wants."""
    settings = Settings(access_log="off", https_redirect_status=301, https_redirect_port=8443)
    async with running_proxy(one_route([], https_redirect=True, settings=settings)) as proxy:
        reply = await ask(proxy, get("/x"))
    assert reply.status == 301
    assert reply.fields["location"] == f"https://{HOST}:8443/x"


async def test_a_challenge_of_a_certificate_authority_is_not_redirected() -> None:
    """ACME http-01 asks in plain text before there is a certificate; nothing else below .well-known is exempt."""
    paths = ("/.well-known/acme-challenge", "/.well-known/acme-challenge/../x", "/.well-known/other")
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], https_redirect=True)) as proxy,
    ):
        challenge = await ask(proxy, get("/.well-known/acme-challenge/token"))
        others = [await ask(proxy, get(path)) for path in paths]
    assert challenge.body == b"ok"
    assert [reply.status for reply in others] == [308] * 3


@pytest.mark.parametrize(("trusted", "status"), [(("127.0.0.0/8",), 200), (("10.0.0.0/8",), 308), ((), 308)])
async def test_https_in_front_of_us_counts_where_its_teller_is_trusted(trusted: tuple[str, ...], status: int) -> None:
    """X-Forwarded-Proto: https stops the redirect (or it would never end) from a trusted peer only."""
    settings = Settings(access_log="off", trusted_proxies=trusted)
    async with raw_backend(fixed(OK)) as backend:
        table = one_route([backend.port], https_redirect=True, settings=settings)
        async with running_proxy(table) as proxy:
            told_https = await ask(proxy, get("/", "X-Forwarded-Proto: https"))
            told_http = await ask(proxy, get("/", "X-Forwarded-Proto: http"))
            told_nothing = await ask(proxy, get("/"))
    assert told_https.status == status
    assert told_http.status == told_nothing.status == 308


async def test_a_body_behind_a_redirected_request_does_not_disturb() -> None:
    """A POST is redirected with its method (308), its small body is dropped, and the connection goes on."""
    async with running_proxy(one_route([], https_redirect=True)) as proxy:
        client = await proxy.connect()
        client.send(b"POST /form HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 3\r\n\r\nabc" + get("/next"))
        first, second = await read_reply(client), await read_reply(client)
        client.close()
    assert [first.status, second.status] == [308, 308]
    assert second.fields["location"].endswith("/next")


async def test_a_request_without_a_host_cannot_be_redirected() -> None:
    """HTTP/1.0 without Host has no name to be sent to: it is served as it is where a default takes it, here 404."""
    async with running_proxy(one_route([], https_redirect=True)) as proxy:
        assert (await ask(proxy, b"GET / HTTP/1.0\r\n\r\n")).status == 404


async def test_curl_sees_where_to_go() -> None:
    """curl's redirect_url is the https URL of the same resource."""
    async with running_proxy(one_route([], https_redirect=True)) as proxy:
        _, out, _ = await curl(
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{redirect_url}",
            "-H",
            f"Host: {HOST}",
            f"http://127.0.0.1:{proxy.port}/p?q",
        )
    assert out == f"308 https://{HOST}/p?q".encode()
