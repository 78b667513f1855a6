"""What a backend is told about its client, and whom the proxy believes about it."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from proxy.table import Host, Settings
from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.clients import ask, get, parse_request, read_reply
from tests.support.log import log_pipe
from tests.support.proxy import HOST, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LIES = (
    "X-Forwarded-For: 6.6.6.6",
    "X-Real-IP: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example.org",
    "X-Forwarded-Port: 666",
    "X-Forwarded-Scheme: https",
    "X-Scheme: https",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Server: evil",
    "X-Forwarded-Ssl: on",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "X-Original-Forwarded-For: 6.6.6.6",
    "Forwarded: for=6.6.6.6;proto=https",
    "Client-IP: 9.9.9.9",
)


async def told(*fields: str, trusted: tuple[str, ...] = (), **settings: object) -> dict[str, str]:
    """What the backend reads when a client on 127.0.0.1 sends ``fields``."""
    table = one_route([], settings=msgspec.convert({"trusted_proxies": trusted, **settings}, Settings))
    async with raw_backend(fixed(OK)) as backend:
        table = msgspec.structs.replace(table, clusters=one_route([backend.port]).clusters)
        async with running_proxy(table) as proxy:
            assert (await ask(proxy, get("/", *fields, host=f"{HOST}:8080"))).status == 200
    return parse_request(backend.heads[0]).fields


async def test_an_unknown_client_is_described_by_what_the_proxy_sees() -> None:
    """Address, scheme, port and host come from the connection and the request, and each is told once."""
    fields = await told(http_port=8000)
    assert fields["x-forwarded-for"] == fields["x-real-ip"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == fields["x-forwarded-scheme"] == fields["x-scheme"] == "http"
    assert fields["x-forwarded-port"] == "8000"
    assert fields["x-forwarded-host"] == fields["host"] == f"{HOST}:8080"


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8", "::1/128")])
async def test_an_unknown_client_cannot_lie(trusted: tuple[str, ...]) -> None:
    """Whatever it writes into the fields of proxies is replaced or dropped; its other fields pass."""
    lied = await told(*LIES, trusted=trusted)
    assert lied.pop("client-ip") == "9.9.9.9"
    honest = await told(trusted=trusted)
    assert lied.pop("x-request-id") != honest.pop("x-request-id")
    assert lied == honest


async def test_names_that_only_look_like_those_fields_are_dropped() -> None:
    """``X_Forwarded_For`` is the same variable to a CGI-like backend; Connection cannot remove what the proxy says."""
    fields = await told("X_Forwarded_For: 6.6.6.6", "X_Real_IP: 6.6.6.6", "Connection: X-Forwarded-For, X-Real-IP")
    assert fields["x-forwarded-for"] == fields["x-real-ip"] == "127.0.0.1"
    assert not {"x_forwarded_for", "x_real_ip"} & fields.keys()


@pytest.mark.parametrize(
    ("chain", "forwarded", "client"),
    [
        ((), "127.0.0.1", "127.0.0.1"),
        (("X-Forwarded-For: 203.0.113.7",), "203.0.113.7, 127.0.0.1", "203.0.113.7"),
        (("X-Forwarded-For: 6.6.6.6, 203.0.113.7",), "6.6.6.6, 203.0.113.7, 127.0.0.1", "203.0.113.7"),
        (("X-Forwarded-For: 203.0.113.7, 127.0.0.9",), "203.0.113.7, 127.0.0.9, 127.0.0.1", "203.0.113.7"),
        (
            ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.7"),
            "6.6.6.6, 203.0.113.7, 127.0.0.1",
            "203.0.113.7",
        ),
        (("X-Forwarded-For: 2001:db8::7",), "2001:db8::7, 127.0.0.1", "2001:db8::7"),
        (("X-Forwarded-For: <script>, 203.0.113.7",), "203.0.113.7, 127.0.0.1", "203.0.113.7"),
        (("X-Forwarded-For: 127.0.0.5, 127.0.0.6",), "127.0.0.5, 127.0.0.6, 127.0.0.1", "127.0.0.5"),
    ],
)
async def test_a_trusted_peer_extends_the_chain(chain: tuple[str, ...], forwarded: str, client: str) -> None:
    """The peer is added to X-Forwarded-For, and the client is the last in it that is not a trusted proxy itself."""
    fields = await told(*chain, trusted=("127.0.0.0/8",))
    assert fields["x-forwarded-for"] == forwarded
    assert fields["x-real-ip"] == client


async def test_a_trusted_peer_is_believed_about_the_client_side() -> None:
    """Scheme, host, port and prefix of a proxy in front are passed on; Forwarded and the odd names still are not."""
    fields = await told(*LIES[:1], *LIES[2:5], *LIES[7:], trusted=("127.0.0.1/32",))
    assert fields["x-forwarded-proto"] == fields["x-forwarded-scheme"] == fields["x-scheme"] == "https"
    assert fields["x-forwarded-host"] == "evil.example.org"
    assert fields["x-forwarded-port"] == "666"
    assert fields["x-forwarded-prefix"] == "/evil"
    assert not {"forwarded", "x-original-url", "x-rewrite-url", "x-original-forwarded-for"} & fields.keys()


async def test_a_trusted_peer_that_writes_nonsense_is_not_passed_on() -> None:
    """Values that are no scheme, port or host are replaced by what the proxy sees."""
    nonsense = ("X-Forwarded-Proto: gopher", "X-Forwarded-Port: 80; x", 'X-Forwarded-Host: a/b"<>')
    fields = await told(*nonsense, trusted=("127.0.0.0/8",))
    assert fields["x-forwarded-proto"] == "http"
    assert fields["x-forwarded-port"] == "80"
    assert fields["x-forwarded-host"] == f"{HOST}:8080"


async def test_a_client_with_an_ipv6_address_is_described_as_such() -> None:
    """A listener on ::1 tells the plain address; one that maps IPv4 tells the IPv4 address."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        with socket.socket(socket.AF_INET6) as listener:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(("::", 0))
            listener.listen()
            await proxy.worker.listen([("http", listener)])
            port = listener.getsockname()[1]
            for address in ("::1", "127.0.0.1"):
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(get())
                await reader.readuntil(b"ok")
                writer.close()
    seen = [parse_request(head).fields["x-forwarded-for"] for head in backend.heads]
    assert seen == ["::1", "127.0.0.1"]


