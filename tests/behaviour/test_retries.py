"""What happens to a request whose try failed: sent again where that is safe, else the right status, at once."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from proxy.table import Policy, Settings
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.clients import reset
from tests.support.failing import (
    CLUSTER,
    IDEMPOTENT,
    OK,
    OTHERS,
    answers,
    client_of,
    cluster_of,
    deaf_port,
    endpoint_of,
    eventually,
    hangs,
    quiet,
    refusing_port,
    request,
    resets,
    status,
    status_of,
    turn_to,
)
from tests.support.proxy import one_route, running_proxy


@pytest.mark.parametrize("method", IDEMPOTENT + OTHERS)
async def test_a_refused_connection_leads_to_another_endpoint(method: str) -> None:
    """Nothing was sent, so any method may be tried elsewhere, with its body."""
    body = b"abc"
    with refusing_port() as refusing:
        async with raw_backend(answers()) as backend, running_proxy(one_route([refusing, backend.port])) as proxy:
            turn_to(proxy, 0)
            assert await status_of(proxy, request(method, body=body)) == 200
            assert endpoint_of(proxy, 0).suspect
            assert not endpoint_of(proxy, 1).suspect
            assert proxy.worker.telemetry.upstream_connect_failures == 1
    assert backend.bodies == [body]


async def test_when_all_refuse_the_answer_is_502() -> None:
    """Every endpoint is tried at most once, then the client hears of it."""
    with refusing_port() as first, refusing_port() as second:
        async with running_proxy(one_route([first, second])) as proxy:
            assert await status_of(proxy, request()) == 502
            assert proxy.worker.telemetry.upstream_connect_failures == 2


@pytest.mark.parametrize("missing", [False, True])
async def test_without_endpoints_the_answer_is_503(missing: bool) -> None:
    """A cluster that is empty, and one that the table does not hold, are both unavailable."""
    table = one_route([])
    if missing:
        table = msgspec.structs.replace(table, clusters={})
    async with running_proxy(table) as proxy:
        assert await status_of(proxy, request()) == 503
        assert await status_of(proxy, request("POST", body=b"abc")) == 503


@pytest.mark.alone
async def test_a_connect_timeout_leads_to_another_endpoint() -> None:
    """An endpoint that takes no connections costs the connect timeout once, and then other endpoints serve."""
    settings = Settings(connect_timeout=0.2)
    with deaf_port() as deaf:
        async with (
            raw_backend(answers()) as backend,
            running_proxy(one_route([deaf, backend.port], settings=settings)) as proxy,
        ):
            turn_to(proxy, 0)
            started = time.monotonic()
            assert await status_of(proxy, request("POST", body=b"abc")) == 200
            assert 0.15 < time.monotonic() - started < 1
            started = time.monotonic()
            for _ in range(5):
                assert await status_of(proxy, request()) == 200
            assert time.monotonic() - started < 0.2


async def test_a_connect_timeout_everywhere_is_504() -> None:
    """Nothing else is left to try."""
    with deaf_port() as deaf:
        async with running_proxy(one_route([deaf], settings=Settings(connect_timeout=0.2))) as proxy:
            assert await status_of(proxy, request()) == 504


async def test_max_retries_bounds_the_tries() -> None:
    """With one retry allowed, two of three endpoints are tried; with none, one."""
    async with raw_backend(resets()) as first, raw_backend(resets()) as second, raw_backend(resets()) as third:
        backends = (first, second, third)
        for allowed in (0, 1, 2, 5):
            for backend in backends:
                backend.heads.clear()
            table = one_route([each.port for each in backends], settings=Settings(max_retries=allowed))
            async with running_proxy(table) as proxy:
                assert await status_of(proxy, request()) == 502
            assert sum(len(backend.heads) for backend in backends) == min(allowed + 1, 3)


@pytest.mark.parametrize(("general", "own", "tries"), [(2, 0, 1), (0, 1, 2), (1, None, 2)])
async def test_a_route_may_bound_its_own_tries(general: int, own: int | None, tries: int) -> None:
    """Its policy goes before the settings, in both directions."""
    async with raw_backend(resets()) as first, raw_backend(resets()) as second, raw_backend(resets()) as third:
        backends = (first, second, third)
        table = one_route(
            [each.port for each in backends], settings=Settings(max_retries=general), policy=Policy(max_retries=own)
        )
        async with running_proxy(table) as proxy:
            assert await status_of(proxy, request()) == 502
        assert sum(len(backend.heads) for backend in backends) == tries


async def test_retries_in_an_outage_have_a_budget() -> None:
    """With no healthy endpoint left and an empty purse, only the share that requests pay in is spent on retries."""
    async with raw_backend(resets()) as first, raw_backend(resets()) as second:
        settings = Settings(retry_budget_percent=20)
        async with running_proxy(one_route([first.port, second.port], settings=settings)) as proxy:
            assert await status_of(proxy, request()) == 502
            cluster_of(proxy).retry_tokens = 0.0
            for _ in range(50):
                assert await status_of(proxy, request()) == 502
            assert len(first.heads) + len(second.heads) == 2 + 50 + 9  # The tenth share comes with the last request.
            assert proxy.worker.telemetry.retries_denied == 50 - 9


async def test_a_retry_at_a_healthy_endpoint_costs_no_budget() -> None:
    """Requests that were under way at an endpoint when it failed go elsewhere, however many they are."""
    async with (
        raw_backend(resets()) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        cluster_of(proxy).retry_tokens = 0.0
        turn_to(proxy, 0)
        assert await status_of(proxy, request()) == 200
        assert len(broken.heads) == 1


async def test_refusals_cost_no_budget() -> None:
    """A connection that could not be made is no load for anybody: another endpoint is tried with an empty purse too."""
    with refusing_port() as refusing:
        async with raw_backend(answers()) as backend, running_proxy(one_route([refusing, backend.port])) as proxy:
            cluster_of(proxy).retry_tokens = 0.0
            turn_to(proxy, 0)
            assert await status_of(proxy, request("POST", body=b"x")) == 200


async def test_a_read_timeout_leads_to_another_endpoint_and_ejects_the_first() -> None:
    """A hanging endpoint costs its read timeout once; further requests do not go there."""
    settings = Settings(read_timeout=0.1)
    async with (
        raw_backend(hangs()) as hanging,
        raw_backend(answers()) as backend,
        running_proxy(one_route([hanging.port, backend.port], settings=settings)) as proxy,
    ):
        turn_to(proxy, 0)
        async with client_of(proxy) as client:
            client.send(request())
            await eventually(lambda: bool(hanging.heads), "the request hangs")
            await asyncio.sleep(0.15)
            await proxy.tick()
            assert status((await client.read_response())[0]) == 200
            for _ in range(10):
                client.send(request())
                assert status((await client.read_response())[0]) == 200
        assert len(hanging.heads) == 1
        assert endpoint_of(proxy, 0).suspect
        assert proxy.worker.telemetry.ejections == 1
        await quiet(proxy)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_read_timeout_with_nowhere_to_go_is_504(method: str) -> None:
    """The last endpoint for a GET, any endpoint for a POST."""
    settings = Settings(read_timeout=0.1)
    async with (
        raw_backend(hangs()) as hanging,
        raw_backend(answers()) as other,
        running_proxy(one_route([hanging.port, other.port][: 1 + (method == "POST")], settings=settings)) as proxy,
    ):
        turn_to(proxy, 0)
        async with client_of(proxy) as client:
            client.send(request(method, body=b"x" if method == "POST" else None))
            await eventually(lambda: bool(hanging.heads), "the request hangs")
            await asyncio.sleep(0.15)
            await proxy.tick()
            assert status((await client.read_response())[0]) == 504
        await quiet(proxy)
    assert not other.heads


async def test_a_client_that_leaves_while_its_request_is_dialled_leaves_nothing_behind() -> None:
    """The dial goes on without a caller, and what it brings is not given to the wrong request."""
    with deaf_port() as deaf:
        async with running_proxy(one_route([deaf], settings=Settings(connect_timeout=0.3))) as proxy:
            client = await proxy.connect()
            client.send(request())
            await eventually(lambda: endpoint_of(proxy).active == 1, "the dial is under way")
            reset(client)
            await quiet(proxy)
            assert proxy.worker.telemetry.upstream_connect_failures == 0
            assert not endpoint_of(proxy).suspect


async def test_a_dial_that_nobody_waits_for_any_more_fills_the_pool() -> None:
    """The connection is made after its request ended by other means: it is kept for the next one, unused."""
    async with raw_backend(answers()) as backend, running_proxy(one_route([backend.port])) as proxy:
        async with client_of(proxy) as client:
            client.send(b"x")
            await eventually(lambda: len(proxy.worker.connections) == 1, "the client is there")
            member = next(iter(proxy.worker.connections._members))
            member._buffer = b""
            # Both in one turn of the event loop: the request begins to dial, and its body is found malformed.
            member.data_received(request("POST", fields=b"Transfer-Encoding: chunked\r\n"))
            member.data_received(b"nonsense\r\n")
            answer = await client.read_to_end()
            assert status(answer) == 400
        await quiet(proxy)
        assert len(endpoint_of(proxy).idle) == 1
        assert await status_of(proxy, request()) == 200
    assert backend.connections == 1
    assert len(backend.heads) == 1


async def test_a_client_that_leaves_during_a_retry_leaves_nothing_behind() -> None:
    """The first endpoint resets, the second takes no connection, the client goes: all is released."""
    with deaf_port() as deaf:
        async with (
            raw_backend(resets()) as broken,
            running_proxy(one_route([broken.port, deaf], settings=Settings(connect_timeout=0.3))) as proxy,
        ):
            turn_to(proxy, 0)
            client = await proxy.connect()
            client.send(request())
            await eventually(lambda: endpoint_of(proxy, 1).active == 1, "the retry is under way")
            assert endpoint_of(proxy, 0).active == 0
            reset(client)
            await quiet(proxy)


async def test_pipelined_requests_survive_a_failure_among_them() -> None:
    """Of three requests in one write the middle one fails; the others are answered, in order."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            if b"/bad" in head:
                conversation.reset()
                return
            conversation.send(OK)

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        for _ in range(20):
            client.send(request() + request("POST", "/bad") + request())
            assert [status((await client.read_response())[0]) for _ in range(3)] == [200, 502, 200]
        client.close()
        await quiet(proxy)
    assert CLUSTER in proxy.worker.runtime.state.clusters
