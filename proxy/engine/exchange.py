"""One request: from its head, through the choice of an endpoint, to the end of its response.

Rules:

1. The state is read once, at the request head.
2. Nothing waits here. The client's side, the dialer and the upstream connection call in; every call ends with the
   exchange in a state from which the next one may come.
3. The response belongs to whoever begins it: after ``begin_response`` nothing is retried, and a failure truncates.
4. An upstream connection goes back to the pool only after a whole response to a wholly sent request.
5. A request is sent again only if it is idempotent and no byte of a response came, or if it provably never arrived.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

import msgspec

from proxy.engine.deadlines import overdue
from proxy.engine.exchange_state import ExchangeState
from proxy.engine.record import record
from proxy.engine.target import settle_target
from proxy.engine.tunnel import Tunnel
from proxy.http1.encode import encode_request
from proxy.message import fields
from proxy.message.errors import BadRequest
from proxy.message.forwarding import client_behind, is_request_id, trusted_block
from proxy.message.local import LocalResponse, local_response
from proxy.message.proxy_protocol import encode_header
from proxy.message.request import CHUNKED, NO_BODY, RequestHead
from proxy.message.response import ResponseHead
from proxy.upstream.cluster import RETRY_TOKENS_MAX
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.endpoint import EndpointState, Way

__all__ = ["Exchange"]

_REQUEST_ID: Final = fields.REQUEST_ID

REPLAY_LIMIT: Final = 64 * 1024
"""Bytes of a request body kept until the response begins, so that it can be sent again."""

_NO_CLUSTER: Final = local_response(503, error="NoEndpoints")

_IDEMPOTENT: Final = frozenset(
    {b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"PROPFIND", b"REPORT", b"SEARCH", b"QUERY"}
)
"""RFC 9110 section 9.2.2 and the registry of methods."""

_TRANSPORT_FAILURES: Final = frozenset({"UpstreamClosed", "UpstreamReset", "UpstreamTimeout", "UpstreamTlsFailed"})
"""Failures of the way or the process, which speak against the endpoint; a malformed response does not."""


class Exchange(ExchangeState):
    """Reused for all requests of a client stream, one after the other."""

    __slots__ = ()

    # ---- from the client's side

    def start(self) -> None:
        """The request head is in ``self.head``.

        Raises:
            BadRequest: target or host have no safe meaning; nothing was begun.
        """
        runtime = self.runtime
        state = runtime.state
        head = self.head
        host = settle_target(head, state)
        self.started = self.activity = now = monotonic()
        self.running = True
        runtime.active += 1
        self.response_started = False
        self.request_bytes = self.response_bytes = 0
        if self.error:
            self.error = ""
        if head.plain:
            self.request_done = True
            self.request_id = runtime.request_id()
        else:
            self._look_closer(head)
        route = self.route = (None if host is None else host.match(head.path)) or state.default
        if route is None:
            self._answer_at_once(local_response(404, error="NoRoute"))
            return
        for request_head in route.head_filters:
            response = request_head(self)
            if response is not None:
                self._answer_at_once(response)
                return
        if route.response is not None:
            self._answer_at_once(route.response)
            return
        key = route.cluster
        if route.tls_cluster and self.downstream.facts.is_tls:
            key = route.tls_cluster
        cluster = self.cluster = state.clusters.get(key)
        endpoint = None if cluster is None else cluster.choose(self, (), now)
        if endpoint is None:
            self._answer_at_once(_NO_CLUSTER if cluster is None else cluster.refusal())
            return
        self._use(endpoint, now)

    def _look_closer(self, head: RequestHead) -> None:
        """What only a head with more than a Host can bring."""
        self.request_done = head.content_length == NO_BODY
        if not self.request_done:
            self.unusual = True
        if head.trusted:
            self.unusual = True
            self.client_address = client_behind(head, self.downstream.facts, self.runtime.state.trusted)
        given_id = head.special.get(_REQUEST_ID)
        if given_id is not None and is_request_id(given_id):
            self.request_id = given_id
        else:
            self.request_id = self.runtime.request_id()

    def _answer_at_once(self, response: LocalResponse) -> None:
        """Answer a request that no backend has to do with."""
        self.cluster = self.endpoint = None
        self.upstream_started = 0.0
        self._answer(response)

    def request_body(self, data: bytes) -> None:
        """Bytes of the request body, without their coding."""
        if not self.running:
            return
        self.activity = monotonic()
        size = len(data)
        self.request_bytes += size
        route = self.route
        if route is not None:
            for request_body in route.body_filters:
                response = request_body(self, size)
                if response is not None:
                    self.cut_short(response)
                    return
        if self.replayable:
            self.kept.append(data)
            self.kept_bytes += size
        upstream = self.upstream
        if upstream is None:
            # Still connecting: these bytes wait, and no more are taken from the client.
            self.downstream.pause_body()
            return
        upstream.write_body(data, self.head.content_length == CHUNKED)
        if self.kept_bytes > REPLAY_LIMIT:
            self._forget_body()

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The request body is whole."""
        if not self.running:
            return
        self.request_done = True
        self.request_trailers = trailers
        self.activity = monotonic()
        upstream = self.upstream
        if upstream is not None:
            upstream.end_body(trailers, self.head.content_length == CHUNKED)

    def client_gone(self, reason: str = "ClientGone") -> None:
        """The client's side ended. Nobody waits for the response any more."""
        if not self.running:
            return
        if self.tunnel is not None:
            self.tunnel.client_gone()
            return
        self.error = reason
        if not self.response_started:
            self.status = 499
        self._drop_upstream()
        self._finish()

    def body_failed(self, error: BadRequest) -> None:
        """The request body is malformed: its end will never be known."""
        self.cut_short(local_response(error.status, error=error.reason, close=True))

    def downstream_blocked(self) -> None:
        """The client takes the response slower than it comes."""
        self.unusual = True
        self.blocked_at = monotonic()
        if self.upstream is not None:
            self.upstream.pause_reading()

    def downstream_writable(self) -> None:
        """The client caught up."""
        self.blocked_at = 0.0
        self.activity = monotonic()
        if self.upstream is not None:
            self.upstream.resume_reading()

    # ---- the way to an endpoint

    def _use(self, endpoint: EndpointState, now: float) -> None:
        """Send the request to ``endpoint``, on an idle connection if there is one."""
        self.endpoint = endpoint
        endpoint.active += 1
        if not self.use_fresh:
            connection = endpoint.take()
            if connection is not None:
                self.runtime.telemetry.upstream_reused += 1
                self._send(connection, now)
                return
        self.use_fresh = False
        self.upstream_started = 0.0
        assert self.route is not None
        self.dial = self.runtime.dialer.dial(endpoint, self.route.connect_timeout, self)

    def _use_another(self, now: float) -> None:
        endpoint, cluster = self.endpoint, self.cluster
        if not (self.use_fresh and endpoint is not None and not endpoint.retired):
            endpoint = None if cluster is None else cluster.choose(self, self.tried, now)
        if endpoint is None:
            self.endpoint = None
            self._answer(local_response(503, error="NoEndpoints"))
        else:
            self._use(endpoint, now)

    def dialled(self, connection: Way) -> None:
        """The connection is there."""
        self.dial = None
        self.runtime.telemetry.upstream_connects += 1
        self._send(connection, monotonic())

    def introduction(self, version: str) -> bytes:
        """A PROXY protocol header that names the client, for a connection that is this client's alone."""
        facts = self.downstream.facts
        ends = facts.ends()
        if ends is not None and self.client_address != facts.address:
            # Told by a trusted proxy, without a port.
            ends = msgspec.structs.replace(ends, address=self.client_address, port=0)
        return encode_header(ends, version)

    def dial_failed(self, reason: str) -> None:
        """The connection could not be made: nothing was sent."""
        self.dial = None
        self.runtime.telemetry.upstream_connect_failures += 1
        self._try_failed(reason, may_retry=True, spends_budget=False)

    def _send(self, connection: Way, now: float) -> None:
        head = self.head
        facts = self.downstream.facts
        hostless = not head.host
        if hostless and self.endpoint is not None:
            # HTTP/1.0 without Host: HTTP/1.1 must name one.
            head.replace_host(self.endpoint.name.encode("ascii"))
        forwarding = trusted_block(head, facts, self.client_address) if facts.trusted else facts.constant + head.host
        self.upstream = connection
        self.upstream_started = now
        route = self.route
        changes = route is not None and route.upstream_filters
        data = encode_request(head, forwarding, self.request_id, self._changed_request if changes else None)
        if hostless:
            # Another try names its own endpoint.
            head.host = b""
        if head.content_length == NO_BODY:
            self.activity = now
            connection.send(self, data, head.method == b"HEAD", True)
        else:
            connection.send(self, data, False, False)
            self._send_body(connection, now)

    def _send_body(self, connection: Way, now: float) -> None:
        """What is there of the request body; more is asked of the client."""
        head = self.head
        downstream = self.downstream
        self.activity = now
        self.upstream_blocked_at = 0.0
        chunked = head.content_length == CHUNKED
        for part in self.kept:
            connection.write_body(part, chunked)
        if self.request_done:
            connection.end_body(self.request_trailers, chunked)
        elif head.expects_continue and not self.request_bytes:
            downstream.send_continue()
        if not self.upstream_blocked_at:
            downstream.resume_body()
        if self.kept_bytes > REPLAY_LIMIT:
            self._forget_body()

    def _forget_body(self) -> None:
        self.replayable = False
        self.kept.clear()
        self.kept_bytes = 0

    # ---- from the upstream

    def informational(self, head: ResponseHead) -> None:
        """A 1xx response: for HTTP/1.1 clients only."""
        self.activity = monotonic()
        if self.head.minor == 1:
            self.downstream.send_informational(head)

    def response_head(self, head: ResponseHead) -> None:
        """The response begins; no retry from here on."""
        close = self._responded(head)
        if self.kept:
            self.kept.clear()
        self.replayable = False
        self.unusual = True
        self.downstream.begin_response(head, close=close)

    def response_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        """Head and (counted) body came together: the common case, in one step."""
        close = self._responded(head)
        self.response_bytes = len(body)
        self.upstream = None
        self._release_endpoint()
        self._finish(now)
        self.downstream.send_response(head, body, close, now)

    def _responded(self, head: ResponseHead) -> bool:
        """Note the response's head; true where the client's connection must close behind it."""
        self.status = head.status
        self.response_started = True
        route = self.route
        if self.set_cookie or (route is not None and route.response_filters):
            self._change_response(head)
        endpoint = self.endpoint
        if endpoint is not None and endpoint.suspect:
            endpoint.succeeded(monotonic())
        if self.error:
            # Of a try before this one.
            self.error = ""
        return not self.request_done or self.runtime.draining or not self.head.keep_alive

    def _change_response(self, head: ResponseHead) -> None:
        """Have the filters see all the lines that the client will, our own Server and Date among them."""
        own = self.runtime.own_fields(has_server=head.has_server, has_date=head.has_date)
        head.special[fields.SERVER] = head.special[fields.DATE] = b""
        head.lines = self._changed_response(b"%b%b%b" % (head.lines, own, self.set_cookie))

    def _changed_request(self, lines: bytes) -> bytes:
        assert self.route is not None
        for upstream_head in self.route.upstream_filters:
            lines = upstream_head(self, lines)
        return lines

    def _changed_response(self, lines: bytes) -> bytes:
        if self.route is not None:
            for response_head in self.route.response_filters:
                lines = response_head(self, lines)
        return lines

    def response_flush(self) -> None:
        """The head came without a body yet."""
        self.activity = monotonic()
        self.downstream.flush_response()

    def response_body(self, data: bytes) -> None:
        """Bytes of the response body, without their coding."""
        self.activity = monotonic()
        self.response_bytes += len(data)
        self.downstream.send_body(data)

    def response_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The response is whole."""
        self._release_endpoint()
        self.upstream = None
        self._finish()
        self.downstream.end_response(trailers)

    def switched(self, head: ResponseHead, rest: bytes) -> Tunnel | None:
        """101: a tunnel, where the client asked for one and the backend names the same protocol."""
        if not self.head.upgrade or head.upgrade_protocol() != b"websocket":
            return None
        if not isinstance(self.upstream, UpstreamConnection) or not self.downstream.takes_switch(head):
            return None
        self.status = 101
        self.response_started = self.unusual = True
        if self.set_cookie or (self.route is not None and self.route.response_filters):
            self._change_response(head)
        self.tunnel = Tunnel(self.upstream, self.downstream, self)
        self.runtime.tunnels += 1
        self.tunnel.begin(head, rest)
        return self.tunnel

    def tunnel_over(self, request_bytes: int, response_bytes: int, error: str) -> None:
        """The tunnel ended; its upstream connection is gone."""
        self.request_bytes, self.response_bytes, self.error = request_bytes, response_bytes, error
        self.upstream = None
        self._release_endpoint()
        self.runtime.tunnels -= 1
        self._finish()

    def upstream_failed(self, connection: Way, reason: str) -> None:
        """The upstream connection is gone before the response was whole."""
        if self.tunnel is not None:
            self.tunnel.upstream_gone(reason)
            return
        self.upstream = None
        if self.response_started:
            self.error = reason
            self._release_endpoint()
            self._finish()
            self.downstream.abort_response()
            return
        undelivered = connection.undelivered
        if connection.served and not connection.responded and reason in ("UpstreamClosed", "UpstreamReset"):
            # A pooled connection that the backend had given up: no fault of the endpoint.
            self.use_fresh = True
        may_retry = (
            not connection.responded
            and reason in _TRANSPORT_FAILURES
            and self.replayable
            and (undelivered or self.head.method in _IDEMPOTENT)
        )
        self._try_failed(reason, may_retry=may_retry, spends_budget=not undelivered and not self.use_fresh)

    def upstream_blocked(self) -> None:
        """The backend takes the request slower than it comes."""
        self.unusual = True
        self.upstream_blocked_at = monotonic()
        self.downstream.pause_body()

    def upstream_writable(self) -> None:
        """The backend caught up."""
        self.upstream_blocked_at = 0.0
        self.activity = monotonic()
        self.downstream.resume_body()

    # ---- failures and ends

    def _try_failed(self, reason: str, *, may_retry: bool, spends_budget: bool) -> None:
        now = monotonic()
        endpoint, cluster = self.endpoint, self.cluster
        assert self.route is not None
        assert endpoint is not None
        assert cluster is not None
        self._release_endpoint()
        self.unusual = True
        self.error = reason
        if not self.use_fresh:
            self.tried.append(endpoint)
            if reason in _TRANSPORT_FAILURES or reason.startswith("Connect"):
                self.runtime.telemetry.ejections += cluster.failed(endpoint, now)
        stale = self.use_fresh
        if not stale and self.retries >= self.route.max_retries:
            may_retry = False
        may_retry = may_retry and self._has_another(endpoint)
        if may_retry and spends_budget and not cluster.has_healthy(self.tried):
            if cluster.retry_tokens < 1.0:
                self.runtime.telemetry.retries_denied += 1
                may_retry = False
            else:
                cluster.retry_tokens -= 1.0
        if may_retry:
            self.retries += not stale
            self.failed_names += f"{endpoint.name}, "
            self._use_another(now)
            return
        self.use_fresh = False
        timed_out = reason in ("UpstreamTimeout", "ConnectTimeout")
        self._answer(local_response(504 if timed_out else 502, error=reason, close=not self.request_done))

    def _has_another(self, endpoint: EndpointState) -> bool:
        if self.use_fresh and not endpoint.retired:
            return True
        assert self.cluster is not None
        return any(state not in self.tried for state in self.cluster.endpoints)

    def cut_short(self, response: LocalResponse) -> None:
        """Answer before the request is whole, or truncate where a response has begun."""
        if not self.running:
            return
        self._drop_upstream()
        if self.response_started:
            self.error = response.error
            self._finish()
            self.downstream.abort_response()
        else:
            self._answer(response)

    def _answer(self, response: LocalResponse) -> None:
        """Answer here. Whatever the request still holds back is the client's side to discard."""
        self.status = response.status
        if response.error:
            self.error = response.error
        request_id = self.request_id
        close = response.close or self.runtime.draining or not self.head.keep_alive
        route = self.route
        change = self._changed_response if route is not None and route.response_filters else None
        self._finish()
        self.downstream.send_local(response, request_id=request_id, close=close, change=change)

    def _drop_upstream(self) -> None:
        """End whatever is under way towards the backend; the connection is not pooled."""
        if self.dial is not None:
            self.dial.caller = None
            self.dial = None
            self._release_endpoint()
        if self.upstream is not None:
            self.upstream.close()
            self.upstream = None
            self._release_endpoint()

    def _release_endpoint(self) -> None:
        endpoint = self.endpoint
        if endpoint is not None:
            endpoint.active -= 1

    def _finish(self, now: float = 0.0) -> None:
        """Account for the request; the exchange is free for the next one. ``now``: where it is known already."""
        runtime = self.runtime
        runtime.active -= 1
        self.running = False
        cluster = self.cluster
        if cluster is not None and cluster.retry_tokens < RETRY_TOKENS_MAX:
            cluster.retry_tokens += runtime.state.settings.retry_budget_percent / 100.0
        record(self, now or monotonic())
        if self.unusual:
            self.kept.clear()
            self.tried.clear()
            self._clear_rare()

    # ---- time

    def check(self, now: float) -> None:
        """Called about once a second: is anything overdue?"""
        if not self.running or self.dial is not None:
            return
        if self.tunnel is not None:
            self.tunnel.check(now, self.runtime.state.settings.tunnel_timeout)
            return
        late = overdue(self, now)
        if late == "UpstreamTimeout":
            upstream = self.upstream
            if upstream is not None:
                upstream.close()
                self.upstream_failed(upstream, late)
        elif late == "BodyTimeout":
            self.cut_short(local_response(408, error=late, close=True))
        elif late:
            self.error = late
            self._drop_upstream()
            self._finish()
            self.downstream.abort_response()
