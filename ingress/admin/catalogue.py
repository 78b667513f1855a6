"""Every metric, declared once: name, kind, labels, help. The collector and docs/metrics.md both come from here.

Names and labels are those of ingress-nginx behind another prefix, where it has the metric, so that its dashboards
need one replacement. Label values come from the table, never from a request.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["COUNTERS", "GAUGES", "METRICS", "Metric", "metric"]

PREFIX: Final = "pyngress_"
ROUTE: Final = ("host", "namespace", "ingress", "service", "path")
WORKER: Final = ("worker",)


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """``name`` is without the prefix, and without the ``_total`` of a counter."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "summary"]
    labels: tuple[str, ...]
    help: str

    @property
    def full_name(self) -> str:
        """As it is exposed."""
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")


def _metric(
    name: str, kind: Literal["counter", "gauge", "histogram", "summary"], labels: tuple[str, ...], help_text: str
) -> Metric:
    return Metric(name=name, kind=kind, labels=labels, help=help_text)


_ROUTES = (
    _metric(
        "requests", "counter", (*ROUTE, "method", "status", "status_class"), "Requests, by the route that served them."
    ),
    _metric(
        "request_duration_seconds", "histogram", ROUTE, "From the first byte of a request to the last of its response."
    ),
    _metric(
        "response_duration_seconds", "histogram", ROUTE, "From a request sent upstream to the end of its response."
    ),
    _metric("request_size", "summary", ROUTE, "Bytes of requests."),
    _metric("response_size", "summary", ROUTE, "Bytes of responses."),
    _metric("retries", "counter", ROUTE, "Further endpoints that were tried."),
)

COUNTERS: Final = {
    "accepted": _metric("connections_accepted", "counter", (), "Client connections accepted."),
    "refused_limit": _metric("connections_refused", "counter", (), "Client connections refused at the limit."),
    "proxy_header_failures": _metric(
        "proxy_header_failures", "counter", (), "Client connections closed for a missing or bad PROXY protocol header."
    ),
    "bad_requests": _metric("bad_requests", "counter", (), "Requests refused as malformed, before any routing."),
    "unrouted": _metric("unrouted_requests", "counter", (), "Requests that no route matched."),
    "tls_handshakes": _metric("tls_handshakes", "counter", (), "TLS handshakes that succeeded."),
    "tls_handshake_failures": _metric("tls_handshake_failures", "counter", (), "TLS handshakes that failed."),
    "upstream_connects": _metric("upstream_connects", "counter", (), "Connections made to endpoints."),
    "upstream_connect_failures": _metric(
        "upstream_connect_failures", "counter", (), "Connections to endpoints that failed."
    ),
    "upstream_reused": _metric("upstream_reused", "counter", (), "Requests sent on a kept connection."),
    "http2_connections": _metric("http2_connections", "counter", (), "Client connections that spoke HTTP/2."),
    "http2_resets": _metric("http2_resets", "counter", (), "HTTP/2 requests that their clients gave up."),
    "http2_floods": _metric(
        "http2_floods", "counter", (), "HTTP/2 connections ended for asking for more than they may (ENHANCE_YOUR_CALM)."
    ),
    "ejections": _metric("upstream_ejections", "counter", (), "Endpoints taken out for failing."),
    "retries_denied": _metric("retries_denied", "counter", (), "Retries that the budget did not allow."),
    "log_lines_dropped": _metric("access_log_lines_dropped", "counter", (), "Access log lines nobody read in time."),
}
"""By their names in Stats."""

GAUGES: Final = {
    "connections": _metric("connections", "gauge", WORKER, "Client connections open."),
    "active_requests": _metric("active_requests", "gauge", WORKER, "Requests under way."),
    "tunnels": _metric("tunnels", "gauge", WORKER, "Upgraded connections (WebSocket) open."),
    "upstream_idle": _metric(
        "upstream_connections_idle", "gauge", WORKER, "Connections to endpoints that carry no request now."
    ),
    "upstream_active": _metric(
        "upstream_connections_active",
        "gauge",
        WORKER,
        "Connections to endpoints that carry requests or are being made; of HTTP/2, those that take more requests.",
    ),
}
"""By their names in Stats."""

_CONTROL = (
    _metric("table_generation", "gauge", (), "The newest table published."),
    _metric("worker_table_generation", "gauge", WORKER, "The table live in the worker; 0: none."),
    _metric("workers", "gauge", (), "Workers wanted."),
    _metric("workers_up", "gauge", (), "Workers that serve a table."),
    _metric("worker_restarts", "counter", WORKER, "Times that the worker's process was replaced."),
    _metric("config_last_reload_successful", "gauge", (), "1 unless a worker refused the newest table."),
    _metric("config_last_reload_successful_timestamp_seconds", "gauge", (), "When the newest table was published."),
    _metric("problems", "gauge", ("severity",), "Problems of objects now."),
    _metric(
        "ssl_expire_time_seconds",
        "gauge",
        ("host", "namespace", "secret_name"),
        "End of the certificate, in seconds since 1970; host '_' is the default certificate.",
    ),
    _metric("build_info", "gauge", ("version",), "1."),
    _metric(
        "worker_info",
        "gauge",
        (*WORKER, "http2_codec"),
        "1. The codec is h2 (pure Python), or nghttp2 and its version.",
    ),
)

CLUSTER: Final = (
    _metric("leader", "gauge", (), "1 if this replica writes statuses and Events."),
    _metric("api_server_silence_seconds", "gauge", (), "Since the API server was last heard."),
    _metric("status_writes", "counter", (), "Statuses of Ingresses and policies that were written."),
    _metric("event_writes", "counter", (), "Events that were written."),
    _metric("write_errors", "counter", (), "Writes to the API server that failed, conflicts apart."),
    _metric("admission_reviews", "counter", ("result",), "Reviews by the webhook: allowed, refused or failed."),
    _metric("admission_review_duration_seconds", "histogram", (), "From a review's arrival to its verdict."),
)
"""Only in a cluster; the last two only with the webhook."""

METRICS: Final = (*_ROUTES, *COUNTERS.values(), *GAUGES.values(), *_CONTROL, *CLUSTER)

_BY_NAME: Final = {each.name: each for each in METRICS}


def metric(name: str) -> Metric:
    """The metric of that name, without its prefix."""
    return _BY_NAME[name]
