"""What every source of objects offers to whoever translates them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ingress.resources import Change, Problem, Wanted

__all__ = ["Source", "Take"]

Take = Callable[[Sequence[Change]], None]


class Source(Protocol):
    """A cluster, or a folder of manifests. All calls are of the event loop's thread."""

    @property
    def unsynced_reason(self) -> str | None:
        """Why a table made from what was told so far would lack something; ``None``: it is whole."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of objects that cannot be read, sorted."""

    @property
    def read(self) -> frozenset[Wanted] | None:
        """Which of the wanted objects were looked for; others that are missing may still come. ``None``: all."""

    def want(self, wanted: frozenset[Wanted]) -> None:
        """The objects to read since others name them; said after each translation."""

    def on_problems(self, call: Callable[[], None]) -> None:
        """``call`` when :attr:`problems` is different."""

    async def run(self, take: Take) -> None:
        """Until cancelled: tell what changed, first of all everything there is. None: something wanted is
        not there, or everything was read."""
