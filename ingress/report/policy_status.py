"""``status`` of TrafficPolicies: whether each is valid, and where it applies."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal
from urllib.parse import quote

import msgspec
import structlog

from ingress.kube import KubeClient, KubeError
from ingress.report.saying import Sayings, is_global
from ingress.resources import Key, ObjectRef, Problem, TrafficPolicy
from ingress.resources.crd import OUR_VERSION

__all__ = ["Condition", "PolicyState", "PolicyStatus", "PolicyStatusWriter", "Target", "next_status", "state_of"]

ACCEPTED: Final = "Accepted"
MOST_TARGETS: Final = 100
"""What the schema allows."""
LONGEST_MESSAGE: Final = 2048
REFUSED_PAUSE: Final = 60.0
"""Seconds until a policy is tried again whose status was refused."""

log = structlog.get_logger("pyngress.status")


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``meta/v1 Condition``."""

    type: str = ""
    status: str = ""
    observed_generation: int | None = None
    last_transition_time: str = ""
    reason: str = ""
    message: str = ""


class Target(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """An Ingress or a Service of the policy's namespace."""

    kind: str
    name: str


class PolicyStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``status``."""

    conditions: tuple[Condition, ...] = ()
    targets: tuple[Target, ...] = ()


class PolicyState(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a policy."""

    status: Literal["True", "False"]
    reason: str
    message: str
    targets: tuple[Target, ...] = ()


class _Meta(msgspec.Struct, frozen=True, kw_only=True):
    generation: int | None = None


class _Policy(msgspec.Struct, frozen=True, kw_only=True):
    metadata: _Meta = _Meta()
    status: PolicyStatus = PolicyStatus()


_decoder: Final = msgspec.json.Decoder(_Policy)


def state_of(targets: Iterable[ObjectRef], problems: Sequence[Problem]) -> PolicyState:
    """From where it applies, and the problems of the policy itself. One with an error, or that applies nowhere, is not
    accepted; warnings are told and change nothing."""
    applied = tuple(sorted({Target(kind=target.kind, name=target.name) for target in targets}))
    told = [f"{each.field}: {each.message}" if each.field else each.message for each in problems]
    message = "; ".join(dict.fromkeys(told))[:LONGEST_MESSAGE]
    error = next((each for each in problems if each.severity == "error"), None)
    if error is not None:
        return PolicyState(status="False", reason=error.reason, message=message, targets=applied[:MOST_TARGETS])
    if not applied:
        return PolicyState(status="False", reason="NoTarget", message=message or "no Ingress or Service is a target")
    count = "one object" if len(applied) == 1 else f"{len(applied)} objects"
    return PolicyState(
        status="True",
        reason="Accepted",
        message=message or f"applies to {count}",
        targets=applied[:MOST_TARGETS],
    )


def next_status(current: PolicyStatus, wanted: PolicyState, *, generation: int | None, now: str) -> PolicyStatus | None:
    """The status to write over ``current``; ``None``: it says so already. Conditions of others stay; the time of the
    last transition is that of a change of ``status``. ``now``: RFC 3339."""
    before = next((each for each in current.conditions if each.type == ACCEPTED), None)
    stays = before is not None and before.status == wanted.status and before.last_transition_time
    condition = Condition(
        type=ACCEPTED,
        status=wanted.status,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before is not None and stays else now,
        reason=wanted.reason,
        message=wanted.message,
    )
    others = tuple(each for each in current.conditions if each.type != ACCEPTED)
    after = PolicyStatus(conditions=(condition, *others), targets=wanted.targets)
    same = condition == before and wanted.targets == current.targets
    return None if same else after


class PolicyStatusWriter:
    """Told what became of each policy; reads the status of those where that is new, and writes where it differs."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._leading = False
        self._wanted: dict[Key, tuple[TrafficPolicy, PolicyState]] = {}
        self._written: dict[Key, tuple[TrafficPolicy, PolicyState]] = {}
        self._refused: dict[Key, float] = {}
        self._changed = asyncio.Event()
        self._sayings = Sayings(log)
        self.writes = 0
        self.errors = 0

    def update(
        self,
        policies: Mapping[Key, TrafficPolicy],
        applied: Mapping[Key, tuple[ObjectRef, ...]],
        problems: Sequence[Problem],
    ) -> None:
        """All policies there are, where each applies, and all problems."""
        own: dict[Key, list[Problem]] = {}
        for problem in problems:
            if problem.object.kind == "TrafficPolicy":
                own.setdefault((problem.object.namespace, problem.object.name), []).append(problem)
        self._wanted = {
            key: (policy, state_of(applied.get(key, ()), own.get(key, ()))) for key, policy in policies.items()
        }
        self._written = {key: value for key, value in self._written.items() if key in self._wanted}
        self._refused = {key: until for key, until in self._refused.items() if key in self._wanted}
        self._changed.set()

    def leader(self, leading: bool) -> None:
        """Whether this process writes."""
        self._leading = leading
        if not leading:
            self._written.clear()
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            if self._leading:
                for key, value in tuple(self._wanted.items()):
                    if self._leading and self._written.get(key) != value and self._refused.get(key, 0.0) <= loop.time():
                        await self._settle(key, value)
            pause = min((until - loop.time() for until in self._refused.values()), default=None)
            try:
                async with asyncio.timeout(None if pause is None else max(0.05, pause)):
                    await self._changed.wait()
            except TimeoutError:
                self._refused = {key: until for key, until in self._refused.items() if until > loop.time()}

    async def _settle(self, key: Key, value: tuple[TrafficPolicy, PolicyState]) -> None:
        try:
            await self._write(key, value[1])
        except (KubeError, msgspec.DecodeError) as trouble:
            error = trouble if isinstance(trouble, KubeError) else KubeError(f"no TrafficPolicy: {trouble}", status=422)
            if error.status == 404:  # gone, or its CRD is
                self._written[key] = value
                return
            self.errors += error.status != 409
            pause = 0.1
            if error.status != 409:
                self._sayings.say(error, namespace=key[0], right="get trafficpolicies, patch trafficpolicies/status")
                pause = self._sayings.pause(error) if is_global(error) else REFUSED_PAUSE
            self._refused[key] = asyncio.get_running_loop().time() + pause
            if is_global(error):
                await asyncio.sleep(pause)
        else:
            self._sayings.well()
            self._written[key] = value
            self._refused.pop(key, None)

    async def _write(self, key: Key, wanted: PolicyState) -> None:
        path = f"/apis/{OUR_VERSION}/namespaces/{quote(key[0])}/trafficpolicies/{quote(key[1])}"
        found = _decoder.decode(await self._client.get(path))
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = next_status(found.status, wanted, generation=found.metadata.generation, now=now)
        if status is None:
            return
        body = msgspec.to_builtins(status)
        for condition in body["conditions"]:
            if condition["observedGeneration"] is None:
                del condition["observedGeneration"]
        await self._client.patch(f"{path}/status", {"status": body})
        self.writes += 1
