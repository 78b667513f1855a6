"""More requests than may be under way: told to come again, at once, while those under way and others go on."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from proxy.table import Affinity, Balance, Cluster, HashPart, Host, Policy, RateLimit, Respond, Route, Settings, Table
from tests.support.backend import Backend, fixed, raw_backend
from tests.support.clients import ask, get, read_reply, reset, within
from tests.support.failing import CLUSTER, OK, Gate, cluster_of, eventually, quiet, refusing_port, turn_to
from tests.support.proxy import HOST, RawClient, RunningProxy, one_route, running_proxy


def bounded(ports: list[int], limit: int, **changes: object) -> Table:
    """The cluster may have ``limit`` requests under way."""
    table = one_route(ports)
    cluster = msgspec.structs.replace(table.clusters[CLUSTER], max_requests=limit, **changes)
    return msgspec.structs.replace(table, clusters={CLUSTER: cluster})


async def under_way(proxy: RunningProxy, backend: Backend, count: int) -> list[RawClient]:
    """Clients whose requests the backend holds."""
    clients = [await proxy.connect() for _ in range(count)]
    for client in clients:
        client.send(get())
    await eventually(lambda: len(backend.heads) == count, "the backend has them all")
    return clients


async def test_a_full_cluster_answers_503_at_once_and_takes_more_when_there_is_room() -> None:
    """Nothing waits in a queue: the refusal says when to come again, the connection stays, those under way end well."""
    gate = Gate()
    async with raw_backend(gate) as backend, running_proxy(bounded([backend.port], 3)) as proxy:
        clients = await under_way(proxy, backend, 3)
        late = await proxy.connect()
        for body in (b"", b"x" * 1000):
            begun = asyncio.get_running_loop().time()
            late.send(get("/", f"Content-Length: {len(body)}", method="POST") + body)
            reply = await read_reply(late)
            assert (reply.status, reply.fields["retry-after"]) == (503, "1")
            assert asyncio.get_running_loop().time() - begun < 1.0
            assert "connection" not in reply.fields
        assert len(backend.heads) == 3
        gate.open.set()
        for client in clients:
            assert (await read_reply(client)).status == 200
        late.send(get())
        assert (await read_reply(late)).status == 200
        for client in (*clients, late):
            client.close()
        await quiet(proxy)


@pytest.mark.parametrize("method", ["round_robin", "least_requests", "hash", "affinity"])
async def test_the_limit_holds_for_every_way_to_choose(method: str) -> None:
    """However an endpoint is chosen, and over all endpoints together."""
    changes: dict[str, object] = {
        "round_robin": {},
        "least_requests": {"balance": Balance(method="least_requests")},
        "hash": {"balance": Balance(method="hash", hash_key=(HashPart(source="uri"),))},
        "affinity": {"affinity": Affinity()},
    }[method]
    gate = Gate()
    async with (
        raw_backend(gate) as backend,
        running_proxy(bounded([backend.port], 2, **changes)) as proxy,
    ):
        clients = await under_way(proxy, backend, 2)
        assert (await ask(proxy, get())).status == 503
        gate.open.set()
        for client in clients:
            assert (await read_reply(client)).status == 200
            client.close()
        assert (await ask(proxy, get())).status == 200


async def test_a_storm_leaves_no_count_behind() -> None:
    """Requests that fail, whose clients leave, or that are refused: afterwards exactly as many fit as before."""
    gate = Gate()
    async with raw_backend(gate) as backend, running_proxy(bounded([backend.port], 4)) as proxy:
        for _ in range(5):
            clients = [await proxy.connect() for _ in range(12)]
            for client in clients:
                client.send(get())
            await eventually(lambda: sum(e.active for e in cluster_of(proxy).endpoints) == 4, "it is full")
            for client in clients:
                reset(client)
            await quiet(proxy)
        backend.heads.clear()
        clients = await under_way(proxy, backend, 4)
        assert (await ask(proxy, get())).status == 503
        gate.open.set()
        for client in clients:
            assert (await read_reply(client)).status == 200
            client.close()


async def test_a_retry_is_no_further_request() -> None:
    """A cluster with room for one request still tries its second endpoint."""
    with refusing_port() as dead:
        async with raw_backend(fixed(OK)) as backend, running_proxy(bounded([dead, backend.port], 1)) as proxy:
            turn_to(proxy, 0)
            assert (await ask(proxy, get())).status == 200


async def test_a_full_cluster_is_no_trouble_of_another() -> None:
    """The next host's requests keep their backend."""
    gate = Gate()
    async with raw_backend(gate) as stuck, raw_backend(fixed(OK)) as well:
        table = bounded([stuck.port], 1)
        other = one_route([well.port])
        route = msgspec.structs.replace(
            other.hosts[HOST].routes[0],
            action=msgspec.structs.replace(other.hosts[HOST].routes[0].action, cluster="other"),
        )
        table = msgspec.structs.replace(
            table,
            hosts={**table.hosts, "other.example.com": Host(routes=(route,))},
            clusters={**table.clusters, "other": other.clusters[CLUSTER]},
        )
        async with running_proxy(table) as proxy:
            clients = await under_way(proxy, stuck, 1)
            assert (await ask(proxy, get())).status == 503
            for _ in range(20):
                assert (await ask(proxy, get(host="other.example.com"))).status == 200
            gate.open.set()
            clients[0].close()


