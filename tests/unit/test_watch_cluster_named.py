"""Secrets and ConfigMaps: those that are named, no others, with no more rights than that takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest

from ingress.resources import Wanted
from ingress.watch import named as named_module
from ingress.watch.named import NamedObjects
from tests.support.apiserver import ApiServer, Rule, User, api_server
from tests.support.kube_client import client_of, until
from tests.support.watched import FAST, Watched, watched

EVERYTHING = Rule(
    verbs=("get", "list", "watch"),
    groups=("", "networking.k8s.io", "discovery.k8s.io", "pyngress.io"),
    resources=("services", "ingresses", "endpointslices", "ingressclasses", "responses", "trafficpolicies"),
)


def user(*rules: Rule) -> dict[str, User]:
    return {"t": User(name="u", rules=(EVERYTHING, *rules))}


def secret(name: str, text: str = "aGk=", *, namespace: str = "default") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"a": text}}


def content(seen: Watched, name: str) -> bytes | None:
    value = seen.objects.get(("Secret", "default", name))
    return None if value is None else value.data["a"]


async def test_only_what_is_named_is_read() -> None:
    """By its name, never by a list; other Secrets never leave the API server."""
    async with api_server(users=user(Rule(verbs=("get", "watch"), resources=("secrets",), names=("s",)))) as server:
        server.put(secret("s"))
        server.put(secret("other"))
        wants = frozenset({Wanted(kind="Secret", namespace="default", name="s")})
        async with watched(server, token="t", wants=wants) as seen:
            assert seen.names("Secret") == ["s"]
            await until(lambda: server.requests(verb="watch", plural="secrets"))
            server.put(secret("s", "dHdv"))
            await until(lambda: content(seen, "s") == b"two")
            asked = server.requests(plural="secrets")
            assert {each.verb for each in asked} == {"get", "watch"}
            assert {each.params.get("fieldSelector") for each in asked if each.verb == "watch"} == {"metadata.name=s"}


async def test_config_maps_are_read_likewise() -> None:
    """Bodies of responses may stand in them."""
    async with api_server() as server, watched(server) as seen:
        seen.want("c", kind="ConfigMap")
        server.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}})
        await until(lambda: seen.names("ConfigMap") == ["c"])


async def test_what_is_not_there_is_known_to_be_absent_until_it_comes() -> None:
    """cert-manager makes the Secret after the Ingress."""
    async with api_server() as server, watched(server) as seen:
        seen.want("s")
        await until(lambda: _is_watched(server, "s"))
        assert seen.source.problems == ()
        for _ in range(2):
            server.put(secret("s"))
            await until(lambda: content(seen, "s") == b"hi")
            server.remove("v1", "Secret", "s", "default")
            await until(lambda: content(seen, "s") is None)


async def test_what_is_no_longer_named_is_forgotten() -> None:
    """Its watch ends, its bytes leave the memory; named again, it is read again."""
    async with api_server() as server, watched(server) as seen:
        server.put(secret("s"))
        for _ in range(2):
            seen.want("s")
            await until(lambda: content(seen, "s") == b"hi" and _is_watched(server, "s"))
            seen.wants = frozenset()
            seen.source.want(seen.wants)
            await until(lambda: content(seen, "s") is None and not _is_watched(server, "s"))


async def test_a_secret_that_may_not_be_read_is_a_problem() -> None:
    """And no obstacle to readiness; when the right is given, it comes."""
    async with api_server(users=user()) as server:
        server.put(secret("s"))
        wants = frozenset({Wanted(kind="Secret", namespace="default", name="s")})
        async with watched(server, token="t", wants=wants) as seen:
            (problem,) = seen.source.problems
            assert (problem.reason, str(problem.object)) == ("Forbidden", "Secret default/s")
            assert seen.names("Secret") == []
            server.state.users.update(user(Rule(verbs=("get",), resources=("secrets",))))
            await until(lambda: content(seen, "s") == b"hi" and seen.source.problems == ())


async def test_what_may_not_be_watched_is_looked_at_now_and_then() -> None:
    """``get`` alone is enough."""
    async with api_server(users=user(Rule(verbs=("get",), resources=("secrets",)))) as server:
        server.put(secret("s"))
        async with watched(server, token="t") as seen:
            seen.want("s")
            await until(lambda: content(seen, "s") == b"hi")
            server.put(secret("s", "dHdv"))
            await until(lambda: content(seen, "s") == b"two")
            server.remove("v1", "Secret", "s", "default")
            await until(lambda: content(seen, "s") is None)
            assert len([each for each in server.requests(verb="watch") if each.plural == "secrets"]) == 1


async def test_what_happens_before_the_watch_stands_is_not_missed() -> None:
    """A deletion between the first look and the watch is told by neither: it is looked at once more."""
    async with api_server() as server, watched(server) as seen:
        server.put(secret("s"))
        real = seen.client.watch

        async def later(path: str, params: Any, *, inactivity: float) -> AsyncGenerator[list[bytes], None]:
            await asyncio.sleep(0.05)
            server.remove("v1", "Secret", "s", "default")
            async with aclosing(real(path, params, inactivity=inactivity)) as stream:
                async for lines in stream:
                    yield lines

        seen.client.watch = later  # type: ignore[method-assign,assignment]  # for this test alone
        seen.want("s")
        await until(lambda: content(seen, "s") == b"hi")
        await until(lambda: content(seen, "s") is None)


async def test_a_stale_beginning_of_a_watch_is_passed_over() -> None:
    """A watch may begin with the state of a cache that is behind what was read."""
    async with api_server() as server, watched(server) as seen:
        server.put(secret("s"))
        seen.want("s")
        await until(lambda: content(seen, "s") == b"hi" and _is_watched(server, "s"))
        old = server.get("v1", "Secret", "s", "default")
        server.put(secret("s", "dHdv"))
        await until(lambda: content(seen, "s") == b"two")
        for watch in server.state.watches:
            if watch.resource.plural == "secrets":
                watch._add("ADDED", msgspec.json.encode(old))
        server.put(secret("other"))
        await seen.quiet()
        assert content(seen, "s") == b"two"


async def test_watches_come_back_after_the_server_was_away() -> None:
    """With what became of the Secret meanwhile; nothing is told before."""
    async with api_server() as server, watched(server) as seen:
        server.put(secret("s"))
        server.put(secret("t"))
        seen.want("s", "t")
        await until(lambda: seen.names("Secret") == ["s", "t"] and _is_watched(server, "t"))
        await server.stop()
        await seen.quiet(0.2)
        server.put(secret("s", "dHdv"))
        server.remove("v1", "Secret", "t", "default")
        await server.start()
        await until(lambda: content(seen, "s") == b"two" and seen.names("Secret") == ["s"])


@pytest.mark.parametrize("fault", ["expire", "garbage", "end"])
async def test_a_named_watch_survives_what_a_watch_may_say(fault: str) -> None:
    """410, rubbish, and the end of its time."""
    async with api_server() as server, watched(server) as seen:
        server.put(secret("s"))
        seen.want("s")
        await until(lambda: _is_watched(server, "s"))
        for watch in tuple(server.state.watches):
            if watch.resource.plural == "secrets":
                watch._pending.extend([b"{\n"] if fault == "garbage" else [])
                watch.end()
        if fault == "expire":
            server.expire_watches()
        server.put(secret("s", "dHdv"))
        await until(lambda: content(seen, "s") == b"two")


async def test_watches_and_first_looks_are_bounded() -> None:
    """Beyond the bound of watches the rest is looked at now and then, and a watch that ends makes room."""
    async with named(max_watches=3) as (server, objects, known):
        for number in range(6):
            server.put(secret(f"s{number}"))
        server.faults.list_delay = 0.0
        wanted = frozenset(Wanted(kind="Secret", namespace="default", name=f"s{number}") for number in range(6))
        objects.want(wanted)
        await until(lambda: not objects.unsettled and len(server.state.watches) == 3)
        await asyncio.sleep(0.15)
        assert len(server.state.watches) == 3
        for number in range(6):
            server.put(secret(f"s{number}", "dHdv"))
        await until(lambda: all(known[f"s{number}"] == b"two" for number in range(6)))
        watched_now = {name for name in known if _is_watched(server, name)}
        objects.want(frozenset(each for each in wanted if each.name not in watched_now))
        await until(lambda: len(server.state.watches) == 3 and not any(_is_watched(server, n) for n in watched_now))
        assert set(known) == {f"s{number}" for number in range(6)} - watched_now


async def test_first_looks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand certificates are asked for a few at a time."""
    monkeypatch.setattr(named_module, "GETS_AT_ONCE", 4)
    async with named(max_watches=0) as (server, objects, known):
        for number in range(40):
            server.put(secret(f"s{number}"))
        running = most = 0
        real = objects._client.get

        async def counting(path: str, params: Any = None) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await real(path, params)
            finally:
                running -= 1

        objects._client.get = counting  # type: ignore[method-assign]  # for this test alone
        objects.want(frozenset(Wanted(kind="Secret", namespace="default", name=f"s{n}") for n in range(40)))
        await until(lambda: not objects.unsettled)
        assert most == 4
        assert len(known) == 40


def _is_watched(server: ApiServer, name: str) -> bool:
    secrets = [watch for watch in server.state.watches if watch.resource.plural == "secrets"]
    return any(watch._selected({"metadata": {"name": name, "namespace": "default"}}) for watch in secrets)


@asynccontextmanager
async def named(*, max_watches: int) -> AsyncIterator[tuple[ApiServer, NamedObjects, dict[str, bytes]]]:
    """The reader of named objects alone, and the contents of the Secrets that it told."""
    known: dict[str, bytes] = {}

    class Listening:
        def changed(self, change: Any, before: Any) -> None:
            if change.value is None:
                del known[change.key[1]]
            else:
                known[change.key[1]] = change.value.data["a"]

        def addressed(self, key: Any, addresses: Any) -> None:
            raise AssertionError("Secrets have no addresses")

        def found(self, kind: Any, key: Any, problems: Any) -> None:
            raise AssertionError(problems)

        def settled(self) -> None:
            """Asked by the tests themselves."""

    async with api_server() as server, client_of(server) as client:
        objects = NamedObjects(client, Listening(), pace=FAST, max_watches=max_watches)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(objects.run())
            await asyncio.sleep(0)
            yield server, objects, known
            running.cancel()
