"""Annotations, from the write of an Ingress to what a client sees: valid, wrong, and together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from tests.support.cluster import Cluster, until
from tests.support.pods import pods
from tests.support.site import serve
from tests.support.sites import NGINX, OURS, SHOP, Secure, Sites, running_sites

pytestmark = pytest.mark.asyncio(loop_scope="module")

both_prefixes = pytest.mark.parametrize("prefix", [OURS, NGINX])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(cluster: Cluster) -> AsyncIterator[Sites]:
    """Its Services are ``web`` with one pod and ``three`` with three."""
    async with running_sites(cluster) as running:
        yield running


@both_prefixes
async def test_ssl_redirect_can_be_turned_off(sites: Sites, prefix: str) -> None:
    """A host with a tls section is redirected unless its Ingress says no."""
    plain = await sites.add({"ssl-redirect": "false"}, prefix=prefix, tls=True)
    usual = await sites.add({"ssl-redirect": "true"}, prefix=prefix, tls=True)
    assert [(await sites.get(name)).status for name in (plain, usual)] == [200, 308]


@both_prefixes
async def test_force_ssl_redirect_needs_no_certificate(sites: Sites, prefix: str) -> None:
    """308 over http, but for ACME challenges; not over https, nor where a trusted proxy ended TLS."""
    name = await sites.add({"force-ssl-redirect": "true"}, prefix=prefix)
    answer = await sites.get(name, path="/a?b=c")
    assert (answer.status, answer.fields["location"]) == (308, f"https://{name}.example.com/a?b=c")
    assert (await sites.get(name, path="/.well-known/acme-challenge/x")).status == 200
    assert (await sites.get(name, over=Secure(sites.running, name))).status == 200
    assert (await sites.get(name, "X-Forwarded-Proto: https")).status == 200


@both_prefixes
async def test_bodies_up_to_the_limit_pass(sites: Sites, prefix: str) -> None:
    """1,024 bytes of ``1k`` and not one more, by their length and in chunks; ``0`` is no limit."""
    small = await sites.add({"proxy-body-size": "1k"}, prefix=prefix)
    endless = await sites.add({"proxy-body-size": "0"}, prefix=prefix)
    sizes = [(1024, False), (1025, False), (1024, True), (1025, True)]
    assert [await sites.put(small, size, chunked=chunked) for size, chunked in sizes] == [200, 413, 200, 413]
    assert await sites.put(endless, 100_000) == 200


@both_prefixes
async def test_timeouts_reach_the_table(sites: Sites, prefix: str) -> None:
    """Connect, read and send, in seconds; what a read timeout does is shown in the tests of backends."""
    given = {f"proxy-{each}-timeout": str(seconds) for each, seconds in TIMEOUTS.items()}
    name = await sites.add(given, prefix=prefix)
    (route,) = (await sites.running.table())["hosts"][f"{name}.example.com"]["routes"]
    assert {each: route["policy"][f"{each}_timeout"] for each in TIMEOUTS} == TIMEOUTS


TIMEOUTS = {"connect": 3, "read": 7, "send": 9}


@both_prefixes
async def test_only_listed_clients_may_come(sites: Sites, prefix: str) -> None:
    """By the address behind trusted proxies; the newer name decides, and who is denied is so though allowed."""
    old = await sites.add({"whitelist-source-range": "198.51.100.0/25, 2001:db8::/32"}, prefix=prefix)
    new = await sites.add(
        {"allowlist-source-range": "198.51.100.0/24", "whitelist-source-range": "192.0.2.0/24"}, prefix=prefix
    )
    denied = await sites.add(
        {"whitelist-source-range": "198.51.100.0/24", "denylist-source-range": "198.51.100.128/25"}, prefix=prefix
    )
    clients = ("198.51.100.1", "198.51.100.200", "2001:db8::1", "192.0.2.1")
    seen = {name: [(await sites.get(name, client=client)).status for client in clients] for name in (old, new, denied)}
    assert seen == {old: [200, 403, 200, 403], new: [200, 200, 403, 403], denied: [200, 403, 403, 403]}


@both_prefixes
async def test_a_client_that_asks_too_often_is_turned_away(sites: Sites, prefix: str) -> None:
    """Beyond the burst 503, as ingress-nginx; others are not concerned, and some are not counted at all."""
    limits = {"limit-rpm": "1", "limit-burst-multiplier": "3", "limit-whitelist": "192.0.2.0/24"}
    minute = await sites.add(limits, prefix=prefix)
    second = await sites.add({"limit-rps": "1", "limit-burst-multiplier": "2"}, prefix=prefix)
    answers = await sites.statuses(minute, 6)
    assert answers == sorted(answers)
    assert (answers.count(200), answers.count(503)) in ((3, 3), (4, 2))
    assert await sites.statuses(minute, 1, client="198.51.100.2") == [200]
    assert await sites.statuses(minute, 8, client="192.0.2.1") == [200] * 8
    assert 503 in await sites.statuses(second, 8)


@both_prefixes
async def test_cors_is_answered_here(sites: Sites, prefix: str) -> None:
    """Each annotation shows in the preflight or in the answer; other origins get nothing."""
    name = await sites.add(CORS, prefix=prefix)
    preflight = await sites.preflight(name)
    assert preflight.status == 204
    assert {key: preflight.fields.get(f"access-control-{key}") for key in ALLOWED} == ALLOWED
    answer = await sites.get(name, f"Origin: {SHOP}")
    assert (answer.status, answer.fields["access-control-allow-origin"]) == (200, SHOP)
    assert answer.fields["access-control-expose-headers"] == "X-Total"
    assert "access-control-allow-credentials" not in answer.fields
    stranger = await sites.preflight(name, "https://evil.example")
    assert not [key for key in stranger.fields if key.startswith("access-control-")]
    usual = await sites.preflight(await sites.add({"enable-cors": "true"}, prefix=prefix))
    assert usual.fields["access-control-allow-methods"] == "GET, PUT, POST, DELETE, PATCH, OPTIONS"
    assert usual.fields["access-control-max-age"] == "1728000"


CORS = {
    "enable-cors": "true",
    "cors-allow-origin": f"{SHOP}, https://*.example.org",
    "cors-allow-methods": "GET, PUT",
    "cors-allow-headers": "X-Token",
    "cors-allow-credentials": "false",
    "cors-expose-headers": "X-Total",
    "cors-max-age": "60",
}
ALLOWED = {
    "allow-origin": SHOP,
    "allow-methods": "GET, PUT",
    "allow-headers": "X-Token",
    "max-age": "60",
    "allow-credentials": None,
}


@both_prefixes
async def test_a_client_returns_to_its_pod(sites: Sites, prefix: str) -> None:
    """By a cookie with the attributes that were asked for."""
    given = {"affinity": "cookie", "session-cookie-name": "route", "session-cookie-max-age": "60"}
    given |= {"session-cookie-path": "/shop", "session-cookie-secure": "true", "session-cookie-samesite": "Lax"}
    name = await sites.add(given, prefix=prefix, to="three")
    first = await sites.get(name)
    cookie, *attributes = first.fields["set-cookie"].split("; ")
    assert cookie.startswith("route=")
    assert {"Path=/shop", "Max-Age=60", "Secure", "HttpOnly", "SameSite=Lax"} <= set(attributes)
    assert await sites.served_by(name, ["/"] * 6, f"Cookie: {cookie}") == [first.body.decode()] * 6
    older = await sites.add({"affinity": "cookie", "session-cookie-expires": "90"}, prefix=prefix, to="three")
    set_cookie = (await sites.get(older)).fields["set-cookie"]
    assert set_cookie.startswith("INGRESSCOOKIE=")
    assert "Max-Age=90" in set_cookie


@both_prefixes
async def test_equal_keys_go_to_the_same_pod(sites: Sites, prefix: str) -> None:
    """``upstream-hash-by`` decides over ``load-balance``; different keys are spread."""
    name = await sites.add({"upstream-hash-by": "$arg_user", "load-balance": "ewma"}, prefix=prefix, to="three")
    paths = [f"/{number}?user={user}" for user in range(12) for number in range(2)]
    pods_seen = await sites.served_by(name, paths)
    assert pods_seen[::2] == pods_seen[1::2]
    assert len(set(pods_seen)) > 1


@pytest.mark.parametrize("method", ["round_robin", "ewma", "least_requests", "random_two"])
async def test_each_way_to_balance_uses_several_pods(sites: Sites, method: str) -> None:
    """Or the better ones of them; in turn means equal shares."""
    name = await sites.add({"load-balance": method}, to="three")
    seen = await sites.served_by(name, ["/"] * 30)
    assert len(set(seen)) > 1
    if method == "round_robin":
        assert {seen.count(pod) for pod in "abc"} == {10}


@both_prefixes
async def test_how_many_pods_are_tried(sites: Sites, cluster: Cluster, prefix: str) -> None:
    """``1``: the failure of the first pod is the client's; by default another answers."""
    async with pods(cluster.address, "gone", "away") as dead, pods(cluster.address, "here") as alive:
        for each in dead:
            await each.stop()
        services = [f"tries-{number}-{prefix.partition('.')[0]}" for number in range(2)]
        for service in services:
            await serve(cluster, service, [*dead, *alive])
        once = await sites.add({"proxy-next-upstream-tries": "1"}, prefix=prefix, to=services[0])
        usual = await sites.add(to=services[1])
        assert 502 in await sites.statuses(once, 3)
        assert await sites.statuses(usual, 3) == [200] * 3


