"""Which Kubernetes Events to write, and when. Decides on a clock it is given; does no I/O.

1. A problem is told once, after it stayed for a moment: half a start-up is no news.
2. While it lasts, its Event is renewed every ten minutes, so that it does not expire (the API server keeps one for an
   hour) and does not read as old.
3. When it is gone, and nothing else is wrong with the same field for the same reason, a Normal Event says so.
4. The name of an Event follows from the object and the text: another leader finds it instead of writing a second.
5. Each object has tokens, as in client-go's spam filter, and all together have some; what is new goes first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Literal

import msgspec

from ingress.resources import ObjectRef, Problem
from ingress.resources.crd import OUR_VERSION

__all__ = ["API_VERSIONS", "EventPlan", "EventText"]

SETTLE: Final = 1.0
"""Seconds that a problem lasts before it is told."""
RENEW: Final = 600.0
"""Seconds between two renewals of an Event."""
OBJECT_BURST: Final = 25.0
OBJECT_REFILL: Final = 300.0
"""Seconds per token of one object (client-go: a burst of 25, then one in five minutes)."""
TOTAL_BURST: Final = 100.0
TOTAL_REFILL: Final = 0.2
"""Seconds per token of all objects together."""
BATCH: Final = 10
"""Events that are chosen together."""
LONGEST_MESSAGE: Final = 1024
"""Bytes (events.k8s.io refuses more)."""

API_VERSIONS: Final = {
    "Ingress": "networking.k8s.io/v1",
    "IngressClass": "networking.k8s.io/v1",
    "IngressClassParameters": OUR_VERSION,
    "Response": OUR_VERSION,
    "TrafficPolicy": OUR_VERSION,
}
"""The kinds that get Events. An Ingress only if it is served; the others are ours by their kind or controller."""


class EventText(msgspec.Struct, frozen=True, kw_only=True):
    """What an Event says, which is also what it is known by."""

    object: ObjectRef
    uid: str
    type: Literal["Warning", "Normal"]
    reason: str
    message: str

    @property
    def namespace(self) -> str:
        """Where it is stored: with its object, in ``default`` if that has no namespace."""
        return self.object.namespace or "default"

    @property
    def name(self) -> str:
        facts = (self.object.kind, self.object.namespace, self.object.name, self.uid, self.type, self.reason)
        digest = hashlib.sha256("\0".join((*facts, self.message)).encode()).hexdigest()
        return f"{self.object.name[:200].rstrip('.-')}.{digest[:16]}"


class _Planned(msgspec.Struct, kw_only=True):
    problem: Problem
    due: float
    told: bool = False


class _Bucket:
    """Tokens: ``burst`` at first, one more per ``refill`` seconds."""

    def __init__(self, burst: float, refill: float, now: float) -> None:
        self._burst, self._refill = burst, refill
        self._tokens, self._at = burst, now

    def ready_at(self, now: float) -> float:
        """When a token is there."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) / self._refill)
        self._at = now
        return now if self.count else now + (1 - self._tokens) * self._refill

    def take(self) -> None:
        self._tokens -= 1

    @property
    def count(self) -> int:
        return int(self._tokens + 1e-6)  # sums of small fractions fall short of a whole one


