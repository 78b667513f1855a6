"""What is known of a request under way: the data of an exchange, apart from what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.engine.downstream import Downstream
from proxy.engine.route import CompiledRoute
from proxy.engine.runtime import Runtime
from proxy.filters import Allowances
from proxy.message.client_certificate import ShownCertificate
from proxy.message.forwarding import forwarded_proto
from proxy.message.request import RequestHead
from proxy.routing import BadHost, canonical_host
from proxy.upstream.cluster import ClusterState
from proxy.upstream.dial import Dial
from proxy.upstream.endpoint import EndpointState, Way

if TYPE_CHECKING:
    from proxy.engine.tunnel import Tunnel

__all__ = ["ExchangeState"]


class ExchangeState:
    """Grouped by life span: the stream, the request, and what few requests touch."""

    __slots__ = (
        "activity",
        "blocked_at",
        "client_address",
        "cluster",
        "dial",
        "downstream",
        "endpoint",
        "error",
        "failed_names",
        "head",
        "kept",
        "kept_bytes",
        "replayable",
        "request_bytes",
        "request_done",
        "request_id",
        "request_trailers",
        "response_bytes",
        "response_started",
        "retries",
        "route",
        "running",
        "runtime",
        "set_cookie",
        "started",
        "status",
        "tried",
        "tunnel",
        "unusual",
        "upstream",
        "upstream_blocked_at",
        "upstream_started",
        "use_fresh",
    )

    def __init__(self, runtime: Runtime, downstream: Downstream, head: RequestHead) -> None:
        # Life of the stream.
        self.runtime = runtime
        self.downstream = downstream
        self.head = head
        self.running = False
        # Life of one request: set in ``start``.
        self.tried: list[EndpointState] = []
        self.kept: list[bytes] = []
        self.upstream: Way | None = None
        self.dial: Dial | None = None
        self.started = self.activity = 0.0
        self.route: CompiledRoute | None = None
        self.cluster: ClusterState | None = None
        self.endpoint: EndpointState | None = None
        self.request_id = b""
        self.request_bytes = 0
        self.response_bytes = 0
        self.request_done = True
        self.response_started = False
        self.status = 0
        self.error = ""
        self.upstream_started = 0.0
        self._clear_rare()

    def _clear_rare(self) -> None:
        """What a bodiless request that finds an idle connection never touches."""
        self.unusual = False
        """Something here was touched."""
        self.set_cookie = b""
        """The Set-Cookie line by which the client returns to the endpoint chosen; empty: not needed."""
        self.client_address = self.downstream.facts.address
        self.request_trailers: list[tuple[bytes, bytes]] = []
        self.replayable = True
        self.kept_bytes = 0
        self.use_fresh = False
        """A pooled connection was stale: take a new one for the next try."""
        self.retries = 0
        self.tunnel: Tunnel | None = None
        """Takes over once the connection switched protocols."""
        self.failed_names = ""
        """Of the endpoints whose tries failed, each with a comma behind it."""
        self.blocked_at = 0.0
        self.upstream_blocked_at = 0.0

    @property
    def scheme(self) -> bytes:
        """As the client used it, as far as it can be believed."""
        return forwarded_proto(self.head, self.downstream.facts)

    @property
    def allowances(self) -> Allowances:
        """What clients may still ask for, shared by all workers."""
        return self.runtime.allowances

    @property
    def under_way(self) -> int:
        """Requests of the worker that are not answered yet, tunnels aside."""
        return self.runtime.active - self.runtime.tunnels

    @property
    def is_tls(self) -> bool:
        """The connection itself is TLS."""
        return self.downstream.facts.is_tls

    @property
    def shown(self) -> ShownCertificate | None:
        """What the client showed; ``None``: the connection's host does not ask for certificates."""
        return self.downstream.facts.shown

    @property
    def canonical_host(self) -> str:
        """The host without port, in lower case; empty where the request named none."""
        try:
            return canonical_host(self.head.host)
        except BadHost:
            return ""

    def tries(self) -> tuple[str, str]:
        """The endpoints tried and the status of each, as nginx's ``$upstream_addr`` and ``$upstream_status``."""
        failed = self.failed_names
        if self.endpoint is None:
            return failed[:-2], ", ".join(["-"] * failed.count(","))
        status = str(self.status) if self.response_started else "-"
        return failed + self.endpoint.name, "-, " * failed.count(",") + status
