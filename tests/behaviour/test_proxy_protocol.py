"""Connections that a load balancer introduces: the PROXY protocol before HTTP and TLS, from those peers alone."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.message.proxy_protocol import Ends, encode_header
from proxy.server.first_bytes import look
from proxy.table import Policy, RateLimit, Settings
from tests.support.backend import fixed, raw_backend
from tests.support.clients import Reply, get, half_close, parse_request, read_reply, within
from tests.support.failing import eventually, quiet
from tests.support.proxy import RawClient, RunningProxy, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BEHIND = Settings(access_log="off", proxy_protocol_from=("127.0.0.0/8",))
CLIENT = Ends(address="192.0.2.7", port=40000, local_address="198.51.100.1", local_port=443)
CLIENT6 = Ends(address="2001:db8::7", port=40000, local_address="2001:db8::1", local_port=443)
HEADERS = {
    "v1": encode_header(CLIENT, "v1"),
    "v2": encode_header(CLIENT, "v2"),
    "v1, IPv6": encode_header(CLIENT6, "v1"),
    "v2, IPv6": encode_header(CLIENT6, "v2"),
    "v1, nobody": b"PROXY UNKNOWN\r\n",
    "v2, nobody": encode_header(None, "v2"),
}
TOLD = {
    "v1": "192.0.2.7",
    "v2": "192.0.2.7",
    "v1, IPv6": "2001:db8::7",
    "v2, IPv6": "2001:db8::7",
    "v1, nobody": "127.0.0.1",
    "v2, nobody": "127.0.0.1",
}


class TlsClient:
    """A TLS client on bytes of its own, so that other bytes can go before the handshake or along with it."""

    def __init__(self, wire: RawClient) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="foo.example.com")

    def hello(self) -> bytes:
        """The first flight."""
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()

    async def ask(self, request: bytes) -> bytes:
        """End the handshake, send ``request``; the beginning of the answer."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._read()
        self._tls.write(request)
        self.wire.send(self._outgoing.read())
        while True:
            try:
                return self._tls.read(65536)
            except ssl.SSLWantReadError:
                await self._read()

    async def _read(self) -> None:
        self.wire.send(self._outgoing.read())
        data = await within(self.wire.reader.read(65536))
        if not data:
            raise ConnectionError
        self._incoming.write(data)


