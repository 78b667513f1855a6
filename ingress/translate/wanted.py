"""Secrets and ConfigMaps that are read only because somebody names them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ingress.resources import ConfigMap, Key, Problem, Secret, Wanted
from ingress.translate.lookup import Asked
from ingress.translate.part import IngressPart
from ingress.translate.table_draft import count_needs

__all__ = ["WantedObjects", "named_in", "wanted_by", "wanted_object", "without_missing"]

_KINDS: Final = (Secret, ConfigMap)
_MISSING: Final = ("ConfigMapNotFound", "SecretNotFound")


class WantedObjects:
    """Counts who names what."""

    def __init__(self) -> None:
        self._counts: dict[Wanted, int] = {}
        self._shown: frozenset[Wanted] | None = None

    def replace(self, old: set[Wanted], new: set[Wanted]) -> None:
        """Somebody names ``new`` in place of ``old``."""
        if old != new:
            count_needs(self._counts, old, new)
            self._shown = None

    def shown(self) -> frozenset[Wanted]:
        """All of them; the same value as before if nothing changed."""
        if self._shown is None:
            self._shown = frozenset(self._counts)
        return self._shown

    def __contains__(self, wanted: Wanted) -> bool:
        return wanted in self._counts


def wanted_by(part: IngressPart | None, asked: Iterable[Asked]) -> set[Wanted]:
    """What a part is made of, and what its reading asked for."""
    wanted = {wanted_object(kind, key) for kind, key in named_in(asked)}
    if part is not None:
        wanted.update(wanted_object(Secret, claim.secret) for claim in part.tls)
    return wanted


def wanted_object(kind: type[Secret | ConfigMap], key: Key) -> Wanted:
    return Wanted(kind=kind.__name__, namespace=key[0], name=key[1])


def named_in(asked: Iterable[Asked]) -> list[tuple[type[Secret | ConfigMap], Key]]:
    """The Secrets and ConfigMaps that were asked for by name."""
    return [(kind, (namespace, name)) for kind, namespace, name in asked if kind in _KINDS and name is not None]


def without_missing(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Without those that tell of a Secret or ConfigMap that is not there: it may be, and only not be read yet."""
    return tuple(problem for problem in problems if problem.reason not in _MISSING)
