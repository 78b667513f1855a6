"""Lists of client addresses: who is let in, and as whom a client counts."""

from __future__ import annotations

import pytest

from proxy.table import Policy, Settings
from tests.support.backend import fixed, raw_backend
from tests.support.clients import ask, get, read_reply
from tests.support.proxy import one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BEHIND = Settings(access_log="off", trusted_proxies=("127.0.0.0/8", "10.0.0.0/8"))


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (Policy(), 200),
        (Policy(deny=("127.0.0.0/8",)), 403),
        (Policy(deny=("127.0.0.1",)), 403),
        (Policy(deny=("::ffff:127.0.0.0/104",)), 403),
        (Policy(deny=("128.0.0.0/8", "::/0")), 200),
        (Policy(allow=("127.0.0.0/8",)), 200),
        (Policy(allow=("10.0.0.0/8", "fd00::/8", "127.0.0.1/32")), 200),
        (Policy(allow=("10.0.0.0/8",)), 403),
        (Policy(allow=("::/0",)), 403),
        (Policy(allow=()), 403),
        (Policy(allow=("0.0.0.0/0",), deny=("127.0.0.1/32",)), 403),
        (Policy(allow=("nonsense",)), 503),
        (Policy(deny=("10.0.0.0/33",)), 503),
    ],
)
async def test_lists_decide_who_is_let_in(policy: Policy, status: int) -> None:
    """The deny list first, then the list of the only ones; an empty one lets nobody in, a bad one neither."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=policy)) as proxy,
    ):
        assert (await ask(proxy, get())).status == status
    assert len(backend.heads) == (status == 200)


@pytest.mark.parametrize(
    ("chain", "status"),
    [
        (None, 403),
        ("192.0.2.7", 200),
        ("::ffff:192.0.2.7", 200),
        ("198.51.100.1", 403),
        ("192.0.2.7, 198.51.100.1", 403),
        ("198.51.100.1, 192.0.2.7, 10.1.1.1", 200),
        ("192.0.2.7, nonsense", 403),
        ("192.0.2.7, 198.51.100.1:5555", 403),
    ],
)
async def test_behind_a_trusted_proxy_the_client_counts(chain: str | None, status: int) -> None:
    """The last address in X-Forwarded-For that is no proxy of ours; what is no address hides what is behind it."""
    async with raw_backend(fixed(OK)) as backend:
        table = one_route([backend.port], policy=Policy(allow=("192.0.2.0/24",)), settings=BEHIND)
        async with running_proxy(table) as proxy:
            fields = [] if chain is None else [f"X-Forwarded-For: {chain}"]
            assert (await ask(proxy, get("/", *fields))).status == status


async def test_a_client_cannot_write_itself_onto_the_list() -> None:
    """From a peer that is not trusted, X-Forwarded-For and its relatives say nothing."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], policy=Policy(allow=("192.0.2.0/24",)))) as proxy,
    ):
        for field in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Forwarded-By"):
            assert (await ask(proxy, get("/", f"{field}: 192.0.2.7"))).status == 403
    assert backend.heads == []


async def test_one_request_is_no_pass_for_the_next_on_its_connection() -> None:
    """Behind a trusted proxy each request of a connection may be another client's."""
    async with raw_backend(fixed(OK)) as backend:
        table = one_route([backend.port], policy=Policy(allow=("192.0.2.0/24",)), settings=BEHIND)
        async with running_proxy(table) as proxy:
            client = await proxy.connect()
            statuses = []
            for address in ("192.0.2.7", "198.51.100.1", "192.0.2.8", ""):
                client.send(get("/", f"X-Forwarded-For: {address}"))
                statuses.append((await read_reply(client)).status)
            client.send(get())
            statuses.append((await read_reply(client)).status)
            client.close()
    assert statuses == [200, 403, 200, 403, 403]
