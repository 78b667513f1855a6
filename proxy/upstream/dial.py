"""Making connections to endpoints.

This is the one part of an exchange that waits in a coroutine; the common path finds an idle connection instead.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from proxy.upstream.connection import FINISH_TIME, UpstreamConnection
from proxy.upstream.endpoint import EndpointState, Way
from proxy.upstream.http2 import Http2Upstream
from proxy.upstream.multiplexed import MultiplexedEndpoint
from proxy.upstream.tls import SESSION_TIME, ClientTls, Handshake, HandshakeRefused, handshake_failure
from proxy.upstream.tls_connection import TlsConnection

__all__ = ["Dial", "DialCaller", "Dialer", "connect_failure"]

T = TypeVar("T")
_Attempt: TypeAlias = Callable[[str, float], Awaitable[T]]
"""To be made with an address, until that moment of the loop's clock."""


class DialCaller(Protocol):
    """The exchange, as a dial sees it."""

    def dialled(self, connection: Way) -> None: ...

    def dial_failed(self, reason: str) -> None: ...

    def introduction(self, version: str) -> bytes:
        """The PROXY protocol header of a connection for this caller."""


class Dial:
    """One attempt. ``caller`` is ``None`` once nobody waits for it any more."""

    __slots__ = ("caller",)

    def __init__(self, caller: DialCaller) -> None:
        self.caller: DialCaller | None = caller


