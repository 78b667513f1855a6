"""Cross-origin requests (Fetch standard, section "CORS protocol"; ingress-nginx ``enable-cors``)."""

from __future__ import annotations

import re
from typing import Final

from proxy.filters.api import ExchangeView, Filter
from proxy.message.authored import field_line
from proxy.message.fields import list_members
from proxy.message.lines import cut_named, values
from proxy.message.local import LocalResponse
from proxy.message.request import RequestHead
from proxy.table import Cors as Rules
from proxy.table import Route, Settings

__all__ = ["Cors"]

_ORIGIN: Final = re.compile(rb"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?\Z")
"""As browsers serialise an origin (Fetch section 3.1): no path, no user, lower case."""
_LABEL: Final = re.compile(rb"[a-z0-9_-]+\Z")
_TOKENS: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*\Z")

_OF_ANY: Final = (
    b"access-control-allow-origin",
    b"access-control-allow-credentials",
    b"access-control-expose-headers",
)
_OF_PREFLIGHTS: Final = (
    b"access-control-allow-methods",
    b"access-control-allow-headers",
    b"access-control-max-age",
)


class Cors(Filter):
    """Preflights are answered here; the responses to other requests get the fields that let a script read them.

    The backend's own words on the matter are cut out: two Access-Control-Allow-Origin are none. ``null``, the origin of
    every sandboxed page, is one of "any" only while no credentials are sent along; else it must be listed.
    """

    __slots__ = ("_any", "_exact", "_fixed", "_preflight", "_rules", "_varies", "_wildcards")

    def __init__(self, rules: Rules) -> None:
        """Raises ``ValueError`` on what could break framing."""
        self._rules = rules
        origins = [_without_usual_port(origin.lower()) for origin in rules.allow_origins]
        self._any = b"*" in origins
        self._exact = frozenset(origins)
        self._wildcards = [(start, end) for origin in origins for start, star, end in [origin.partition(b"*.")] if star]
        self._varies = not self._any or rules.allow_credentials
        """Whether the answer to one origin differs from that to another."""
        fixed = field_line("Access-Control-Allow-Credentials", "true") if rules.allow_credentials else b""
        if rules.expose_headers:
            fixed += field_line("Access-Control-Expose-Headers", ", ".join(rules.expose_headers))
        self._fixed = fixed
        preflight = field_line("Access-Control-Max-Age", str(rules.max_age))
        if not self._echoes(rules.allow_methods):
            preflight += field_line("Access-Control-Allow-Methods", ", ".join(rules.allow_methods))
        if rules.allow_headers and not self._echoes(rules.allow_headers):
            preflight += field_line("Access-Control-Allow-Headers", ", ".join(rules.allow_headers))
        self._preflight = preflight

    @classmethod
    def compile(cls, route: Route, settings: Settings) -> Filter | None:
        return None if route.policy.cors is None else cls(route.policy.cors)

    def request_head(self, view: ExchangeView) -> LocalResponse | None:
        head = view.head
        if not _is_preflight(head):
            return None
        if not self._allowed(_origin(head)):
            return LocalResponse(status=204)
        fields = self._preflight
        for wanted, asked, told in (
            (self._rules.allow_methods, b"access-control-request-method", b"Access-Control-Allow-Methods: %b\r\n"),
            (self._rules.allow_headers, b"access-control-request-headers", b"Access-Control-Allow-Headers: %b\r\n"),
        ):
            value = head.field(asked)
            if value is not None and self._echoes(wanted) and _TOKENS.match(value):
                fields += told % value
        return LocalResponse(status=204, fields=fields)

    def response_head(self, view: ExchangeView, lines: bytes) -> bytes:
        head = view.head
        lines = cut_named(lines, _OF_ANY if _is_preflight(head) else _OF_ANY + _OF_PREFLIGHTS)
        if self._varies:
            lines = _varying(lines)
        origin = _origin(head)
        allowed = self._allowed(origin)
        return b"%bAccess-Control-Allow-Origin: %b\r\n%b" % (lines, allowed, self._fixed) if allowed else lines

    def _echoes(self, wanted: tuple[str, ...]) -> bool:
        """With credentials browsers take ``*`` for a name; what was asked for is said instead."""
        return self._rules.allow_credentials and "*" in wanted

    def _allowed(self, origin: bytes) -> bytes:
        """What Access-Control-Allow-Origin says; empty: nothing."""
        if not origin:
            return b""
        if self._any and not self._rules.allow_credentials:
            return b"*"
        known = origin in self._exact or (self._any and origin != b"null")
        return origin if known or self._is_below_wildcard(origin) else b""

    def _is_below_wildcard(self, origin: bytes) -> bool:
        return any(
            origin.startswith(start)
            and origin.endswith(b"." + end)
            and _LABEL.match(origin[len(start) : -len(end) - 1]) is not None
            for start, end in self._wildcards
        )


def _is_preflight(head: RequestHead) -> bool:
    return (
        head.method == b"OPTIONS"
        and head.field(b"access-control-request-method") is not None
        and head.field(b"origin") is not None
    )


def _origin(head: RequestHead) -> bytes:
    """The origin of the request; empty where it names none, several, or nonsense."""
    found = list(values(head.lines, b"origin"))
    if len(found) != 1:
        return b""
    origin = found[0]
    return origin if origin == b"null" or _ORIGIN.match(origin) else b""


def _without_usual_port(origin: str) -> bytes:
    """Browsers leave the usual port of a scheme out."""
    if origin.startswith("https://"):
        return origin.removesuffix(":443").encode()
    return origin.removesuffix(":80").encode() if origin.startswith("http://") else origin.encode()


def _varying(lines: bytes) -> bytes:
    """``lines`` that tell caches of the Origin (RFC 9110 section 12.5.5), once."""
    told = [member for value in values(lines, b"vary") for member in list_members(value)]
    return lines if b"origin" in told or b"*" in told else lines + b"Vary: Origin\r\n"