@both_prefixes
async def test_custom_headers_come_from_a_config_map(sites: Sites, cluster: Cluster, prefix: str) -> None:
    """On answers of pods and of our own; a change of the ConfigMap is live; without it there is a problem, no field."""
    own = prefix.partition(".")[0]
    name = await sites.add({"custom-headers": own, "proxy-body-size": "1"}, prefix=prefix)
    assert (await sites.get(name)).status == 200
    await until(lambda: sites.is_told(name, own), what="that there is no such ConfigMap is told")
    config: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": own}}
    for value in ("one", "two"):
        await cluster.apply(config | {"data": {"X-Frame-Options": value, "Content-Length": "7"}})
        await until(partial(shows, sites, name, value), what=f"{value} is live")
    refused = await sites.get(name, "Content-Length: 2", method="PUT", body=b"ab")
    assert (refused.status, refused.fields["x-frame-options"]) == (413, "two")
    assert await sites.is_told(name, "Content-Length")


async def shows(sites: Sites, name: str, value: str) -> bool:
    reply = await sites.get(name)
    return reply.fields.get("x-frame-options") == value and reply.fields["content-length"] == "1"


async def test_our_prefix_decides(sites: Sites) -> None:
    """Where both are set and differ, and a warning says so."""
    name = await sites.add({f"{NGINX}/proxy-body-size": "1k", f"{OURS}/proxy-body-size": "2k"})
    assert [await sites.put(name, size) for size in (2048, 2049)] == [200, 413]
    assert await sites.is_told(name, "proxy-body-size")


