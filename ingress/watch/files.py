"""A folder of manifests in place of a cluster: read once (``load``) or kept up to date (``ManifestFolder``, ``watch``).

1. An object whose new version can not be used, and a file that does not parse, keep what was read before: as an API
   server refuses a wrong object and keeps the old one.
2. A file that is gone takes its objects with it. A file that became empty does not: that is what a file looks like
   while it is being written.
3. A folder that can not be listed, or is gone, keeps everything below it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

import msgspec
from watchfiles import awatch

from ingress.resources import Problem
from ingress.resources.decode import Decoded
from ingress.watch.reading import Content, Found, Stamp, file_problem, find, read_file
from ingress.watch.store import Loaded, assemble

__all__ = ["ManifestFolder", "load", "watch"]

DEBOUNCE_MS: Final = 100
"""The longest that a change waits for others to join it."""
STEP_MS: Final = 20
"""Silence after which a change is taken up."""
FRESH_NS: Final = 50_000_000
"""Clocks of file systems tick every 1–10 ms."""
CHECK_MS: Final = 200
"""How often the folder itself is looked at, which may be another one by now; also the pause while there is none."""
RESCAN_EVERY: Final = 20
"""In checks (4 s): all stamps are compared, for file systems that send no events and links to places elsewhere."""


def load(paths: Sequence[Path], *, relative_to: Path | None = None) -> Loaded:
    """Read folders and files once.

    Files are named relative to ``relative_to`` (default: the working directory) where they are below it.
    """
    return _Files(paths, relative_to).reload()


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    stamp: Stamp
    content: Content
    """As read last."""
    good: Content
    """What counts: the content, or what was usable before it."""
    warnings: tuple[Problem, ...] = ()


class _Files:
    """The files below some paths, with what is known of each."""

    def __init__(self, paths: Sequence[Path], relative_to: Path | None) -> None:
        self._paths = tuple(paths)
        self._base = (relative_to or Path.cwd()).absolute()
        self._kept: dict[Path, _Kept] = {}
        self._unreadable: dict[Path, str] = {}
        self.loaded: Loaded | None = None
        self._lock = threading.Lock()

    def reload(self) -> Loaded:
        with self._lock:
            found = find(self._paths)
            kept = self._update(found)
            same = kept == self._kept and found.unreadable == self._unreadable
            if self.loaded is not None and same:
                return self.loaded
            self._kept, self._unreadable = kept, found.unreadable
            loaded = self._assemble()
            if loaded != self.loaded:  # a file that was only touched
                self.loaded = loaded
            assert self.loaded is not None
            return self.loaded

    def _update(self, found: Found) -> dict[Path, _Kept]:
        kept: dict[Path, _Kept] = {}
        for path, stamp in found.files.items():
            before = self._kept.get(path)
            if before is not None and before.stamp == stamp:
                kept[path] = before
            else:
                name, settled = self._name(path), _settled(stamp)
                kept[path] = _keep(before, name, settled, read_file(path, name))
        for path, before in self._kept.items():
            if path not in kept and any(place in found.unreadable for place in (path, *path.parents)):
                kept[path] = before
        return {path: kept[path] for path in sorted(kept, key=self._order)}

    def _order(self, path: Path) -> tuple[int, tuple[str, ...]]:
        for index, root in enumerate(self._paths):
            if path == root or root in path.parents:
                return index, path.parts
        return len(self._paths), path.parts

    def _assemble(self) -> Loaded:
        problems = [
            file_problem(self._name(path), "UnreadableFile", reason) for path, reason in self._unreadable.items()
        ]
        for kept in self._kept.values():
            problems += [*kept.content.problems, *kept.warnings]
        return assemble((value for kept in self._kept.values() for value in kept.good.objects), problems)

    def _name(self, path: Path) -> str:
        absolute = path.absolute()
        return str(absolute.relative_to(self._base) if absolute.is_relative_to(self._base) else path)


def _settled(stamp: Stamp) -> Stamp:
    """A stamp that never matches while the file is so fresh that another write could leave the same one."""
    fresh = abs(time.time_ns() - stamp.modified) < FRESH_NS
    return msgspec.structs.replace(stamp, modified=-1) if fresh else stamp


def _keep(before: _Kept | None, name: str, stamp: Stamp, content: Content) -> _Kept:
    previous = before.good if before is not None else Content()
    usable = {item.ref: item for item in previous.decoded if item.object is not None}
    if content.broken is not None or (stamp.size == 0 and usable):
        return _Kept(stamp=stamp, content=content, good=previous, warnings=_kept_file(name, content, len(usable)))
    good: list[Decoded] = []
    warnings: list[Problem] = []
    for item in content.decoded:
        if item.object is None and item.ref in usable:
            good.append(usable[item.ref])
            warnings.append(_kept_object(item))
        else:
            good.append(item)
    return _Kept(stamp=stamp, content=content, good=Content(decoded=tuple(good)), warnings=tuple(warnings))


def _kept_file(name: str, content: Content, count: int) -> tuple[Problem, ...]:
    if not count:
        return ()
    objects = f"{count} object{'s' if count > 1 else ''}"
    why = "is empty; remove it to remove them" if content.broken is None else "can not be used"
    message = f"the {objects} read before stay in use, because the file {why}"
    return (msgspec.structs.replace(file_problem(name, "LastGoodVersion", message), severity="warning"),)


def _kept_object(item: Decoded) -> Problem:
    assert item.ref is not None
    return Problem(
        object=item.ref,
        field="",
        reason="LastGoodVersion",
        message="the version read before stays in use, because this one can not be used",
        severity="warning",
        source=item.problems[0].source if item.problems else None,
    )


class ManifestFolder:
    """A folder (or a single file) that is read again and again. Safe to use from several threads."""

    def __init__(self, root: Path, *, relative_to: Path | None = None) -> None:
        self.root = root
        self._files = _Files([root], relative_to)

    @property
    def loaded(self) -> Loaded | None:
        """What ``reload`` returned last; ``None`` before the first."""
        return self._files.loaded

    def reload(self) -> Loaded:
        """Read what changed. Returns the very same value as before if nothing did."""
        return self._files.reload()


async def watch(folder: ManifestFolder, on_change: Callable[[Loaded], None], *, stop: asyncio.Event) -> None:
    """Call ``on_change`` after every change of the folder, until ``stop`` is set.

    A change between the caller's last ``reload`` and the start of the watch is reported as well.
    Files are read in a thread; ``on_change`` runs on the event loop, and what it raises ends the watch.
    """
    known = folder.loaded
    async with aclosing(_moments(folder.root, stop)) as moments:
        async for _ in moments:
            loaded = await asyncio.to_thread(folder.reload)
            if loaded is not known:
                known = loaded
                on_change(loaded)


async def _moments(root: Path, stop: asyncio.Event) -> AsyncGenerator[None]:
    """The moments when a look at the folder may be worth it."""
    while not stop.is_set():
        try:
            async with aclosing(_events(root, stop)) as events:
                async for _ in events:
                    yield
        except (OSError, RuntimeError, ExceptionGroup):
            # No folder, no right to read it, or no more watches to be had (watchfiles raises all three): look again and
            # again instead.
            yield
            await _pause(stop, CHECK_MS / 1000)


async def _events(root: Path, stop: asyncio.Event) -> AsyncGenerator[None]:
    """Until the folder is another one: events belong to the folder that was there when the watch began."""
    identity = _identity(root)
    quiet = RESCAN_EVERY  # what happened before the watch began sent no event
    changes = awatch(
        root,
        watch_filter=None,
        debounce=DEBOUNCE_MS,
        step=STEP_MS,
        rust_timeout=CHECK_MS,
        yield_on_timeout=True,
        stop_event=stop,
    )
    async with aclosing(changes):
        async for change in changes:
            quiet += 1
            if change or quiet > RESCAN_EVERY:
                yield
                quiet = 0
            if _identity(root) != identity:
                return


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
