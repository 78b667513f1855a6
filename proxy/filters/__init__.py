"""What can be done to an exchange on its way, one file each. Filters do not know each other.

A filter is compiled once per route. ``compile`` returns ``None`` where the route has no use for it, so that a route
pays only for what it configures. Phases, in the order in which an exchange passes them:

- ``request_head(view)``: the request is known, nothing was sent. A response returned here answers it.
- ``request_body(view, size)``: ``size`` further bytes of the body came. A response returned here ends the exchange.
- ``upstream_head(view, lines)``: an upstream connection is there; returns the header lines that it gets.
- ``response_head(view, lines)``: a response is there, from the upstream or made here; returns the header lines that the
  client gets.

The order of ``FILTERS`` is the order in which they run. :class:`ClientCertificates` is of hosts rather than routes; it
runs right behind the redirect to https.
"""

from __future__ import annotations

from typing import Final

from proxy.filters.access_lists import AccessLists
from proxy.filters.allowances import Allowances
from proxy.filters.api import ExchangeView, Filter
from proxy.filters.body_limit import BodyLimit
from proxy.filters.client_certificates import ClientCertificates
from proxy.filters.cors import Cors
from proxy.filters.header_rules import HeaderRules
from proxy.filters.hsts import StrictTransport
from proxy.filters.https_redirect import HttpsRedirect
from proxy.filters.in_flight import InFlight
from proxy.filters.rate_limit import RateLimit
from proxy.filters.redirect import Redirect

__all__ = ["FILTERS", "Allowances", "ClientCertificates", "ExchangeView", "Filter", "HttpsRedirect"]

FILTERS: Final[tuple[type[Filter], ...]] = (
    HttpsRedirect,
    InFlight,
    AccessLists,
    Cors,
    RateLimit,
    Redirect,
    BodyLimit,
    StrictTransport,
    HeaderRules,
)
