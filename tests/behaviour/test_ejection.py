"""One of three endpoints fails under load: the clients do not notice, as far as that is possible at all."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from proxy.table import Ejection, Settings
from tests.support.backend import Backend, Script, fixed, raw_backend
from tests.support.failing import (
    answers,
    client_of,
    cluster_of,
    endpoint_of,
    eventually,
    hangs,
    quiet,
    refusing_port,
    request,
    resets,
    status,
    turn_to,
)
from tests.support.proxy import RunningProxy, one_route, running_proxy

CLIENTS = 100
ROUNDS = 5


async def _load(proxy: RunningProxy) -> Counter[int]:
    """The statuses of a few hundred GETs from clients that all ask at once; the worker's clock ticks meanwhile."""
    seen: Counter[int] = Counter()

    async def ask() -> None:
        async with client_of(proxy) as client:
            for _ in range(ROUNDS):
                client.send(request())
                seen[status((await client.read_response())[0])] += 1

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.05)
            await proxy.tick()

    async with asyncio.TaskGroup() as tasks:
        ticking = tasks.create_task(tick())
        for task in [tasks.create_task(ask()) for _ in range(CLIENTS)]:
            await task
        ticking.cancel()
    await quiet(proxy)
    return seen


async def _with_one_failing(port: int, failing: Backend | None) -> tuple[Counter[int], int]:
    """The statuses, and how many requests the failing endpoint saw."""
    settings = Settings(read_timeout=0.3)
    async with (
        raw_backend(answers()) as second,
        raw_backend(answers()) as third,
        running_proxy(one_route([port, second.port, third.port], settings=settings)) as proxy,
    ):
        turn_to(proxy, 0)
        cluster_of(proxy).retry_tokens = 0.0
        statuses = await _load(proxy)
        assert min(len(second.heads), len(third.heads)) > CLIENTS * ROUNDS / 4
        if failing is not None and statuses == {200: CLIENTS * ROUNDS}:
            assert endpoint_of(proxy).suspect
            assert proxy.worker.telemetry.retries_denied == 0
            assert proxy.worker.telemetry.ejections == 1
    return statuses, 0 if failing is None else len(failing.heads)


async def test_a_refusing_endpoint_fails_no_request() -> None:
    """Refused connections lead elsewhere."""
    with refusing_port() as port:
        statuses, _ = await _with_one_failing(port, None)
    assert statuses == {200: CLIENTS * ROUNDS}


@pytest.mark.parametrize("kind", ["resets", "hangs"])
async def test_an_endpoint_that_resets_or_hangs_fails_no_idempotent_request(kind: str) -> None:
    """Only the requests that were there before the first failure was seen are tried twice; none fails.

    The hanging endpoint collects clients until its timeout; the retry budget is empty.
    """
    script: Script = resets() if kind == "resets" else hangs()
    async with raw_backend(script) as failing:
        statuses, seen = await _with_one_failing(failing.port, failing)
    assert statuses == {200: CLIENTS * ROUNDS}
    assert 1 <= seen <= (CLIENTS / 3 if kind == "resets" else CLIENTS)


async def test_a_cluster_says_how_many_failures_eject() -> None:
    """With three in a row, the third takes the endpoint out; with none, nothing ever does."""
    for needed in (3, 0):
        async with raw_backend(resets()) as failing, raw_backend(answers()) as steady:
            rules = Ejection(consecutive_failures=needed)
            async with running_proxy(one_route([failing.port, steady.port], ejection=rules)) as proxy:
                turn_to(proxy, 0)
                async with client_of(proxy) as client:
                    for _ in range(20):
                        client.send(request())
                        assert status((await client.read_response())[0]) == 200
                await quiet(proxy)
        assert len(failing.heads) == needed if needed else len(failing.heads) >= 10


async def test_a_cluster_bounds_the_share_that_is_out() -> None:
    """At 50 per cent one of two failing endpoints of three is ejected, the other goes on being asked."""
    async with raw_backend(resets()) as first, raw_backend(resets()) as second, raw_backend(answers()) as steady:
        rules = Ejection(max_percent=50)
        ports = [first.port, second.port, steady.port]
        async with running_proxy(one_route(ports, ejection=rules)) as proxy, client_of(proxy) as client:
            for _ in range(30):
                client.send(request())
                assert status((await client.read_response())[0]) == 200
            assert sum(endpoint.is_out for endpoint in cluster_of(proxy).endpoints) == 1
    assert min(len(first.heads), len(second.heads)) == 1
    assert max(len(first.heads), len(second.heads)) > 5


async def test_an_endpoint_that_answers_malformed_fails_its_share_and_no_more() -> None:
    """Its answers were answers: they are not retried, and become 502; those of the others are not touched."""
    async with raw_backend(fixed(b"nonsense\r\n\r\n")) as failing:
        statuses, seen = await _with_one_failing(failing.port, failing)
    assert statuses == {200: CLIENTS * ROUNDS - seen, 502: seen}
    assert abs(seen - CLIENTS * ROUNDS / 3) <= 1


async def test_an_endpoint_that_recovers_gets_its_share_back() -> None:
    """After its ejection one request tries it; from its success on its share grows until it is whole again."""
    works = False

    async def script(conversation: object, backend: Backend) -> None:
        await (answers() if works else resets())(conversation, backend)  # type: ignore[arg-type]

    async with (
        raw_backend(script) as changing,
        raw_backend(answers()) as steady,
        running_proxy(one_route([changing.port, steady.port])) as proxy,
        client_of(proxy) as client,
    ):

        async def ask(number: int) -> int:
            before = len(changing.heads)
            for _ in range(number):
                client.send(request())
                assert status((await client.read_response())[0]) == 200
            return len(changing.heads) - before

        turn_to(proxy, 0)
        assert await ask(1) == 1
        assert await ask(20) == 0
        endpoint = endpoint_of(proxy)
        works = True
        endpoint.ejected_until = 0.0  # Its time is over.
        assert await ask(20) >= 1
        assert endpoint.returned_at
        endpoint.returned_at -= 20.0  # So is that of its return.
        await ask(2)
        assert not endpoint.suspect
        assert endpoint.failures == 0
        assert await ask(20) == 10


async def test_when_all_are_ejected_they_are_tried_all_the_same() -> None:
    """A doubtful answer beats a certain 503: with no healthy endpoint left, requests go to the ejected ones."""
    async with (
        raw_backend(answers()) as first,
        raw_backend(answers()) as second,
        running_proxy(one_route([first.port, second.port])) as proxy,
        client_of(proxy) as client,
    ):
        for endpoint in cluster_of(proxy).endpoints:
            endpoint.failed(asyncio.get_running_loop().time() + 1e6)
        for _ in range(10):
            client.send(request())
            assert status((await client.read_response())[0]) == 200
        await eventually(lambda: len(first.heads) == len(second.heads) == 5, "both serve")
