"""Many objects to one Snapshot, with the problems that were found on the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ingress.resources import KINDS, Key, KubernetesObject, ObjectRef, Problem, Snapshot

__all__ = ["Loaded", "assemble"]


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: the usable objects, and what is wrong with the rest."""

    snapshot: Snapshot = Snapshot()
    problems: tuple[Problem, ...] = ()


def assemble(objects: Iterable[KubernetesObject], problems: Iterable[Problem] = ()) -> Loaded:
    """Of two objects with the same kind, namespace and name the first counts; the second gets a Problem."""
    maps: dict[str, dict[Key, Any]] = {name: {} for name in KINDS.values()}
    found = list(problems)
    for value in objects:
        ref = value.ref
        first = maps[KINDS[type(value)]].setdefault((ref.namespace, ref.name), value)
        if first is not value:
            found.append(_duplicate(ref, value, first))
    return Loaded(snapshot=Snapshot(**maps), problems=tuple(found))


def _duplicate(ref: ObjectRef, second: KubernetesObject, first: KubernetesObject) -> Problem:
    where = f" in {first.source}" if first.source else ""
    return Problem(
        object=ref,
        field="",
        reason="DuplicateObject",
        message=f"{ref} is defined before{where}; this one is not used",
        source=second.source,
    )