class EventPlan:
    """What is wrong now, and what was told of it. ``now`` is monotonic, in seconds."""

    def __init__(self, *, now: float, settle: float = SETTLE, renew: float = RENEW) -> None:
        self._settle = settle
        self._renew = renew
        self._planned: dict[EventText, _Planned] = {}
        self._total = _Bucket(TOTAL_BURST, TOTAL_REFILL, now)
        self._buckets: dict[tuple[ObjectRef, str], _Bucket] = {}

    def __contains__(self, text: EventText) -> bool:
        return text in self._planned

    @property
    def size(self) -> int:
        """How many Events are planned or told."""
        return len(self._planned)

    def show(
        self,
        problems: Sequence[Problem],
        served: Collection[ObjectRef],
        uid_of: Callable[[ObjectRef], str],
        *,
        now: float,
    ) -> None:
        """``problems`` are all there are; ``served`` the Ingresses of our class; ``uid_of``: empty for one that is
        gone."""
        wanted = dict(_texts(problems, served, uid_of))
        before = self._planned
        self._planned = {}
        standing = {(problem.object, problem.field, problem.reason) for problem in wanted.values()}
        for text, problem in wanted.items():
            known = before.pop(text, None)
            self._planned[text] = known or _Planned(problem=problem, due=now + self._settle)
        for text, planned in before.items():
            problem = planned.problem
            if (problem.object, problem.field, problem.reason) in standing:
                continue
            if text.type == "Normal":
                self._planned[text] = planned
            elif planned.told and _is_ours(text.object, served) and uid_of(text.object) == text.uid:
                self._planned.setdefault(_resolved(text), _Planned(problem=problem, due=now))

    def forget(self) -> None:
        """Another process leads: what we told is no longer what there is."""
        self._planned = {text: planned for text, planned in self._planned.items() if text.type == "Warning"}
        for planned in self._planned.values():
            planned.told, planned.due = False, 0.0

    def due(self, now: float) -> tuple[float, list[EventText]]:
        """What to write now, one of each object, new ones first; without any: the earliest time to ask again
        (infinity: nothing is planned)."""
        earliest = float("inf")
        ready: dict[tuple[ObjectRef, str], tuple[bool, float, EventText]] = {}
        total = self._total.ready_at(now)
        for text, planned in self._planned.items():
            at = max(planned.due, total)
            if at <= now:
                at = self._bucket(text, now).ready_at(now)
            if at > now:
                earliest = min(earliest, at)
                continue
            key, mine = (text.object, text.uid), (planned.told, planned.due, text)
            if key not in ready or mine[:2] < ready[key][:2]:
                ready[key] = mine
        first = sorted(ready.values(), key=lambda each: each[:2])[: min(BATCH, self._total.count)]
        return (now if first else earliest), [text for _, _, text in first]

    def take(self, text: EventText, now: float) -> bool:
        """``text`` is about to be written, if it still is to be."""
        if text not in self._planned:
            return False
        self._total.take()
        self._bucket(text, now).take()
        if len(self._buckets) > 2 * len(self._planned) + 100:
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.ready_at(now) > now}
        return True

    def told(self, text: EventText, now: float) -> None:
        """``text`` was written."""
        planned = self._planned.get(text)
        if planned is None:
            return
        if text.type == "Normal":
            del self._planned[text]
        planned.told, planned.due = True, now + self._renew

    def failed(self, text: EventText, again: float) -> None:
        """``text`` was not written; ``again``: when to try again."""
        planned = self._planned.get(text)
        if planned is not None:
            planned.due = again

    def _bucket(self, text: EventText, now: float) -> _Bucket:
        key = (text.object, text.uid)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(OBJECT_BURST, OBJECT_REFILL, now)
        return bucket


def _texts(
    problems: Sequence[Problem], served: Collection[ObjectRef], uid_of: Callable[[ObjectRef], str]
) -> Iterable[tuple[EventText, Problem]]:
    for problem in problems:
        if not _is_ours(problem.object, served):
            continue
        uid = uid_of(problem.object)
        if uid:
            message = f"{problem.field}: {problem.message}" if problem.field else problem.message
            yield _text(problem.object, uid, "Warning", problem.reason, message), problem


def _is_ours(ref: ObjectRef, served: Collection[ObjectRef]) -> bool:
    return ref.kind in API_VERSIONS and (ref.kind != "Ingress" or ref in served)


def _resolved(text: EventText) -> EventText:
    return _text(text.object, text.uid, "Normal", "Resolved", f"{text.reason} no longer: {text.message}")


def _text(ref: ObjectRef, uid: str, type_: Literal["Warning", "Normal"], reason: str, message: str) -> EventText:
    data = message.encode()
    if len(data) > LONGEST_MESSAGE:
        message = data[: LONGEST_MESSAGE - 3].decode(errors="ignore") + "…"
    return EventText(object=ref, uid=uid, type=type_, reason=reason, message=message)
