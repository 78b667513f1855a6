"""From listening sockets to connections.

The sockets come from outside, already bound and listening. Plain ones are served by the event loop's own server. TLS
ones are accepted here, since a connection in its handshake must count against the limits before it cost anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Final

from proxy.message.proxy_protocol import MAX_HEADER, BadProxyHeader, Ends, read_header
from proxy.routing import BadHost, canonical_host
from proxy.server.connections import Connections
from proxy.server.first_bytes import look
from proxy.server.http1 import Http1Connection
from proxy.server.introduced import IntroducedConnection
from proxy.server.negotiation import NegotiatedConnection, PriorKnowledgeConnection
from proxy.server.passthrough import PassedConnection, cluster_of
from proxy.tls import MAX_HELLO, CertificateStore, note_client, server_name_in

__all__ = ["Listeners"]

_ACCEPTS_PER_TURN: Final = 64
_BACKLOG: Final = 4096


class Listeners:
    """All listening sockets of a worker."""

    def __init__(
        self, connections: Connections, loop: asyncio.AbstractEventLoop, certificates: CertificateStore
    ) -> None:
        self._connections = connections
        self._certificates = certificates
        self._loop = loop
        self._servers: list[tuple[asyncio.Server, socket.socket]] = []
        self._tls: list[tuple[socket.socket, ssl.SSLContext]] = []
        self._handshakes: set[asyncio.Task[None]] = set()

    async def listen_http(self, listener: socket.socket) -> None:
        """Serve plain HTTP on ``listener``."""
        # The copy lets the queue of the kernel be emptied after the server has stopped.
        copy = listener.dup()
        copy.setblocking(False)
        server = await self._loop.create_server(self._plain, sock=listener, backlog=_BACKLOG)
        self._servers.append((server, copy))

    def listen_https(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        """Serve HTTP over TLS on ``listener``."""
        listener.setblocking(False)
        self._tls.append((listener, context))
        self._loop.add_reader(listener.fileno(), self._accept_tls, listener, context)

    async def stop(self) -> None:
        """Accept what is queued, and nothing after that."""
        for server, copy in self._servers:
            server.close()
            while (accepted := _accept(copy)) is not None:
                await self._loop.connect_accepted_socket(self._plain, accepted)
            copy.close()
        self._servers.clear()
        for listener, context in self._tls:
            self._loop.remove_reader(listener.fileno())
            while self._accept_tls(listener, context):
                pass
            listener.close()
        self._tls.clear()

    def _plain(self) -> asyncio.Protocol:
        """The protocol of a new connection without TLS."""
        if self._connections.runtime.state.proxies:
            return IntroducedConnection(self._connections, self._serve_plain)
        return self._serve_plain(None)

    def _serve_plain(self, told: Ends | None) -> asyncio.Protocol:
        if self._connections.runtime.state.settings.h2c:
            return PriorKnowledgeConnection(self._connections, told)
        return Http1Connection(self._connections, told)

    def cut_handshakes(self) -> int:
        """Give up the handshakes under way; returns how many there were."""
        for task in self._handshakes:
            task.cancel()
        return len(self._handshakes)

    @property
    def handshakes(self) -> int:
        """Connections that are still in their TLS handshake."""
        return len(self._handshakes)

    def _accept_tls(self, listener: socket.socket, context: ssl.SSLContext) -> bool:
        """Take what is queued, up to a turn's share; true if there may be more."""
        for _ in range(_ACCEPTS_PER_TURN):
            accepted = _accept(listener)
            if accepted is None:
                return False
            if not self._connections.has_room(len(self._handshakes)):
                # A handshake only to say 503 would cost more than the request.
                self._connections.runtime.telemetry.refused_limit += 1
                accepted.close()
                continue
            task = self._loop.create_task(self._shake_hands(accepted, context))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)
        return True

    async def _shake_hands(self, accepted: socket.socket, context: ssl.SSLContext) -> None:
        runtime = self._connections.runtime
        told: Ends | None = None
        peer: object = None
        try:
            with contextlib.suppress(OSError):
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if runtime.state.proxies:
                peer = accepted.getpeername()
                if self._connections.is_introduced(peer):
                    told = await self._read_introduction(accepted)
            if runtime.state.asking or runtime.state.table.passthrough:
                name = await self._server_name(accepted)
                key = cluster_of(runtime.state.table, name)
                if key is not None:
                    await self._pass_through(accepted, key, name, told)
                    return
                context = self._context_for(name, context)
            note_client(accepted)
            await self._loop.connect_accepted_socket(
                lambda: NegotiatedConnection(self._connections, told),
                accepted,
                ssl=context,
                ssl_handshake_timeout=runtime.state.settings.tls_handshake_timeout,
            )
        except BadProxyHeader as bad:
            self._connections.bad_introduction(peer, bad.reason)
            accepted.close()
        except (OSError, ssl.SSLError, TimeoutError):
            runtime.telemetry.tls_handshake_failures += 1
            accepted.close()
        else:
            runtime.telemetry.tls_handshakes += 1

    async def _pass_through(self, accepted: socket.socket, key: str, name: str, told: Ends | None) -> None:
        """Leave the TLS to the cluster ``key``."""
        await self._loop.connect_accepted_socket(lambda: PassedConnection(self._connections, key, name, told), accepted)

    def _context_for(self, name: str, usual: ssl.SSLContext) -> ssl.SSLContext:
        """The context for a server name: a host that asks for client certificates has its own."""
        state = self._connections.runtime.state
        pattern = state.matcher.pattern(name)
        if pattern not in state.asking:
            return usual
        rules = state.table.hosts[pattern].client_certificates
        assert rules is not None, "the host is among those that ask"
        return self._certificates.asking_context(name, pattern, rules)

    async def _server_name(self, accepted: socket.socket) -> str:
        """The name in the ClientHello, in the spelling of host patterns; empty: none, or none that a host could have.

        Raises:
            OSError: the connection broke; the ClientHello took too long (TimeoutError).
        """
        async with asyncio.timeout(self._connections.runtime.state.settings.tls_handshake_timeout):
            try:
                raw = await look(self._loop, accepted, server_name_in, MAX_HELLO)
            except EOFError:
                # Whoever ends the TLS finds out what is wrong with it.
                return ""
        try:
            return canonical_host(raw) if raw else ""
        except BadHost:
            return ""

    async def _read_introduction(self, accepted: socket.socket) -> Ends | None:
        """Take the PROXY protocol header off, which is in front of the handshake.

        Raises:
            BadProxyHeader: there is none, or none in time.
            OSError: the connection broke, or ended before its first byte.
        """
        try:
            async with asyncio.timeout(self._connections.runtime.state.settings.tls_handshake_timeout):
                header = await look(self._loop, accepted, read_header, MAX_HEADER)
        except (EOFError, TimeoutError) as error:
            if isinstance(error, EOFError) and not accepted.recv(1, socket.MSG_PEEK):
                # Load balancers come and go to see whether the port is open.
                raise ConnectionAbortedError from None
            raise BadProxyHeader("ProxyHeaderMissing") from None
        accepted.recv(header.size)
        return header.ends


def _accept(listener: socket.socket) -> socket.socket | None:
    """The next queued connection; ``None`` where there is none, or none that could be taken now."""
    try:
        accepted, _ = listener.accept()
    except OSError:
        # Nothing queued, gone again (ECONNABORTED), or out of descriptors: the next turn tries again.
        return None
    accepted.setblocking(False)
    return accepted
