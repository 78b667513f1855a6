"""Clients that return to their endpoint by a cookie, for as long as it is there and well."""

from __future__ import annotations

import re
import ssl

import msgspec
import pytest
import trustme

from proxy.table import (
    Affinity,
    Balance,
    Certificate,
    Cluster,
    Endpoint,
    Forward,
    HashPart,
    HeaderRules,
    Host,
    Policy,
    RateLimit,
    Route,
    Settings,
)
from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.clients import Reply, ask, get, read_reply
from tests.support.failing import cluster_of, quiet, refusing_port, resets
from tests.support.proxy import HOST, RunningProxy, one_route, running_proxy

STICKY = Affinity(cookie="route")


def _named(name: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nX-Pod: {name}\r\nContent-Length: 0\r\n\r\n".encode()


def _value(reply: Reply) -> str:
    """The value of the cookie that the reply sets."""
    match = re.match(r"route=([0-9a-f]{32});", reply.fields["set-cookie"])
    assert match is not None, reply.fields["set-cookie"]
    return match[1]


async def _again(proxy: RunningProxy, value: str, *fields: str) -> Reply:
    return await ask(proxy, get("/", f"Cookie: a=b; route={value}; c=d", *fields))


async def test_a_client_returns_to_its_endpoint() -> None:
    """The first answer sets the cookie; with it all requests go there, and it is not set again."""
    async with (
        raw_backend(fixed(_named("a"))) as a,
        raw_backend(fixed(_named("b"))) as b,
        running_proxy(one_route([a.port, b.port], affinity=STICKY)) as proxy,
    ):
        firsts = [await ask(proxy, get()) for _ in range(4)]
        assert {reply.fields["x-pod"] for reply in firsts} == {"a", "b"}
        for first in firsts:
            for _ in range(5):
                again = await _again(proxy, _value(first))
                assert again.fields["x-pod"] == first.fields["x-pod"]
                assert "set-cookie" not in again.fields


async def test_the_value_is_the_same_everywhere_and_shows_no_address() -> None:
    """Another worker, another process, the same cluster and address: the same value. Another cluster: another."""
    async with raw_backend(fixed(_named("a"))) as a, raw_backend(fixed(_named("b"))) as b:
        values = []
        for ports in ([a.port], [a.port, b.port], [b.port, a.port]):
            async with running_proxy(one_route(ports, affinity=STICKY)) as proxy:
                replies = [await ask(proxy, get()) for _ in range(2 * len(ports))]
            values.append({_value(reply) for reply in replies if reply.fields["x-pod"] == "a"})
    assert values[0] == values[1] == values[2]
    (value,) = values[0]
    assert str(a.port) not in value
    assert f"{a.port:x}" not in value or len(f"{a.port:x}") < 4


@pytest.mark.parametrize(
    ("affinity", "rest"),
    [
        (Affinity(cookie="route"), "; Path=/; HttpOnly"),
        (Affinity(cookie="route", path="/shop", max_age=60), "; Path=/shop; Max-Age=60; HttpOnly"),
        (Affinity(cookie="route", secure=True, same_site="None"), "; Path=/; Secure; HttpOnly; SameSite=None"),
        (Affinity(cookie="route", same_site="Strict"), "; Path=/; HttpOnly; SameSite=Strict"),
        (Affinity(cookie="route", same_site="None"), "; Path=/; HttpOnly"),
        (Affinity(cookie="route", path="/;x\r\ny"), "; Path=/; HttpOnly"),
    ],
)
async def test_the_attributes_are_those_of_the_table(affinity: Affinity, rest: str) -> None:
    """What would break the field is not among them, and SameSite=None needs Secure."""
    async with raw_backend(fixed(_named("a"))) as a, running_proxy(one_route([a.port], affinity=affinity)) as proxy:
        reply = await ask(proxy, get())
    assert reply.fields["set-cookie"] == f"route={_value(reply)}{rest}"


async def test_over_https_the_cookie_is_secure() -> None:
    """Where the table does not say, the client's own connection decides, or a trusted proxy's word."""
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    chain = "".join(pem.bytes().decode() for pem in issued.cert_chain_pems)
    certificate = Certificate(chain_pem=chain, key_pem=issued.private_key_pem.bytes().decode())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with raw_backend(fixed(_named("a"))) as a:
        table = one_route(
            [a.port],
            affinity=STICKY,
            certificates={"c": certificate},
            server_names={HOST: "c"},
            settings=Settings(trusted_proxies=("127.0.0.0/8",)),
        )
        async with running_proxy(table) as proxy:
            client = await proxy.connect(tls_context=context, server_hostname=HOST)
            client.send(get())
            secure = await read_reply(client)
            client.close()
            told = await ask(proxy, get("/", "X-Forwarded-Proto: https"))
            plain = await ask(proxy, get())
    assert "; Secure" in secure.fields["set-cookie"]
    assert "; Secure" in told.fields["set-cookie"]
    assert "; Secure" not in plain.fields["set-cookie"]


@pytest.mark.parametrize(
    "cookie",
    ["route=", "route=0", "route=" + "0" * 32, 'route="x"', "xroute=y", "route", "a=route=1", ";;;=", "route=é"],
)
async def test_a_cookie_that_names_no_endpoint_is_set_anew(cookie: str) -> None:
    """Whatever the client made up, it is balanced as if it had none."""
    async with raw_backend(fixed(_named("a"))) as a, running_proxy(one_route([a.port], affinity=STICKY)) as proxy:
        reply = await ask(proxy, get("/", f"Cookie: {cookie}"))
    assert reply.status == 200
    assert _value(reply)


async def _with_the_endpoint_of(proxy: RunningProxy, name: str) -> str:
    for _ in range(8):
        reply = await ask(proxy, get())
        if reply.fields["x-pod"] == name:
            return _value(reply)
    raise AssertionError(f"no request came to {name}")


async def test_an_endpoint_that_left_is_replaced_for_good() -> None:
    """The next answer sets the cookie of another one; that of an endpoint that came back is known again."""
    async with raw_backend(fixed(_named("a"))) as a, raw_backend(fixed(_named("b"))) as b:
        both, only = [one_route(ports, affinity=STICKY) for ports in ([a.port, b.port], [b.port])]
        async with running_proxy(both) as proxy:
            old = await _with_the_endpoint_of(proxy, "a")
            proxy.publish(only)
            moved = await _again(proxy, old)
            assert (moved.fields["x-pod"], _value(moved) != old) == ("b", True)
            assert "set-cookie" not in (await _again(proxy, _value(moved))).fields
            proxy.publish(both)
            assert (await _again(proxy, old)).fields["x-pod"] == "a"


async def test_an_ejected_endpoint_is_left_out() -> None:
    """Its clients get another at once, without a try that must fail."""
    async with (
        raw_backend(fixed(_named("a"))) as a,
        raw_backend(fixed(_named("b"))) as b,
        running_proxy(one_route([a.port, b.port], affinity=STICKY)) as proxy,
    ):
        old = await _with_the_endpoint_of(proxy, "a")
        seen = len(a.heads)
        (mine,) = [endpoint for endpoint in cluster_of(proxy).endpoints if endpoint.port == a.port]
        assert mine.failed(1e12)
        reply = await _again(proxy, old)
    assert (reply.fields["x-pod"], _value(reply) != old, len(a.heads) - seen) == ("b", True, 0)


async def test_a_failed_try_leads_elsewhere_and_the_cookie_follows() -> None:
    """The client is sent to the endpoint that answered, not to the one that failed."""
    async with (
        raw_backend(resets()) as failing,
        raw_backend(fixed(_named("b"))) as b,
        running_proxy(one_route([failing.port, b.port], affinity=STICKY)) as proxy,
    ):
        mine, other = [endpoint.cookie.decode() for endpoint in cluster_of(proxy).endpoints]
        reply = await _again(proxy, mine)
        assert len(failing.heads) == 1
        assert (reply.fields["x-pod"], _value(reply)) == ("b", other)
        await quiet(proxy)


async def test_an_answer_of_the_proxy_sets_no_cookie_and_leaves_none_behind() -> None:
    """A 502, and what another route of the same connection says afterwards."""
    with refusing_port() as port:
        async with running_proxy(one_route([port], affinity=STICKY, settings=Settings(max_retries=0))) as proxy:
            client = await proxy.connect()
            client.send(get() + get("/", host="unknown.example"))
            replies = [await read_reply(client), await read_reply(client)]
            client.close()
    assert [reply.status for reply in replies] == [502, 404]
    assert not any("set-cookie" in reply.fields for reply in replies)


async def test_requests_of_one_connection_are_told_apart() -> None:
    """Each goes by its own cookie; one that needs none gets none from the one before."""
    async with (
        raw_backend(fixed(_named("a"))) as a,
        raw_backend(fixed(_named("b"))) as b,
        running_proxy(one_route([a.port, b.port], affinity=STICKY)) as proxy,
    ):
        values = {name: await _with_the_endpoint_of(proxy, name) for name in "ab"}
        client = await proxy.connect()
        found = []
        for name in ("a", "", "b", "a"):
            client.send(get("/", f"Cookie: route={values[name]}") if name else get())
            reply = await read_reply(client)
            found.append((reply.fields["x-pod"] if name else "", "set-cookie" in reply.fields))
        client.close()
    assert found == [("a", False), ("", True), ("b", False), ("a", False)]


async def test_the_method_of_balancing_makes_the_first_choice() -> None:
    """Hashing by path, a client without a cookie goes where the hash says; afterwards where its cookie says."""
    balance = Balance(method="hash", hash_key=(HashPart(source="uri"),))

    async def pod(proxy: RunningProxy, path: str, *fields: str) -> Reply:
        return await ask(proxy, get(path, *fields))

    async with (
        raw_backend(fixed(_named("a"))) as a,
        raw_backend(fixed(_named("b"))) as b,
        running_proxy(one_route([a.port, b.port], affinity=STICKY, balance=balance)) as proxy,
    ):
        firsts = {path: await pod(proxy, path) for path in map("/{}".format, range(16))}
        assert {reply.fields["x-pod"] for reply in firsts.values()} == {"a", "b"}
        for path, first in firsts.items():
            assert (await pod(proxy, path)).fields["x-pod"] == first.fields["x-pod"]
        mine = firsts["/0"]
        for path in firsts:
            again = await pod(proxy, path, f"Cookie: route={_value(mine)}")
            assert again.fields["x-pod"] == mine.fields["x-pod"]


async def test_the_cookies_of_the_backend_stay() -> None:
    """Ours is one more line, also beside the rules of a route and in a response that streams."""
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    policy = Policy(rate_limit=RateLimit(key="k", rate=1000.0, burst=10))
    async with (
        raw_backend(fixed(answer)) as backend,
        running_proxy(one_route([backend.port], affinity=STICKY, policy=policy)) as proxy,
    ):
        client = await proxy.connect()
        client.send(get())
        head, _ = await client.read_response()
        client.close()
    assert re.findall(rb"\r\nSet-Cookie: (\w+)=", head) == [b"own", b"route"]


async def test_what_one_request_was_to_be_told_no_other_is() -> None:
    """The next request of the connection goes to a cluster without affinity: it gets no cookie of the first one's."""
    async with raw_backend(fixed(_named("a"))) as a, raw_backend(fixed(_named("b"))) as b:
        sticky = one_route([a.port], affinity=STICKY)
        plain = Cluster(endpoints=(Endpoint(address="127.0.0.1", port=b.port),))
        table = msgspec.structs.replace(
            sticky,
            hosts={**sticky.hosts, "plain.example": Host(routes=(Route(action=Forward(cluster="plain")),))},
            clusters={**sticky.clusters, "plain": plain},
        )
        async with running_proxy(table) as proxy:
            client = await proxy.connect()
            client.send(get() + get(host="plain.example"))
            replies = [await read_reply(client), await read_reply(client)]
            client.close()
    assert ["set-cookie" in reply.fields for reply in replies] == [True, False]


async def test_a_websocket_is_told_where_to_return() -> None:
    """The 101 carries the cookie and the fields of the route's rules, and the tunnel behind it is whole."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: x\r\n\r\nhello"
        )
        conversation.send(await conversation.reader.readexactly(3))

    policy = Policy(response_headers=HeaderRules(set={"X-Rule": "1"}))
    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], affinity=STICKY, policy=policy)) as proxy,
    ):
        client = await proxy.connect()
        client.send(get("/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k") + b"abc")
        head = await client.read_head()
        rest = await client.reader.readexactly(8)
        client.close()
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSet-Cookie: route=" in head
    assert b"\r\nX-Rule: 1\r\n" in head
    assert rest == b"helloabc"
