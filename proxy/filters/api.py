"""What a filter is, and what it may see of an exchange."""

from __future__ import annotations

from typing import Final, Protocol

from proxy.filters.allowances import Allowances
from proxy.message.client_certificate import ShownCertificate
from proxy.message.local import LocalResponse
from proxy.message.request import RequestHead
from proxy.table import Route, Settings

__all__ = ["ACME_CHALLENGES", "ExchangeView", "Filter"]

ACME_CHALLENGES: Final = "/.well-known/acme-challenge/"
"""Certificate authorities ask here in plain text, before there is any certificate (RFC 8555 section 8.3)."""


class ExchangeView(Protocol):
    """The exchange as filters see it."""

    head: RequestHead
    request_bytes: int
    client_address: str
    """Of the client behind the proxies that are trusted."""

    @property
    def allowances(self) -> Allowances:
        """What clients may still ask for, shared by all workers."""

    @property
    def under_way(self) -> int:
        """Requests of the worker that are not answered yet, this one among them; without those that became tunnels."""

    @property
    def scheme(self) -> bytes:
        """``http`` or ``https``, as the client used it."""

    @property
    def is_tls(self) -> bool:
        """The connection itself is TLS."""

    @property
    def shown(self) -> ShownCertificate | None:
        """What the client showed; ``None``: the connection's host does not ask for certificates."""

    @property
    def canonical_host(self) -> str:
        """The host without port, in lower case."""


class Filter:
    """The base: a filter that does nothing. Phases that a filter does not override are not called."""

    __slots__ = ()

    @classmethod
    def compile(cls, route: Route, settings: Settings) -> Filter | None:
        """The filter for ``route``, or ``None`` where it would do nothing."""
        return None

    def request_head(self, view: ExchangeView) -> LocalResponse | None:
        """A response answers the request here; ``None`` lets it pass."""
        return None

    def request_body(self, view: ExchangeView, size: int) -> LocalResponse | None:
        """A response ends the exchange here; ``None`` lets the bytes pass."""
        return None

    def upstream_head(self, view: ExchangeView, lines: bytes) -> bytes:
        """The header lines that the upstream gets, but those of framing and connection management; called per try."""
        return lines

    def response_head(self, view: ExchangeView, lines: bytes) -> bytes:
        """The header lines that the client gets, but those of connection management. Content-Length must stay."""
        return lines
