"""Backends that are told of the client by a PROXY protocol header on each connection."""

from __future__ import annotations

import asyncio
import ssl

import msgspec
import pytest
import trustme

from proxy.message.proxy_protocol import Ends, ProxyHeader, encode_header, read_header
from proxy.table import Settings, Table, UpstreamTls
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.clients import ask, get, read_reply
from tests.support.failing import CLUSTER, OK, endpoint_of, eventually, quiet, refusing_port, turn_to
from tests.support.proxy import one_route, running_proxy

TOLD = Ends(address="192.0.2.7", port=40000, local_address="198.51.100.1", local_port=443)
PREFIX = {"v1": b"PROXY ", "v2": b"\r\n\r\n\x00\r\nQUIT\n"}


class Listening:
    """A backend that wants a header first; ``headers`` is one per connection."""

    def __init__(self) -> None:
        self.headers: list[ProxyHeader] = []
        self.raw: list[bytes] = []

    async def __call__(self, conversation: Conversation, backend: Backend) -> None:
        data = b""
        while (header := read_header(data)) is None:
            byte = await conversation.reader.read(1)
            if not byte:
                return
            data += byte
        self.headers.append(header)
        self.raw.append(data)
        while head := await conversation.read_head():
            backend.heads.append(head)
            await conversation.read_body(head)
            conversation.send(OK)


def told(ports: list[int], version: str, settings: Settings | None = None, **changes: object) -> Table:
    table = one_route(ports, settings=settings)
    cluster = msgspec.structs.replace(table.clusters[CLUSTER], send_proxy=version, **changes)
    return msgspec.structs.replace(table, clusters={CLUSTER: cluster})


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_connection_begins_with_the_client_and_is_its_alone(version: str) -> None:
    """Both ends are named, in the version asked for; the next request, of whomever, has a connection of its own."""
    script = Listening()
    async with raw_backend(script) as backend, running_proxy(told([backend.port], version)) as proxy:
        client = await proxy.connect()
        local = client.writer.get_extra_info("sockname")
        for _ in range(2):
            client.send(get())
            assert (await read_reply(client)).status == 200
        assert (await ask(proxy, get())).status == 200
        client.close()
        assert backend.connections == 3
        ends = Ends(address="127.0.0.1", port=local[1], local_address="127.0.0.1", local_port=proxy.port)
        assert [header.ends for header in script.headers[:2]] == [ends, ends]
        other = script.headers[2].ends
        assert other is not None
        assert other.port != local[1]
        assert all(raw.startswith(PREFIX[version]) for raw in script.raw)
        assert not endpoint_of(proxy).idle
        await quiet(proxy)


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_what_a_load_balancer_told_is_told_on(version: str) -> None:
    """Both ends as its header named them; where it speaks for nobody, the connection's own."""
    script = Listening()
    settings = Settings(access_log="off", proxy_protocol_from=("127.0.0.1",))
    async with raw_backend(script) as backend, running_proxy(told([backend.port], version, settings)) as proxy:
        for header in (encode_header(TOLD, "v2"), b"PROXY UNKNOWN\r\n"):
            client = await proxy.connect()
            client.send(header + get())
            assert (await read_reply(client)).status == 200
            client.close()
        own = script.headers[1].ends
        assert script.headers[0].ends == TOLD
        assert own is not None
        assert (own.address, own.local_port) == ("127.0.0.1", proxy.port)


async def test_a_client_behind_a_trusted_proxy_is_told_without_a_port() -> None:
    """X-Forwarded-For names no port; a client that nobody trusts cannot make itself another here either."""
    script = Listening()
    forged = get("/", "X-Forwarded-For: 203.0.113.9")
    for trusted, address in ((("127.0.0.1",), "203.0.113.9"), ((), "127.0.0.1")):
        settings = Settings(access_log="off", trusted_proxies=trusted)
        async with raw_backend(script) as backend, running_proxy(told([backend.port], "v1", settings)) as proxy:
            assert (await ask(proxy, forged)).status == 200
        ends = script.headers[-1].ends
        assert ends is not None
        assert ends.address == address
        assert (ends.port == 0) == bool(trusted)


async def test_a_retry_tells_the_client_again() -> None:
    """The next endpoint's connection begins with the header too."""
    script = Listening()
    with refusing_port() as dead:
        async with raw_backend(script) as backend, running_proxy(told([dead, backend.port], "v2")) as proxy:
            turn_to(proxy, 0)
            assert (await ask(proxy, get())).status == 200
            assert len(script.headers) == 1


async def test_the_header_stands_before_tls() -> None:
    """A backend that ends TLS reads it in plain text first."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    headers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers.append(read_header(await reader.readuntil(b"\r\n")))
        await writer.start_tls(context)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    tls = UpstreamTls(verify=True, ca_pem=authority.cert_pem.bytes().decode())
    table = told([server.sockets[0].getsockname()[1]], "v1", tls=tls)
    async with running_proxy(table) as proxy:
        assert (await ask(proxy, get())).status == 200
        assert headers[0] is not None
        assert headers[0].ends is not None
    server.close()


async def test_a_change_of_the_version_holds_for_the_next_request() -> None:
    """Connections kept from before begin with no header, and are not used any more."""

    async def both(conversation: Conversation, backend: Backend) -> None:
        """Takes any beginning."""
        first = await conversation.reader.readexactly(6)
        backend.heads.append(first)
        while await conversation.read_head():
            conversation.send(OK)

    async with raw_backend(both) as backend:
        plain = one_route([backend.port])
        async with running_proxy(plain) as proxy:
            assert (await ask(proxy, get())).status == 200
            await eventually(lambda: len(endpoint_of(proxy).idle) == 1, "it is kept")
            proxy.publish(told([backend.port], "v1", Settings(access_log="off")))
            assert (await ask(proxy, get())).status == 200
            proxy.publish(msgspec.structs.replace(plain, settings=Settings(access_log="off")))
            assert (await ask(proxy, get())).status == 200
        assert backend.heads == [b"GET / ", b"PROXY ", b"GET / "]


async def test_a_client_that_leaves_while_connecting_leaves_no_connection() -> None:
    """What was introduced for one client is of no use to another."""
    script = Listening()
    async with raw_backend(script) as backend, running_proxy(told([backend.port], "v1")) as proxy:
        for _ in range(5):
            client = await proxy.connect()
            client.send(get())
            client.close()
        await quiet(proxy)
        assert not endpoint_of(proxy).idle