@asynccontextmanager
async def introduced(settings: Settings = BEHIND, policy: Policy | None = None) -> AsyncIterator[RunningProxy]:
    """A proxy whose backend's last request is in ``heads``."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], settings=settings, policy=policy)) as proxy,
    ):
        proxy.heads = backend.heads  # type: ignore[attr-defined]
        yield proxy


def last_forwarded(proxy: RunningProxy) -> str:
    fields = parse_request(proxy.heads[-1]).fields  # type: ignore[attr-defined]
    assert fields["x-real-ip"] == fields["x-forwarded-for"]
    return fields["x-forwarded-for"]


async def ask(proxy: RunningProxy, *parts: bytes) -> Reply:
    """Send ``parts`` one by one; the first reply."""
    client = await proxy.connect()
    try:
        for part in parts:
            client.send(part)
            await asyncio.sleep(0.002 if len(parts) > 2 else 0.02)
        return await read_reply(client)
    finally:
        client.close()


async def ends_unanswered(client: RawClient) -> bool:
    return await client.read_to_end() == b""


async def connect_tls_port(proxy: RunningProxy) -> RawClient:
    return RawClient(*await asyncio.open_connection("127.0.0.1", proxy.tls_port))


@pytest.mark.parametrize("name", HEADERS)
async def test_the_backend_is_told_the_client_of_the_header(name: str) -> None:
    """In one segment with the request, byte by byte, and with a pause behind the header."""
    header = HEADERS[name]
    async with introduced() as proxy:
        for parts in ((header + get(),), (header, get()), tuple(bytes([byte]) for byte in header + get())):
            assert (await ask(proxy, *parts)).status == 200
            assert last_forwarded(proxy) == TOLD[name]
        assert proxy.worker.telemetry.proxy_header_failures == 0
        assert proxy.worker.telemetry.accepted == 3


@pytest.mark.parametrize("name", HEADERS)
async def test_the_header_stands_before_the_handshake(name: str) -> None:
    """On https listeners too: in one segment with the ClientHello, byte by byte, and with a pause between the two."""
    header = HEADERS[name]
    async with introduced() as proxy:
        for way in ("together", "bytes", "pause"):
            wire = await connect_tls_port(proxy)
            client = TlsClient(wire)
            if way == "together":
                wire.send(header + client.hello())
            elif way == "pause":
                wire.send(header)
                await asyncio.sleep(0.02)
                wire.send(client.hello())
            else:
                for byte in header + client.hello()[:20]:
                    wire.send(bytes([byte]))
                    await asyncio.sleep(0.001)
                wire.close()
                continue
            assert (await client.ask(get())).startswith(b"HTTP/1.1 200")
            assert last_forwarded(proxy) == TOLD[name]
            assert parse_request(proxy.heads[-1]).fields["x-forwarded-proto"] == "https"  # type: ignore[attr-defined]
            wire.close()
        assert proxy.worker.telemetry.proxy_header_failures == 0


class CountedSocket(socket.socket):
    """Counts the looks."""

    looks = 0

    def recv(self, *arguments: int) -> bytes:
        self.looks += 1
        return super().recv(*arguments)


async def test_a_header_in_single_bytes_before_the_handshake_costs_one_look_each() -> None:
    """The kernel is asked to wake for a further byte only: a half header is not looked at again and again."""
    loop = asyncio.get_running_loop()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        CountedSocket(fileno=listener.accept()[0].detach()) as accepted,
    ):
        accepted.setblocking(False)
        work = asyncio.gather(look(loop, accepted, lambda data: data if data.endswith(b"\n") else None, 100))
        for byte in b"PROXY\n":
            client.send(bytes([byte]))
            await asyncio.sleep(0.1)
        assert await within(work) == [b"PROXY\n"]
        assert accepted.looks <= 7
        assert accepted.recv(100) == b"PROXY\n", "a look takes nothing"


@pytest.mark.parametrize(
    "data",
    [
        get(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 x\r\n" + get(),
        b"PROXY TCP4 192.0.2.7\r\n" + get(),
        b"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c" + b"\x00" * 12 + get(),
        b"PROXY " + b"x" * 200,
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + b"\x00" * 70_000,
    ],
)
@pytest.mark.parametrize("tls", [False, True])
async def test_without_a_good_header_the_connection_ends_at_once(data: bytes, tls: bool) -> None:
    """No answer, no guess, counted; nothing of it reaches a backend."""
    async with introduced() as proxy:
        client = await (connect_tls_port(proxy) if tls else proxy.connect())
        client.send(data)
        assert await ends_unanswered(client)
        client.close()
        assert proxy.worker.telemetry.proxy_header_failures == 1
        assert proxy.heads == []  # type: ignore[attr-defined]
        await quiet(proxy)


async def test_a_refusal_is_told_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of them is no flood of the log; the line names the peer and the reason, and nothing that was sent."""
    async with introduced() as proxy:
        for _ in range(20):
            assert await proxy.ask(b"GET /secret HTTP/1.1\r\n\r\n") == b""
        assert proxy.worker.telemetry.proxy_header_failures == 20
    lines = [record.getMessage() for record in caplog.records if "closed without an answer" in record.getMessage()]
    assert lines == ["connection from 127.0.0.1 is closed without an answer: ProxyHeaderMissing"]


@pytest.mark.parametrize("tls", [False, True])
async def test_a_header_that_does_not_end_has_a_deadline(tls: bool) -> None:
    """Half a header, dripping or not, holds its connection no longer than half a head or handshake would."""
    settings = Settings(
        access_log="off", proxy_protocol_from=("127.0.0.1/32",), header_timeout=0.3, tls_handshake_timeout=0.3
    )
    async with introduced(settings) as proxy:
        client = await (connect_tls_port(proxy) if tls else proxy.connect())
        for part in (b"P", b"R"):
            client.send(part)
            await asyncio.sleep(0.1)
            await proxy.tick()
        assert proxy.worker.telemetry.proxy_header_failures == 0
        await asyncio.sleep(0.15)
        await proxy.tick()
        assert await ends_unanswered(client)
        assert proxy.worker.telemetry.proxy_header_failures == 1
        client.close()
        await quiet(proxy)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_probe_of_the_port_is_no_failure(tls: bool) -> None:
    """Load balancers connect and leave to see whether somebody listens; half a header is a failure."""
    async with introduced() as proxy:
        for sent, failures in ((b"", 0), (b"PROX", 1)):
            client = await (connect_tls_port(proxy) if tls else proxy.connect())
            client.send(sent)
            half_close(client)
            assert await ends_unanswered(client)
            client.close()
            await quiet(proxy)
            assert proxy.worker.telemetry.proxy_header_failures == failures


@pytest.mark.parametrize("name", ["v1", "v2"])
async def test_a_header_of_another_peer_is_no_header(name: str) -> None:
    """It is a broken request, and its client stays who it is; a request without one is served."""
    settings = Settings(access_log="off", proxy_protocol_from=("10.0.0.0/8", "2001:db8::/32"))
    async with introduced(settings) as proxy:
        assert (await ask(proxy, HEADERS[name] + get())).status in (400, 501)
        assert proxy.heads == []  # type: ignore[attr-defined]
        assert (await ask(proxy, get())).status == 200
        assert last_forwarded(proxy) == "127.0.0.1"
        wire = await connect_tls_port(proxy)
        client = TlsClient(wire)
        wire.send(client.hello())
        assert (await client.ask(get())).startswith(b"HTTP/1.1 200")
        wire.close()


