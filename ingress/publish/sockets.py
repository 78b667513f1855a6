"""Listening sockets, made by the control process and handed down to workers.

1. Each worker has its own socket per port and address (SO_REUSEPORT): the kernel spreads connections, no lock is
   shared.
2. The control process keeps its copy open for as long as it lives. Connections that were queued on a worker that died
   wait for its successor, which gets the same socket.
3. SO_REUSEPORT would let a second Pyngress of the same user take half of the connections. So each port is probed first
   without it: a taken port is an error.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence
from typing import Literal

import msgspec

__all__ = ["ListenError", "Listener", "Scheme", "listen", "open_listeners"]

Scheme = Literal["http", "https"]

BACKLOG = 4096
"""Connections that wait to be accepted; the kernel lowers it to ``net.core.somaxconn`` (4096 since Linux 5.4)."""

_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class ListenError(Exception):
    """A port cannot be bound; the text says which and what to do."""


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """One listening socket of one worker."""

    scheme: Scheme
    socket: socket.socket

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])


def open_listeners(
    *, bind: Sequence[str], ports: Sequence[tuple[Scheme, int]], workers: int
) -> tuple[tuple[Listener, ...], ...]:
    """The listeners of each worker. A port of 0 becomes one free port for all. Raises :class:`ListenError`."""
    taken = [port for _, port in ports if port]
    if len(set(taken)) != len(taken):
        raise ListenError(f"port {taken[0]} cannot serve both http and https: give them different ports")
    sockets: list[list[Listener]] = [[] for _ in range(workers)]
    try:
        for scheme, port in ports:
            for address in bind:
                opened = _open_shared(address, port, workers, f"--{scheme}-port")
                for own, listening in zip(sockets, opened, strict=False):
                    own.append(Listener(scheme=scheme, socket=listening))
                    port = int(listening.getsockname()[1])
    except BaseException:
        for own in sockets:
            for listener in own:
                listener.socket.close()
        raise
    if not any(sockets):
        raise ListenError(f"there is no IPv6 here, and nothing else to listen on: see --bind ({', '.join(bind)})")
    return tuple(tuple(own) for own in sockets)


def listen(address: str, port: int, *, flag: str, reuse_port: bool = False) -> socket.socket | None:
    """A listening socket, not blocking. ``None`` if ``address`` is ``::`` and there is no IPv6 here.

    ``flag`` is named in errors. Raises :class:`ListenError`.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    listening = None
    try:
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        if listening is not None:
            listening.close()
        if address == "::" and error.errno in _NO_SUCH_FAMILY:
            return None
        raise ListenError(_why(error, address, port, flag)) from error
    return listening


def _open_shared(address: str, port: int, count: int, flag: str) -> list[socket.socket]:
    """``count`` sockets of the same address and port; none where ``address`` is ``::`` and there is no IPv6."""
    if port:
        probe = listen(address, port, flag=flag)
        if probe is None:
            return []
        probe.close()
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            listening = listen(address, port, flag=flag, reuse_port=True)
            if listening is None:
                return []
            opened.append(listening)
            port = int(listening.getsockname()[1])
    except BaseException:
        for listening in opened:
            listening.close()
        raise
    return opened


def _why(error: OSError, address: str, port: int, flag: str) -> str:
    where = f"port {port} of {address}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken by another process: stop that, or choose another port with {flag}"
    if error.errno in (errno.EACCES, errno.EPERM) and port < 1024:
        return (
            f"{where} is not allowed: ports below 1024 need the capability NET_BIND_SERVICE; "
            f"grant it, or choose a higher port with {flag}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"address {address} does not exist on this machine: see --bind"
    return f"{where} cannot be bound: {error.strerror or error}"