@pytest.mark.parametrize("given", ["abc-123", "a" * 128, "Root=1-67891233-abcdef012345678912345678"])
async def test_a_request_id_is_kept(given: str) -> None:
    """A client or proxy in front that numbers its requests finds its number in our log and at the backend."""
    async with log_pipe() as log, raw_backend(fixed(OK)) as backend:
        table = one_route([backend.port], settings=Settings(access_log="json"))
        async with running_proxy(table, log_fd=log.fd) as proxy:
            await ask(proxy, get("/", f"X-Request-ID: {given}"))
            entry = await log.entry(proxy)
    assert parse_request(backend.heads[0]).fields["x-request-id"] == given
    assert entry["request_id"] == given


@pytest.mark.parametrize("given", [(), ("",), ("a" * 129,), ('a"b',), ("a b",), ("a", "b")])
async def test_a_request_id_is_made(given: tuple[str, ...]) -> None:
    """Without one that can be kept, each request gets 32 hexadecimal digits of its own."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        for _ in range(2):
            client.send(get("/", *(f"X-Request-ID: {value}" for value in given)))
            await read_reply(client)
        client.close()
    first, second = (parse_request(head).fields["x-request-id"] for head in backend.heads)
    assert first != second
    assert len(first) == len(second) == 32
    assert int(first, 16) + int(second, 16) > 0


async def test_a_request_without_a_host_names_the_endpoint_it_goes_to() -> None:
    """HTTP/1.0 without Host, served by the default: the backend gets a Host that it can read."""
    async with raw_backend(fixed(OK)) as backend:
        table = one_route([backend.port])
        (route,) = table.hosts[HOST].routes
        table = msgspec.structs.replace(table, hosts={"*": Host(routes=(route,))})
        async with running_proxy(table) as proxy:
            assert (await ask(proxy, b"GET / HTTP/1.0\r\n\r\n")).body == b"ok"
    assert parse_request(backend.heads[0]).fields["host"] == f"127.0.0.1:{backend.port}"


async def test_another_try_without_a_host_names_the_endpoint_that_it_goes_to() -> None:
    """Where the first endpoint closes on such a request, the second one is told its own name."""

    async def closing(conversation: Conversation, backend: Backend) -> None:
        backend.heads.append(await conversation.read_head())

    async with raw_backend(closing) as first, raw_backend(fixed(OK)) as second:
        table = one_route([first.port, second.port])
        (route,) = table.hosts[HOST].routes
        table = msgspec.structs.replace(table, hosts={"*": Host(routes=(route,))})
        async with running_proxy(table) as proxy:
            for _ in range(4):
                assert (await ask(proxy, b"GET / HTTP/1.0\r\n\r\n")).body == b"ok"
    assert first.heads
    assert {parse_request(head).fields["host"] for head in second.heads} == {f"127.0.0.1:{second.port}"}
