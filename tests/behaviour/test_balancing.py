"""The choice of an endpoint, as backends see it."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import msgspec

from proxy.table import Balance, HashPart
from tests.support.backend import Backend, Conversation, Script, raw_backend
from tests.support.failing import CLUSTER, OK, answers, client_of, cluster_of, eventually, quiet, request, status
from tests.support.proxy import RunningProxy, one_route, running_proxy


async def _backends(stack: AsyncExitStack, *scripts: Script) -> list[Backend]:
    return [await stack.enter_async_context(raw_backend(script)) for script in scripts]


async def _proxy(stack: AsyncExitStack, backends: list[Backend], balance: Balance) -> RunningProxy:
    table = one_route([backend.port for backend in backends], balance=balance)
    return await stack.enter_async_context(running_proxy(table))


async def _ask(proxy: RunningProxy, texts: list[bytes]) -> None:
    async with client_of(proxy) as client:
        for text in texts:
            client.send(text)
            assert status((await client.read_response())[0]) == 200


def _slow(seconds: float) -> Script:
    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            backend.heads.append(head)
            await asyncio.sleep(seconds)
            conversation.send(OK)

    return script


def _holding(gate: asyncio.Event) -> Script:
    """Holds requests for ``/hold`` until the gate is open."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            backend.heads.append(head)
            if b"/hold" in head:
                await gate.wait()
            conversation.send(OK)

    return script


async def test_round_robin_gives_each_endpoint_the_same() -> None:
    """The default, over many connections."""
    async with AsyncExitStack() as stack:
        backends = await _backends(stack, *[answers()] * 3)
        proxy = await _proxy(stack, backends, Balance())
        await asyncio.gather(*(_ask(proxy, [request()] * 10) for _ in range(6)))
        assert [len(backend.heads) for backend in backends] == [20, 20, 20]
        await quiet(proxy)


async def test_least_requests_leaves_a_busy_endpoint_alone() -> None:
    """While one endpoint holds requests, the others get the new ones."""
    gate = asyncio.Event()
    async with AsyncExitStack() as stack:
        backends = await _backends(stack, *[_holding(gate)] * 3)
        proxy = await _proxy(stack, backends, Balance(method="least_requests"))
        holding = asyncio.gather(*(_ask(proxy, [request("GET", "/hold")]) for _ in range(2)))
        await eventually(lambda: sum(len(backend.heads) for backend in backends) == 2, "two are held")
        free = [backend for backend in backends if not backend.heads]
        assert len(free) == 1
        await _ask(proxy, [request()] * 20)
        assert len(free[0].heads) == 20
        gate.set()
        await holding
        await quiet(proxy)


async def test_random_of_two_leaves_the_busiest_alone() -> None:
    """An endpoint that holds a request loses against each of the others."""
    gate = asyncio.Event()
    async with AsyncExitStack() as stack:
        backends = await _backends(stack, *[_holding(gate)] * 3)
        proxy = await _proxy(stack, backends, Balance(method="random_two"))
        holding = asyncio.gather(_ask(proxy, [request("GET", "/hold")]))
        await eventually(lambda: any(backend.heads for backend in backends), "one is held")
        busy = next(backend for backend in backends if backend.heads)
        await _ask(proxy, [request()] * 40)
        assert len(busy.heads) == 1
        assert min(len(backend.heads) for backend in backends if backend is not busy) >= 5
        gate.set()
        await holding
        await quiet(proxy)


async def test_ewma_prefers_the_fast_endpoint() -> None:
    """Once both were measured the slow one is left alone."""
    async with AsyncExitStack() as stack:
        backends = await _backends(stack, _slow(0.05), answers())
        proxy = await _proxy(stack, backends, Balance(method="ewma"))
        await _ask(proxy, [request()] * 40)
        assert len(backends[0].heads) < 10
        assert all(endpoint.latency_at for endpoint in cluster_of(proxy).endpoints)


def _by_user(user: int) -> bytes:
    return request("GET", fields=b"X-User: %d\r\n" % user)


async def test_a_hash_sends_the_same_key_to_the_same_endpoint() -> None:
    """From every connection; and an endpoint that leaves moves its own keys only."""
    balance = Balance(method="hash", hash_key=(HashPart(source="header", name="X-User"),))

    async def owners(proxy: RunningProxy, backends: list[Backend]) -> dict[int, int]:
        for backend in backends:
            backend.heads.clear()
        await _ask(proxy, [_by_user(user) for user in range(60)])
        await _ask(proxy, [_by_user(user) for user in range(60)])
        found: dict[int, int] = {}
        for number, backend in enumerate(backends):
            seen = Counter(int(head.split(b"X-User: ")[1].split(b"\r\n")[0]) for head in backend.heads)
            assert set(seen.values()) <= {2}
            found.update(dict.fromkeys(seen, number))
        return found

    async with AsyncExitStack() as stack:
        backends = await _backends(stack, *[answers()] * 4)
        proxy = await _proxy(stack, backends, balance)
        before = await owners(proxy, backends)
        assert set(before.values()) == {0, 1, 2, 3}
        cluster = proxy.table.clusters[CLUSTER]
        fewer = msgspec.structs.replace(cluster, endpoints=cluster.endpoints[:3])
        proxy.publish(msgspec.structs.replace(proxy.table, clusters={CLUSTER: fewer}))
        after = await owners(proxy, backends)
        assert {user for user in before if before[user] != after[user]} == {
            user for user in before if before[user] == 3
        }


async def test_a_hash_by_client_address_sticks() -> None:
    """All clients of this test come from one address: one endpoint serves them all."""
    balance = Balance(method="hash", hash_key=(HashPart(source="remote_addr"),))
    async with AsyncExitStack() as stack:
        backends = await _backends(stack, *[answers()] * 4)
        proxy = await _proxy(stack, backends, balance)
        await asyncio.gather(*(_ask(proxy, [request()] * 3) for _ in range(5)))
        assert sorted(len(backend.heads) for backend in backends) == [0, 0, 0, 15]
