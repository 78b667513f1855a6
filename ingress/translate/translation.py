"""What a translation gives."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ingress.resources import Key, ObjectRef, Problem, Wanted
from proxy.table import Table
from proxy.table.feed import ChangedKeys

__all__ = ["Translation"]


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """The result for the state of all objects at one moment."""

    table: Table
    """Equal states give equal tables, byte by byte: maps are in order of their keys."""
    problems: tuple[Problem, ...] = ()
    """Sorted, without duplicates; the same tuple as before if none came or went."""
    served: tuple[ObjectRef, ...] = ()
    """The Ingresses of our class, sorted: those whose status is ours to write."""
    wanted: frozenset[Wanted] = frozenset()
    """Secrets and ConfigMaps that our Ingresses, their policies and the options name, whether they exist or not."""
    policies: Mapping[Key, tuple[ObjectRef, ...]] = {}
    """TrafficPolicy → Ingresses and Services where it applies, sorted. One that applies nowhere is not there."""
    changed: ChangedKeys | None = None
    """Where ``table`` differs from that of the translation before. ``None``: there was none, or it is not known."""
