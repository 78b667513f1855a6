"""A cluster as the source of objects: what to read where, and one stream of changes out of it.

1. The first changes are told when every kind that is needed was listed, all at once: nothing is translated from half
   of the state.
2. Changes that arrive together are told together; nothing waits for more to come.
3. While the API server is away nothing is told and everything stays known; afterwards only what is different is told.
4. A namespace that is no longer selected takes its objects with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ingress.kube import KubeClient
from ingress.options import Options
from ingress.resources import Change, Key, Kind, LoadBalancerAddress, Problem, Wanted
from ingress.watch.kinds import CLUSTER_KINDS, NAMESPACED_KINDS, NAMESPACES, WatchedKind
from ingress.watch.named import NamedObjects
from ingress.watch.pace import Pace
from ingress.watch.reflector import Reflector

__all__ = ["ClusterSource"]

Take = Callable[[Sequence[Change]], None]
Place = tuple[str, str]
"""The name of a kind, and a namespace (empty: all)."""

_BACKENDS = ("Service", "EndpointSlice")


class ClusterSource:
    """Create it in the event loop, run it as a task. All calls are of the loop's thread.

    After each translation, :meth:`want` says which Secrets and ConfigMaps it asked for.
    """

    def __init__(self, client: KubeClient, options: Options, *, pace: Pace | None = None) -> None:
        self._client = client
        self._options = options
        self._pace = pace or Pace()
        self._inbox = _Inbox(self._flush_soon)
        self._named = NamedObjects(client, self._inbox, pace=self._pace)
        self._namespaces = self._namespace_reflector()
        self._reflectors: dict[Place, tuple[Reflector, asyncio.Task[None]]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._take: Take | None = None
        self._flush_is_due = False
        self._listed = False
        self._was_wanted = False
        self._synced = False
        self._told_as_read: frozenset[Wanted] = frozenset()

    # ---- what is known

    @property
    def unsynced_reason(self) -> str | None:
        """For people. ``None``: everything was read once, what is wanted too, and told; stays so."""
        return None if self._synced else self._unsettled() or "the first changes are on their way"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of objects that cannot be read or decoded, sorted."""
        found = [problem for each in self._inbox.problems.values() for problem in each]
        return tuple(sorted(found, key=lambda problem: problem.sort_key))

    @property
    def stalled(self) -> float:
        """Seconds since the API server was last heard. Bookmarks come each minute: more than two are a trouble."""
        return time.monotonic() - self._client.heard_at

    @property
    def read(self) -> frozenset[Wanted]:
        """Which of the wanted Secrets and ConfigMaps were looked for."""
        return self._named.read

    def ingress_addresses(self, key: Key) -> tuple[LoadBalancerAddress, ...]:
        """``status.loadBalancer.ingress`` of an Ingress as it is in the API server."""
        return self._inbox.addresses.get(key, ())

    def on_problems(self, call: Callable[[], None]) -> None:
        """``call`` when :attr:`problems` is different."""
        self._inbox.on_problems = call

    def on_addresses(self, call: Callable[[frozenset[Key]], None]) -> None:
        """``call`` with the Ingresses whose addresses are different, by whomever, after their changes were told."""
        self._inbox.on_addresses = call

    # ---- life

    def want(self, wanted: frozenset[Wanted]) -> None:
        """These Secrets and ConfigMaps, and no others."""
        self._was_wanted = self._listed
        self._named.want(wanted)
        self._flush_soon()

    async def run(self, take: Take) -> None:
        """Until cancelled. ``take`` is called with changes, and with none when :attr:`synced` becomes true or something
        wanted turns out not to be there."""
        self._take = take
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                tasks.create_task(self._named.run())
                for kind in CLUSTER_KINDS:
                    self._start(kind, "")
                if self._namespaces is None:
                    self._cover(frozenset(self._options.watch_namespaces) or frozenset({""}))
                else:
                    tasks.create_task(self._namespaces.run())
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def _namespace_reflector(self) -> Reflector | None:
        selector = self._options.watch_namespace_selector
        if not selector:
            return None
        listener = _Namespaces(self._namespaces_changed)
        return Reflector(self._client, NAMESPACES, "", listener, label_selector=selector, pace=self._pace)

    def _namespaces_changed(self) -> None:
        assert self._namespaces is not None
        if self._tasks is None or not self._namespaces.listed:
            return
        selected = frozenset(name for _, name in self._namespaces.known.keys())  # noqa: SIM118 - not a dict
        named = frozenset(self._options.watch_namespaces)
        self._cover(selected & named if named else selected)
        self._flush_soon()

    def _cover(self, namespaces: frozenset[str]) -> None:
        """Read in these namespaces, and no others."""
        wanted = {(kind.name, namespace): kind for kind in NAMESPACED_KINDS for namespace in namespaces}
        default = self._options.default_backend
        if default is not None and "" not in namespaces:
            wanted |= {(kind.name, default.namespace): kind for kind in NAMESPACED_KINDS if kind.name in _BACKENDS}
        running = {place for place, (reflector, _) in self._reflectors.items() if reflector.kind.namespaced}
        for place in sorted(running - wanted.keys()):
            self._end(place)
        for place in sorted(wanted.keys() - running):
            self._start(wanted[place], place[1])

    def _start(self, kind: WatchedKind, namespace: str) -> None:
        assert self._tasks is not None
        reflector = Reflector(self._client, kind, namespace, self._inbox, pace=self._pace)
        self._reflectors[kind.name, namespace] = (reflector, self._tasks.create_task(reflector.run()))

    def _end(self, place: Place) -> None:
        reflector, task = self._reflectors.pop(place)
        task.cancel()
        reflector.known.replace(())

    # ---- telling

    def _unsettled(self) -> str:
        return (
            self._unlisted()
            or ("" if self._was_wanted else "the first translation is awaited")
            or (self._named.unsettled)
        )

    def _unlisted(self) -> str:
        if self._take is None:
            return "not started"
        return next(filter(None, (each.unsettled for each in self._all_reflectors())), "")

    def _all_reflectors(self) -> Iterator[Reflector]:
        if self._namespaces is not None:
            yield self._namespaces
        for reflector, _ in self._reflectors.values():
            yield reflector

    def _flush_soon(self) -> None:
        """What else this turn of the loop brings is told together with it."""
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        first = not self._listed
        if self._take is None or (first and self._unlisted()):
            return
        self._listed = True
        became_synced = not self._synced and not self._unsettled()
        self._synced = self._synced or became_synced
        changes, read = self._inbox.collect(), self._named.read
        if changes or became_synced or first or read != self._told_as_read:
            self._told_as_read = read
            self._take(changes)
        self._inbox.tell_the_rest()


