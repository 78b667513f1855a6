"""Tests run in several processes at once (pytest-xdist); while one runs that is marked ``alone``, the others wait.

For bounds that hold on a machine with its usual load, and not beside another test that takes a core for itself. This
module is a plugin of pytest.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Turns"]

_DOOR, _ROOM = 0, 1
"""Bytes of the file, each a lock. Whoever wants the room waits at the door: else who wants it alone would wait for as
long as the others, who share it, come and go."""


class Turns:
    """Of one process. ``path``: a file that all of them open."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b")

    @contextmanager
    def turn(self, *, alone: bool) -> Iterator[None]:
        """Wait until it is one's turn, and have it. Locks go with their process, however it ends."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _DOOR)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, 1, _ROOM)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _DOOR)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _ROOM)

    def close(self) -> None:
        self._file.close()


TURNS = pytest.StashKey[Turns]()
PATH = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """The process that starts the others makes the file, and each of them opens it."""
    if given := getattr(config, "workerinput", None):
        turns = Turns(Path(given["turns"]))
        config.stash[TURNS] = turns
        config.add_cleanup(turns.close)
    elif getattr(config.option, "numprocesses", None):
        file = tempfile.NamedTemporaryFile(prefix="pyngress-turns-")  # noqa: SIM115 - closed, and gone, at the end
        config.stash[PATH] = file.name
        config.add_cleanup(file.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """One of the others is about to be started."""
    node.workerinput["turns"] = node.config.stash[PATH]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around everything, the time limit of the test too: it does not count while the test waits for its turn."""
    turns = item.config.stash.get(TURNS, None)
    if turns is None:
        return (yield)
    with turns.turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)
