"""Requests to backends are bounded per worker: what comes beyond is told to come again, and never waits."""

from __future__ import annotations

from proxy.filters.api import ExchangeView, Filter
from proxy.message.local import OVERLOADED, LocalResponse
from proxy.table import Forward, Route, Settings

__all__ = ["InFlight"]


class InFlight(Filter):
    """Answers that are made here cost next to nothing, and go on: a probe of a fixed response sees the worker alive."""

    __slots__ = ("_limit",)

    def __init__(self, limit: int) -> None:
        self._limit = limit

    @classmethod
    def compile(cls, route: Route, settings: Settings) -> Filter | None:
        limit = settings.max_requests
        return cls(limit) if limit > 0 and isinstance(route.action, Forward) else None

    def request_head(self, view: ExchangeView) -> LocalResponse | None:
        return OVERLOADED if view.under_way > self._limit else None
