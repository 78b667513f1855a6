"""Everything that only a controller in a cluster has: the API client, what is read, what is written, the webhook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Final

from ingress.admin import WebhookCounts, WebhookServer
from ingress.admin.review import Judge
from ingress.app.sockets import open_on_every_address
from ingress.kube import KubeClient
from ingress.options import Options
from ingress.report import Reporter
from ingress.report.webhook_certificate import WebhookCertificate
from ingress.resources import Change, Key, Problem, Wanted
from ingress.translate import Translation
from ingress.watch import AddressSource, ClusterSource, Take

__all__ = ["ClusterSide"]

FAREWELL_LIMIT: Final = 28.0
"""Seconds for giving the lead back and, where the controller is uninstalled, taking addresses away."""


class ClusterSide:
    """A source of objects that also tells the cluster what became of them."""

    def __init__(self, client: KubeClient, options: Options) -> None:
        self._client = client
        self._options = options
        self._objects = ClusterSource(client, options)
        self._objects.on_addresses(self._observed)
        self.reporter = Reporter(client, options, on_leader=self._lead)
        self._addresses = AddressSource(client, options, publish=self.reporter.addresses)
        self._webhook: WebhookServer | None = None
        self._certificate: WebhookCertificate | None = None
        self._reporting: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, options: Options) -> AsyncIterator[ClusterSide]:
        """Find the cluster; nothing is asked yet. Raises ``KubeConfigError``."""
        client = await KubeClient.connect(options)
        try:
            side = cls(client, options)
            try:
                yield side
            finally:
                if side._webhook is not None:
                    await side._webhook.close()
        finally:
            await client.close()

    # ---- the source (see ingress.watch.Source)

    @property
    def unsynced_reason(self) -> str | None:
        return self._objects.unsynced_reason

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._objects.problems

    @property
    def read(self) -> frozenset[Wanted]:
        return self._objects.read

    def want(self, wanted: frozenset[Wanted]) -> None:
        self._objects.want(wanted)

    def on_problems(self, call: Callable[[], None]) -> None:
        self._objects.on_problems(call)

    async def run(self, take: Take) -> None:
        def tell(changes: Sequence[Change]) -> None:
            take(changes)
            self.reporter.changed(changes)

        await self._objects.run(tell)

    async def reload(self) -> None:
        """A watch needs no second look."""

    # ---- what is done beside

    def jobs(self) -> Iterator[Coroutine[Any, Any, None]]:
        """To run as tasks until the end."""
        yield self._report()
        yield self._addresses.run()
        if self._certificate is not None:
            yield self._certificate.run()

    async def _report(self) -> None:
        self._reporting = asyncio.current_task()
        await self.reporter.run()

    async def start_webhook(self, judge: Judge, opened: ExitStack) -> None:
        """If it is wanted. Raises ``ListenError``."""
        options = self._options
        if not options.webhook_port:
            return
        sockets = open_on_every_address(options.admin_bind, options.webhook_port, opened, flag="--webhook-port")
        self._certificate = WebhookCertificate(
            self._client,
            name=options.webhook_name,
            namespace=self._client.own_namespace(),
            is_leader=lambda: self.reporter.is_leader,
        )
        self._webhook = WebhookServer(judge, self._certificate.context, sockets)
        await self._webhook.start()

    def _lead(self, leading: bool) -> None:
        self._addresses.leader(leading)
        if leading and self._certificate is not None:
            self._certificate.wake()

    def _observed(self, keys: frozenset[Key]) -> None:
        self.reporter.observed(keys, self._objects.ingress_addresses)

    # ---- what the app tells

    def translated(self, translation: Translation, problems: Sequence[Problem], generation: int) -> None:
        """The newest translation, all problems, and the generation that was published with it."""
        self.reporter.translated(translation.served, problems, translation.policies, generation=generation)

    def live(self, generation: int) -> None:
        """Every worker that serves has this generation, or a later one."""
        self.reporter.live(generation)

    def shutting_down(self) -> None:
        """The first signal came: another may lead from now on."""
        self.reporter.shutting_down()

    async def farewell(self) -> None:
        """Until nothing is left to be written."""
        if self._reporting is not None:
            await asyncio.wait({self._reporting}, timeout=FAREWELL_LIMIT)

    # ---- what the metrics show (see ingress.admin.ClusterView)

    @property
    def is_leader(self) -> bool:
        return self.reporter.is_leader

    @property
    def silence(self) -> float:
        return self._objects.stalled

    @property
    def status_writes(self) -> int:
        return self.reporter.status_writes

    @property
    def event_writes(self) -> int:
        return self.reporter.event_writes

    @property
    def write_errors(self) -> int:
        return self.reporter.errors

    @property
    def reviews(self) -> WebhookCounts | None:
        return None if self._webhook is None else self._webhook.counts
