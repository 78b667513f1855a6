"""``Strict-Transport-Security`` on https (RFC 6797), as ingress-nginx ``hsts``."""

from __future__ import annotations

from typing import Final

from proxy.filters.api import ExchangeView, Filter
from proxy.table import Hsts, Route, Settings

__all__ = ["StrictTransport"]

_NAME: Final = b"\nstrict-transport-security:"


class StrictTransport(Filter):
    """Adds the field where the client used https and the backend did not say it itself.

    Never in plain text: there, anybody on the way could have written it (RFC 6797 section 7.2).
    """

    __slots__ = ("_line",)

    def __init__(self, hsts: Hsts) -> None:
        subdomains = b"; includeSubDomains" if hsts.include_subdomains else b""
        preload = b"; preload" if hsts.preload else b""
        self._line = b"Strict-Transport-Security: max-age=%d%b%b\r\n" % (hsts.max_age, subdomains, preload)

    @classmethod
    def compile(cls, route: Route, settings: Settings) -> Filter | None:
        if not route.hsts or settings.hsts is None:
            return None
        return cls(settings.hsts)

    def response_head(self, view: ExchangeView, lines: bytes) -> bytes:
        if view.scheme != b"https" or (b"\n" + lines).lower().find(_NAME) >= 0:
            return lines
        return lines + self._line
