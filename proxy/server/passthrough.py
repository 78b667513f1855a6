"""TLS that the endpoints end themselves (ingress-nginx ``ssl-passthrough``): bytes pass both ways, unread.

The server name of the ClientHello chose the cluster; the ClientHello is the first thing that the endpoint gets, behind
a PROXY protocol header where the cluster wants one. Either side may end its half of the connection (TCP half-close).
"""

from __future__ import annotations

import asyncio
from time import monotonic, time
from typing import Final, cast

from proxy.message.proxy_protocol import Ends, encode_header
from proxy.message.request import RequestHead
from proxy.server.connections import Connections
from proxy.table import Cluster, Labels, Table
from proxy.upstream.cluster import ClusterState
from proxy.upstream.connection import FINISH_TIME
from proxy.upstream.dial import connect_failure
from proxy.upstream.endpoint import EndpointState

__all__ = ["PassedConnection", "cluster_of"]

_HIGH_WATER: Final = 256 * 1024
_NO_LABELS: Final = Labels()
_CLIENT_GONE: Final = "ClientGone"


def cluster_of(table: Table, name: str) -> str | None:
    """The cluster that gets the connections for a server name (canonical), exact before wildcard; ``None``: none.

    A host of its own is no part of a wildcard, as for requests.
    """
    found = table.passthrough.get(name)
    if found is None and name not in table.hosts:
        found = table.passthrough.get("*." + name.partition(".")[2])
    return found


class _Half(asyncio.Protocol):
    """The protocol of one side: what comes goes to the other, and waits where that takes no more."""

    def __init__(self) -> None:
        self.other: _Half | None = None
        self.transport: asyncio.Transport | None = None
        self.activity = monotonic()
        self.has_ended = False
        """The peer sends no more."""
        self.received = 0
        """Bytes of the peer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self.activity = monotonic()
        self.received += len(data)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        other = self.other
        if other is None or other.transport is None or other.has_ended:
            return False
        other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        other, self.other = self.other, None
        if other is not None and other.transport is not None:
            other.other = None
            if error is not None:
                other.transport.abort()
                return
            other.transport.close()
            if other.transport is not None and other.transport.get_write_buffer_size():
                asyncio.get_running_loop().call_later(FINISH_TIME, other.transport.abort)


class _EndpointHalf(_Half):
    """The endpoint's side."""

    def __init__(self, client: PassedConnection) -> None:
        super().__init__()
        self._client = client

    def connection_lost(self, error: Exception | None) -> None:
        # A pipe that is broken was closed before: nothing was cut that the endpoint had to say.
        if error is not None and not isinstance(error, BrokenPipeError):
            self._client.error = self._client.error or "UpstreamReset"
        super().connection_lost(error)


class _View:
    """What a cluster may choose an endpoint by, where there is no request."""

    def __init__(self, name: str, client_address: str) -> None:
        self.head = RequestHead()
        self.head.host = name.encode("ascii")
        self.client_address = client_address
        self.scheme = b"https"
        self.set_cookie = b""
        self.unusual = False


