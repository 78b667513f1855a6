"""TLS to backends on real sockets: who is believed, what is asked for and shown, and what a failure looks like."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import pytest
import trustme

from proxy.table import Certificate, Ejection, Endpoint, Policy, Settings, Table, UpstreamTls
from tests.support.backend import Backend, Conversation, Script, fixed, raw_backend
from tests.support.certificates import ca_pem, pair, server_context
from tests.support.clients import ask, get, half_close, parse_request, read_reply, silent
from tests.support.log import log_pipe
from tests.support.proxy import RunningProxy, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWER = fixed(OK)
NAME = "api.internal.example"
AUTHORITY = trustme.CA()
MIDDLE = AUTHORITY.create_child_ca()
LOW = MIDDLE.create_child_ca()
OTHER = trustme.CA()
TRUST = UpstreamTls(verify=True, ca_pem=ca_pem(AUTHORITY), server_name=NAME)
SILENT = Settings(access_log="off")
CLUSTER = "default/backend:80"
UPGRADE = get("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@asynccontextmanager
async def served(
    context: ssl.SSLContext, tls: UpstreamTls, *, script: Script = ANSWER, **table: Any
) -> AsyncIterator[tuple[RunningProxy, Backend]]:
    """A backend that shows what ``context`` has, and a proxy that asks for what ``tls`` says."""
    async with (
        raw_backend(script, tls=context) as backend,
        running_proxy(one_route([backend.port], tls=tls, **table)) as proxy,
    ):
        yield proxy, backend


async def failure(ports: Iterable[int], tls: UpstreamTls, **changes: Any) -> tuple[int, str, bytes]:
    """Status, reason in the log and body of a request that meets these backends."""
    table = one_route(ports, tls=tls, settings=Settings(access_log="json"), **changes)
    async with log_pipe() as log, running_proxy(table, log_fd=log.fd) as proxy:
        reply = await ask(proxy, get())
        entry = await log.entry(proxy)
        return reply.status, str(entry.get("error")), reply.body


def changed(tls: UpstreamTls, **fields: Any) -> UpstreamTls:
    return msgspec.structs.replace(tls, **fields)


@contextmanager
def blocking_backend(context: ssl.SSLContext, answer: Callable[[ssl.SSLSocket], None]) -> Iterator[int]:
    """A port whose connections ``answer`` serves, each in a thread: OpenSSL itself, with no event loop in between."""

    def serve(connection: socket.socket) -> None:
        connection.settimeout(5)
        with (
            context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
            ) as secured,
            contextlib.suppress(OSError),
        ):
            answer(secured)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    listener = socket.create_server(("127.0.0.1", 0))
    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        listener.close()


GOOD = {
    "by name": (server_context(AUTHORITY, NAME), TRUST),
    "by the address of the endpoint": (server_context(AUTHORITY, "127.0.0.1"), changed(TRUST, server_name="")),
    "by wildcard": (server_context(AUTHORITY, "*.internal.example"), TRUST),
    "over one authority in between": (server_context(MIDDLE, NAME), TRUST),
    "over two, where that is allowed": (server_context(LOW, NAME), changed(TRUST, verify_depth=2)),
    "an authority that is itself signed": (server_context(LOW, NAME), changed(TRUST, ca_pem=ca_pem(MIDDLE))),
    "anything, unverified": (server_context(OTHER, "wrong.example", days=-1), UpstreamTls()),
    "unverified, with an authority at hand": (
        server_context(OTHER, "wrong.example"),
        changed(TRUST, verify=False),
    ),
}


@pytest.mark.parametrize("case", GOOD)
async def test_an_endpoint_that_is_believed(case: str) -> None:
    """It serves, and its connection is kept; it is told of the client's scheme, not of ours."""
    context, tls = GOOD[case]
    async with served(context, tls) as (proxy, backend):
        for _ in range(3):
            assert (await ask(proxy, get())).body == b"ok"
        assert backend.connections == 1
    assert parse_request(backend.heads[0]).fields["x-forwarded-proto"] == "http"


