"""Header fields removed, set and added (``request_headers`` and ``response_headers`` of a policy)."""

from __future__ import annotations

from proxy.filters.api import ExchangeView, Filter
from proxy.message.authored import field_line, field_name
from proxy.message.lines import cut_named
from proxy.table import HeaderRules as Rules
from proxy.table import Route, Settings

__all__ = ["HeaderRules"]


class _Change:
    """Rules as what to cut out and what to put behind the rest."""

    __slots__ = ("_cut", "_tail")

    def __init__(self, rules: Rules) -> None:
        """Raises ``ValueError`` on a name or value that could break framing."""
        self._cut = frozenset(map(field_name, (*rules.remove, *rules.set)))
        self._tail = b"".join(field_line(name, value) for name, value in (*rules.set.items(), *rules.add.items()))

    def apply(self, lines: bytes) -> bytes:
        return (cut_named(lines, self._cut) if self._cut else lines) + self._tail


class HeaderRules(Filter):
    """The last to touch either head."""

    __slots__ = ("_request", "_response")

    def __init__(self, request: Rules, response: Rules) -> None:
        self._request = _Change(request)
        self._response = _Change(response)

    @classmethod
    def compile(cls, route: Route, settings: Settings) -> Filter | None:
        request, response = route.policy.request_headers, route.policy.response_headers
        if request is None and response is None:
            return None
        return cls(request or Rules(), response or Rules())

    def upstream_head(self, view: ExchangeView, lines: bytes) -> bytes:
        return self._request.apply(lines)

    def response_head(self, view: ExchangeView, lines: bytes) -> bytes:
        return self._response.apply(lines)
