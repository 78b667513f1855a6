"""Routes whose action is a redirect: where they lead, and that they lead nowhere else."""

from __future__ import annotations

import pytest

from proxy.table import Host, Redirect, Route, Settings, Table
from tests.support.clients import ask, get, read_reply
from tests.support.proxy import HOST, one_route, running_proxy


@pytest.mark.parametrize(
    ("action", "target", "location"),
    [
        (Redirect(), "/a?b=c", "/a?b=c"),
        (Redirect(scheme="https"), "/a?b=c", f"https://{HOST}/a?b=c"),
        (Redirect(scheme="https", port=8443), "/", f"https://{HOST}:8443/"),
        (Redirect(scheme="https", port=443), "/", f"https://{HOST}/"),
        (Redirect(port=8080), "/", f"http://{HOST}:8080/"),
        (Redirect(host="New.example.com"), "/a%2Fb?c", "http://new.example.com/a%2Fb?c"),
        (Redirect(host="2001:DB8::1", port=81), "/", "http://[2001:db8::1]:81/"),
        (Redirect(host="[::1]"), "/", "http://[::1]/"),
        (Redirect(host="new.example.com", replace_path="/x y?"), "/a?b", "http://new.example.com/x%20y%3F?b"),
        (Redirect(replace_path="/new"), "/old/a?b=c&d", "/new?b=c&d"),
        (Redirect(replace_path="new"), "/", "/new"),
        (Redirect(replace_path="/%61\u00e9"), "/", "/%61%C3%A9"),
    ],
)
async def test_what_is_not_given_stays(action: Redirect, target: str, location: str) -> None:
    """Scheme, host, port and path; the query always does."""
    async with running_proxy(one_route([], action=action)) as proxy:
        reply = await ask(proxy, get(target, host=f"{HOST.upper()}:{proxy.port}"))
    assert (reply.status, reply.fields["location"]) == (302, location)


@pytest.mark.parametrize(
    ("path", "replacement", "target", "location"),
    [
        ("/old", "/new", "/old", "/new"),
        ("/old", "/new", "/old/", "/new/"),
        ("/old", "/new", "/old/a/b?c", "/new/a/b?c"),
        ("/old/", "/new/", "/old/a", "/new/a"),
        ("/old/", "/new", "/old/a", "/new/a"),
        ("/old", "/new/", "/old", "/new/"),
        ("/old", "/", "/old", "/"),
        ("/old", "/", "/old/a", "/a"),
        ("/", "/new", "/a", "/new/a"),
        ("/", "/new/", "/", "/new/"),
    ],
)
async def test_a_replaced_prefix_keeps_the_rest_with_one_slash_at_the_seam(
    path: str, replacement: str, target: str, location: str
) -> None:
    """However many slashes either side writes."""
    table = one_route([], action=Redirect(replace_prefix=replacement), path=path)
    async with running_proxy(table) as proxy:
        assert (await ask(proxy, get(target))).fields["location"] == location


@pytest.mark.parametrize(
    ("action", "target", "location"),
    [
        (Redirect(), "//evil.example/x", "/.//evil.example/x"),
        (Redirect(replace_prefix="/"), "/old//evil.example", "/evil.example"),
        (Redirect(replace_prefix="//"), "/old/evil.example", "/evil.example"),
        (Redirect(replace_path="//evil.example"), "/", "/evil.example"),
        (Redirect(replace_path="/\r\nSet-Cookie: a=b"), "/", "/%0D%0ASet-Cookie:%20a=b"),
    ],
)
async def test_no_path_leads_to_another_host(action: Redirect, target: str, location: str) -> None:
    """Two slashes in front would; with slashes unmerged a client could write them."""
    path = "/old" if target.startswith("/old") else "/"
    settings = Settings(access_log="off", merge_slashes=False)
    async with running_proxy(one_route([], action=action, path=path, settings=settings)) as proxy:
        reply = await ask(proxy, get(target))
    assert reply.fields["location"] == location
    assert "set-cookie" not in reply.fields


async def test_a_host_that_is_none_never_reaches_a_location() -> None:
    """Any host may ask the default; one that is malformed is refused, and one that is missing leads nowhere."""
    table = Table(
        hosts={"*": Host(routes=(Route(action=Redirect(scheme="https")),))}, settings=Settings(access_log="off")
    )
    async with running_proxy(table) as proxy:
        assert (await ask(proxy, get(host="other.example:1"))).fields["location"] == "https://other.example/"
        assert (await ask(proxy, get(host="[2001:db8::0:1]:1"))).fields["location"] == "https://[2001:db8::1]/"
        for host in ("a@evil.example", "a/evil", "a b"):
            refused = await ask(proxy, get(host=host))
            assert refused.status == 400
            assert "location" not in refused.fields
        assert (await proxy.ask(b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_the_scheme_is_that_of_the_client_behind_a_trusted_proxy() -> None:
    """X-Forwarded-Proto of a trusted peer counts where the redirect leaves the scheme alone."""
    settings = Settings(access_log="off", trusted_proxies=("127.0.0.0/8",))
    async with running_proxy(one_route([], action=Redirect(host="b.example"), settings=settings)) as proxy:
        reply = await ask(proxy, get("/", "X-Forwarded-Proto: https"))
    assert reply.fields["location"] == "https://b.example/"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_status_is_that_of_the_table_and_the_connection_goes_on(status: int) -> None:
    """Also behind a request with a body that nobody wanted."""
    async with running_proxy(one_route([], action=Redirect(status=status, replace_path="/x"))) as proxy:
        client = await proxy.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 3\r\n\r\nabc" + get())
        replies = [await read_reply(client), await read_reply(client)]
        client.close()
    assert [reply.status for reply in replies] == [status, status]


@pytest.mark.parametrize(
    "action",
    [
        Redirect(status=200),
        Redirect(status=304),
        Redirect(scheme="javascript"),
        Redirect(host="a.example:80"),
        Redirect(host="a.example/x"),
        Redirect(host="a.example\r\nX: y"),
        Redirect(host="user@a.example"),
        Redirect(port=70000),
    ],
)
async def test_a_redirect_without_a_safe_meaning_is_503(action: Redirect) -> None:
    """Nothing of it reaches the wire."""
    async with running_proxy(one_route([], action=action)) as proxy:
        reply = await ask(proxy, get())
    assert reply.status == 503
    assert not {"location", "x"} & reply.fields.keys()
