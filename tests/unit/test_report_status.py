"""Addresses of Ingresses: written when they mean traffic, on difference, and taken away from those that leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from structlog.testing import capture_logs

from ingress.kube import KubeClient
from ingress.report.status import StatusWriter
from ingress.resources import Key, LoadBalancerAddress
from tests.support.apiserver import ApiServer, Rule, User, api_server, ingress
from tests.support.kube_client import client_of, until

ONE = LoadBalancerAddress(ip="192.0.2.1")
TWO = LoadBalancerAddress(hostname="lb.example.com")
NAMESPACE = "default"


@asynccontextmanager
async def running(client: KubeClient, *, leading: bool = True) -> AsyncIterator[StatusWriter]:
    writer = StatusWriter(client)
    writer.leader(leading)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(writer.run())
        yield writer
        task.cancel()


def put(server: ApiServer, name: str, *addresses: dict[str, str]) -> Key:
    value = ingress(name, f"{name}.example.com")
    if addresses:
        value["status"] = {"loadBalancer": {"ingress": list(addresses)}}
    server.put(value)
    return (NAMESPACE, name)


def shown(server: ApiServer, key: Key) -> Any:
    value = server.get("networking.k8s.io/v1", "Ingress", key[1], key[0])
    assert value is not None
    return value.get("status", {}).get("loadBalancer", {}).get("ingress", [])


def told(writer: StatusWriter, server: ApiServer, keys: Iterable[Key]) -> None:
    """What a watch would tell."""
    for key in keys:
        writer.observed(key, [LoadBalancerAddress(**each) for each in shown(server, key)])


async def quiet(writer: StatusWriter, seconds: float = 0.15) -> None:
    """Everything that is going to happen soon has happened."""
    await asyncio.sleep(seconds)
    await until(lambda: not writer.pending)


async def test_an_address_waits_for_the_workers(server: ApiServer, client: KubeClient) -> None:
    """Nothing is written before every worker serves the generation that first held the routes."""
    key = put(server, "a")
    async with running(client) as writer:
        writer.addresses([ONE, TWO])
        writer.update({key}, 7)
        writer.live(6)
        await quiet(writer)
        assert shown(server, key) == []
        writer.live(7)
        await until(lambda: shown(server, key))
        assert sorted(map(str, shown(server, key))) == sorted(["{'ip': '192.0.2.1'}", "{'hostname': 'lb.example.com'}"])


async def test_a_worker_that_starts_again_takes_no_address_back(server: ApiServer, client: KubeClient) -> None:
    """A smaller generation later on holds nothing up."""
    first, second = put(server, "a"), put(server, "b")
    async with running(client) as writer:
        writer.addresses([ONE])
        writer.live(7)
        writer.live(0)
        writer.update({first, second}, 7)
        await until(lambda: shown(server, first) and shown(server, second))


async def test_the_same_addresses_in_another_order_are_no_difference(server: ApiServer, client: KubeClient) -> None:
    """Equal sets cost no request."""
    key = put(server, "a", {"hostname": "lb.example.com"}, {"ip": "192.0.2.1"})
    async with running(client) as writer:
        told(writer, server, [key])
        writer.addresses([ONE, TWO, ONE])
        writer.live(1)
        writer.update({key}, 1)
        await quiet(writer)
        assert server.requests() == []


async def test_only_the_leader_writes(server: ApiServer, client: KubeClient) -> None:
    """A follower asks for nothing; once it leads it writes what is due."""
    key = put(server, "a")
    async with running(client, leading=False) as writer:
        writer.addresses([ONE])
        writer.live(1)
        writer.update({key}, 1)
        await quiet(writer)
        assert server.requests() == []
        writer.leader(True)
        await until(lambda: shown(server, key) == [{"ip": "192.0.2.1"}])


async def test_one_that_leaves_loses_our_address(server: ApiServer, client: KubeClient) -> None:
    """Also when the lead came only after it left; a foreign address stays, and so does one that was never served."""
    ours, foreign, never = put(server, "a"), put(server, "b"), put(server, "c", {"ip": "192.0.2.1"})
    async with running(client) as writer:
        writer.addresses([ONE])
        writer.live(1)
        writer.update({ours, foreign}, 1)
        await until(lambda: shown(server, ours) and shown(server, foreign))
        put(server, "b", {"ip": "203.0.113.9"})
        writer.leader(False)
        told(writer, server, [ours, foreign, never])
        writer.update(set(), 2)
        await quiet(writer)
        assert shown(server, ours)
        writer.leader(True)
        await until(lambda: shown(server, ours) == [])
        await quiet(writer)
        assert shown(server, foreign) == [{"ip": "203.0.113.9"}]
        assert shown(server, never) == [{"ip": "192.0.2.1"}]


async def test_what_was_overwritten_meanwhile_is_not_cleared(server: ApiServer, client: KubeClient) -> None:
    """The watch may be behind: what the object holds when it is read decides."""
    key = put(server, "a")
    async with running(client) as writer:
        writer.addresses([ONE])
        writer.live(1)
        writer.update({key}, 1)
        await until(lambda: shown(server, key))
        put(server, "a", {"ip": "203.0.113.9"})
        writer.update(set(), 2)
        await quiet(writer)
        assert shown(server, key) == [{"ip": "203.0.113.9"}]
        assert server.requests(verb="get", plural="ingresses")


async def test_one_that_comes_back_keeps_its_address(server: ApiServer, client: KubeClient) -> None:
    """Leaving and returning ends with the address."""
    key = put(server, "a")
    async with running(client) as writer:
        writer.addresses([ONE])
        writer.live(1)
        writer.update({key}, 1)
        await until(lambda: shown(server, key))
        writer.update(set(), 2)
        writer.update({key}, 3)
        writer.live(3)
        await quiet(writer)
        await until(lambda: shown(server, key) == [{"ip": "192.0.2.1"}])


async def test_unknown_addresses_leave_everything_as_it_is(server: ApiServer, client: KubeClient) -> None:
    """Not to know is not the same as to have none."""
    key = put(server, "a", {"ip": "192.0.2.9"})
    async with running(client) as writer:
        told(writer, server, [key])
        writer.live(1)
        writer.update({key}, 1)
        writer.addresses(None)
        await quiet(writer)
        assert shown(server, key) == [{"ip": "192.0.2.9"}]
        writer.addresses([])
        await until(lambda: shown(server, key) == [])


async def test_who_changes_it_back_is_answered_ever_more_slowly(server: ApiServer, client: KubeClient) -> None:
    """A second controller on the same class costs a write now and then, not a storm; a new address goes out at once."""
    key = put(server, "a")
    async with running(client) as writer:
        writer.addresses([ONE])
        writer.live(1)
        writer.update({key}, 1)
        await until(lambda: shown(server, key))
        for _ in range(20):
            put(server, "a", {"ip": "203.0.113.9"})
            told(writer, server, [key])
            await asyncio.sleep(0.07)
        assert 1 <= writer.writes <= 3
        put(server, "a", {"ip": "203.0.113.9"})
        told(writer, server, [key])
        writer.addresses([TWO])
        await until(lambda: shown(server, key) == [{"hostname": "lb.example.com"}], seconds=0.5)


async def test_a_thousand_ingresses_take_seconds(server: ApiServer, client: KubeClient) -> None:
    """All get their address in under ten seconds."""
    keys = {put(server, f"bulk-{number}") for number in range(1000)}
    async with running(client) as writer:
        began = time.monotonic()
        writer.addresses([ONE])
        writer.live(1)
        writer.update(keys, 1)
        await until(lambda: writer.writes == 1000, seconds=10)
        assert time.monotonic() - began < 10
        assert all(shown(server, key) == [{"ip": "192.0.2.1"}] for key in keys)


async def test_refusals_of_the_moment_are_overcome(server: ApiServer, client: KubeClient) -> None:
    """409 is tried again on the fresh object, 429 after the time it names, 500 and silence after a while."""
    key = put(server, "a")
    async with running(client) as writer:
        writer.live(1)
        writer.update({key}, 1)
        server.faults.fail(409, 2, verb="patch", plural="ingresses/status")
        writer.addresses([ONE])
        await until(lambda: shown(server, key) == [{"ip": "192.0.2.1"}])
        assert (writer.errors, len(server.requests(verb="get"))) == (0, 2)
        server.faults.fail(429, verb="patch", plural="ingresses/status", retry_after=1)
        began = time.monotonic()
        writer.addresses([TWO])
        await until(lambda: shown(server, key) == [{"hostname": "lb.example.com"}])
        assert time.monotonic() - began > 0.9
        await server.stop()
        writer.addresses([ONE])
        await until(lambda: writer.errors == 2)
        await server.start()
        await until(lambda: shown(server, key) == [{"ip": "192.0.2.1"}])


async def test_a_missing_right_is_named_once_and_stops_no_other_namespace() -> None:
    """Roles may allow one namespace and not another."""
    rule = Rule(verbs=("*",), groups=("*",), resources=("*",), namespaces=("default",))
    async with api_server(users={"t": User(name="u", rules=(rule,))}) as server, client_of(server, token="t") as client:
        server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "closed"}})
        closed = {("closed", f"c{number}") for number in range(20)}
        for namespace, name in closed:
            server.put(ingress(name, f"{name}.example.com", namespace=namespace))
        key = put(server, "a")
        with capture_logs() as lines:
            async with running(client) as writer:
                writer.addresses([ONE])
                writer.live(1)
                writer.update({key, *closed}, 1)
                await until(lambda: shown(server, key) and writer.errors == 20)
        assert [(each["namespace"], each["right"]) for each in lines] == [
            ("closed", "patch ingresses/status.networking.k8s.io")
        ]


async def test_one_that_is_gone_is_forgotten(server: ApiServer, client: KubeClient) -> None:
    """404 is not tried again."""
    async with running(client) as writer:
        writer.addresses([ONE])
        writer.live(1)
        writer.update({(NAMESPACE, "gone")}, 1)
        await quiet(writer)
        assert (writer.errors, len(server.requests())) == (0, 1)


async def test_the_end_of_the_controller_takes_all_its_addresses_away(server: ApiServer, client: KubeClient) -> None:
    """Ours go, one that another wrote meanwhile stays, and nothing is written afterwards."""
    keys = [put(server, name) for name in "abc"]
    async with running(client) as writer:
        writer.addresses([ONE])
        writer.live(1)
        writer.update(set(keys), 1)
        await until(lambda: all(shown(server, key) for key in keys))
        put(server, "c", {"ip": "203.0.113.9"})
        server.faults.fail(409, verb="patch", plural="ingresses/status")
        assert await writer.remove_all() == 0
        writer.addresses([TWO])
        await quiet(writer)
        assert [shown(server, key) for key in keys] == [[], [], [{"ip": "203.0.113.9"}]]
