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
        self._shown: dict[Key, tuple[ObjectRef, ...]] = {}
        self._unshown: set[Key] = set()
        self.stale: set[Key] = set()
        """Policies that may apply elsewhere than before; whoever looks at their Problems empties it."""

    def replace(self, old: Iterable[Applied], new: Iterable[Applied]) -> None:
        """A part tells ``new`` in place of ``old``."""
        for policy, target in new:
            targets = self._counts.setdefault(policy, {})
            targets[target] = targets.get(target, 0) + 1
            self._touch(policy)
        for policy, target in old:
            targets = self._counts[policy]
            targets[target] -= 1
            if not targets[target]:
                del targets[target]
            if not targets:
                del self._counts[policy]
            self._touch(policy)

    def targets(self, policy: Key) -> tuple[ObjectRef, ...]:
        """Where it applies, in order."""
        return tuple(sorted(self._counts.get(policy, ())))

    def shown(self) -> Mapping[Key, tuple[ObjectRef, ...]]:
        """The targets of all that apply anywhere; the same value as before if nothing changed."""
        if self._unshown:
            shown = dict(self._shown)
            for policy in self._unshown:
                if policy in self._counts:
                    shown[policy] = self.targets(policy)
                else:
                    shown.pop(policy, None)
            self._shown = shown
            self._unshown.clear()
        return self._shown

    def _touch(self, policy: Key) -> None:
        self.stale.add(policy)
        self._unshown.add(policy)
