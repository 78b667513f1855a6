"""The whole, kept up to date: what changes is read, resolved and merged again, and nothing else.

1. The result is that of the objects as they are, whatever way led there: a Translator that was fed in any order and in
   any batches gives what a new one gives that is fed once.
2. Each step remembers its results by object, backend, Secret, host or name, and knows who needs them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import msgspec

from ingress.options import Options
from ingress.resources import Change, Ingress, IngressClass, KubernetesObject, Problem, Snapshot, Wanted
from ingress.translate.classes import select_ingress
from ingress.translate.judging import Judge
from ingress.translate.lookup import Asked, Objects, Recorder, changes_of
from ingress.translate.memory import Memory
from ingress.translate.parameters import class_options
from ingress.translate.translation import Translation

__all__ = ["Translator", "translate"]


def translate(snapshot: Snapshot, options: Options, *, now: datetime.datetime | None = None) -> Translation:
    """The translation of a snapshot, from scratch. See :meth:`Translator.update`."""
    return Translator(options).update(changes_of(snapshot), now=now)


class _Classes(msgspec.Struct, frozen=True, kw_only=True):
    """What our IngressClasses say for the whole process."""

    options: Options
    problems: tuple[Problem, ...] = ()
    asked: frozenset[Asked] = frozenset()


class Translator:
    """Objects as they change → the routing table and what goes with it. Not for two threads at once."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._objects = Objects()
        self._classes = _Classes(options=options)
        self._memory = Memory(self._objects, options)
        self._now: datetime.datetime | None = None
        self._from_scratch = True
        self._known = False
        """Whether the newest table is what the last translation said."""

    @property
    def options(self) -> Options:
        """With what the parameters of our IngressClasses say in their place."""
        return self._classes.options

    def update(
        self,
        changes: Iterable[Change],
        *,
        now: datetime.datetime | None,
        read: frozenset[Wanted] | None = None,
    ) -> Translation:
        """The translation after ``changes``, the newest version of each object last.

        ``now`` (with a time zone) judges the dates of certificates; ``None``: they are not judged. ``read``: the
        Secrets and ConfigMaps that were looked for; of others it is not told that they are missing. ``None``: all were.
        Bad objects never raise. If anything else does, the changes are taken all the same, and the next call starts
        from scratch.
        """
        self._now = now
        made: list[tuple[Change, KubernetesObject | None]] = []
        for change in changes:
            before = self._objects.put(change)
            if before != change.value:
                made.append((change, before))
        from_scratch, self._from_scratch = self._from_scratch, True  # unless it ends well
        known, self._known = self._known, False
        if from_scratch or any(_asks(self._classes.asked, change) for change, _ in made):
            before_classes, self._classes = self._classes, self._read_classes()
            from_scratch |= before_classes.options != self._classes.options
        if from_scratch:
            self._memory = Memory(self._objects, self._classes.options)
            made, known = [(change, None) for change in self._objects.changes()], False
        self._memory.know_of(read)
        self._memory.take(made)
        self._memory.tell_classes(self._classes.problems)
        translation = self._memory.settle(now, with_changes=known)
        self._from_scratch, self._known = False, True
        return translation

    def _read_classes(self) -> _Classes:
        recorder = Recorder(self._objects)
        name = self._options.controller_name
        ours = [one for one in recorder.in_namespace(IngressClass, "") if one.spec.controller == name]
        options, problems = class_options(ours, recorder, self._options)
        return _Classes(options=options, problems=problems, asked=frozenset(recorder.asked))

    def is_ours(self, ingress: Ingress) -> bool:
        """Whether an Ingress, as it is or as it would be, is of a class of ours."""
        return select_ingress(ingress, self.options, self._objects).ours

    def judge(self, ingress: Ingress) -> tuple[Problem, ...]:
        """The Problems that this Ingress would have if it were applied now, in place of what has its name. Sorted.

        Nothing changes. A new one without creationTimestamp is younger than all others. Secrets and ConfigMaps that are
        not read yet, since nothing names them, are not judged.
        """
        return Judge(self._memory, self._objects, self.options, self._now).judge(ingress)


def _asks(asked: frozenset[Asked], change: Change) -> bool:
    namespace, name = change.key
    return (change.kind, namespace, name) in asked or (change.kind, namespace, None) in asked
