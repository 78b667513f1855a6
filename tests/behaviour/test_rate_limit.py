"""Requests per second of one client address: counted by all workers together."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.table import Policy, RateLimit, Settings, Table
from proxy.table.feed import Ack, FrameDecoder, Up, difference, encode_frame
from tests.support.backend import fixed, raw_backend
from tests.support.clients import ask, get, read_reply
from tests.support.process import proxy_process
from tests.support.proxy import RawClient, one_route, running_proxy
from tests.support.workers import supervised_workers

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SLOW = RateLimit(key="test", rate=0.01, burst=4)
BEHIND = Settings(access_log="off", trusted_proxies=("127.0.0.0/8",))


def _limited(port: int, limit: RateLimit = SLOW, settings: Settings | None = None) -> Table:
    return one_route([port], policy=Policy(rate_limit=limit), settings=settings)


@asynccontextmanager
async def _workers(table: Table, count: int) -> AsyncIterator[list[int]]:
    """The ports of worker processes that share what the supervisor has them share."""
    allowances = os.memfd_create("allowances")
    processes, ports, feeds = [], [], []
    try:
        for number in range(count):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            feeds.append(ours)
            with theirs, socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                listener.listen(128)
                ports.append(listener.getsockname()[1])
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "proxy.worker", "--id", str(number)),
                    *("--feed-fd", str(theirs.fileno()), "--listen", f"http:{listener.fileno()}"),
                    *("--allowances-fd", str(allowances)),
                    pass_fds=[theirs.fileno(), listener.fileno(), allowances],
                )
            processes.append(process)
        frame = encode_frame(difference(Table(), table, generation=1))
        loop = asyncio.get_running_loop()
        for feed in feeds:
            await loop.sock_sendall(feed, frame)
        for feed in feeds:
            decoder: FrameDecoder[Up] = FrameDecoder(Up)
            while not any(isinstance(up, Ack) for up in decoder.feed(await loop.sock_recv(feed, 65536))):
                pass
        yield ports
    finally:
        for process in processes:
            process.kill()
            await process.wait()
        for feed in feeds:
            feed.close()
        os.close(allowances)


async def _statuses(port: int, count: int, *fields: str) -> list[int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = RawClient(reader, writer)
    client.send(get("/", *fields) * count)
    statuses = [(await read_reply(client)).status for _ in range(count)]
    client.close()
    return statuses


async def test_the_limit_holds_for_all_worker_processes_together() -> None:
    """Three workers, asked at the same time, let through what one would."""
    limit = RateLimit(key="test", rate=0.01, burst=39)
    async with raw_backend(fixed(OK)) as backend, _workers(_limited(backend.port, limit), 3) as ports:
        # At first one after the other, so that no race blurs the count.
        assert [await _statuses(port, 10) for port in ports] == [[200] * 10] * 3
        found = await asyncio.gather(*(_statuses(port, 20) for port in ports))
        statuses = [status for each in found for status in each]
    # Two that read the same entry at the same moment may both pass.
    assert 10 <= statuses.count(200) <= 14
    assert statuses.count(200) + statuses.count(429) == 60


async def test_what_was_spent_outlives_the_worker_that_counted() -> None:
    """Under the supervisor, over one port that two workers share: when both are killed, their successors go on."""
    limit = RateLimit(key="test", rate=0.01, burst=19)
    async with raw_backend(fixed(OK)) as backend, supervised_workers(_limited(backend.port, limit), 2) as workers:
        before = [(await _statuses(workers.port, 1))[0] for _ in range(15)]
        killed = workers.pids
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await workers.serving(not_by=killed)
        after = [(await _statuses(workers.port, 1))[0] for _ in range(15)]
    assert before == [200] * 15
    assert after == [200] * 5 + [429] * 10


async def test_the_data_plane_alone_limits_too(tmp_path: Path) -> None:
    """``python -m proxy`` has a table of its own."""
    async with raw_backend(fixed(OK)) as backend, proxy_process(_limited(backend.port), tmp_path) as proxy:
        assert await _statuses(proxy.port, 8) == [200] * 5 + [429] * 3


async def test_the_refusal_says_when_to_come_back() -> None:
    """429 with Retry-After in whole seconds; the body is dropped, the connection goes on, the backend hears nothing."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(_limited(backend.port, RateLimit(key="k", rate=0.5, burst=0))) as proxy,
    ):
        client = await proxy.connect()
        client.send(get() + b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: 3\r\n\r\nabc" + get())
        first, second, third = [await read_reply(client) for _ in range(3)]
        client.close()
    assert [first.status, second.status, third.status] == [200, 429, 429]
    assert second.fields["retry-after"] == "2"
    assert second.body.startswith(b"429 Too Many Requests\n")
    assert len(backend.heads) == 1


async def test_time_gives_the_allowance_back() -> None:
    """At 20 requests a second, the next one passes 50 ms later."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(_limited(backend.port, RateLimit(key="k", rate=20.0, burst=0))) as proxy,
    ):
        assert (await ask(proxy, get())).status == 200
        assert (await ask(proxy, get())).status == 429
        await asyncio.sleep(0.06)
        assert (await ask(proxy, get())).status == 200


async def test_status_and_exempt_ranges_are_those_of_the_table() -> None:
    """ingress-nginx says 503 here by default; whoever is exempt is not counted at all."""
    limit = RateLimit(key="k", rate=0.01, burst=0, status=503)
    free = RateLimit(key="k", rate=0.01, burst=0, exempt=("10.0.0.0/8", "127.0.0.0/8"))
    async with raw_backend(fixed(OK)) as backend, running_proxy(_limited(backend.port, limit)) as proxy:
        assert await _statuses(proxy.port, 2) == [200, 503]
        proxy.publish(_limited(backend.port, free))
        assert await _statuses(proxy.port, 5) == [200] * 5


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ],
)
async def test_who_counts_as_one_client(first: str, second: str, together: bool) -> None:
    """An IPv4 address, or the IPv6 network in which one host may take any address."""
    limit = RateLimit(key="k", rate=0.01, burst=0)
    async with raw_backend(fixed(OK)) as backend, running_proxy(_limited(backend.port, limit, BEHIND)) as proxy:
        assert await _statuses(proxy.port, 2, f"X-Forwarded-For: {first}") == [200, 429]
        assert await _statuses(proxy.port, 1, f"X-Forwarded-For: {second}") == [429 if together else 200]


async def test_a_client_cannot_count_as_another() -> None:
    """Without trust in the peer, what it says about itself changes nothing."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(_limited(backend.port)) as proxy:
        statuses = [(await _statuses(proxy.port, 1, f"X-Forwarded-For: 192.0.2.{each}"))[0] for each in range(8)]
    assert statuses == [200] * 5 + [429] * 3


async def test_routes_share_an_allowance_by_its_key() -> None:
    """A change of the table takes nothing back that was spent under the same key; another key is another allowance."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(_limited(backend.port)) as proxy:
        assert await _statuses(proxy.port, 6) == [200] * 5 + [429]
        proxy.publish(_limited(backend.port, RateLimit(key="test", rate=0.01, burst=5)))
        assert await _statuses(proxy.port, 2) == [200, 429]
        proxy.publish(_limited(backend.port, RateLimit(key="other", rate=0.01, burst=0)))
        assert await _statuses(proxy.port, 2) == [200, 429]


@pytest.mark.parametrize(("rate", "burst", "status"), [(0.0, 0, 429), (-1.0, 0, 429), (1.0, -1, 429), (1.0, 0, 200)])
async def test_a_limit_that_makes_no_sense_is_503(rate: float, burst: int, status: int) -> None:
    """Never no limit."""
    limit = RateLimit(key="k", rate=rate, burst=burst, status=status)
    async with running_proxy(_limited(1, limit)) as proxy:
        assert (await ask(proxy, get())).status == 503
