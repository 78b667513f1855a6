"""Request bodies have a largest size (ingress-nginx ``proxy-body-size``)."""

from __future__ import annotations

from proxy.filters.api import ExchangeView, Filter
from proxy.message.local import LocalResponse, local_response
from proxy.table import Route, Settings

__all__ = ["BodyLimit"]


class BodyLimit(Filter):
    """Refuses by Content-Length before anything is sent, and by count where the length is not known ahead."""

    __slots__ = ("_limit",)

    def __init__(self, limit: int) -> None:
        self._limit = limit

    @classmethod
    def compile(cls, route: Route, settings: Settings) -> Filter | None:
        limit = route.policy.max_body_bytes
        if limit is None:
            limit = settings.max_body_bytes
        return cls(limit) if limit > 0 else None

    def request_head(self, view: ExchangeView) -> LocalResponse | None:
        return self._refusal() if view.head.content_length > self._limit else None

    def request_body(self, view: ExchangeView, size: int) -> LocalResponse | None:
        return self._refusal() if view.request_bytes > self._limit else None

    def _refusal(self) -> LocalResponse:
        return local_response(413, error="BodyTooLarge", close=True)
