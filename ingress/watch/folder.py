"""A folder of manifests as the source of objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from ingress.resources import KINDS, Change, Problem, Snapshot, Wanted
from ingress.watch.files import ManifestFolder, watch
from ingress.watch.source import Take
from ingress.watch.store import Loaded

__all__ = ["FolderSource", "changes_between"]


class FolderSource:
    """Everything in the folder is read, named by others or not."""

    def __init__(self, root: Path) -> None:
        self._folder = ManifestFolder(root)
        self._told = Loaded()
        self._take: Take | None = None
        self._on_problems: Callable[[], None] = _ignore

    @property
    def unsynced_reason(self) -> str | None:
        """See :class:`~ingress.watch.source.Source`."""
        return "the manifests are being read" if self._take is None else None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """See :class:`~ingress.watch.source.Source`."""
        return tuple(sorted(self._told.problems, key=lambda problem: problem.sort_key))

    @property
    def read(self) -> None:
        """Everything is looked for."""
        return None

    def want(self, wanted: frozenset[Wanted]) -> None:
        """Nothing to do."""

    def on_problems(self, call: Callable[[], None]) -> None:
        """See :class:`~ingress.watch.source.Source`."""
        self._on_problems = call

    async def run(self, take: Take) -> None:
        """See :class:`~ingress.watch.source.Source`."""
        first = await asyncio.to_thread(self._folder.reload)
        self._take = take
        take(self._news(first))
        await watch(self._folder, self._tell, stop=asyncio.Event())

    async def reload(self) -> None:
        """Look now: for file systems whose changes send no events."""
        loaded = await asyncio.to_thread(self._folder.reload)
        if self._take is not None:
            self._tell(loaded)

    def _tell(self, loaded: Loaded) -> None:
        if loaded is self._told:
            return
        problems = self._told.problems
        news = self._news(loaded)
        if news:
            assert self._take is not None
            self._take(news)
        if problems != loaded.problems:
            self._on_problems()

    def _news(self, loaded: Loaded) -> tuple[Change, ...]:
        news = tuple(changes_between(self._told.snapshot, loaded.snapshot))
        self._told = loaded
        return news


def changes_between(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    """What leads from one snapshot to the other."""
    for kind, field in KINDS.items():
        before, after = getattr(old, field), getattr(new, field)
        for key, value in after.items():
            if before.get(key) != value:
                yield Change(kind=kind, key=key, value=value)
        for key in before:
            if key not in after:
                yield Change(kind=kind, key=key, value=None)


def _ignore() -> None:
    """Nobody asked."""
