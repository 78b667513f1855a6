"""How the reading of one object sees other objects.

Whatever is asked here is remembered as something that the result depends on: the result is computed again when one of
those objects comes, changes or goes, and only then. So nothing may be looked up in any other way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar, cast

from ingress.resources import KINDS, Change, Key, Kind, KubernetesObject, Snapshot

__all__ = ["Asked", "Dependencies", "Lookup", "Objects", "Recorder", "changes_of"]

T = TypeVar("T", bound=KubernetesObject)

Asked = tuple[type[Any], str, str | None]
"""Kind, namespace and name of an object; a name of ``None``: all objects of the kind in the namespace."""

_NOTHING: Final[dict[str, KubernetesObject]] = {}


class Lookup(Protocol):
    """The state of all objects, as one reading may ask for it."""

    def get(self, kind: type[T], key: Key) -> T | None:
        """The object of that namespace and name. Asking for a Secret or ConfigMap also makes it wanted."""

    def in_namespace(self, kind: type[T], namespace: str) -> Sequence[T]:
        """All objects of a kind in a namespace (empty: of a cluster-scoped kind), oldest first, then by name."""


class Objects:
    """The newest version of every object. A Lookup that remembers nothing of who asked."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self._maps: dict[type[Any], dict[str, dict[str, KubernetesObject]]] = {kind: {} for kind in KINDS}
        self._listed: dict[tuple[type[Any], str], tuple[KubernetesObject, ...]] = {}
        if snapshot is not None:
            for change in changes_of(snapshot):
                self.put(change)

    def put(self, change: Change) -> KubernetesObject | None:
        """Take over one change; returns the object that was there before."""
        namespace, name = change.key
        namespaces = self._maps[change.kind]
        names = namespaces.setdefault(namespace, {})
        before = names.pop(name, None)
        if change.value is not None:
            names[name] = change.value
        elif not names:
            del namespaces[namespace]
        self._listed.pop((change.kind, namespace), None)
        return before

    def get(self, kind: type[T], key: Key) -> T | None:
        """See :class:`Lookup`."""
        namespace, name = key
        return cast("T | None", self._maps[kind].get(namespace, _NOTHING).get(name))

    def in_namespace(self, kind: type[T], namespace: str) -> Sequence[T]:
        """See :class:`Lookup`."""
        listed = self._listed.get((kind, namespace))
        if listed is None:
            found = self._maps[kind].get(namespace, _NOTHING).values()
            listed = tuple(sorted(found, key=_by_age))
            self._listed[kind, namespace] = listed
        return cast("Sequence[T]", listed)

    def changes(self) -> Iterable[Change]:
        """Every object, as a change that brings it."""
        for kind, namespaces in self._maps.items():
            for namespace, names in namespaces.items():
                for name, value in names.items():
                    yield Change(kind=kind, key=(namespace, name), value=value)


class Recorder:
    """The Lookup of one reading: passes questions on, and remembers them in ``asked``."""

    def __init__(self, objects: Lookup) -> None:
        self._objects = objects
        self.asked: set[Asked] = set()

    def get(self, kind: type[T], key: Key) -> T | None:
        """See :class:`Lookup`."""
        self.asked.add((kind, *key))
        return self._objects.get(kind, key)

    def in_namespace(self, kind: type[T], namespace: str) -> Sequence[T]:
        """See :class:`Lookup`."""
        self.asked.add((kind, namespace, None))
        return self._objects.in_namespace(kind, namespace)


class Dependencies:
    """Which readings depend on which objects. A reading is named by the key of the object that is read."""

    def __init__(self) -> None:
        self._asked: dict[Key, frozenset[Asked]] = {}
        self._askers: dict[Asked, set[Key]] = {}

    def record(self, reader: Key, asked: Iterable[Asked]) -> None:
        """All questions of the newest reading, in place of those before; none: the reading is gone."""
        new = frozenset(asked)
        old = self._asked.get(reader, frozenset())
        for question in old - new:
            askers = self._askers[question]
            askers.discard(reader)
            if not askers:
                del self._askers[question]
        for question in new - old:
            self._askers.setdefault(question, set()).add(reader)
        if new:
            self._asked[reader] = new
        else:
            self._asked.pop(reader, None)

    def asked_by(self, reader: Key) -> frozenset[Asked]:
        """The questions of the newest reading."""
        return self._asked.get(reader, frozenset())

    def on(self, kind: Kind, key: Key) -> Iterable[Key]:
        """The readings that a change of this object makes stale."""
        namespace, name = key
        yield from self._askers.get((kind, namespace, name), ())
        yield from self._askers.get((kind, namespace, None), ())


def changes_of(snapshot: Snapshot) -> Iterable[Change]:
    """Every object of a snapshot, as a change that brings it."""
    for kind, field in KINDS.items():
        for key, value in getattr(snapshot, field).items():
            yield Change(kind=kind, key=key, value=value)


def _by_age(value: KubernetesObject) -> tuple[str, str]:
    return (value.metadata.creation_timestamp, value.metadata.name)