class _Inbox:
    """Collects what reflectors tell, until the next flush."""

    def __init__(self, flush_soon: Callable[[], None]) -> None:
        self._flush_soon = flush_soon
        self._changes: dict[tuple[Kind, Key], tuple[Change, Any]] = {}
        """With the value that was told before."""
        self._addressed: set[Key] = set()
        self._found = False
        self.addresses: dict[Key, tuple[LoadBalancerAddress, ...]] = {}
        self.problems: dict[tuple[str, Key], tuple[Problem, ...]] = {}
        self.on_problems: Callable[[], None] = _ignore
        self.on_addresses: Callable[[frozenset[Key]], None] = _ignore

    def changed(self, change: Change, before: Any) -> None:
        place = (change.kind, change.key)
        _, told = self._changes.get(place, (None, before))
        self._changes[place] = (change, told)
        self._flush_soon()

    def addressed(self, key: Key, addresses: tuple[LoadBalancerAddress, ...]) -> None:
        if addresses:
            self.addresses[key] = addresses
        else:
            self.addresses.pop(key, None)
        self._addressed.add(key)
        self._flush_soon()

    def found(self, kind: WatchedKind, key: Key, problems: tuple[Problem, ...]) -> None:
        if problems:
            self.problems[kind.name, key] = problems
        else:
            self.problems.pop((kind.name, key), None)
        self._found = True
        self._flush_soon()

    def settled(self) -> None:
        self._flush_soon()

    def collect(self) -> tuple[Change, ...]:
        """What came and went again in the meantime is left out."""
        changes, self._changes = self._changes, {}
        return tuple(change for change, told in changes.values() if change.value != told)

    def tell_the_rest(self) -> None:
        if self._found:
            self._found = False
            self.on_problems()
        if self._addressed:
            addressed, self._addressed = frozenset(self._addressed), set()
            self.on_addresses(addressed)


class _Namespaces:
    """Hears only that Namespaces came or went."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def changed(self, change: Change, before: Any) -> None:
        self._changed()

    def addressed(self, key: Key, addresses: tuple[LoadBalancerAddress, ...]) -> None:
        """Namespaces have none."""

    def found(self, kind: WatchedKind, key: Key, problems: tuple[Problem, ...]) -> None:
        """A Namespace that is known by its name is good enough."""

    def settled(self) -> None:
        self._changed()


def _ignore(*_: object) -> None:
    """Nobody asked."""
