"""How the reading of one object sees other objects.

Whatever is asked here is remembered as something that the result depends on: the result is computed again when one of
those objects comes, changes or goes, and only then. So nothing may be looked up in any other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from ingress.resources import Key, KubernetesObject

__all__ = ["Lookup"]

T = TypeVar("T", bound=KubernetesObject)


class Lookup(Protocol):
    """The state of all objects, as one reading may ask for it."""

    def get(self, kind: type[T], key: Key) -> T | None:
        """The object of that namespace and name. Asking for a Secret or ConfigMap also makes it wanted."""

    def in_namespace(self, kind: type[T], namespace: str) -> Sequence[T]:
        """All objects of a kind in a namespace (empty: of a cluster-scoped kind), oldest first, then by name."""
