"""Everything that outlives a connection: what a stopped and started server still knows."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

import aiohttp

from tests.support.apiserver.access import User
from tests.support.apiserver.admission import Write, call_webhooks
from tests.support.apiserver.faults import Faults
from tests.support.apiserver.kinds import resource_at
from tests.support.apiserver.requests import Logged
from tests.support.apiserver.storage import Storage
from tests.support.apiserver.strategy import for_create
from tests.support.apiserver.watching import Watch
from tests.support.apiserver.writes import Writer

__all__ = ["State"]

_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
LOGGED: Final = 100_000
"""Requests that the log keeps."""


class State:
    """Objects, users, faults, and the log of requests."""

    def __init__(
        self,
        *,
        users: Mapping[str, User] | None = None,
        bookmark_interval: float = 60.0,
        webhook_services: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self.storage = Storage()
        self.users = dict(users or {})
        """By token. Empty: everybody may do everything."""
        self.faults = Faults()
        self.requests: deque[Logged] = deque(maxlen=LOGGED)
        self.watches: set[Watch] = set()
        self.bookmark_interval = bookmark_interval
        self.webhook_services = dict(webhook_services or {})
        self.client: aiohttp.ClientSession | None = None
        """For webhooks; there while the server runs."""
        namespaces = resource_at("", "v1", "namespaces")
        assert namespaces is not None
        for name in _NAMESPACES:
            self.storage.create(namespaces, for_create(namespaces, {"metadata": {"name": name}}, ""))

    def writer(self, warnings: list[str]) -> Writer:
        """Changes for one request; what webhooks warn of is added to ``warnings``."""

        async def review(write: Write) -> None:
            assert self.client is not None
            warnings.extend(await call_webhooks(self.storage, write, self.client, self.webhook_services))

        return Writer(self.storage, review)