class PassedConnection(_Half):
    """The client's side, which owns the whole. Before an endpoint is there, one read of the client waits.

    At its end there is a line in the access log, with the server name as the host and the status that nginx gives its
    ``stream`` sessions: 200, or 502 where no endpoint was reached; and 499 where it ended before that was known.
    """

    def __init__(self, connections: Connections, key: str, name: str, told: Ends | None) -> None:
        super().__init__()
        self._connections = connections
        self._runtime = connections.runtime
        self._key = key
        self._name = name
        self._told = told
        self._endpoint: EndpointState | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_counted = False
        self._early = b""
        self._ends: Ends | None = None
        self._address = ""
        self._tried: list[EndpointState] = []
        self._endpoint_half: _EndpointHalf | None = None
        self._started = self.activity
        self.error = ""
        """Why it is not whole: a reason as in lines of requests."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None, "it was just made"
        if not self._connections.add(self):
            self.transport.abort()
            return
        self._is_counted = True
        self._runtime.active += 1
        self._runtime.tunnels += 1
        # Later there may be no socket any more that could tell.
        self._ends = self._look_at_ends()
        self._address = "unknown" if self._ends is None else self._ends.address
        self._task = self._connections.loop.create_task(self._reach())

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            # There is no endpoint yet: what was read waits, and no more is.
            self._early += data
            self.received += len(data)
            if self.transport is not None:
                self.transport.pause_reading()
            return
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        if self._task is not None:
            self._task.cancel()
        if self._is_counted:
            self._is_counted = False
            self._runtime.active -= 1
            self._runtime.tunnels -= 1
            if not self.error:
                if self._endpoint_half is None:
                    self.error = _CLIENT_GONE
                elif error is not None:
                    self.error = "ClientReset"
            self._log()
        self._release()
        super().connection_lost(error)

    def _log(self) -> None:
        log = self._runtime.access_log
        if log is None:
            return
        now = monotonic()
        unreached = 499 if self.error == _CLIENT_GONE else 502
        host = self._runtime.state.matcher.find(self._name)
        route = None if host is None else host.match(b"/")
        log.write(
            time(),
            self._address,
            b"",
            self._name.encode("ascii"),
            b"",
            "TCP",
            200 if self._endpoint_half is not None else unreached,
            self.received,
            0 if self._endpoint_half is None else self._endpoint_half.received,
            now - self._started,
            b"",
            b"",
            b"",
            _NO_LABELS if route is None else route.labels,
            ", ".join(endpoint.name for endpoint in self._tried),
            ", ".join("-" * len(self._tried)),
            now - self._started if self._tried else -1.0,
            max(len(self._tried) - 1, 0),
            "",
            self.error,
        )

    # ---- the way to an endpoint

    async def _reach(self) -> None:
        """Connect to an endpoint; to another where one cannot be reached, as often as requests are tried again."""
        state, tried = self._runtime.state, self._tried
        cluster, table = state.clusters.get(self._key), state.table.clusters.get(self._key)
        reason = "NoEndpoints"
        while cluster is not None and table is not None and len(tried) <= state.settings.max_retries:
            endpoint = cluster.choose(_View(self._name, self._address), tried, monotonic())
            if endpoint is None:
                reason = reason if tried else cluster.refusal().error
                break
            tried.append(endpoint)
            reason = await self._connect(endpoint, cluster, table, state.settings.connect_timeout)
            if not reason:
                return
        self.error = reason
        if self.transport is not None:
            self.transport.abort()

    async def _connect(self, endpoint: EndpointState, cluster: ClusterState, table: Cluster, timeout: float) -> str:
        """Why there is no connection; empty: there is one, or the client has gone."""
        self._endpoint = endpoint
        endpoint.active += 1
        half = _EndpointHalf(self)
        try:
            await self._runtime.dialer.connect(endpoint, timeout, half)
        except (OSError, UnicodeError) as error:
            self._runtime.telemetry.upstream_connect_failures += 1
            self._runtime.telemetry.ejections += cluster.failed(endpoint, monotonic())
            self._release()
            return connect_failure(error, endpoint)
        self._runtime.telemetry.upstream_connects += 1
        if endpoint.suspect:
            endpoint.succeeded(monotonic())
        if self.transport is None or half.transport is None:
            self._release()
            if half.transport is not None:
                half.transport.abort()
            return "" if self.transport is None else "UpstreamClosed"
        if table.send_proxy:
            half.transport.write(encode_header(self._ends, table.send_proxy))
        self.other, half.other = half, self
        self._endpoint_half = half
        self.activity = half.activity = monotonic()
        if self._early:
            half.transport.write(self._early)
            self._early = b""
            self.transport.resume_reading()
        return ""

    def _release(self) -> None:
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.active -= 1

    def _look_at_ends(self) -> Ends | None:
        """Of the client's connection, as it is or as a proxy in front told."""
        if self._told is not None or self.transport is None:
            return self._told
        peer, local = self.transport.get_extra_info("peername"), self.transport.get_extra_info("sockname")
        if not peer or not local:
            return None
        address, here = (str(end[0]).removeprefix("::ffff:") for end in (peer, local))
        return Ends(address=address, port=peer[1], local_address=here, local_port=local[1])

    # ---- Member

    def check(self, now: float) -> None:
        """End it where nothing passed for as long as tunnels may be idle."""
        latest = self.activity if self.other is None else max(self.activity, self.other.activity)
        if now - latest > self._runtime.state.settings.tunnel_timeout:
            self.error = "TunnelTimeout"
            self.kill()

    def close_if_idle(self, now: float) -> None:
        """It never is: what it waits for cannot be seen."""

    @property
    def is_busy(self) -> bool:
        return True

    def kill(self) -> None:
        if self.transport is not None:
            self.transport.abort()
