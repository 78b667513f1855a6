"""Cross-origin requests: who may read what, as a browser would understand it (Fetch standard, CORS protocol)."""

from __future__ import annotations

import pytest

from proxy.table import Cors, Policy, RateLimit
from tests.support.backend import fixed, raw_backend
from tests.support.clients import Reply, ask, get
from tests.support.failing import refusing_port
from tests.support.proxy import HOST, RunningProxy, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TALKATIVE = (
    b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://evil.example\r\n"
    b"access-control-allow-credentials: true\r\nAccess-Control-Allow-Methods: PURGE\r\nContent-Length: 2\r\n\r\nok"
)
SHOP = "https://shop.example"


def _preflight(origin: str, *further: str, method: str = "PUT") -> bytes:
    return get("/api", f"Origin: {origin}", f"Access-Control-Request-Method: {method}", *further, method="OPTIONS")


async def _both(proxy: RunningProxy, origin: str) -> tuple[Reply, Reply]:
    """The replies to a preflight and to a simple request of ``origin``."""
    return await ask(proxy, _preflight(origin)), await ask(proxy, get("/api", f"Origin: {origin}"))


def _told(reply: Reply) -> set[str]:
    return {name for name in reply.fields if name.startswith("access-control-")}


async def test_a_preflight_is_answered_here() -> None:
    """204 with what may be asked; the backend never hears of it."""
    cors = Cors(allow_origins=(SHOP,), allow_methods=("GET", "PUT"), allow_headers=("X-A", "X-B"), max_age=60)
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(cors=cors))) as proxy,
    ):
        reply = await ask(proxy, _preflight(SHOP))
    assert (reply.status, backend.heads) == (204, [])
    assert "content-length" not in reply.fields
    assert reply.fields["access-control-allow-origin"] == SHOP
    assert reply.fields["access-control-allow-credentials"] == "true"
    assert reply.fields["access-control-allow-methods"] == "GET, PUT"
    assert reply.fields["access-control-allow-headers"] == "X-A, X-B"
    assert reply.fields["access-control-max-age"] == "60"
    assert reply.fields["vary"] == "Origin"


