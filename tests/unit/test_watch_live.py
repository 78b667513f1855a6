"""A change of the folder is seen at once, however it is made."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingress.watch.files import ManifestFolder, watch
from ingress.watch.store import Loaded

pytestmark = pytest.mark.alone
AT_ONCE = 0.9
"""Seconds."""


def service(port: int, name: str = "a") -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"


def ports(loaded: Loaded | None) -> list[int]:
    return [] if loaded is None else [value.spec.ports[0].port for value in loaded.snapshot.services.values()]


class Seen:
    """What ``on_change`` was given."""

    def __init__(self) -> None:
        self.all: list[Loaded] = []

    async def until(self, wanted: Callable[[Loaded], bool]) -> float:
        """Seconds until the last change is as wanted; fails after ``AT_ONCE``."""
        began = time.monotonic()
        while not (self.all and wanted(self.all[-1])):
            last = self.all[-1] if self.all else None
            assert time.monotonic() - began < AT_ONCE, f"not seen in time; last: {ports(last)}"
            await asyncio.sleep(0.005)
        return time.monotonic() - began

    async def port(self, port: int) -> float:
        return await self.until(lambda loaded: ports(loaded) == [port])


@asynccontextmanager
async def watched(root: Path) -> AsyncIterator[Seen]:
    seen, stop = Seen(), asyncio.Event()
    folder = ManifestFolder(root)
    folder.reload()
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(folder, seen.all.append, stop=stop))
        await asyncio.sleep(0.3)
        yield seen
        stop.set()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "manifests"
    root.mkdir()
    (root / "a.yaml").write_text(service(1))
    return root


async def test_nothing_is_reported_where_nothing_changed(root: Path) -> None:
    """The caller has already what it loaded."""
    async with watched(root) as seen:
        await asyncio.sleep(0.3)
        assert seen.all == []


async def test_a_file_written_in_place_is_seen(root: Path) -> None:
    """And soon: well under a second."""
    async with watched(root) as seen:
        (root / "a.yaml").write_text(service(2))
        await seen.port(2)


async def test_a_file_replaced_by_renaming_is_seen(root: Path) -> None:
    """As editors and atomic writers do it, many times over."""
    async with watched(root) as seen:
        for port in (2, 3, 4):
            (root / ".a.yaml.swp").write_text(service(port))
            (root / ".a.yaml.swp").rename(root / "a.yaml")
            await seen.port(port)


async def test_new_and_removed_files_in_new_folders_are_seen(root: Path) -> None:
    """Also below the folder."""
    async with watched(root) as seen:
        (root / "x/y").mkdir(parents=True)
        (root / "x/y/b.yaml").write_text(service(2, "b"))
        await seen.until(lambda loaded: ports(loaded) == [1, 2])
        (root / "x/y/b.yaml").write_text(service(3, "b"))
        await seen.until(lambda loaded: ports(loaded) == [1, 3])
        (root / "x/y/b.yaml").unlink()
        await seen.port(1)


async def test_a_swapped_config_map_is_seen(root: Path) -> None:
    """The kubelet renames a new ``..data`` link over the old one."""
    (root / "a.yaml").unlink()
    for number in (1, 2):
        (root / f"..{number}").mkdir()
        (root / f"..{number}/a.yaml").write_text(service(number))
    (root / "..data").symlink_to("..1")
    (root / "a.yaml").symlink_to("..data/a.yaml")
    async with watched(root) as seen:
        (root / "..data_tmp").symlink_to("..2")
        (root / "..data_tmp").rename(root / "..data")
        await seen.port(2)


async def test_a_folder_that_is_removed_and_made_again_is_watched_on(root: Path) -> None:
    """While it is gone, what was read stays."""
    async with watched(root) as seen:
        (root / "a.yaml").unlink()
        root.rmdir()
        await asyncio.sleep(0.5)
        root.mkdir()
        (root / "a.yaml").write_text(service(2))
        await seen.port(2)
        (root / "a.yaml").write_text(service(3))
        await seen.port(3)


async def test_a_folder_that_is_exchanged_through_a_link_is_watched_on(tmp_path: Path) -> None:
    """``current`` → a release, as deployments without a cluster do it; the new one is watched too."""
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / f"{number}/a.yaml").write_text(service(number))
    current = tmp_path / "current"
    current.symlink_to("1")
    async with watched(current) as seen:
        (tmp_path / "next").symlink_to("2")
        (tmp_path / "next").rename(current)
        await seen.port(2)
        (tmp_path / "2/a.yaml").write_text(service(3))
        await seen.port(3)


async def test_a_change_before_the_watch_began_is_seen(root: Path) -> None:
    """Between the first load and the start of the watch nothing may get lost."""
    folder, seen, stop = ManifestFolder(root), Seen(), asyncio.Event()
    folder.reload()
    (root / "a.yaml").write_text(service(2))
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(folder, seen.all.append, stop=stop))
        await seen.port(2)
        stop.set()


async def test_a_broken_file_is_reported_and_its_objects_stay(root: Path) -> None:
    """Live as at a reload."""
    async with watched(root) as seen:
        (root / "a.yaml").write_text(service(2) + "{{")
        await seen.until(lambda loaded: [p.reason for p in loaded.problems] == ["InvalidYAML", "LastGoodVersion"])
        assert ports(seen.all[-1]) == [1]
        (root / "a.yaml").write_text(service(3))
        await seen.port(3)


async def test_routes_never_vanish_while_a_file_is_written_slowly(root: Path) -> None:
    """A writer that truncates, waits and then writes does not take the objects away in between."""
    async with watched(root) as seen:
        with (root / "a.yaml").open("w") as file:
            file.flush()
            os.fsync(file.fileno())
            await asyncio.sleep(0.3)
            file.write(service(2))
        await seen.port(2)
        assert [ports(loaded) for loaded in seen.all] == [[1], [2]]


async def test_what_on_change_raises_ends_the_watch(root: Path) -> None:
    """A mistake of ours is not taken for a missing folder."""

    def fail(_: Loaded) -> None:
        raise OSError("mine")

    folder = ManifestFolder(root)
    with pytest.raises(OSError, match="mine"):
        await asyncio.wait_for(watch(folder, fail, stop=asyncio.Event()), 2)


async def test_stop_and_cancellation_end_the_watch_quickly(root: Path) -> None:
    """Shutting down does not wait for the next check."""
    for end in ("stop", "cancel"):
        stop = asyncio.Event()
        task = asyncio.get_running_loop().create_task(watch(ManifestFolder(root), lambda _: None, stop=stop))
        await asyncio.sleep(0.3)
        began = time.monotonic()
        if end == "stop":
            stop.set()
            await task
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert time.monotonic() - began < AT_ONCE
