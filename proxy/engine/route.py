"""A route as a worker runs it."""

from __future__ import annotations

import logging
from typing import Final

from proxy.filters import FILTERS, Filter, HttpsRedirect
from proxy.filters import ClientCertificates as AskForCertificates
from proxy.message.authored import field_line
from proxy.message.local import TEXT, LocalResponse, local_response
from proxy.table import ClientCertificates, Forward, Respond, Route, Settings
from proxy.telemetry import Telemetry

__all__ = ["CompiledRoute"]

logger = logging.getLogger("pyngress.worker")

_UNUSABLE: Final = local_response(503, message="This route cannot be served as it is configured.", error="BadRoute")


class CompiledRoute:
    """Everything about a route that can be known before a request comes. Immutable after construction.

    One that has no safe meaning answers 503, whatever of it did make sense: it is the control plane's mistake, and must
    not keep the rest of the table from going live.
    """

    __slots__ = (
        "body_filters",
        "cluster",
        "connect_timeout",
        "counters",
        "head_filters",
        "host",
        "labels",
        "max_retries",
        "read_timeout",
        "response",
        "response_filters",
        "send_timeout",
        "tls_cluster",
        "upstream_filters",
    )

    def __init__(
        self,
        route: Route,
        host: str,
        settings: Settings,
        telemetry: Telemetry,
        client_certificates: ClientCertificates | None = None,
    ) -> None:
        """``client_certificates``: what the host asks of its clients."""
        self.host = host
        self.labels = route.labels
        self.counters = telemetry.route(host, route.labels)
        policy = route.policy
        self.connect_timeout = settings.connect_timeout if policy.connect_timeout is None else policy.connect_timeout
        self.read_timeout = settings.read_timeout if policy.read_timeout is None else policy.read_timeout
        self.send_timeout = settings.send_timeout if policy.send_timeout is None else policy.send_timeout
        self.max_retries = settings.max_retries if policy.max_retries is None else policy.max_retries
        forward = route.action if isinstance(route.action, Forward) else Forward(cluster="")
        self.cluster = forward.cluster
        self.tls_cluster = forward.tls_cluster
        self.response: LocalResponse | None = None
        filters: list[Filter] = []
        try:
            filters = [compiled for kind in FILTERS if (compiled := kind.compile(route, settings)) is not None]
            if client_certificates is not None:
                behind = sum(isinstance(compiled, HttpsRedirect) for compiled in filters)
                filters.insert(behind, AskForCertificates(client_certificates, host, route.path))
            if isinstance(route.action, Respond):
                self.response = _fixed_response(route.action)
        except ValueError as error:
            logger.warning("%s%s answers 503: %s", host, route.path, error)
            filters = []
            self.response = _UNUSABLE
        self.head_filters = tuple(f.request_head for f in filters if type(f).request_head is not Filter.request_head)
        self.body_filters = tuple(f.request_body for f in filters if type(f).request_body is not Filter.request_body)
        self.upstream_filters = tuple(
            f.upstream_head for f in filters if type(f).upstream_head is not Filter.upstream_head
        )
        self.response_filters = tuple(
            f.response_head for f in filters if type(f).response_head is not Filter.response_head
        )


def _fixed_response(action: Respond) -> LocalResponse:
    """Raises ``ValueError`` on a status that ends no exchange, and on a field that could break framing."""
    if not 200 <= action.status <= 599:
        raise ValueError(f"no response has the status {action.status}")
    kind = TEXT
    lines = b""
    for name, value in action.headers.items():
        line = field_line(name, value)
        if name.lower() == "content-type":
            kind = line.partition(b": ")[2].strip()
        else:
            lines += line
    return LocalResponse(
        status=action.status,
        message=action.reason,
        fields=lines,
        error="RouteResponds" if action.body is None else "",
        body=None if action.body is None else action.body.encode(),
        content_type=kind,
    )