async def test_an_options_request_that_is_no_preflight_reaches_the_backend() -> None:
    """One without Origin or without the method asked for is like any other."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(cors=Cors()))) as proxy,
    ):
        for fields in (["Origin: https://a.example"], ["Access-Control-Request-Method: PUT"], []):
            assert (await ask(proxy, get("/", *fields, method="OPTIONS"))).status == 200
    assert len(backend.heads) == 3


async def test_the_words_of_the_backend_are_replaced() -> None:
    """Two Access-Control-Allow-Origin are none to a browser, and the route's policy is what holds."""
    cors = Cors(allow_origins=(SHOP,), expose_headers=("X-Total",))
    async with (
        raw_backend(fixed(TALKATIVE)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(cors=cors))) as proxy,
    ):
        allowed = await ask(proxy, get("/", f"Origin: {SHOP}"))
        refused = await ask(proxy, get("/", "Origin: https://evil.example"))
        same = await ask(proxy, get("/"))
    assert allowed.fields["access-control-allow-origin"] == SHOP
    assert allowed.fields["access-control-expose-headers"] == "X-Total"
    assert "access-control-allow-methods" not in allowed.fields
    assert _told(refused) == _told(same) == set()
    assert [reply.fields["vary"] for reply in (allowed, refused, same)] == ["Origin"] * 3
    assert [reply.body for reply in (allowed, refused, same)] == [b"ok"] * 3


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ((SHOP,), SHOP, True),
        (("https://Shop.example:443",), SHOP, True),
        (("http://shop.example:80",), "http://shop.example", True),
        ((SHOP,), "http://shop.example", False),
        ((SHOP,), "https://shop.example:8443", False),
        ((SHOP,), "https://shop.example.evil", False),
        ((SHOP,), "https://evil.shop.example", False),
        ((SHOP,), "null", False),
        (("null",), "null", True),
        (("https://*.example.com",), "https://a.example.com", True),
        (("https://*.example.com",), "https://a.b.example.com", False),
        (("https://*.example.com",), "https://example.com", False),
        (("https://*.example.com",), "https://.example.com", False),
        (("https://*.example.com",), "http://a.example.com", False),
        (("https://*.example.com",), "https://evil.example/.example.com", False),
        (("https://*.example.com",), "https://evil.example:1.example.com", False),
        (("https://*.example.com:8443",), "https://a.example.com:8443", True),
        (("https://*.example.com:8443",), "https://a.example.com", False),
        (("*",), "https://any.example:1", True),
        (("*",), "null", False),
        (("*",), "https://any.example, https://b.example", False),
        (("*",), "https://any.example/path", False),
        (("*",), "https://user@any.example", False),
        (("*",), "<script>", False),
    ],
)
async def test_only_an_allowed_origin_is_echoed(origins: tuple[str, ...], origin: str, allowed: bool) -> None:
    """Byte for byte, with credentials; any other gets no CORS field at all, on preflights and on responses."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(cors=Cors(allow_origins=origins)))) as proxy,
    ):
        replies = await _both(proxy, origin)
    assert [reply.status for reply in replies] == [204, 200]
    for reply in replies:
        if allowed:
            assert reply.fields["access-control-allow-origin"] == origin
            assert reply.fields["access-control-allow-credentials"] == "true"
        else:
            assert _told(reply) == set()
        assert reply.fields["vary"] == "Origin"


async def test_without_credentials_any_origin_is_a_star() -> None:
    """Then all get the same answer, and caches need not tell them apart."""
    cors = Cors(allow_credentials=False, allow_headers=("*",), allow_methods=("*",))
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(cors=cors))) as proxy,
    ):
        preflight, simple = await _both(proxy, "null")
    for reply in (preflight, simple):
        assert reply.fields["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in reply.fields
        assert "vary" not in reply.fields
    assert preflight.fields["access-control-allow-headers"] == preflight.fields["access-control-allow-methods"] == "*"


async def test_with_credentials_stars_are_answered_by_what_was_asked() -> None:
    """Browsers take a star for a name there; what is no list of tokens is not repeated."""
    cors = Cors(allow_headers=("*",), allow_methods=("*",))
    async with running_proxy(one_route([], policy=Policy(cors=cors))) as proxy:
        reply = await ask(proxy, _preflight(SHOP, "Access-Control-Request-Headers: x-a,X-B", method="PURGE"))
        odd = await ask(proxy, _preflight(SHOP, "Access-Control-Request-Headers: x-a; <b>", method="A B"))
    assert reply.fields["access-control-allow-headers"] == "x-a,X-B"
    assert reply.fields["access-control-allow-methods"] == "PURGE"
    assert not {"access-control-allow-headers", "access-control-allow-methods"} & odd.fields.keys()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (b"", "Origin"),
        (b"Accept-Encoding", "Accept-Encoding, Origin"),
        (b"Accept, origin", "Accept, origin"),
        (b"*", "*"),
    ],
)
async def test_vary_names_the_origin_once(given: bytes, told: str) -> None:
    """Beside what the backend said, and not where it said so already."""
    line = b"Vary: %b\r\n" % given if given else b""
    async with (
        raw_backend(fixed(b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\nok" % line)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(cors=Cors()))) as proxy,
    ):
        reply = await ask(proxy, get("/", f"Origin: {SHOP}"))
    assert reply.fields["vary"] == told


async def test_scripts_can_read_what_the_proxy_answers_itself() -> None:
    """A 502 without CORS fields would look like a network error to them."""
    with refusing_port() as port:
        async with running_proxy(one_route([port], policy=Policy(cors=Cors(), max_retries=0))) as proxy:
            reply = await ask(proxy, get("/", f"Origin: {SHOP}"))
    assert (reply.status, reply.fields["access-control-allow-origin"]) == (502, SHOP)


async def test_preflights_come_behind_the_https_redirect_and_the_lists_and_before_the_rate_limit() -> None:
    """They carry no credentials and cost nothing, yet no host is served in plain text or to the denied for them."""
    limit = RateLimit(key="k", rate=0.001, burst=0)
    async with running_proxy(one_route([], policy=Policy(cors=Cors(), rate_limit=limit))) as proxy:
        assert [(await ask(proxy, _preflight(SHOP))).status for _ in range(3)] == [204] * 3
    async with running_proxy(one_route([], policy=Policy(cors=Cors()), https_redirect=True)) as proxy:
        assert (await ask(proxy, _preflight(SHOP))).fields["location"] == f"https://{HOST}/api"
    async with running_proxy(one_route([], policy=Policy(cors=Cors(), deny=("127.0.0.0/8",)))) as proxy:
        reply = await ask(proxy, _preflight(SHOP))
        assert (reply.status, reply.fields["access-control-allow-origin"]) == (403, SHOP)


async def test_rules_that_would_break_framing_are_503() -> None:
    """A name with a line end in it goes nowhere."""
    for cors in (Cors(allow_headers=("X\r\nY: z",)), Cors(allow_methods=("GET\n",)), Cors(expose_headers=("a\x00",))):
        async with running_proxy(one_route([], policy=Policy(cors=cors))) as proxy:
            assert (await ask(proxy, _preflight(SHOP))).status == 503


async def test_two_origins_are_none() -> None:
    """Nobody can say which of them asks."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(cors=Cors(allow_origins=(SHOP,))))) as proxy,
    ):
        reply = await ask(proxy, get("/", f"Origin: {SHOP}", "Origin: https://evil.example"))
    assert _told(reply) == set()
