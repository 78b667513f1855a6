"""Kubernetes Events for Problems, so that ``kubectl describe ingress`` tells what is wrong."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import msgspec
import structlog

from ingress.kube import KubeClient, KubeError
from ingress.report.event_plan import API_VERSIONS, RENEW, SETTLE, EventPlan, EventText
from ingress.report.saying import Sayings, is_global
from ingress.resources import ObjectRef, Problem

__all__ = ["EventWriter"]

COMPONENT: Final = "pyngress"

log = structlog.get_logger("pyngress.events")


class _Count(msgspec.Struct, frozen=True, kw_only=True):
    count: int = 1


_decoder: Final = msgspec.json.Decoder(_Count)


class EventWriter:
    """Writes what :class:`EventPlan` asks for, one after the other, while this process leads.

    ``core/v1`` Events: those that kubectl shows. They hold the text of a Problem and no content of any Secret.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        identity: str,
        settle: float = SETTLE,
        renew: float = RENEW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._identity = identity
        self._clock = clock
        self._plan = EventPlan(now=clock(), settle=settle, renew=renew)
        self._leading = False
        self._changed = asyncio.Event()
        self._counts: dict[EventText, int] = {}
        """Of the Events that this process wrote."""
        self._sayings = Sayings(log)
        self.writes = 0
        self.errors = 0

    def show(
        self, problems: Sequence[Problem], served: Collection[ObjectRef], uid_of: Callable[[ObjectRef], str]
    ) -> None:
        """``problems`` are all there are now, ``served`` the Ingresses of our class; ``uid_of``: empty if gone."""
        self._plan.show(problems, served, uid_of, now=self._clock())
        self._changed.set()

    def leader(self, leading: bool) -> None:
        """Whether this process writes."""
        self._leading = leading
        if not leading:
            self._plan.forget()
            self._counts.clear()
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            now = self._clock()
            again, texts = self._plan.due(now) if self._leading else (float("inf"), [])
            if not texts:
                await self._pause(again - now)
            for text in texts:
                if self._leading and self._plan.take(text, now):
                    await self._tell(text)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(None if seconds == float("inf") else max(0.01, seconds)):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _tell(self, text: EventText) -> None:
        try:
            await self._write(text)
        except KubeError as error:
            self.errors += 1
            self._sayings.say(error, namespace=text.namespace, right="create, patch events")
            whole = is_global(error)
            pause = self._sayings.pause(error) if whole else RENEW
            self._plan.failed(text, self._clock() + pause)
            if whole:
                await asyncio.sleep(pause)
        else:
            self._sayings.well()
            self.writes += 1
            self._plan.told(text, self._clock())

    async def _write(self, text: EventText) -> None:
        at = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = f"/api/v1/namespaces/{text.namespace}/events"
        count = self._counts.pop(text, None)
        if count is not None:
            try:
                await self._renew(path, text, {"lastTimestamp": at, "count": count + 1})
            except KubeError as error:
                if error.status != 404:
                    self._counts[text] = count
                    raise
            else:
                return
        try:
            await self._client.post(path, event_body(text, at=at, identity=self._identity))
        except KubeError as error:
            if error.reason != "AlreadyExists":
                raise
            # Told by the leader before, or by us before it was cleared.
            await self._renew(path, text, {"lastTimestamp": at})
        else:
            self._remember(text, 1)

    async def _renew(self, path: str, text: EventText, change: dict[str, Any]) -> None:
        answer = await self._client.patch(f"{path}/{text.name}", change)
        try:
            self._remember(text, _decoder.decode(answer).count)
        except msgspec.DecodeError:
            self._remember(text, 1)

    def _remember(self, text: EventText, count: int) -> None:
        if text.type == "Warning":
            self._counts[text] = count
            if len(self._counts) > 2 * self._plan.size + 100:
                self._counts = {each: number for each, number in self._counts.items() if each in self._plan}


def event_body(text: EventText, *, at: str, identity: str) -> dict[str, Any]:
    """The Event as it is created. ``at``: RFC 3339."""
    ref = text.object
    involved = {"apiVersion": API_VERSIONS[ref.kind], "kind": ref.kind, "name": ref.name, "uid": text.uid}
    if ref.namespace:
        involved["namespace"] = ref.namespace
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": text.name, "namespace": text.namespace},
        "involvedObject": involved,
        "type": text.type,
        "reason": text.reason,
        "message": text.message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": identity,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
