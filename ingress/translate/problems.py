"""The Problems of all owners: each part of the work replaces its own, and only then are they put in order again."""

from __future__ import annotations

from typing import Any

from ingress.resources import Problem
from ingress.translate.sorted_bag import SortedBag

__all__ = ["ProblemList", "in_order"]

Owner = tuple[str, Any]
"""A step of the translation, and the key of what it works on."""


class ProblemList:
    """Problems by owner. Two owners may have the same one, which counts once."""

    def __init__(self) -> None:
        self._owned: dict[Owner, tuple[Problem, ...]] = {}
        self._bag: SortedBag[Problem] = SortedBag(_order)

    def own(self, step: str, key: Any, problems: tuple[Problem, ...]) -> None:
        """All Problems of one owner, in place of those before."""
        owner = (step, key)
        before = self._owned.get(owner, ())
        if problems == before:
            return
        self._bag.replace(before, problems)
        if problems:
            self._owned[owner] = problems
        else:
            del self._owned[owner]

    def shown(self) -> tuple[Problem, ...]:
        """Sorted, without duplicates."""
        return self._bag.shown()


def in_order(problems: set[Problem]) -> tuple[Problem, ...]:
    """As :meth:`ProblemList.shown`."""
    return tuple(sorted(problems, key=_order))


def _order(problem: Problem) -> tuple[Any, ...]:
    source = problem.source
    place = ("", 0, 0) if source is None else (source.file, source.document, source.line)
    return (*problem.sort_key, problem.severity, place)