async def test_nobody_sends_headers_unless_the_settings_say_so() -> None:
    """By default a header is a broken request; and a published change holds for the next connection."""
    async with introduced(Settings(access_log="off")) as proxy:
        assert (await ask(proxy, HEADERS["v1"] + get())).status == 501
        assert (await ask(proxy, HEADERS["v2"] + get())).status == 400
        proxy.publish(one_route([1], settings=BEHIND))
        assert (await ask(proxy, HEADERS["v1"] + get(host="unknown"))).status == 404
        proxy.publish(one_route([1], settings=Settings(access_log="off")))
        assert (await ask(proxy, get(host="unknown"))).status == 404


async def test_only_the_first_header_counts() -> None:
    """A client behind the load balancer cannot introduce itself as another."""
    async with introduced() as proxy:
        assert (await ask(proxy, HEADERS["v1"] + HEADERS["v1, IPv6"] + get())).status == 501
        assert (await ask(proxy, HEADERS["v2"] + HEADERS["v2"] + get())).status == 400
        assert proxy.heads == []  # type: ignore[attr-defined]


async def test_access_lists_go_by_the_client_of_the_header() -> None:
    """The load balancer's address opens nothing, and the client's own closes nothing that it should not."""
    async with introduced(policy=Policy(allow=("192.0.2.0/24",))) as proxy:
        assert (await ask(proxy, HEADERS["v1"] + get())).status == 200
        assert (await ask(proxy, HEADERS["v1, IPv6"] + get())).status == 403
        assert (await ask(proxy, HEADERS["v2, nobody"] + get())).status == 403


async def test_rate_limits_count_the_client_of_the_header() -> None:
    """Two clients behind one load balancer have an allowance each."""
    policy = Policy(rate_limit=RateLimit(key="k", rate=0.001, burst=0))
    async with introduced(policy=policy) as proxy:
        assert (await ask(proxy, HEADERS["v1"] + get())).status == 200
        assert (await ask(proxy, HEADERS["v2"] + get())).status == 429
        assert (await ask(proxy, HEADERS["v1, IPv6"] + get())).status == 200


async def test_a_told_client_is_trusted_by_its_own_address() -> None:
    """X-Forwarded-For counts where the client of the header is a trusted proxy, not where the load balancer is."""
    settings = Settings(
        access_log="off", proxy_protocol_from=("127.0.0.1",), trusted_proxies=("127.0.0.1", "192.0.2.7")
    )
    policy = Policy(allow=("203.0.113.9",))
    forged = get("/", "X-Forwarded-For: 203.0.113.9")
    async with introduced(settings, policy) as proxy:
        assert (await ask(proxy, HEADERS["v1"] + forged)).status == 200
        assert (await ask(proxy, HEADERS["v1, IPv6"] + forged)).status == 403


async def test_the_access_log_names_the_client_of_the_header() -> None:
    """Of served requests and of refused ones."""
    reading, writing = os.pipe()
    settings = Settings(access_log="json", proxy_protocol_from=("127.0.0.1",))
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], settings=settings), log_fd=writing) as proxy,
    ):
        assert (await ask(proxy, HEADERS["v2"] + get())).status == 200
        assert (await ask(proxy, HEADERS["v1"] + b"BROKEN\r\n\r\n")).status == 400
        proxy.worker._flush_log()
        lines = [json.loads(line) for line in os.read(reading, 65536).splitlines()]
    assert [line["remote_addr"] for line in lines] == ["192.0.2.7", "192.0.2.7"]
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("tls", [False, True])
async def test_connections_that_say_nothing_count_against_the_limit(tls: bool) -> None:
    """Waiting for a header is no way around the limit of connections, and room comes back."""
    settings = Settings(access_log="off", proxy_protocol_from=("127.0.0.1",), max_connections=2)
    async with introduced(settings) as proxy:
        connect = connect_tls_port if tls else RunningProxy.connect
        silent = [await connect(proxy) for _ in range(2)]
        listeners = proxy.worker._listeners
        await eventually(lambda: len(proxy.worker.connections) + listeners.handshakes == 2, "both are held")
        third = await connect(proxy)
        assert await ends_unanswered(third)
        third.close()
        assert proxy.worker.telemetry.refused_limit == 1
        for client in silent:
            client.close()
        await eventually(lambda: len(proxy.worker.connections) + listeners.handshakes == 0, "both are gone")
        assert (await ask(proxy, HEADERS["v1"] + get())).status == 200


async def test_a_drain_does_not_wait_for_headers() -> None:
    """A connection that said nothing within a second is none that a shutdown waits for."""
    async with introduced() as proxy:
        client = await proxy.connect()
        await eventually(lambda: len(proxy.worker.connections) == 1, "it is held")
        begun = asyncio.get_running_loop().time()
        assert await proxy.worker.drain(0.0, 10.0) == 0
        assert asyncio.get_running_loop().time() - begun < 5.0
        client.close()
