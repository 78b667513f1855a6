"""The listening sockets of the control process, and how the log names them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack

from ingress.options import Options
from ingress.publish import Listener, listen, open_listeners, worker_count

__all__ = ["addresses_of", "open_admin_sockets", "open_on_every_address", "open_traffic_sockets"]


def open_traffic_sockets(options: Options, opened: ExitStack) -> tuple[tuple[Listener, ...], ...]:
    """Those of each worker; ``opened`` closes them. Raises ``ListenError``."""
    listeners = open_listeners(
        bind=options.bind,
        ports=(("http", options.http_port), ("https", options.https_port)),
        workers=worker_count(options.workers),
    )
    for own in listeners:
        for listener in own:
            opened.callback(listener.socket.close)
    return listeners


def open_admin_sockets(options: Options, opened: ExitStack) -> list[socket.socket]:
    """Those of the admin server; ``opened`` closes them. Raises ``ListenError``."""
    return open_on_every_address(options.admin_bind, options.admin_port, opened, flag="--admin-port")


def open_on_every_address(addresses: Sequence[str], port: int, opened: ExitStack, *, flag: str) -> list[socket.socket]:
    """One socket per address, all on one port, also where ``port`` is 0. Raises ``ListenError``."""
    sockets: list[socket.socket] = []
    for address in addresses:
        listening = listen(address, port, flag=flag)
        if listening is not None:
            opened.callback(listening.close)
            sockets.append(listening)
            port = int(listening.getsockname()[1])
    return sockets


def addresses_of(listeners: Sequence[Sequence[Listener]], admin: Sequence[socket.socket]) -> dict[str, str]:
    """What each port listens on."""
    found: dict[str, list[str]] = {}
    for listener in listeners[0]:
        found.setdefault(listener.scheme, []).append(_address(listener.socket))
    found["admin"] = [_address(each) for each in admin]
    return {name: " ".join(dict.fromkeys(addresses)) for name, addresses in found.items()}


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