WRONG = {
    "ssl-redirect": ("maybe", 200),
    "force-ssl-redirect": ("", 200),
    "proxy-body-size": ("lots", 200),
    "proxy-connect-timeout": ("-1", 200),
    "proxy-send-timeout": ("0", 200),
    "load-balance": ("fastest", 200),
    "upstream-hash-by": ("$nonsense", 200),
    "proxy-next-upstream-tries": ("many", 200),
    "affinity": ("ip", 200),
    "session-cookie-name": ("a b", 200),
    "session-cookie-max-age": ("soon", 200),
    "limit-burst-multiplier": ("many", 200),
    "limit-whitelist": ("nobody", 200),
    "enable-cors": ("perhaps", 200),
    "cors-max-age": ("soon", 200),
    "whitelist-source-range": ("300.0.0.0/8", 503),
    "allowlist-source-range": ("10.0.0.0/40", 503),
    "denylist-source-range": ("everybody", 503),
    "limit-rps": ("many", 503),
    "limit-rpm": ("-1", 503),
    "cors-allow-origin": ("https://", 503),
    "cors-allow-credentials": ("maybe", 503),
    "auth-url": ("https://auth.example.com", 503),
    "configuration-snippet": ("deny all;", 503),
    "rewrite-target": ("/$1", 200),
}
"""Values that do not parse, and annotations that are not carried out: 503 where going on could let somebody in."""
NEEDED = {"session-cookie": {"affinity": "cookie"}, "cors": {"enable-cors": "true"}, "limit-b": {"limit-rps": "100"}}


async def test_what_is_wrong_closes_only_where_it_must(sites: Sites, cluster: Cluster) -> None:
    """Each wrong value is told by an Event that names it; the route answers 503 or goes on with the default."""
    names: dict[str, str] = {}
    for key, (value, _) in WRONG.items():
        beside = next((given for start, given in NEEDED.items() if key.startswith(start)), {})
        names[key] = await sites.add({**beside, key: value}, prefix=NGINX)
    seen = {key: (await sites.get(name)).status for key, name in names.items()}
    assert seen == {key: status for key, (_, status) in WRONG.items()}
    events: list[Any] = []

    async def all_told() -> bool:
        events[:] = await cluster.objects("Event")
        told = {(event["involvedObject"]["name"], key) for event in events for key in names if key in event["message"]}
        return {(name, key) for key, name in names.items()} <= told

    await until(all_told, 8.0, what="an Event for each")


async def test_redirects_go_before_lists_and_lists_before_the_rest(sites: Sites) -> None:
    """http is redirected whoever asks; denied clients get no preflight; preflights are not counted by limits."""
    denied = {"denylist-source-range": "198.51.100.0/24", **CORS}
    redirected = await sites.add({**denied, "force-ssl-redirect": "true"})
    over = Secure(sites.running, redirected)
    assert (await sites.get(redirected)).status == 308
    assert (await sites.preflight(redirected)).status == 308
    assert (await sites.get(redirected, over=over)).status == 403
    assert (await sites.preflight(redirected, over=over)).status == 403
    assert (await sites.preflight(redirected, over=over, client="192.0.2.1")).status == 204
    limited = await sites.add(
        {**CORS, "limit-rpm": "1", "limit-burst-multiplier": "1", "denylist-source-range": "192.0.2.0/24"}
    )
    assert [(await sites.preflight(limited)).status for _ in range(5)] == [204] * 5
    assert await sites.statuses(limited, 3, client="192.0.2.1") == [403] * 3
    assert (await sites.statuses(limited, 4))[::3] == [200, 503]
    too_many = await sites.get(limited, f"Origin: {SHOP}")
    assert (too_many.status, too_many.fields["access-control-allow-origin"]) == (503, SHOP)
