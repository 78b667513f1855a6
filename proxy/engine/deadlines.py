"""What a request may wait for, and how long. Looked at about once a second; no request sets a timer."""

from __future__ import annotations

from proxy.engine.exchange_state import ExchangeState
from proxy.message.grpc import is_grpc
from proxy.upstream.multiplexed import MultiplexedEndpoint

__all__ = ["overdue"]


def overdue(state: ExchangeState, now: float) -> str:
    """The reason why an exchange that has its upstream connection must end now; empty: it need not.

    1. The client does not take the response. 2. The backend does not take the request. 3. The client does not send the
    request, or too slowly (calls of gRPC are judged by their silence alone). 4. The backend does not send the response.
    """
    settings, route = state.runtime.state.settings, state.route
    assert route is not None
    if state.blocked_at:
        return "ClientWriteTimeout" if state.downstream.is_stuck(now) else ""
    if state.upstream_blocked_at:
        return "UpstreamTimeout" if now - state.upstream_blocked_at > route.send_timeout else ""
    silence = now - state.activity
    if state.request_done:
        return "UpstreamTimeout" if silence > route.read_timeout else ""
    if silence > settings.body_timeout:
        return "BodyTimeout"
    elapsed = now - state.started
    too_slow = elapsed > settings.body_timeout and state.request_bytes < settings.body_min_rate * elapsed
    return "BodyTimeout" if too_slow and not state.response_started and not _is_call(state) else ""


def _is_call(state: ExchangeState) -> bool:
    """Whether the request is a call of gRPC to a backend that takes such: its messages come when there is something to
    say, so that no rate says anything of them. A backend of HTTP/1.1 may hold a thread for each slow body, and keeps
    its protection whatever the client says that it sends."""
    head = state.head
    return isinstance(state.endpoint, MultiplexedEndpoint) and head.method == b"POST" and is_grpc(head)
