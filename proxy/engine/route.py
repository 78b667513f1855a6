"""A route as a worker runs it."""

from __future__ import annotations

from proxy.filters import FILTERS, Filter
from proxy.message.local import LocalResponse, local_response
from proxy.table import Forward, Route, Settings
from proxy.telemetry import Telemetry

__all__ = ["CompiledRoute"]


class CompiledRoute:
    """Everything about a route that can be known before a request comes. Immutable after construction."""

    __slots__ = (
        "body_filters",
        "cluster",
        "connect_timeout",
        "counters",
        "head_filters",
        "host",
        "labels",
        "read_timeout",
        "response",
        "send_timeout",
    )

    def __init__(self, route: Route, host: str, settings: Settings, telemetry: Telemetry) -> None:
        filters = [compiled for kind in FILTERS if (compiled := kind.compile(route, settings)) is not None]
        self.head_filters = tuple(f.request_head for f in filters if type(f).request_head is not Filter.request_head)
        self.body_filters = tuple(f.request_body for f in filters if type(f).request_body is not Filter.request_body)
        self.host = host
        self.labels = route.labels
        self.counters = telemetry.route(host, route.labels)
        policy = route.policy
        self.connect_timeout = settings.connect_timeout if policy.connect_timeout is None else policy.connect_timeout
        self.read_timeout = settings.read_timeout if policy.read_timeout is None else policy.read_timeout
        self.send_timeout = settings.send_timeout if policy.send_timeout is None else policy.send_timeout
        self.cluster = ""
        self.response: LocalResponse | None = None
        if isinstance(route.action, Forward):
            self.cluster = route.action.cluster
        else:
            action = route.action
            self.response = local_response(action.status, message=action.reason, error="RouteResponds")
