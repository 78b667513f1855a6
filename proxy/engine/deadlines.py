"""What a request may wait for, and how long. Looked at about once a second; no request sets a timer."""

from __future__ import annotations

from proxy.engine.exchange_state import ExchangeState

__all__ = ["overdue"]


def overdue(state: ExchangeState, now: float) -> str:
    """The reason why an exchange that has its upstream connection must end now; empty: it need not.

    1. The client does not take the response. 2. The backend does not take the request. 3. The client does not send the
    request, or too slowly. 4. The backend does not send the response.
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
    elapsed = now - state.started
    too_slow = elapsed > settings.body_timeout and state.request_bytes < settings.body_min_rate * elapsed
    return "BodyTimeout" if silence > settings.body_timeout or (too_slow and not state.response_started) else ""
