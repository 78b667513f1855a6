"""Where each TrafficPolicy applies, as the parts tell it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ingress.resources import Key, ObjectRef

__all__ = ["PoliciesApplied"]

Applied = tuple[Key, ObjectRef]
"""A TrafficPolicy, and what it is attached to."""


class PoliciesApplied:
    """Counts, since several parts may tell of the same Service."""

    def __init__(self) -> None:
        self._counts: dict[Key, dict[ObjectRef, int]] = {}
        self._touched: set[Key] = set()
        self._shown: dict[Key, tuple[ObjectRef, ...]] = {}

    def replace(self, old: Iterable[Applied], new: Iterable[Applied]) -> None:
        """A part tells ``new`` in place of ``old``."""
        for policy, target in new:
            targets = self._counts.setdefault(policy, {})
            targets[target] = targets.get(target, 0) + 1
            self._touched.add(policy)
        for policy, target in old:
            targets = self._counts[policy]
            targets[target] -= 1
            if not targets[target]:
                del targets[target]
            self._touched.add(policy)

    def shown(self) -> Mapping[Key, tuple[ObjectRef, ...]]:
        """Targets in order; the same value as before if nothing changed."""
        if self._touched:
            shown = dict(self._shown)
            for policy in self._touched:
                targets = tuple(sorted(self._counts[policy]))
                if targets:
                    shown[policy] = targets
                else:
                    shown.pop(policy, None)
                    del self._counts[policy]
            self._shown = shown
            self._touched.clear()
        return self._shown
