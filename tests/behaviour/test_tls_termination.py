"""HTTPS on real sockets: certificates by name, versions, replacement, and clients that speak something else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Iterable
from time import monotonic
from typing import cast

import msgspec
import pytest
import trustme

from proxy.table import Certificate, Settings, Table
from proxy.worker.worker import Worker
from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.clients import curl, get, parse_request, read_reply, within
from tests.support.proxy import HOST, RawClient, RunningProxy, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
AUTHORITY = trustme.CA()


def issue(*names: str) -> Certificate:
    leaf = AUTHORITY.issue_cert(*names)
    return Certificate(
        chain_pem="".join(blob.bytes().decode() for blob in leaf.cert_chain_pems),
        key_pem=leaf.private_key_pem.bytes().decode(),
    )


EXACT = issue(HOST)
RENEWED = issue(HOST)
WILD = issue("*.example.com")
FALLBACK = issue("fallback.example.net")


def trusting(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client context that trusts our authority; with ``version``, it speaks that one only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    context.check_hostname = False
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def secured(ports: Iterable[int], **changes: object) -> Table:
    """A table with a certificate by exact name, one by wildcard, and a default."""
    table = one_route(
        ports,
        certificates={"exact": EXACT, "wild": WILD, "fallback": FALLBACK},
        server_names={HOST: "exact", "*.example.com": "wild"},
    )
    return msgspec.structs.replace(table, default_certificate="fallback", **changes)


def names_shown(client: RawClient) -> set[str]:
    """The names in the certificate that the client was shown."""
    shown = client.writer.get_extra_info("peercert")
    return {value for kind, value in shown["subjectAltName"] if kind == "DNS"}


def tls_failures(proxy: RunningProxy) -> int:
    return proxy.worker.telemetry.tls_handshake_failures


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (HOST, HOST),
        (HOST.upper(), HOST),
        ("bar.example.com", "*.example.com"),
        ("a.b.example.com", "fallback.example.net"),
        ("example.com", "fallback.example.net"),
        ("other.org", "fallback.example.net"),
        (None, "fallback.example.net"),
    ],
)
async def test_the_certificate_goes_by_the_name_asked_for(asked: str | None, shown: str) -> None:
    """Exact before wildcard (one label), before the default; the request itself goes by its Host all the same."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        client = await proxy.connect(tls_context=trusting(), server_hostname=asked or "")
        assert names_shown(client) == {shown}
        client.send(get())
        assert (await read_reply(client)).body == b"ok"
        client.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_request_over_tls_is_forwarded_as_https(version: ssl.TLSVersion) -> None:
    """Both versions serve; the backend learns of https and its port, and both connections are kept."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        client = await proxy.connect(tls_context=trusting(version), server_hostname=HOST)
        for _ in range(3):
            client.send(get())
            assert (await read_reply(client)).body == b"ok"
        assert client.writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
        client.close()
    sent = parse_request(backend.heads[0]).fields
    assert sent["x-forwarded-proto"] == "https"
    assert sent["x-forwarded-port"] == "443"
    assert backend.connections == 1


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_old_versions_of_tls_are_refused() -> None:
    """TLS 1.1 gets no connection, and the failure is counted."""
    context = trusting(ssl.TLSVersion.TLSv1_1)
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with running_proxy(secured([])) as proxy:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await proxy.connect(tls_context=context, server_hostname=HOST)
        await asyncio.sleep(0.05)
        assert tls_failures(proxy) == 1


async def test_a_certificate_is_replaced_under_an_open_connection() -> None:
    """A connection that is open goes on with the certificate it was shown; the next one is shown the new one."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        old = await proxy.connect(tls_context=trusting(), server_hostname=HOST)
        old.send(get())
        await read_reply(old)
        before = old.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        proxy.publish(msgspec.structs.replace(proxy.table, certificates={**proxy.table.certificates, "exact": RENEWED}))
        new = await proxy.connect(tls_context=trusting(), server_hostname=HOST)
        for client in (old, new):
            client.send(get())
            assert (await read_reply(client)).body == b"ok"
        assert old.writer.get_extra_info("ssl_object").getpeercert(binary_form=True) == before
        assert new.writer.get_extra_info("ssl_object").getpeercert(binary_form=True) != before
        old.close()
        new.close()


async def test_without_any_certificate_a_self_made_one_is_shown() -> None:
    """A table without certificates still serves https, to clients that do not ask whose it is."""
    context = trusting()
    context.verify_mode = ssl.CERT_NONE
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect(tls_context=context, server_hostname=HOST)
        client.send(get())
        assert (await read_reply(client)).body == b"ok"
        client.close()


