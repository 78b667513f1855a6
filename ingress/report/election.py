"""Which replica writes to the API: the one that holds the Lease."""

from __future__ import annotations

import asyncio
import datetime
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypedDict

import msgspec
import structlog

from ingress.kube import KubeClient, KubeError
from ingress.report.lease import (
    LEASE_DURATION,
    RENEW_DEADLINE,
    RETRY_PERIOD,
    Lease,
    Sighting,
    created,
    decide,
    released,
    renewed,
    sighted,
    taken,
)

__all__ = ["LeaderElection"]

JITTER: Final = 0.2
"""Of the retry period: replicas that start together do not stay in step."""
RELEASE_LIMIT: Final = 3.0
"""Seconds; after that the Lease runs out by itself."""

log = structlog.get_logger("pyngress.election")
_decoder: Final = msgspec.json.Decoder(Lease)


class _Held(TypedDict):
    identity: str
    at: datetime.datetime
    duration: int


class LeaderElection:
    """Runs for the lead until told to stop; ``on_change`` hears of every change, in the loop's thread.

    ``enabled=False``: leads from the start and asks nobody. Nothing that the API server does ends :meth:`run`.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        on_change: Callable[[bool], None] = lambda _: None,
        enabled: bool = True,
        lease_duration: int = int(LEASE_DURATION),
        renew_deadline: float = RENEW_DEADLINE,
        retry_period: float = RETRY_PERIOD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not retry_period < renew_deadline < lease_duration:
            raise ValueError("retry period < renew deadline < lease duration, or two replicas lead at once")
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._on_change = on_change
        self._enabled = enabled
        self._duration = lease_duration
        self._deadline = renew_deadline
        self._period = retry_period
        self._clock = clock
        self._stopping = asyncio.Event()
        self._sighting: Sighting | None = None
        self._known = False
        """Whether the sighting is what the server holds, as far as we know: then a renewal needs no reading."""
        self._renewed_at = 0.0
        """When the last successful renewal was sent."""
        self._leading = False
        self._said = ""
        self.errors = 0

    @property
    def is_leader(self) -> bool:
        """Also false when this process slept through the time that its last renewal was good for."""
        return self._leading and (not self._enabled or self._clock() - self._renewed_at < self._duration)

    @property
    def holder(self) -> str:
        """Who led when the Lease was last read; empty: nobody or unknown."""
        if not self._enabled:
            return self._identity
        return "" if self._sighting is None else self._sighting.lease.spec.holder_identity or ""

    def stop(self) -> None:
        """:meth:`run` gives the lead back and returns."""
        self._stopping.set()

    async def run(self) -> None:
        """Until :meth:`stop`, or cancelled (then the Lease runs out by itself)."""
        try:
            if not self._enabled:
                self._lead(True)
                await self._stopping.wait()
            while not self._stopping.is_set():
                await self._pause(await self._look())
            if self._enabled and self.is_leader:
                self._lead(False)
                await self._release()
        finally:
            self._lead(False)

    # ---- one look

    async def _look(self) -> float:
        """One look at the Lease, and what follows from it; returns the seconds to wait after it."""
        pause = self._period * random.uniform(1, 1 + JITTER)  # noqa: S311 - spreads load, keeps no secret
        try:
            async with asyncio.timeout(max(0.05, self._remaining())):
                await self._step()
        except KubeError as error:
            pause = self._failed(error, pause)
        except TimeoutError:
            self._failed(KubeError("no answer in time"), pause)
        except msgspec.DecodeError as error:
            self._failed(KubeError(f"the answer is no Lease: {error}"), pause)
        else:
            self._said = ""
        if self._leading and self._remaining() <= 0:
            log.warning("leadership lost: the lease was not renewed in time", lease=self._name)
            self._lead(False)
        return pause

    def _remaining(self) -> float:
        """Seconds that the next answer may take."""
        return self._renewed_at + self._deadline - self._clock() if self._leading else self._deadline

    async def _step(self) -> None:
        if not (self._leading and self._known):
            await self._read()
        now = self._clock()
        at = datetime.datetime.now(datetime.UTC)
        step = decide(self._sighting, identity=self._identity, now=now)
        if self._stopping.is_set() or step == "wait":
            self._not_ours()
            return
        held = _Held(identity=self._identity, at=at, duration=self._duration)
        if self._sighting is None:
            await self._write(self._client.post, self._leases, created(self._namespace, self._name, **held), now)
            return
        change = renewed if step == "renew" else taken
        body = change(self._namespace, self._name, self._sighting.lease, **held)
        await self._write(self._client.put, self._lease, body, now)

    def _not_ours(self) -> None:
        if self._leading and not self._stopping.is_set():
            log.warning("leadership lost: the lease has another holder", lease=self._name, holder=self.holder)
            self._lead(False)

    async def _read(self) -> None:
        try:
            lease = _decoder.decode(await self._client.get(self._lease))
        except KubeError as error:
            if error.status != 404:
                raise
            self._sighting = None
        else:
            self._sighting = sighted(self._sighting, lease, self._clock())
        self._known = True

    async def _write(
        self, send: Callable[[str, Any], Awaitable[bytes]], path: str, body: dict[str, Any], now: float
    ) -> None:
        self._known = False  # until an answer says what became of it
        lease = _decoder.decode(await send(path, body))
        self._sighting = Sighting(lease=lease, since=now)
        self._known = True
        self._renewed_at = now
        self._lead(True)

    def _failed(self, error: KubeError, pause: float) -> float:
        if error.status in (404, 409):  # another was quicker, or it is gone: look again
            log.debug("the lease changed meanwhile", lease=self._name, error=error.message)
            return min(pause, self._period / 4) if self._leading else pause
        self.errors += 1
        said = f"{error.status} {error.reason}"
        if said != self._said:
            self._said = said
            hint = {"right": "get, create, update leases.coordination.k8s.io"} if error.status == 403 else {}
            log.warning(
                "the lease cannot be read or written", lease=f"{self._namespace}/{self._name}", error=str(error), **hint
            )
        return max(pause, error.retry_after or 0.0)

    # ---- changes

    def _lead(self, leading: bool) -> None:
        if leading == self._leading:
            return
        self._leading = leading
        if self._enabled:
            log.info("leading" if leading else "not leading any more", identity=self._identity, lease=self._name)
        self._on_change(leading)

    async def _release(self) -> None:
        if self._sighting is None:
            return
        body = released(self._namespace, self._name, self._sighting.lease, at=datetime.datetime.now(datetime.UTC))
        try:
            async with asyncio.timeout(RELEASE_LIMIT):
                await self._client.put(self._lease, body)
        except (KubeError, TimeoutError) as error:
            log.info("the lease was not released and runs out by itself", error=str(error) or "no answer in time")

    async def _pause(self, seconds: float) -> None:
        """Also ends when it is time to stop, and a leader's before its renewal is late."""
        if self._leading:
            seconds = min(seconds, max(0.05, self._remaining()))
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    @property
    def _leases(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"

    @property
    def _lease(self) -> str:
        return f"{self._leases}/{self._name}"
