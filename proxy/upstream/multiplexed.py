"""An endpoint that speaks HTTP/2: a few connections, each with many requests at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.upstream.endpoint import EndpointState

if TYPE_CHECKING:
    from proxy.upstream.dial import Dial
    from proxy.upstream.http2 import Http2Upstream
    from proxy.upstream.http2_stream import UpstreamStream
    from proxy.upstream.tls import ClientTls

__all__ = ["MultiplexedEndpoint"]


class MultiplexedEndpoint(EndpointState):
    """``idle`` holds no connection here: what is open is in ``connections``, and a request takes a stream of one."""

    __slots__ = ("connections", "dialling", "waiting")

    def __init__(self, address: str, port: int, *, by_name: bool, tls: ClientTls | None = None) -> None:
        super().__init__(address, port, by_name=by_name, tls=tls)
        self.connections: list[Http2Upstream] = []
        """Those that take new streams, full ones among them."""
        self.waiting: list[Dial] = []
        """Those who wait for a connection that is being made."""
        self.dialling = False

    def take(self) -> UpstreamStream | None:
        """A stream of a connection that has room, or ``None``."""
        for connection in self.connections:
            if connection.has_room:
                return connection.new_stream()
        return None

    def connections_now(self) -> tuple[int, int]:
        """See :class:`EndpointState`. One that takes no more requests and ends with its last is not counted."""
        if self.send_proxy:
            # Each request has one of its own.
            return 0, self.active
        idle = sum(connection.is_idle for connection in self.connections)
        return idle, len(self.connections) - idle + self.dialling

    def expire(self, before: float) -> None:
        """See :class:`EndpointState`."""
        for connection in tuple(self.connections):
            if connection.is_idle and connection.idle_since < before:
                connection.close()

    def retire(self) -> None:
        """See :class:`EndpointState`."""
        self.retired = True
        for connection in tuple(self.connections):
            connection.leave()