async def test_plain_http_on_the_tls_port_is_no_handshake() -> None:
    """It gets no connection (an alert at most), it is counted, and the port serves on."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
        writer.write(get())
        rest = b""
        with contextlib.suppress(ConnectionError):
            rest = await within(reader.read())
        writer.close()
        assert b"HTTP" not in rest
        assert tls_failures(proxy) == 1
        client = await proxy.connect(tls_context=trusting(), server_hostname=HOST)
        client.send(get())
        assert (await read_reply(client)).body == b"ok"
        client.close()
    assert len(backend.heads) == 1


async def test_tls_on_the_plain_port_is_a_bad_request() -> None:
    """A ClientHello is no request line: 400 in plain text, and the end."""
    context = trusting()
    outgoing = ssl.MemoryBIO()
    hello = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    async with running_proxy(secured([])) as proxy:
        answer = await proxy.ask(outgoing.read())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close\r\n" in answer


async def test_a_handshake_that_does_not_end_is_given_up() -> None:
    """A client that connects and says nothing, or half a hello, is cut off after ``tls_handshake_timeout``."""
    settings = Settings(access_log="off", tls_handshake_timeout=0.2)
    async with running_proxy(secured([], settings=settings)) as proxy:
        begun = monotonic()
        mute = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
        halfway = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
        halfway[1].write(b"\x16\x03\x01\x02\x00\x01")
        for reader, writer in (mute, halfway):
            with contextlib.suppress(ConnectionError):
                assert await within(reader.read()) == b""
            writer.close()
        assert 0.1 < monotonic() - begun < 3
        await asyncio.sleep(0.05)
        assert tls_failures(proxy) == 2
        assert proxy.worker._listeners.handshakes == 0


async def test_large_bodies_pass_both_ways_over_tls() -> None:
    """8 MiB up and 8 MiB down, with a client that reads only after it has sent everything."""
    size = 8 * 1024 * 1024
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    async with raw_backend(fixed(response)) as backend, running_proxy(secured([backend.port])) as proxy:
        client = await proxy.connect(tls_context=trusting(), server_hostname=HOST)
        client.send(b"PUT / HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        reply = await read_reply(client)
        client.close()
    assert len(reply.body) == size
    assert len(backend.bodies[0]) == size


async def test_a_client_that_does_not_read_is_not_buffered_over_tls() -> None:
    """With 64 MiB to come over TLS the proxy holds little of it, and none is lost when the client reads."""
    size = 64 * 1024 * 1024
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    sent = [0]

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(response)
        while sent[0] < size:
            conversation.send(bytes(65536))
            await conversation.writer.drain()
            sent[0] += 65536
        await conversation.reader.read()

    async with raw_backend(script) as backend, running_proxy(secured([backend.port])) as proxy:
        client = await proxy.connect(tls_context=trusting(), server_hostname=HOST)
        transport = cast(asyncio.Transport, client.writer.transport)
        transport.pause_reading()
        client.send(get())
        await asyncio.sleep(0.5)
        stopped_at = sent[0]
        (member,) = proxy.worker.connections._members
        held = member.transport.get_write_buffer_size()
        transport.resume_reading()
        reply = await read_reply(client)
        client.close()
    assert 0 < stopped_at < size // 2
    assert held < 1024 * 1024
    assert len(reply.body) == size


async def test_curl_verifies_the_certificate_by_name() -> None:
    """curl with our authority accepts the proxy by SNI, in TLS 1.2 and 1.3."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        with AUTHORITY.cert_pem.tempfile() as trusted:
            for version in ("--tlsv1.3", "--tls-max"):
                flags = (version, "1.2") if version == "--tls-max" else (version,)
                code, out, said = await curl(
                    "--cacert",
                    trusted,
                    "--resolve",
                    f"{HOST}:{proxy.tls_port}:127.0.0.1",
                    *flags,
                    f"https://{HOST}:{proxy.tls_port}/",
                )
                assert (code, out) == (0, b"ok"), said


async def test_the_floor_of_versions_is_a_setting() -> None:
    """Raised to 1.3, it ends no connection that is open, refuses a new one of 1.2, and takes one of 1.3."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        old = await proxy.connect(tls_context=trusting(ssl.TLSVersion.TLSv1_2), server_hostname=HOST)
        old.send(get())
        assert (await read_reply(old)).status == 200
        proxy.publish(secured([backend.port], settings=Settings(access_log="off", tls_min_version="1.3")))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await proxy.connect(tls_context=trusting(ssl.TLSVersion.TLSv1_2), server_hostname=HOST)
        new = await proxy.connect(tls_context=trusting(ssl.TLSVersion.TLSv1_3), server_hostname=HOST)
        for client in (old, new):
            client.send(get())
            assert (await read_reply(client)).status == 200
            client.close()


async def test_workers_take_the_ticket_keys_from_the_file_that_they_share() -> None:
    """As it is at the start, and again each second: keys that change are taken, and none are made up."""
    file = os.memfd_create("keys")
    worker = Worker(asyncio.get_running_loop(), log=None, ticket_keys_fd=file)
    try:
        assert worker.certificates.server_context().num_tickets == 0
        for keys in (bytes(range(80)), bytes(range(80, 160))):
            os.pwrite(file, keys, 0)
            worker._tick()
            assert worker.certificates.server_context().num_tickets == 1
            assert worker.certificates._ticket_keys == keys
    finally:
        await worker.close()
        os.close(file)


async def test_certificates_that_change_under_load_cost_no_request() -> None:
    """Handshakes and requests while the certificate is replaced again and again: all succeed, each with the old or the
    new one, and kept connections go on."""
    served = 0
    over = asyncio.Event()

    async def new_connections(proxy: RunningProxy) -> None:
        nonlocal served
        while not over.is_set():
            client = await within(proxy.connect(tls_context=trusting(), server_hostname=HOST))
            assert names_shown(client) == {HOST}
            client.send(get())
            assert (await read_reply(client)).status == 200
            served += 1
            client.close()

    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        kept = await proxy.connect(tls_context=trusting(), server_hostname=HOST)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(new_connections(proxy))
            for turn in range(30):
                certificates = {**proxy.table.certificates, "exact": (RENEWED, EXACT)[turn % 2]}
                proxy.publish(msgspec.structs.replace(proxy.table, certificates=certificates))
                kept.send(get())
                assert (await read_reply(kept)).status == 200
                await asyncio.sleep(0.01)
            over.set()
        kept.close()
        assert served >= 8
        assert tls_failures(proxy) == 0