BAD = {
    "another authority": (server_context(OTHER, NAME), TRUST, "ConnectCertificateUntrusted"),
    "the system's authorities": (
        server_context(AUTHORITY, NAME),
        changed(TRUST, ca_pem=""),
        "ConnectCertificateUntrusted",
    ),
    "another name": (server_context(AUTHORITY, "other.internal.example"), TRUST, "ConnectCertificateName"),
    "a name in place of an address": (
        server_context(AUTHORITY, NAME),
        changed(TRUST, server_name=""),
        "ConnectCertificateName",
    ),
    "another address": (
        server_context(AUTHORITY, "127.0.0.2"),
        changed(TRUST, server_name=""),
        "ConnectCertificateName",
    ),
    "out of date": (server_context(AUTHORITY, NAME, days=-1), TRUST, "ConnectCertificateExpired"),
    "two authorities in between": (server_context(LOW, NAME), TRUST, "ConnectCertificateUntrusted"),
    "one, where none is allowed": (
        server_context(MIDDLE, NAME),
        changed(TRUST, verify_depth=0),
        "ConnectCertificateUntrusted",
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_an_endpoint_that_is_not_believed(case: str) -> None:
    """502 with the reason in the log and none on the page; it gets no byte of the request, and is ejected."""
    context, tls, reason = BAD[case]
    async with raw_backend(fixed(OK), tls=context) as backend:
        status, error, body = await failure([backend.port], tls)
    assert (status, error) == (502, reason)
    assert not backend.heads
    assert b"ertificate" not in body
    assert NAME.encode() not in body


async def test_an_endpoint_that_is_not_believed_counts_as_failed() -> None:
    """Another one is tried for the same request, also a POST; the first is left alone for a while."""
    async with (
        raw_backend(fixed(OK), tls=server_context(OTHER, NAME)) as liar,
        raw_backend(fixed(OK), tls=server_context(AUTHORITY, NAME)) as honest,
        running_proxy(one_route([liar.port, honest.port], tls=TRUST)) as proxy,
    ):
        for _ in range(6):
            client = await proxy.connect()
            client.send(get("/", "Content-Length: 4", method="POST") + b"body")
            assert (await read_reply(client)).body == b"ok"
            client.close()
        assert proxy.worker.telemetry.ejections == 1
    assert not liar.heads
    assert honest.bodies == [b"body"] * 6


@pytest.mark.parametrize("version", ["1.2", "1.3"])
async def test_a_certificate_is_shown_to_the_endpoint(version: Any) -> None:
    """An endpoint that asks for one gets the one that the table names; without, or with another's, it is 502."""
    clients = trustme.CA()
    context = server_context(AUTHORITY, NAME, clients=clients)
    tls = changed(TRUST, certificate="ours", max_version=version)
    ours, another = pair(clients, "proxy.internal"), pair(OTHER, "proxy.internal")
    async with served(context, tls, certificates={"ours": ours}) as (proxy, backend):
        assert (await ask(proxy, get())).body == b"ok"
        assert backend.connections == 1
    async with served(context, tls, certificates={"ours": another}) as (proxy, _):
        assert (await ask(proxy, get())).status == 502
    async with served(context, changed(tls, certificate=None)) as (proxy, _):
        assert (await ask(proxy, get())).status == 502


async def test_a_refusal_behind_the_handshake_is_told_as_such() -> None:
    """TLS 1.3 servers refuse a client's certificate when the request is already under way."""
    refused: list[bool] = []

    def answer(connection: ssl.SSLSocket) -> None:
        try:
            connection.do_handshake()
        except ssl.SSLError:
            refused.append(True)
            # The request is still unread: closing now would reset the connection, and the alert may be lost.
            while socket.socket.recv(connection, 65536):
                pass

    with blocking_backend(server_context(AUTHORITY, NAME, clients=OTHER), answer) as port:
        status, error, _ = await failure([port], TRUST)
        assert (status, error) == (502, "UpstreamTlsFailed")
        assert refused == [True]
        async with (
            raw_backend(fixed(OK), tls=server_context(AUTHORITY, NAME)) as other,
            running_proxy(one_route([port, other.port], tls=TRUST)) as proxy,
        ):
            # It counts as a failed connection: a GET is answered by another endpoint.
            assert [(await ask(proxy, get())).status for _ in range(3)] == [200] * 3
            assert proxy.worker.telemetry.ejections == 1


async def test_a_renewed_certificate_is_shown_from_then_on() -> None:
    """A change of the certificate alone reaches the cluster; no connection that showed the old one is used again."""
    serials: list[str] = []
    clients = trustme.CA()

    async def script(conversation: Conversation, backend: Backend) -> None:
        shown = conversation.writer.get_extra_info("peercert")
        while await conversation.read_head():
            serials.append(shown["serialNumber"])
            conversation.send(OK)

    old, new = (pair(clients, "proxy.internal") for _ in range(2))
    tls = changed(TRUST, certificate="ours")
    context = server_context(AUTHORITY, NAME, clients=clients)
    async with served(context, tls, script=script, certificates={"ours": old}) as (proxy, _):
        await ask(proxy, get())
        await ask(proxy, get())
        proxy.publish(msgspec.structs.replace(proxy.table, certificates={"ours": new}))
        await ask(proxy, get())
    assert serials[0] == serials[1] != serials[2]


@pytest.mark.parametrize(
    ("tls", "sent"),
    [
        (UpstreamTls(server_name=NAME), NAME),
        (TRUST, NAME),
        (UpstreamTls(), None),
        (changed(TRUST, server_name="", ca_pem=ca_pem(AUTHORITY)), None),
    ],
    ids=["unverified", "verified", "no name", "by address"],
)
async def test_the_server_name_that_is_sent(tls: UpstreamTls, sent: str | None) -> None:
    """The one of the table, never the host of the request, and no address (RFC 6066 section 3)."""
    names: list[str | None] = []
    context = server_context(AUTHORITY, NAME, "127.0.0.1")
    context.sni_callback = lambda _connection, name, _context: names.append(name)
    async with served(context, tls) as (proxy, _):
        assert (await ask(proxy, get())).status == 200
    assert names == [sent]


@pytest.mark.parametrize("verify", [True, False])
async def test_an_external_name_is_asked_for_by_name(verify: bool) -> None:
    """A backend by DNS name hears it as server name, and where it is verified its certificate must hold it."""
    names: list[str | None] = []
    context = server_context(AUTHORITY, "localhost")
    context.sni_callback = lambda _connection, name, _context: names.append(name)
    tls = changed(TRUST, server_name="", verify=verify)
    async with raw_backend(fixed(OK), tls=context) as backend:
        table = one_route([], tls=tls, settings=Settings(access_log="off", allow_local_names=True))
        cluster = msgspec.structs.replace(
            table.clusters[CLUSTER], by_name=True, endpoints=(Endpoint(address="localhost", port=backend.port),)
        )
        async with running_proxy(msgspec.structs.replace(table, clusters={CLUSTER: cluster})) as proxy:
            assert (await ask(proxy, get())).status == 200
    assert names == ["localhost"]


@pytest.mark.parametrize(("lowest", "highest", "spoken"), [("1.2", "1.2", "TLSv1.2"), ("1.3", "1.3", "TLSv1.3")])
async def test_versions_and_ciphers(lowest: Any, highest: Any, spoken: str) -> None:
    """Only versions and ciphers of the table are spoken."""
    seen: list[tuple[str, str]] = []

    async def script(conversation: Conversation, backend: Backend) -> None:
        connection = conversation.writer.get_extra_info("ssl_object")
        seen.append((connection.version(), connection.cipher()[0]))
        await fixed(OK)(conversation, backend)

    tls = UpstreamTls(
        min_version=lowest, max_version=highest, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    )
    async with served(server_context(AUTHORITY, NAME), tls, script=script) as (proxy, _):
        assert (await ask(proxy, get())).status == 200
    assert seen[0][0] == spoken
    assert spoken != "TLSv1.2" or "CHACHA20" in seen[0][1]


async def test_versions_that_do_not_meet() -> None:
    """An endpoint that speaks other versions only is 502."""
    context = server_context(AUTHORITY, NAME)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with raw_backend(fixed(OK), tls=context) as backend:
        assert (await failure([backend.port], changed(TRUST, min_version="1.3")))[:2] == (502, "ConnectTlsFailed")


async def test_an_endpoint_that_speaks_no_tls() -> None:
    """Plain text, or an end, in place of a handshake is 502."""

    async def plain(conversation: Conversation, backend: Backend) -> None:
        await conversation.reader.read(100)
        conversation.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def closing(conversation: Conversation, backend: Backend) -> None:
        await conversation.reader.read(100)

    for script in (plain, closing):
        async with raw_backend(script) as backend:
            assert (await failure([backend.port], TRUST))[:2] == (502, "ConnectTlsFailed")


async def test_a_handshake_counts_towards_the_connect_timeout() -> None:
    """An endpoint that accepts and says nothing is 504 in time, and its connection is gone."""
    gone = asyncio.Event()

    async def mute(conversation: Conversation, backend: Backend) -> None:
        while await conversation.reader.read(100):
            pass
        gone.set()

    async with raw_backend(mute) as backend:
        policy = Policy(connect_timeout=0.2, max_retries=0)
        assert (await failure([backend.port], TRUST, policy=policy))[:2] == (504, "ConnectTimeout")
        await asyncio.wait_for(gone.wait(), 5)


BROKEN = {
    "authorities that are none": changed(TRUST, ca_pem="no certificate"),
    "a certificate that is not there": changed(TRUST, certificate="missing"),
    "a certificate without its key": changed(TRUST, certificate="keyless"),
    "no version left": UpstreamTls(min_version="1.3", max_version="1.2"),
    "ciphers that nobody knows": UpstreamTls(ciphers="NONSENSE"),
    "ciphers that lower the level": UpstreamTls(ciphers="DEFAULT:@SECLEVEL=0"),
    "ciphers without a certificate": UpstreamTls(ciphers="aNULL"),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_settings_that_make_no_sense_cost_only_their_cluster(case: str) -> None:
    """Its routes answer 503, and no connection is made; the rest of the table goes live."""
    keyless = Certificate(chain_pem=pair(AUTHORITY, NAME).chain_pem, key_pem="")
    context = server_context(AUTHORITY, NAME)
    async with raw_backend(fixed(OK), tls=context) as backend:
        status, error, _ = await failure([backend.port], BROKEN[case], certificates={"keyless": keyless})
    assert (status, error) == (503, "BadUpstreamTls")
    assert not backend.connections


async def test_other_settings_never_share_a_connection() -> None:
    """A change of what must be shown ends idle connections; the same settings anew end none."""
    async with served(server_context(AUTHORITY, NAME), UpstreamTls()) as (proxy, backend):

        def publish(tls: UpstreamTls | None) -> None:
            cluster = msgspec.structs.replace(proxy.table.clusters[CLUSTER], tls=tls, ejection=Ejection(max_time=7.0))
            proxy.publish(msgspec.structs.replace(proxy.table, clusters={CLUSTER: cluster}))

        await ask(proxy, get())
        publish(UpstreamTls())
        await ask(proxy, get())
        assert backend.connections == 1
        publish(TRUST)
        await ask(proxy, get())
        assert backend.connections == 2
        publish(changed(TRUST, ca_pem=ca_pem(OTHER)))
        assert (await ask(proxy, get())).status == 502


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_sessions_are_taken_up_again(version: ssl.TLSVersion) -> None:
    """The second connection to an endpoint resumes; another endpoint's, or other settings', does not."""
    reused: list[bool] = []

    async def script(conversation: Conversation, backend: Backend) -> None:
        reused.append(conversation.writer.get_extra_info("ssl_object").session_reused)
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        await conversation.reader.read()

    context = server_context(AUTHORITY, NAME)
    context.minimum_version = context.maximum_version = version
    async with served(context, TRUST, script=script) as (proxy, _):
        for _ in range(3):
            assert (await ask(proxy, get())).status == 200
        cluster = msgspec.structs.replace(proxy.table.clusters[CLUSTER], tls=changed(TRUST, verify_depth=3))
        proxy.publish(msgspec.structs.replace(proxy.table, clusters={CLUSTER: cluster}))
        assert (await ask(proxy, get())).status == 200
    assert reused == [False, True, True, False]


async def test_a_session_does_not_last() -> None:
    """After an hour the endpoint has to show its certificate again."""
    reused: list[bool] = []

    async def script(conversation: Conversation, backend: Backend) -> None:
        reused.append(conversation.writer.get_extra_info("ssl_object").session_reused)
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        await conversation.reader.read()

    async with served(server_context(AUTHORITY, NAME), TRUST, script=script) as (proxy, _):
        await ask(proxy, get())
        proxy.worker.runtime.state.clusters[CLUSTER].endpoints[0].session_at -= 3601
        await ask(proxy, get())
    assert reused == [False, False]


async def test_a_body_that_ends_with_its_connection() -> None:
    """With a close_notify it is whole; a bare end of the TCP stream may be an attacker's, and is seen to be cut."""
    for bare in (False, True):

        async def script(conversation: Conversation, backend: Backend, *, bare: bool = bare) -> None:
            await conversation.read_head()
            conversation.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
            await asyncio.sleep(0.05)
            if bare:
                conversation.writer.transport.abort()
            else:
                conversation.writer.close()
                await asyncio.sleep(0.05)

        async with served(server_context(AUTHORITY, NAME), TRUST, script=script) as (proxy, _):
            client = await proxy.connect()
            client.send(get())
            if bare:
                with pytest.raises(asyncio.IncompleteReadError):
                    await read_reply(client)
            else:
                assert (await read_reply(client)).body == b"hello"
            client.close()


async def test_large_bodies_pass_both_ways() -> None:
    """Megabytes up and down over one connection, whole."""
    body = bytes(range(256)) * 16384

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            data = await conversation.read_body(head)
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)

    async with served(server_context(AUTHORITY, NAME), TRUST, script=script) as (proxy, backend):
        for _ in range(2):
            client = await proxy.connect()
            client.send(get("/", f"Content-Length: {len(body)}", method="PUT") + body)
            assert (await read_reply(client)).body == body
            client.close()
        assert backend.connections == 1


async def test_a_slow_reader_stops_a_backend_behind_tls() -> None:
    """What the client does not take is not read from the backend either: memory stays bounded."""
    sent = 0

    async def script(conversation: Conversation, backend: Backend) -> None:
        nonlocal sent
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
        while sent < 100 * 1024 * 1024:
            conversation.send(bytes(65536))
            sent += 65536
            await conversation.writer.drain()

    async with served(server_context(AUTHORITY, NAME), TRUST, script=script) as (proxy, _):
        client = await proxy.connect()
        client.send(get())
        await client.read_head()
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 40 * 1024 * 1024
        client.close()


async def test_a_websocket_passes_over_tls() -> None:
    """Bytes pass both ways. A client's half-close has no counterpart in TLS here: the backend may still answer; its
    own end ends the tunnel."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(SWITCH)
        conversation.send(b"echo:" + await conversation.reader.readexactly(4))
        await asyncio.sleep(0.2)
        conversation.send(b"last")
        conversation.writer.close()
        await asyncio.sleep(0.1)

    async with served(server_context(AUTHORITY, NAME), TRUST, script=script) as (proxy, _):
        client = await proxy.connect()
        client.send(UPGRADE)
        assert b" 101 " in await client.read_head()
        client.send(b"ping")
        assert await client.reader.readexactly(9) == b"echo:ping"
        half_close(client)
        assert await client.read_to_end() == b"last"
        client.close()


@pytest.mark.parametrize("politely", [True, False], ids=["with a close_notify", "with a bare end"])
async def test_a_post_on_a_connection_that_is_closed_meanwhile(politely: bool) -> None:
    """The close crosses the POST. A close_notify proves that it never arrived: it is sent again, once. A bare end may
    be anybody's, and proves nothing: 502."""
    bodies: list[bytes] = []
    close, closed = threading.Event(), threading.Event()

    def answer(secured: ssl.SSLSocket) -> None:
        data = b""
        while not data.endswith(b"body"):
            data += secured.recv(65536)
        bodies.append(data)
        secured.sendall(OK)
        if len(bodies) > 1:
            secured.recv(1)
            return
        close.wait(5)
        if politely:
            secured.setblocking(False)
            with contextlib.suppress(ssl.SSLWantReadError):
                secured.unwrap()
        secured.close()
        closed.set()

    post = get("/", "Content-Length: 4", method="POST") + b"body"
    with blocking_backend(server_context(AUTHORITY, NAME), answer) as port:
        async with running_proxy(one_route([port], tls=TRUST)) as proxy:
            client = await proxy.connect()
            client.send(post)
            await read_reply(client)
            # The close is in the kernel, the event loop has not seen it: exactly what the race looks like.
            close.set()
            assert closed.wait(5)
            time.sleep(0.02)
            proxy_side: Any = next(iter(proxy.worker.connections._members))
            proxy_side.data_received(post)
            assert (await read_reply(client)).status == (200 if politely else 502)
            assert proxy.worker.telemetry.ejections == 0
            client.close()
    assert len(bodies) == (2 if politely else 1)


async def test_an_idle_connection_ends_politely() -> None:
    """A connection that the proxy no longer needs ends with a close_notify."""
    ends: list[bytes] = []

    def answer(secured: ssl.SSLSocket) -> None:
        secured.recv(65536)
        secured.sendall(OK)
        ends.append(secured.recv(65536))

    with blocking_backend(server_context(AUTHORITY, NAME), answer) as port:
        async with running_proxy(one_route([port], tls=TRUST)) as proxy:
            await ask(proxy, get())
            proxy.publish(Table(settings=SILENT))
            await asyncio.sleep(0.1)
    assert ends == [b""]


async def test_bytes_that_nobody_asked_for_end_an_idle_connection() -> None:
    """As in plain text: they are nobody's response."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while await conversation.read_head():
            conversation.send(OK)
            await asyncio.sleep(0.05)
            conversation.send(OK)

    async with served(server_context(AUTHORITY, NAME), TRUST, script=script) as (proxy, backend):
        await ask(proxy, get())
        await asyncio.sleep(0.15)
        client = await proxy.connect()
        client.send(get())
        assert (await read_reply(client)).body == b"ok"
        assert await silent(client)
        client.close()
        assert backend.connections == 2
