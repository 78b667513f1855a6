"""Endpoints named by DNS (Services of type ExternalName)."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from proxy.table import Cluster, Endpoint, Settings, Table
from proxy.upstream import dial
from tests.support.backend import raw_backend
from tests.support.failing import CLUSTER, answers, client_of, deaf_port, endpoint_of, quiet, request, status
from tests.support.proxy import RunningProxy, one_route, running_proxy


def _by_name(name: str, port: int, *, local: bool) -> Table:
    cluster = Cluster(endpoints=(Endpoint(address=name, port=port),), by_name=True)
    table = one_route([], settings=Settings(allow_local_names=local))
    return msgspec.structs.replace(table, clusters={CLUSTER: cluster})


async def _ask(proxy: RunningProxy) -> tuple[int, str]:
    """The status, and the reason that the access log would tell."""
    async with client_of(proxy) as client:
        client.send(request("POST", body=b"x"))
        answer = status((await client.read_response())[0])
        (member,) = proxy.worker.connections._members
        reason = member._exchange.error
    await quiet(proxy)
    return answer, reason


async def test_a_name_is_resolved_where_local_names_are_allowed() -> None:
    """``localhost`` leads to the backend on this machine."""
    async with (
        raw_backend(answers()) as backend,
        running_proxy(_by_name("localhost", backend.port, local=True)) as proxy,
    ):
        assert await _ask(proxy) == (200, "")
        assert await _ask(proxy) == (200, "")
        assert len(endpoint_of(proxy).idle) == 1
    assert backend.connections == 1


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_to_this_machine_is_refused(name: str) -> None:
    """The proxy's own ports and the cloud's metadata are not reached by a tenant's name: 502, without an ejection."""
    async with (
        raw_backend(answers()) as backend,
        running_proxy(_by_name(name, backend.port, local=False)) as proxy,
    ):
        assert await _ask(proxy) == (502, "NameResolvesToLocalAddress")
        assert not endpoint_of(proxy).suspect
    assert backend.connections == 0


async def test_the_permission_follows_the_settings() -> None:
    """A published change of ``allow_local_names`` holds for the next dial."""
    async with (
        raw_backend(answers()) as backend,
        running_proxy(_by_name("localhost", backend.port, local=False)) as proxy,
    ):
        assert (await _ask(proxy))[0] == 502
        allowed = msgspec.structs.replace(proxy.table.settings, allow_local_names=True)
        proxy.publish(msgspec.structs.replace(proxy.table, settings=allowed))
        assert (await _ask(proxy))[0] == 200


@pytest.mark.parametrize("name", ["no.such.name.invalid", "a" * 64 + ".example.com", "two..dots"])
async def test_a_name_that_does_not_exist_is_502(name: str) -> None:
    """``.invalid`` names never resolve (RFC 6761), and others are no names at all."""
    async with running_proxy(_by_name(name, 80, local=True)) as proxy:
        assert await _ask(proxy) == (502, "NameNotResolved")


class Resolver:
    """The event loop, with an answer of our own to every question for a name."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *addresses: str) -> None:
        self._loop = loop
        self._addresses = addresses

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[object]:
        return [(2, 1, 6, "", (address, port)) for address in self._addresses]


async def test_all_addresses_of_a_name_are_tried() -> None:
    """The first address refuses, the second serves."""
    async with (
        raw_backend(answers()) as backend,
        running_proxy(_by_name("example.com", backend.port, local=True)) as proxy,
    ):
        proxy.worker._dialer._loop = Resolver(proxy.worker.loop, "127.0.0.99", "127.0.0.1")  # type: ignore[assignment]
        assert await _ask(proxy) == (200, "")


async def test_a_silent_address_does_not_hide_the_others() -> None:
    """The first address takes no connection: it costs its share of the connect timeout, not all of it."""
    with deaf_port() as port, socket.socket() as listener:
        listener.bind(("127.0.0.2", port))
        listener.listen()
        listener.setblocking(False)
        table = _by_name("example.com", port, local=True)
        settings = msgspec.structs.replace(table.settings, connect_timeout=0.4)
        async with running_proxy(msgspec.structs.replace(table, settings=settings)) as proxy:
            proxy.worker._dialer._loop = Resolver(proxy.worker.loop, "127.0.0.1", "127.0.0.2")  # type: ignore[assignment]
            client = await proxy.connect()
            client.send(request())
            accepted, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(listener), 2)
            accepted.close()
            client.close()


async def test_local_addresses_among_others_are_left_out() -> None:
    """Of a name's addresses only those that are not local are dialled."""
    async with (
        raw_backend(answers()) as backend,
        running_proxy(_by_name("example.com", backend.port, local=False)) as proxy,
    ):
        # Documentation addresses (RFC 5737) lead nowhere: refused, unreachable or silent.
        proxy.worker._dialer._loop = Resolver(proxy.worker.loop, "127.0.0.1", "192.0.2.1")  # type: ignore[assignment]
        proxy.publish(
            msgspec.structs.replace(
                proxy.table, settings=msgspec.structs.replace(proxy.table.settings, connect_timeout=0.2)
            )
        )
        assert (await _ask(proxy))[0] in (502, 504)
    assert backend.connections == 0


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("169.254.169.254", True),
        ("0.0.0.0", True),
        ("::", True),
        ("224.0.0.1", True),
        ("::ffff:169.254.169.254", True),
        ("64:ff9b::7f00:1", False),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("fd00::1", False),
        ("93.184.216.34", False),
    ],
)
def test_which_addresses_are_local(address: str, local: bool) -> None:
    """Loopback, link-local, unspecified and multicast, also as IPv4 in IPv6; private networks are the cluster's own."""
    assert dial._is_local(address) is local
