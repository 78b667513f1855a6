"""Making connections to endpoints.

This is the one part of an exchange that waits in a coroutine; the common path finds an idle connection instead.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.endpoint import EndpointState

__all__ = ["Dial", "DialCaller", "Dialer"]


class DialCaller(Protocol):
    """The exchange, as a dial sees it."""

    def dialled(self, connection: UpstreamConnection) -> None: ...

    def dial_failed(self, reason: str) -> None: ...


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
        task = self._loop.create_task(self._run(dial, endpoint, timeout))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return dial

    async def _run(self, dial: Dial, endpoint: EndpointState, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connect(endpoint, timeout)
        except TimeoutError:
            self._failed(dial, "ConnectTimeout")
        except _RefusedName:
            self._failed(dial, "NameResolvesToLocalAddress")
        except (socket.gaierror, UnicodeError):
            # The latter: no DNS name at all, such as one with a label of more than 63 bytes.
            self._failed(dial, "NameNotResolved")
        except ConnectionRefusedError:
            self._failed(dial, "ConnectRefused")
        except OSError:
            self._failed(dial, "ConnectFailed")
        else:
            if dial.caller is not None and connection.usable:
                dial.caller.dialled(connection)
            elif dial.caller is not None:
                self._failed(dial, "UpstreamClosed")
            elif connection.usable:
                endpoint.keep(connection, self.keep_limit, monotonic())

    async def _connect(self, endpoint: EndpointState, timeout: float) -> UpstreamConnection:
        make: Callable[[], UpstreamConnection] = lambda: UpstreamConnection(endpoint, self.keep_limit)  # noqa: E731
        if not endpoint.by_name:
            _, connection = await self._loop.create_connection(make, endpoint.address, endpoint.port)
            return connection
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
                async with asyncio.timeout(timeout / len(addresses)):
                    _, connection = await self._loop.create_connection(make, str(address), endpoint.port)
            except OSError as error:
                last = error
            else:
                return connection
        raise last if last is not None else socket.gaierror("no address")

    def _failed(self, dial: Dial, reason: str) -> None:
        if dial.caller is not None:
            dial.caller.dial_failed(reason)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _RefusedName(Exception):  # noqa: N818 - a verdict, not an error of ours
    """A DNS name of a tenant led to this machine or its link: the proxy's own ports, the cloud's metadata."""


def _is_local(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified or parsed.is_multicast
