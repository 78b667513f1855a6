"""Everything that is written to the API, behind one door: election, statuses, Events.

What the app tells is only noted, and worked off a few times per second: a burst of a hundred translations costs one
comparison, and traffic never waits.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import structlog

from ingress.kube import KubeClient, KubeError, identity
from ingress.options import Options
from ingress.report.election import LeaderElection
from ingress.report.event_plan import API_VERSIONS
from ingress.report.events import EventWriter
from ingress.report.policy_status import PolicyStatusWriter
from ingress.report.status import StatusWriter
from ingress.report.uninstalled import is_uninstalled
from ingress.resources import Change, Key, LoadBalancerAddress, ObjectRef, Problem, TrafficPolicy

__all__ = ["Reporter"]

PERIOD: Final = 0.1
"""Seconds between two looks at which Ingresses are served."""
PROBLEM_PERIOD: Final = 0.5
"""Seconds between two looks at problems."""
CHECK_LIMIT: Final = 5.0
"""Seconds to find out whether the controller is uninstalled."""
REMOVAL_LIMIT: Final = 20.0
"""Seconds for taking all addresses away then."""

log = structlog.get_logger("pyngress.report")


class Reporter:
    """Told by the app in the thread of the event loop; every method but :meth:`run` returns at once.

    ``on_leader`` hears of every change of the lead.
    """

    def __init__(
        self, client: KubeClient, options: Options, *, on_leader: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._client = client
        self._options = options
        self._on_leader = on_leader
        self.identity = _holder()
        """Of this process in the Lease."""
        self.election = LeaderElection(
            client,
            namespace=client.own_namespace(),
            name=options.election_id,
            identity=self.identity,
            on_change=self._lead,
            enabled=options.leader_election,
        )
        self.status = StatusWriter(client)
        self.events = EventWriter(client, identity=self.identity)
        self.policies = PolicyStatusWriter(client)
        self._uids: dict[ObjectRef, str] = {}
        self._policies: dict[Key, TrafficPolicy] = {}
        self._served: Collection[ObjectRef] = ()
        self._problems: Sequence[Problem] = ()
        self._applied: Mapping[Key, tuple[ObjectRef, ...]] = {}
        self._generation = 0
        self._served_news = asyncio.Event()
        self._problem_news = asyncio.Event()
        self._ending = asyncio.Event()

    # ---- what the metrics show

    @property
    def is_leader(self) -> bool:
        return self.election.is_leader

    @property
    def status_writes(self) -> int:
        return self.status.writes + self.policies.writes

    @property
    def event_writes(self) -> int:
        return self.events.writes

    @property
    def errors(self) -> int:
        """Requests to the API server that failed, conflicts apart."""
        return self.election.errors + self.status.errors + self.events.errors + self.policies.errors

    # ---- what the app tells

    def changed(self, changes: Iterable[Change]) -> None:
        """The changes that the translator gets, too."""
        for change in changes:
            name = change.kind.__name__
            if name not in API_VERSIONS:
                continue
            ref = ObjectRef(kind=name, namespace=change.key[0], name=change.key[1])
            value = change.value
            if value is None:
                self._uids.pop(ref, None)
            else:
                self._uids[ref] = value.metadata.uid
            if isinstance(value, TrafficPolicy):
                self._policies[change.key] = value
            elif name == "TrafficPolicy":
                self._policies.pop(change.key, None)
            # Problems of an object are told to its uid, which may be another one now.
            self._problem_news.set()

    def translated(
        self,
        served: Collection[ObjectRef],
        problems: Sequence[Problem],
        policies: Mapping[Key, tuple[ObjectRef, ...]],
        *,
        generation: int,
    ) -> None:
        """Of the newest translation: the Ingresses of our class, all problems (also those of reading), where policies
        apply, and the generation of the table that was published with it."""
        if served is not self._served:
            self._served_news.set()
        if served is not self._served or problems is not self._problems or policies is not self._applied:
            self._problem_news.set()
        self._served, self._problems, self._applied = served, problems, policies
        self._generation = generation

    def live(self, generation: int) -> None:
        """The smallest generation that every worker acknowledged."""
        self.status.live(generation)

    def addresses(self, addresses: Collection[LoadBalancerAddress] | None) -> None:
        """What Ingresses show; ``None``: unknown."""
        self.status.addresses(addresses)

    def observed(self, keys: Iterable[Key], addresses_of: Callable[[Key], Collection[LoadBalancerAddress]]) -> None:
        """What these Ingresses show in the API server is different now."""
        for key in keys:
            self.status.observed(key, addresses_of(key))

    def shutting_down(self) -> None:
        """:meth:`run` gives the lead back and ends, within half a minute and mostly at once. If the controller is
        uninstalled, the addresses are taken away before."""
        self._ending.set()

    # ---- life

    async def run(self) -> None:
        """Until :meth:`shutting_down`, or cancelled (then the Lease runs out by itself)."""
        async with asyncio.TaskGroup() as tasks:
            electing = tasks.create_task(self.election.run())
            jobs = [self._tell_served(), self._tell_problems(), self.events.run()]
            if self._options.update_status:
                jobs += [self.status.run(), self.policies.run()]
            writers = [tasks.create_task(job) for job in jobs]
            await self._ending.wait()
            await self._clean_up()
            self.election.stop()
            await electing
            for task in writers:
                task.cancel()

    def _lead(self, leading: bool) -> None:
        for writer in (self.status, self.events, self.policies):
            writer.leader(leading)
        self._on_leader(leading)

    async def _tell_served(self) -> None:
        while True:
            await self._served_news.wait()
            self._served_news.clear()
            served = {(ref.namespace, ref.name) for ref in self._served if ref.kind == "Ingress"}
            self.status.update(served, self._generation)
            await asyncio.sleep(PERIOD)

    async def _tell_problems(self) -> None:
        while True:
            await self._problem_news.wait()
            self._problem_news.clear()
            self.policies.update(self._policies, self._applied, self._problems)
            self.events.show(self._problems, frozenset(self._served), self._uid_of)
            await asyncio.sleep(PROBLEM_PERIOD)

    def _uid_of(self, ref: ObjectRef) -> str:
        return self._uids.get(ref, "")

    async def _clean_up(self) -> None:
        """Whatever goes wrong here leaves addresses as they are."""
        pod = os.environ.get("POD_NAME", "")
        if not (pod and self._options.update_status and self.is_leader):
            return
        try:
            async with asyncio.timeout(CHECK_LIMIT):
                for_good = await is_uninstalled(self._client, namespace=self._client.own_namespace(), name=pod)
        except (KubeError, TimeoutError) as error:
            log.info("whether this is the last replica is not known: addresses stay", error=str(error))
            return
        if not for_good:
            return
        log.info("the controller is uninstalled: Ingresses lose their addresses")
        try:
            async with asyncio.timeout(REMOVAL_LIMIT):
                kept = await self.status.remove_all()
        except TimeoutError:
            log.warning("not every Ingress lost its address in time")
        else:
            if kept:
                log.warning("some Ingresses keep their address", count=kept)


def _holder() -> str:
    """A pod's name is its own. Two processes of one host are not one holder."""
    return identity() if os.environ.get("POD_NAME") else f"{identity()}_{secrets.token_hex(4)}"
