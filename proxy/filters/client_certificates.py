"""Clients that must show a certificate (ingress-nginx ``auth-tls-*``).

A verdict holds for the connection and the very rules under which it was given. A request for this host that comes by
another server name, or over a connection that was judged by other rules (those of before a change, or none), is
answered with 421: the client comes again on a new connection (RFC 9110 section 15.5.20).

In plain text nothing can be shown, and nobody is let in, but for the challenges of ACME on routes that were made for
them: a certificate authority has no certificate of such a host (ingress-nginx ``no-auth-locations``, which goes by the
path of the route, too). The route of an application stays closed, whatever it would make of such a path.
"""

from __future__ import annotations

from typing import Any, Final

import re2

from proxy.filters.api import ACME_CHALLENGES, ExchangeView, Filter
from proxy.message.authored import field_line
from proxy.message.client_certificate import TOLD_FIELDS, ShownCertificate, told_lines
from proxy.message.lines import cut_named
from proxy.message.local import LocalResponse, local_response
from proxy.table import ClientCertificates as Rules

__all__ = ["ClientCertificates"]

_MISDIRECTED: Final = local_response(421, error="MisdirectedRequest", close=True)
_MISSING: Final = local_response(400, error="ClientCertificateMissing", message="No required SSL certificate was sent.")
_BAD: Final = local_response(400, error="ClientCertificateBad", message="The SSL certificate error.")
_UNAUTHORIZED: Final = local_response(
    403, error="ClientCertificateUnauthorized", message="client certificate unauthorized"
)
_CUT: Final = frozenset(TOLD_FIELDS)
_CHALLENGES: Final = ACME_CHALLENGES.encode("ascii")


class ClientCertificates(Filter):
    """Of one route of a host that asks, as all its routes have it."""

    __slots__ = ("_bad", "_is_for_challenges", "_match", "_missing", "_pattern", "_rules")

    def __init__(self, rules: Rules, pattern: str, path: str) -> None:
        """``path``: that of the route. Raises ``ValueError`` on rules that cannot be carried out."""
        self._rules = rules
        self._is_for_challenges = f"{path}/".startswith(ACME_CHALLENGES)
        self._pattern = pattern
        self._match: Any = None
        if rules.match_subject:
            self._match = _compiled(rules.match_subject)
        self._missing, self._bad = _MISSING, _BAD
        if rules.error_page:
            location = field_line("Location", rules.error_page)
            self._missing, self._bad = (
                LocalResponse(status=302, message=refusal.message, fields=location, error=refusal.error)
                for refusal in (_MISSING, _BAD)
            )

    def request_head(self, view: ExchangeView) -> LocalResponse | None:
        shown = view.shown
        if shown is None:
            if view.is_tls:
                return _MISDIRECTED
            # The path of the request is normalised, the other is as somebody wrote it: it takes both. Where a proxy
            # in front ended the TLS, it was none for a challenge.
            if self._is_for_challenges and view.scheme == b"http" and view.head.path.startswith(_CHALLENGES):
                return None
        elif not self._is_for_this_host(shown, view):
            return _MISDIRECTED
        elif not shown.is_good:
            return self._bad
        if self._rules.mode == "required" and (shown is None or not shown.is_there):
            # In plain text nothing can be shown.
            return self._missing
        if self._match is not None and (shown is None or not self._match.search(shown.subject)):
            return _UNAUTHORIZED
        return None

    def _is_for_this_host(self, shown: ShownCertificate, view: ExchangeView) -> bool:
        return (
            shown.pattern == self._pattern
            and shown.server_name in ("", view.canonical_host)
            and (shown.rules is self._rules or shown.rules == self._rules)
        )

    def upstream_head(self, view: ExchangeView, lines: bytes) -> bytes:
        told = told_lines(view.shown, with_certificate=self._rules.pass_certificate)
        return cut_named(lines, _CUT) + told


def _compiled(expression: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(expression, options)
    except re2.error:
        raise ValueError("the expression for subjects is not one of RE2") from None