def limited(port: int, limit: int, **settings: object) -> Table:
    """The worker may have ``limit`` requests under way; ``/alive`` is answered here."""
    table = one_route([port], settings=Settings(access_log="off", max_requests=limit, **settings))
    alive = Route(kind="exact", path="/alive", action=Respond(status=200, reason="", body="alive"))
    host = msgspec.structs.replace(table.hosts[HOST], routes=(*table.hosts[HOST].routes, alive))
    return msgspec.structs.replace(table, hosts={HOST: host})


async def test_a_full_worker_answers_503_and_its_own_answers_go_on() -> None:
    """A probe of a fixed response sees the worker alive, however full it is; unrouted requests are answered too."""
    gate = Gate()
    async with raw_backend(gate) as backend, running_proxy(limited(backend.port, 3)) as proxy:
        clients = await under_way(proxy, backend, 3)
        reply = await ask(proxy, get())
        assert (reply.status, reply.fields["retry-after"]) == (503, "1")
        assert (await ask(proxy, get("/alive"))).body == b"alive"
        assert (await ask(proxy, get(host="unknown"))).status == 404
        gate.open.set()
        for client in clients:
            assert (await read_reply(client)).status == 200
            client.close()
        assert (await ask(proxy, get())).status == 200


async def test_a_refusal_for_overload_costs_no_allowance() -> None:
    """Who is told to come again can."""
    gate = Gate()
    async with raw_backend(gate) as backend:
        table = limited(backend.port, 1)
        route = msgspec.structs.replace(
            table.hosts[HOST].routes[0], policy=Policy(rate_limit=RateLimit(key="k", rate=0.001, burst=1))
        )
        table = msgspec.structs.replace(table, hosts={HOST: Host(routes=(route,))})
        async with running_proxy(table) as proxy:
            (client,) = await under_way(proxy, backend, 1)
            for _ in range(3):
                assert (await ask(proxy, get())).status == 503
            gate.open.set()
            assert (await within(read_reply(client))).status == 200
            client.close()
            assert (await ask(proxy, get())).status == 200
            assert (await ask(proxy, get())).status == 429


async def test_without_limits_nothing_is_refused() -> None:
    """The default has no bound but that of connections."""
    assert (Cluster().max_requests, Settings().max_requests) == (0, 0)
    gate = Gate()
    async with raw_backend(gate) as backend, running_proxy(one_route([backend.port])) as proxy:
        clients = await under_way(proxy, backend, 60)
        gate.open.set()
        for client in clients:
            assert (await read_reply(client)).status == 200
            client.close()
