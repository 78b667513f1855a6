"""A ClusterSource on the emulated API server, and what it told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from ingress.kube import KubeClient
from ingress.options import Options
from ingress.resources import Change, Wanted
from ingress.watch.cluster import ClusterSource
from ingress.watch.pace import Pace
from tests.support.apiserver import ApiServer
from tests.support.kube_client import client_of, until

__all__ = ["FAST", "Watched", "watched"]

FAST = Pace(first_wait=0.01, longest_wait=0.04, refused=0.05, poll=0.05, inactivity=5.0)
"""As in production, but for the waits."""


class Watched:
    """``objects``: what all changes together come to, by kind, namespace and name."""

    def __init__(self, server: ApiServer, client: KubeClient, source: ClusterSource) -> None:
        self.server = server
        self.client = client
        self.source = source
        self.told: list[Sequence[Change]] = []
        self.objects: dict[tuple[str, str, str], Any] = {}
        self.idle: list[tuple[str, str, str]] = []
        """Told though nothing was different."""
        self.wants: frozenset[Wanted] = frozenset()
        """What every translation asks for."""

    def take(self, changes: Sequence[Change]) -> None:
        self.told.append(changes)
        for change in changes:
            key = (change.kind.__name__, *change.key)
            if self.objects.get(key) == change.value:
                self.idle.append(key)
            if change.value is None:
                self.objects.pop(key, None)
            else:
                self.objects[key] = change.value
        self.source.want(self.wants)

    def want(self, *names: str, kind: str = "Secret", namespace: str = "default") -> None:
        """From now on, beside what was wanted before."""
        self.wants |= {Wanted(kind=kind, namespace=namespace, name=name) for name in names}
        self.source.want(self.wants)

    def names(self, kind: str) -> list[str]:
        """Of the objects of a kind, with their namespaces where these are not ``default``."""
        found = [(namespace, name) for each, namespace, name in self.objects if each == kind]
        return sorted(name if namespace in ("", "default") else f"{namespace}/{name}" for namespace, name in found)

    def hosts(self) -> dict[str, str]:
        """The first host of each Ingress."""
        return {name: value.spec.rules[0].host for (kind, _, name), value in self.objects.items() if kind == "Ingress"}

    @property
    def is_synced(self) -> bool:
        return self.source.unsynced_reason is None

    async def synced(self) -> None:
        await until(lambda: self.is_synced)

    async def watching(self) -> None:
        """Until there is a watch on all that was listed."""
        listed = {each.path for each in self.server.requests(verb="list") if each.code == 200}
        await until(lambda: len(self.server.state.watches) >= len(listed))

    async def quiet(self, seconds: float = 0.1) -> None:
        """Fails if anything is told for a while."""
        before = len(self.told)
        await asyncio.sleep(seconds)
        assert self.told[before:] == []


@asynccontextmanager
async def watched(
    server: ApiServer,
    *,
    token: str = "",
    pace: Pace = FAST,
    wants: frozenset[Wanted] = frozenset(),
    synced: bool = True,
    **options: Any,
) -> AsyncIterator[Watched]:
    """Running, and by default in step with the server."""
    async with client_of(server, token=token) as client:
        source = ClusterSource(client, Options(**options), pace=pace)
        seen = Watched(server, client, source)
        seen.wants = wants
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(source.run(seen.take))
            if synced:
                await seen.synced()
                await seen.watching()
            yield seen
            assert seen.idle == []
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