class Dialer:
    """Owns the attempts under way. A connection that nobody waits for any more goes to the pool."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.keep_limit = 320
        """Idle connections per endpoint."""
        self.allow_local_names = False
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def dial(self, endpoint: EndpointState, timeout: float, caller: DialCaller) -> Dial:
        """Begin to connect within ``timeout`` seconds; ``caller`` hears how it went, never before this returns."""
        dial = Dial(caller)
        if isinstance(endpoint, MultiplexedEndpoint) and not endpoint.send_proxy:
            endpoint.waiting.append(dial)
            if not endpoint.dialling:
                endpoint.dialling = True
                self._start(self._run_shared(endpoint, timeout))
            return dial
        introduction = caller.introduction(endpoint.send_proxy) if endpoint.send_proxy else b""
        self._start(self._run(dial, endpoint, timeout, introduction))
        return dial

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, dial: Dial, endpoint: EndpointState, timeout: float, introduction: bytes) -> None:
        connection = await self._try(endpoint, timeout, introduction)
        if isinstance(connection, str):
            self._failed(dial, connection)
        elif isinstance(connection, Http2Upstream):
            # One client's, as it was introduced.
            if dial.caller is None or not connection.has_room:
                connection.close()
                self._failed(dial, "UpstreamClosed")
            else:
                dial.caller.dialled(connection.new_stream())
        elif dial.caller is not None and connection.usable:
            dial.caller.dialled(connection)
        elif dial.caller is not None:
            self._failed(dial, "UpstreamClosed")
        elif connection.usable:
            endpoint.keep(connection, self._keep_limit(endpoint), monotonic())

    async def _run_shared(self, endpoint: MultiplexedEndpoint, timeout: float) -> None:
        """Make a connection for all who wait for one by then, and as many more as they need."""
        while True:
            connection = await self._try(endpoint, timeout, b"")
            waiting, endpoint.waiting = endpoint.waiting, []
            if not isinstance(connection, Http2Upstream):
                endpoint.dialling = False
                for dial in waiting:
                    self._failed(dial, str(connection))
                return
            endpoint.connections.append(connection)
            while waiting:
                dial = waiting.pop(0)
                if dial.caller is None:
                    continue
                # Of this connection, or of one that has room again by now.
                stream = endpoint.take()
                if stream is not None:
                    dial.caller.dialled(stream)
                elif not connection.is_idle:
                    endpoint.waiting = [dial, *waiting, *endpoint.waiting]
                    break
                else:
                    # It is of no use to anybody; one more would be no better.
                    self._failed(dial, "UpstreamClosed")
            if endpoint.retired:
                connection.leave()
            if not endpoint.waiting:
                endpoint.dialling = False
                return

    async def _try(
        self, endpoint: EndpointState, timeout: float, introduction: bytes
    ) -> UpstreamConnection | Http2Upstream | str:
        """A connection, or why there is none."""
        try:
            return await self._reach(
                endpoint, timeout, lambda address, end: self._open(endpoint, address, end, introduction)
            )
        except (OSError, UnicodeError) as error:
            return connect_failure(error, endpoint)

    async def connect(self, endpoint: EndpointState, timeout: float, protocol: asyncio.Protocol) -> None:
        """A connection of its own for ``protocol``, whose bytes are not HTTP and not ours to secure.

        Raises:
            OSError: no connection could be made, in ``timeout`` seconds (TimeoutError) or at all.
            UnicodeError: the name of the endpoint is no DNS name.
        """

        async def open_plain(address: str, end: float) -> None:
            async with asyncio.timeout_at(end):
                await self._loop.create_connection(lambda: protocol, address, endpoint.port)

        await self._reach(endpoint, timeout, open_plain)

    async def _reach(self, endpoint: EndpointState, timeout: float, attempt: _Attempt[T]) -> T:
        """What ``attempt`` gives for the address of the endpoint, or for the first one that its name leads to."""
        end = self._loop.time() + timeout
        if not endpoint.by_name:
            return await attempt(endpoint.address, end)
        async with asyncio.timeout_at(end):
            found = await self._loop.getaddrinfo(endpoint.address, endpoint.port, type=socket.SOCK_STREAM)
        addresses = [info[4][0] for info in found]
        if not self.allow_local_names:
            addresses = [address for address in addresses if not _is_local(str(address))]
            if not addresses:
                raise _RefusedName
        last: OSError | None = None
        for address in addresses:
            try:
                # Each address gets its share of the time: one that is silent must not hide the others.
                return await attempt(str(address), min(self._loop.time() + timeout / len(addresses), end))
            except OSError as error:
                last = error
        raise last if last is not None else socket.gaierror("no address")

    async def _open(
        self, endpoint: EndpointState, address: str, end: float, introduction: bytes
    ) -> UpstreamConnection | Http2Upstream:
        """A connection on which requests may be sent."""
        async with asyncio.timeout_at(end):
            connection = await self._make(endpoint, address, end, introduction)
        if isinstance(connection, Http2Upstream):
            await _greeted(connection, end)
        return connection

    async def _make(
        self, endpoint: EndpointState, address: str, end: float, introduction: bytes
    ) -> UpstreamConnection | Http2Upstream:
        """With ``introduction`` in front of everything else, TLS too."""
        tls = endpoint.tls
        keep_limit = self._keep_limit(endpoint)
        where: dict[str, Any] = {"host": address, "port": endpoint.port}
        if introduction:
            where = {"sock": await self._introduced(address, endpoint.port, introduction)}

        def make() -> UpstreamConnection | Http2Upstream:
            if isinstance(endpoint, MultiplexedEndpoint):
                return Http2Upstream(endpoint)
            return (UpstreamConnection if tls is None else TlsConnection)(endpoint, keep_limit)

        if tls is None:
            _, connection = await self._loop.create_connection(make, **where)
            return connection
        transport, secured = await self._loop.create_connection(
            make,
            **where,
            ssl=_handshake(endpoint, tls),
            server_hostname=endpoint.address,
            # Later than ``end``, so that it is never heard of.
            ssl_handshake_timeout=max(end - self._loop.time(), 0.0) + 1.0,
            ssl_shutdown_timeout=FINISH_TIME,
        )
        try:
            tls.check(transport.get_extra_info("ssl_object"))
        except HandshakeRefused:
            endpoint.session = None
            secured.close()
            raise
        return secured

    def _keep_limit(self, endpoint: EndpointState) -> int:
        """A connection that was introduced is one client's, and not kept for others."""
        return 0 if endpoint.send_proxy else self.keep_limit

    async def _introduced(self, address: str, port: int, introduction: bytes) -> socket.socket:
        handle = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        handle.setblocking(False)
        try:
            await self._loop.sock_connect(handle, (address, port))
            await self._loop.sock_sendall(handle, introduction)
        except BaseException:
            handle.close()
            raise
        return handle

    def _failed(self, dial: Dial, reason: str) -> None:
        if dial.caller is not None:
            dial.caller.dial_failed(reason)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def connect_failure(error: OSError | UnicodeError, endpoint: EndpointState) -> str:
    """The reason, for the access log, of an ``error`` of :meth:`Dialer.connect` or its like."""
    match error:
        case TimeoutError():
            return "ConnectTimeout"
        case _RefusedName():
            return "NameResolvesToLocalAddress"
        case socket.gaierror() | UnicodeError():
            # The latter: no DNS name at all, such as one with a label of more than 63 bytes.
            return "NameNotResolved"
        case ConnectionRefusedError():
            return "ConnectRefused"
        case HandshakeRefused():
            return error.reason
        case _:
            return "ConnectFailed" if endpoint.tls is None else handshake_failure(error)


async def _greeted(connection: Http2Upstream, end: float) -> None:
    """Wait for what an HTTP/2 connection begins with. Raises :class:`HandshakeRefused`, and closes it, where that does
    not come until ``end``, or something else does."""
    try:
        async with asyncio.timeout_at(end):
            reason = await connection.greeting
    except TimeoutError:
        reason = connection.missing
    except asyncio.CancelledError:
        connection.close()
        raise
    if not reason and not connection.usable:
        # It came and went in one turn of the loop.
        reason = "UpstreamClosed"
    if reason:
        connection.close()
        raise HandshakeRefused(reason)


def _handshake(endpoint: EndpointState, tls: ClientTls) -> ssl.SSLContext:
    """What stands in for the context: event loops ask it for nothing but ``wrap_bio``."""
    session = endpoint.session
    if session is not None and monotonic() - endpoint.session_at > SESSION_TIME:
        session = endpoint.session = None
    server_name = tls.server_name(endpoint.address, by_name=endpoint.by_name)
    return cast(ssl.SSLContext, Handshake(tls, server_name, session))


class _RefusedName(OSError):  # noqa: N818 - a verdict, not an error of ours
    """A DNS name of a tenant led to this machine or its link: the proxy's own ports, the cloud's metadata."""


def _is_local(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified or parsed.is_multicast
