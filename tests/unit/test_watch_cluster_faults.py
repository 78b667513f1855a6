"""Whatever happens to the API server or the way to it: nothing is forgotten, missed or told twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest

from ingress.kube import KubeError
from ingress.watch.kinds import CLUSTER_KINDS, NAMED_KINDS, NAMESPACED_KINDS, NAMESPACES
from ingress.watch.pace import Pace
from tests.support.apiserver import ApiServer, api_server, ingress, service
from tests.support.apiserver.kinds import resource_of
from tests.support.kube_client import until
from tests.support.watched import FAST, Watched, watched

SPEC = {"status": 503}
INGRESS = "networking.k8s.io/v1"


def rearrange(server: ApiServer) -> None:
    """One comes, one is different, one goes, one stays."""
    server.put(ingress("new", "new.example"))
    server.put(ingress("changed", "after.example"))
    server.remove(INGRESS, "Ingress", "gone", "default")


def arrange(server: ApiServer) -> None:
    for name in ("changed", "gone", "same"):
        server.put(ingress(name, f"{name}.example"))


@asynccontextmanager
async def arranged(*, bookmark_interval: float = 60.0, pace: Pace = FAST) -> AsyncIterator[tuple[ApiServer, Watched]]:
    """A server with three Ingresses, and what is in step with it: nothing was told since."""
    async with api_server(bookmark_interval=bookmark_interval) as server:
        arrange(server)
        async with watched(server, pace=pace) as seen:
            seen.told.clear()
            yield server, seen


async def rearranged(seen: Watched) -> None:
    """Exactly the differences were told."""
    expected = {"new": "new.example", "changed": "after.example", "same": "same.example"}
    await until(lambda: seen.hosts() == expected)
    told = [change.key[1] for changes in seen.told for change in changes]
    assert sorted(told) == ["changed", "gone", "new"]


def lists(server: ApiServer) -> int:
    return len(server.requests(verb="list", plural="ingresses"))


@pytest.mark.parametrize("as_http", [False, True])
async def test_a_version_that_is_too_old_is_listed_again(as_http: bool) -> None:
    """After a compaction, also of what was deleted meanwhile; told as an event or as a status."""
    async with arranged() as (server, seen):
        server.faults.gone_as_http = as_http
        server.faults.fail(500, 8, verb="watch")
        server.drop_connections()
        rearrange(server)
        server.compact()
        await rearranged(seen)
        assert lists(server) == 2


async def test_a_watch_that_expires_is_listed_again() -> None:
    """The ERROR event comes in the middle of a watch."""
    async with arranged() as (server, seen):
        server.expire_watches()
        rearrange(server)
        await rearranged(seen)


async def test_a_broken_watch_goes_on_from_its_version() -> None:
    """Without a new list, and without missing what happened in between."""
    async with arranged() as (server, seen):
        server.drop_connections()
        rearrange(server)
        await rearranged(seen)
        assert lists(server) == 1


async def test_bookmarks_move_the_version() -> None:
    """A watch without events of its own survives a compaction that its bookmarks have passed."""
    async with arranged(bookmark_interval=0.05) as (server, seen):
        for number in range(5):
            server.put(service(f"s{number}"))
        await asyncio.sleep(0.15)
        server.compact()
        server.drop_connections()
        server.put(ingress("new", "new.example"))
        await until(lambda: "new" in seen.hosts())
        assert lists(server) == 1


async def test_watches_end_themselves_in_time() -> None:
    """Each asks for a random time of its own, wants bookmarks, and follows the one before at once."""
    async with api_server() as server, watched(server) as seen:
        asked = [each.params for each in server.requests(verb="watch")]
        assert all(300 <= int(params["timeoutSeconds"]) <= 600 for params in asked)
        assert len({params["timeoutSeconds"] for params in asked}) > 1
        assert all(params["allowWatchBookmarks"] == "true" for params in asked)
        server.put(service("a"))
        await until(lambda: seen.names("Service") == ["a"])
        server.end_watches()
        server.put(service("b"))
        await until(lambda: seen.names("Service") == ["a", "b"])


async def test_watches_that_end_at_once_are_not_hurried() -> None:
    """A server that ends every watch is asked ever more slowly, not in a loop."""
    async with api_server() as server, watched(server, pace=msgspec.structs.replace(FAST, longest_wait=5.0)) as seen:
        end = asyncio.get_running_loop().time() + 0.6
        while asyncio.get_running_loop().time() < end:
            server.end_watches()
            await asyncio.sleep(0.001)
        asked = len(server.requests(verb="watch", plural="services"))
        assert 2 < asked < 15
        assert seen.is_synced


async def test_a_stalled_watch_is_left() -> None:
    """Nothing comes, not even a bookmark: the connection may be dead."""
    async with arranged(pace=msgspec.structs.replace(FAST, inactivity=0.3)) as (server, seen):
        server.stall_watches()
        rearrange(server)
        await rearranged(seen)
        assert lists(server) == 1


async def test_a_server_that_is_away_changes_nothing() -> None:
    """What is known stays, nothing is told; when it is back, the differences are."""
    async with arranged() as (server, seen):
        seen.want("s")
        await asyncio.sleep(0.05)
        await server.stop()
        await seen.quiet(0.3)
        assert len(seen.hosts()) == 3
        assert seen.is_synced
        rearrange(server)
        await server.start()
        await rearranged(seen)


async def test_a_server_that_forgot_its_history_while_away_is_listed_again() -> None:
    """As after ten minutes of absence."""
    async with arranged() as (server, seen):
        await server.stop()
        rearrange(server)
        server.compact()
        await server.start()
        await rearranged(seen)


async def test_a_server_that_comes_back_from_a_backup_is_listed_again() -> None:
    """It refuses versions that are still to come (504); what it has counts, though its versions are older."""
    async with arranged() as (server, seen):
        await server.stop()
        rearrange(server)
        server.storage.version = 2
        server.compact()
        refused = _refusing_what_is_to_come(seen)
        await server.start()
        await rearranged(seen)
        assert "ingresses" in " ".join(refused)


def _refusing_what_is_to_come(seen: Watched) -> list[str]:
    """The paths of watches that a server as real ones refuses; the emulated one would just wait."""
    real, refused = seen.client.watch, []

    async def watch(path: str, params: dict[str, Any], *, inactivity: float) -> AsyncGenerator[list[bytes], None]:
        if int(params.get("resourceVersion", 0)) > seen.server.storage.version:
            refused.append(path)
            raise KubeError("Timeout: Too large resource version: 9, current: 2", status=504, reason="Timeout")
        async with aclosing(real(path, params, inactivity=inactivity)) as stream:
            async for lines in stream:
                yield lines

    seen.client.watch = watch  # type: ignore[method-assign,assignment]  # for this test alone
    return refused


async def test_events_that_come_twice_are_told_once() -> None:
    """Some servers do that under load."""
    async with arranged() as (server, seen):
        server.faults.duplicate_events = True
        rearrange(server)
        await rearranged(seen)


async def test_events_that_are_out_of_date_are_passed_over() -> None:
    """An old state after a newer one, and a deletion before the object came again, are known by their versions."""
    async with api_server() as server, watched(server) as seen:
        arrange(server)
        await until(lambda: len(seen.hosts()) == 3)
        old = [server.get(INGRESS, "Ingress", name, "default") for name in ("changed", "gone")]
        before = len(seen.told)
        rearrange(server)
        server.put(ingress("gone", "again.example"))
        await until(lambda: seen.hosts().get("gone") == "again.example" and "new" in seen.hosts())
        stale = [("MODIFIED", old[0]), ("DELETED", old[1]), ("ADDED", old[1])]
        for watch in server.state.watches:
            if watch.resource.plural == "ingresses":
                for verb, value in stale:
                    watch._add(verb, msgspec.json.encode(value))
        server.put(ingress("last", "last.example"))
        await until(lambda: "last" in seen.hosts())
        assert seen.hosts()["changed"] == "after.example"
        assert seen.hosts()["gone"] == "again.example"
        told = [change.key[1] for changes in seen.told[before:] for change in changes]
        assert sorted(set(told)) == ["changed", "gone", "last", "new"]


@pytest.mark.parametrize(
    "line",
    [b"{", b"\xff\xfe", b"[]", b'{"type":"ADDED"}', b'{"type":"ADDED","object":5}', b"<html>", b'{"object":{}}'],
)
async def test_a_line_that_cannot_be_read_is_made_up_for(line: bytes) -> None:
    """It may have been an event: a new list brings what it would have said."""
    async with arranged() as (server, seen):
        for watch in server.state.watches:
            if watch.resource.plural == "ingresses":
                watch._pending.append(line + b"\n")
                watch.end()
        rearrange(server)
        await rearranged(seen)


async def test_a_page_that_expired_starts_the_list_anew() -> None:
    """And without pages, so that it cannot happen again."""
    async with api_server() as server:
        for number in range(9):
            server.put(ingress(f"i{number}", "a.example"))
        server.faults.list_delay = 0.05
        async with watched(server, synced=False, pace=msgspec.structs.replace(FAST, page=4)) as seen:
            await until(lambda: any("continue" in each.params for each in server.requests(plural="ingresses")))
            server.compact()
            await seen.synced()
            assert len(seen.hosts()) == 9
            last = server.requests(verb="list", plural="ingresses")[-1].params
            assert "limit" not in last
            assert "continue" not in last


async def test_too_many_requests_are_obeyed() -> None:
    """The server says how long to wait (429, Retry-After)."""
    async with api_server() as server:
        server.faults.fail(429, 1, verb="list", plural="ingresses", retry_after=1)
        began = asyncio.get_running_loop().time()
        async with watched(server) as seen:
            assert 1.0 <= asyncio.get_running_loop().time() - began < 2.0
            assert lists(server) == 2
            assert seen.is_synced


async def test_failures_are_tried_again_ever_more_slowly() -> None:
    """A server in trouble gets room to recover, and jitter keeps replicas apart."""
    async with api_server() as server:
        server.faults.fail(500, 10_000, verb="list", plural="services")
        pace = msgspec.structs.replace(FAST, longest_wait=10.0)
        async with watched(server, synced=False, pace=pace):
            await asyncio.sleep(0.7)
            assert 4 <= len(server.requests(verb="list", plural="services")) <= 9


async def test_a_kind_that_is_not_installed_is_no_obstacle() -> None:
    """Our CRDs may be missing; they are found soon after they are installed, and their objects go with them."""
    async with api_server() as server:
        server.put({"apiVersion": "pyngress.io/v1alpha1", "kind": "Response", "metadata": {"name": "r"}, "spec": SPEC})
        server.faults.fail(404, 3, verb="list", plural="responses")
        async with watched(server) as seen:
            await until(lambda: seen.names("Response") == ["r"])
            await seen.watching()
            server.faults.fail(404, 100, plural="responses", verb="list")
            server.expire_watches()
            await until(lambda: seen.names("Response") == [])
            server.faults.clear()
            await until(lambda: seen.names("Response") == ["r"])


async def test_a_right_that_is_taken_away_takes_no_objects() -> None:
    """A mistake in a Role must not stop traffic; what is said once is not said again and again."""
    async with arranged() as (server, seen):
        server.faults.fail(403, 6, plural="ingresses", verb="watch")
        server.drop_connections()
        await seen.quiet(0.2)
        assert len(seen.hosts()) == 3
        server.put(ingress("new", "new.example"))
        await until(lambda: "new" in seen.hosts())


def test_the_kinds_that_are_read_are_where_the_server_has_them() -> None:
    """One table names the paths."""
    for kind in (*CLUSTER_KINDS, *NAMESPACED_KINDS, *NAMED_KINDS.values(), NAMESPACES):
        resource = resource_of(kind.api_version, kind.name)
        assert (resource.plural, resource.namespaced) == (kind.plural, kind.namespaced)
