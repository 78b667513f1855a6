"""``Strict-Transport-Security`` on real sockets: over https only, where the route asks for it, and never twice."""

from __future__ import annotations

import msgspec
import pytest

from proxy.table import HeaderRules, Hsts, Policy, Respond, Settings, Table
from tests.behaviour.test_tls_termination import OK, secured, trusting
from tests.support.backend import fixed, raw_backend
from tests.support.clients import Reply, get, read_reply
from tests.support.proxy import HOST, RunningProxy, running_proxy

FIELD = "strict-transport-security"
DEFAULTS = Hsts()
DEFAULT = "max-age=31536000; includeSubDomains"


def strict(port: int, settings: Hsts | None = DEFAULTS, **route: object) -> Table:
    """The one host, its route asking for the field."""
    table = secured([port], settings=Settings(access_log="off", hsts=settings, trusted_proxies=("127.0.0.1",)))
    host = table.hosts[HOST]
    routes = (msgspec.structs.replace(host.routes[0], **{"hsts": True, **route}),)
    return msgspec.structs.replace(table, hosts={HOST: msgspec.structs.replace(host, routes=routes)})


async def asked(proxy: RunningProxy, *fields: str, tls: bool = True) -> Reply:
    client = await proxy.connect(tls_context=trusting() if tls else None, server_hostname=HOST if tls else None)
    client.send(get("/", *fields))
    try:
        return await read_reply(client)
    finally:
        client.close()


@pytest.mark.parametrize(
    ("hsts", "value"),
    [
        (Hsts(), DEFAULT),
        (Hsts(max_age=60, include_subdomains=False), "max-age=60"),
        (Hsts(max_age=0, preload=True), "max-age=0; includeSubDomains; preload"),
    ],
)
async def test_https_carries_the_field_as_the_settings_say(hsts: Hsts, value: str) -> None:
    """One field, with the directives of the settings."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(strict(backend.port, hsts)) as proxy:
        reply = await asked(proxy)
    assert (reply.status, reply.fields[FIELD]) == (200, value)


async def test_plain_text_never_carries_the_field() -> None:
    """Browsers must not believe it there, and must not be sent it (RFC 6797 section 7.2)."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(strict(backend.port)) as proxy:
        assert FIELD not in (await asked(proxy, tls=False)).fields


async def test_https_that_a_trusted_proxy_ended_counts() -> None:
    """The client used https, as a balancer in front that is believed says."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(strict(backend.port)) as proxy:
        assert (await asked(proxy, "X-Forwarded-Proto: https", tls=False)).fields[FIELD] == DEFAULT


@pytest.mark.parametrize("spelling", ["Strict-Transport-Security", "strict-transport-security"])
async def test_the_word_of_the_backend_stays_alone(spelling: str) -> None:
    """A backend that sends the field decides it, in whatever spelling; a second one would not count (section 8.1)."""
    answer = b"HTTP/1.1 200 OK\r\n%b: max-age=7\r\nContent-Length: 2\r\n\r\nok" % spelling.encode()
    async with raw_backend(fixed(answer)) as backend, running_proxy(strict(backend.port)) as proxy:
        assert (await asked(proxy)).fields[FIELD] == "max-age=7"


async def test_routes_and_settings_without_it_send_none() -> None:
    """Both must ask for it."""
    async with raw_backend(fixed(OK)) as backend:
        for table in (strict(backend.port, hsts=False), strict(backend.port, None)):
            async with running_proxy(table) as proxy:
                assert FIELD not in (await asked(proxy)).fields


async def test_answers_made_here_carry_it_and_header_rules_have_the_last_word() -> None:
    """A fixed response is a response of the host; rules of the route come after the field."""
    here = Respond(status=200, reason="")
    rules = Policy(response_headers=HeaderRules(set={"Strict-Transport-Security": "max-age=1"}))
    async with running_proxy(strict(1, action=here)) as proxy:
        assert (await asked(proxy)).fields[FIELD] == DEFAULT
        proxy.publish(strict(1, action=here, policy=rules))
        assert (await asked(proxy)).fields[FIELD] == "max-age=1"
