"""Plain-text requests are sent to https (ingress-nginx ``ssl-redirect``)."""

from __future__ import annotations

from typing import Final

from proxy.filters.api import ACME_CHALLENGES, ExchangeView, Filter
from proxy.message.local import LocalResponse
from proxy.table import Route, Settings

__all__ = ["HttpsRedirect"]

_CHALLENGES: Final = ACME_CHALLENGES.encode("ascii")


class HttpsRedirect(Filter):
    """Answers with the status and port of the settings."""

    __slots__ = ("_port", "_status")

    def __init__(self, status: int, port: int) -> None:
        self._status = status
        self._port = b"" if port == 443 else b":%d" % port

    @classmethod
    def compile(cls, route: Route, settings: Settings) -> Filter | None:
        if not route.https_redirect:
            return None
        return cls(settings.https_redirect_status, settings.https_redirect_port)

    def request_head(self, view: ExchangeView) -> LocalResponse | None:
        head = view.head
        if view.scheme == b"https" or head.path.startswith(_CHALLENGES):
            return None
        host = view.canonical_host.encode("ascii")
        if not host:
            return None
        location = b"https://%b%b%b%b" % (host, self._port, head.path, head.query)
        return LocalResponse(
            status=self._status, message="This host is served over https.", fields=b"Location: %b\r\n" % location
        )
