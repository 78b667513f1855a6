"""The account of an exchange: counters, and a line in the access log."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Final

from proxy.engine.runtime import Runtime
from proxy.message.forwarding import ClientFacts
from proxy.message.local import LocalResponse
from proxy.message.request import RequestHead
from proxy.table import Labels

if TYPE_CHECKING:
    from proxy.engine.exchange import Exchange

__all__ = ["record", "record_refusal"]

_NO_LABELS: Final = Labels()


def record(exchange: Exchange, now: float) -> None:
    """Called once per exchange, at its end; ``now`` as of ``time.monotonic``."""
    duration = now - exchange.started
    upstream_duration = now - exchange.upstream_started if exchange.upstream_started else -1.0
    route = exchange.route
    runtime = exchange.runtime
    if route is not None:
        route.counters.record(
            exchange.head.method,
            exchange.status,
            duration,
            upstream_duration,
            exchange.request_bytes,
            exchange.response_bytes,
            exchange.retries,
        )
    else:
        runtime.telemetry.unrouted += 1
    cluster = exchange.cluster
    if cluster is not None and cluster.measures and exchange.endpoint is not None and upstream_duration >= 0.0:
        exchange.endpoint.observe(upstream_duration, now)
    log = runtime.access_log
    if log is None:
        return
    head = exchange.head
    facts = exchange.downstream.facts
    addresses, statuses = exchange.tries()
    log.write(
        time(),
        exchange.client_address,
        head.method,
        head.host,
        head.target,
        facts.protocols[head.minor],
        exchange.status,
        exchange.request_bytes,
        exchange.response_bytes,
        duration,
        head.field(b"referer") or b"",
        head.field(b"user-agent") or b"",
        exchange.request_id,
        _NO_LABELS if route is None else route.labels,
        addresses,
        statuses,
        upstream_duration,
        exchange.retries,
        facts.tls_version,
        exchange.error,
    )


def record_refusal(
    runtime: Runtime, facts: ClientFacts, head: RequestHead, response: LocalResponse, request_id: bytes
) -> None:
    """A request that never became an exchange. What is known of it may be half of it, so only the address is told."""
    log = runtime.access_log
    if log is not None:
        log.write(
            time(),
            facts.address,
            b"",
            b"",
            b"",
            "",
            response.status,
            0,
            0,
            0.0,
            b"",
            b"",
            request_id,
            _NO_LABELS,
            "",
            "",
            -1.0,
            0,
            facts.tls_version,
            response.error,
        )
