"""What to do about the Lease: a plain decision over what was seen, and when.

``coordination.k8s.io/v1`` Lease, with the rules and times of client-go's leader election, so that its tools read ours.

1. Nobody wrote a Lease: create it.
2. It is ours: renew it.
3. Its holder is empty, since the last one released it: take it.
4. It did not change for as long as its holder said it may: take it. Counted on our own clock from the moment we saw the
   last change; the times inside are another machine's and decide nothing.
5. Else wait.

Every write carries the resourceVersion it was decided on: of two that take over, the API server refuses the second.
"""

from __future__ import annotations

import datetime
from typing import Any, Final, Literal

import msgspec

__all__ = [
    "LEASE_DURATION",
    "RENEW_DEADLINE",
    "RETRY_PERIOD",
    "Lease",
    "LeaseSpec",
    "Sighting",
    "Step",
    "created",
    "decide",
    "released",
    "renewed",
    "sighted",
    "taken",
]

LEASE_DURATION: Final = 15.0
"""Seconds without a change after which another may take the Lease (client-go: 15)."""
RENEW_DEADLINE: Final = 10.0
"""Seconds without a successful renewal after which a leader stops leading; below the above (client-go: 10)."""
RETRY_PERIOD: Final = 2.0
"""Seconds between two looks at the Lease, plus jitter (client-go: 2)."""

Step = Literal["create", "renew", "take", "wait"]


class LeaseMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``metadata`` of a Lease."""

    resource_version: str = ""


class LeaseSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``LeaseSpec``; times are RFC 3339 with microseconds, and kept as they came."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A Lease."""

    metadata: LeaseMeta = LeaseMeta()
    spec: LeaseSpec = LeaseSpec()


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """A Lease, and when (on our monotonic clock, seconds) it was first seen in this version."""

    lease: Lease
    since: float


def sighted(before: Sighting | None, lease: Lease, now: float) -> Sighting:
    """What is known after ``lease`` was read at ``now``."""
    if before is not None and before.lease == lease:
        return before
    return Sighting(lease=lease, since=now)


def decide(sighting: Sighting | None, *, identity: str, now: float) -> Step:
    """The step that the rules above ask for; ``None``: there is no Lease."""
    if sighting is None:
        return "create"
    spec = sighting.lease.spec
    if spec.holder_identity == identity:
        return "renew"
    if not spec.holder_identity:
        return "take"
    duration = LEASE_DURATION if spec.lease_duration_seconds is None else float(spec.lease_duration_seconds)
    return "take" if now - sighting.since >= duration else "wait"


def created(namespace: str, name: str, *, identity: str, at: datetime.datetime, duration: int) -> dict[str, Any]:
    """The first Lease, to POST. ``duration`` in seconds, here and below."""
    return _body(
        namespace, name, None, _held(LeaseSpec(acquire_time=_time(at), lease_transitions=0), identity, at, duration)
    )


def renewed(
    namespace: str, name: str, lease: Lease, *, identity: str, at: datetime.datetime, duration: int
) -> dict[str, Any]:
    """The same Lease held on, to PUT."""
    return _body(namespace, name, lease, _held(lease.spec, identity, at, duration))


def taken(
    namespace: str, name: str, lease: Lease, *, identity: str, at: datetime.datetime, duration: int
) -> dict[str, Any]:
    """The Lease with a new holder, to PUT."""
    spec = LeaseSpec(acquire_time=_time(at), lease_transitions=(lease.spec.lease_transitions or 0) + 1)
    return _body(namespace, name, lease, _held(spec, identity, at, duration))


def released(namespace: str, name: str, lease: Lease, *, at: datetime.datetime) -> dict[str, Any]:
    """The Lease with no holder, to PUT."""
    spec = LeaseSpec(acquire_time=_time(at), lease_transitions=lease.spec.lease_transitions)
    return _body(namespace, name, lease, _held(spec, "", at, 1))


def _held(spec: LeaseSpec, identity: str, at: datetime.datetime, duration: int) -> LeaseSpec:
    return msgspec.structs.replace(
        spec, holder_identity=identity, lease_duration_seconds=duration, renew_time=_time(at)
    )


def _body(namespace: str, name: str, lease: Lease | None, spec: LeaseSpec) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    if lease is not None:
        metadata["resourceVersion"] = lease.metadata.resource_version
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {field: value for field, value in msgspec.to_builtins(spec).items() if value is not None},
    }


def _time(at: datetime.datetime) -> str:
    """``MicroTime``: microseconds, always written out."""
    return at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
