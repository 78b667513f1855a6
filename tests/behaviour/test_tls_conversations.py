"""Hellos and records that no TLS library sends, made of messages (tlslite-ng): what is answered, and what goes on."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
import trustme

from tests.behaviour.test_client_certificates import EXPIRED, FOREIGN, asking, client_with, rules
from tests.behaviour.test_tls_hostile import still_serves
from tests.behaviour.test_tls_termination import OK, secured
from tests.support.backend import fixed, raw_backend
from tests.support.clients import get, within
from tests.support.process import proxy_process
from tests.support.proxy import HOST, running_proxy
from tests.support.tls_client import (
    TLS_1_2,
    TLS_1_3,
    extension,
    hello,
    hello_record,
    key_update,
    opening_answer,
    record,
    server_name,
    talking,
)

HELLO = hello()
MODERN = extension(43, b"\x02\x03\x04")
"""TLS 1.3 alone (``supported_versions``)."""
SHARE = extension(51, b"\x00\x24\x00\x1d\x00\x20" + bytes(range(32)))
TICKET = extension(41, b"\x00\x0c\x00\x06ticket\x00\x00\x00\x00" + b"\x00\x21\x20" + bytes(32))
"""A session that nobody gave out, with a binder that binds nothing."""
RESUMED = extension(45, b"\x01\x01")

GOOD = {
    "the usual": hello_record(),
    "a name that is an address": hello_record(name=server_name(b"127.0.0.1")),
    "compression on offer": hello_record(compressions=[1, 0]),
    "unknown extensions": hello_record(extension(0x0A0A, b"x" * 100)),
    "unknown protocols": hello_record(extension(16, b"\x00\x05\x04spdy")),
    "a version to come": record(22, hello(version=(9, 9))),
    "early data announced": hello_record(extension(42, b"")),
    "a session nobody gave out": hello_record(MODERN, SHARE, RESUMED, TICKET, ciphers=[0x1301]),
    "byte by byte": b"".join(record(22, HELLO[at : at + 1]) for at in range(len(HELLO))),
}
BAD = {
    "TLS 1.0": (record(22, hello(version=(3, 1)), (3, 1)), "protocol_version"),
    "TLS 1.1": (record(22, hello(version=(3, 2)), (3, 1)), "protocol_version"),
    "no version known here": (hello_record(extension(43, b"\x02\x7f\x1c")), "protocol_version"),
    "an empty list of versions": (hello_record(extension(43, b"\x00")), ""),
    "a fallback without need": (hello_record(ciphers=[0x5600, 0xC02B]), "inappropriate_fallback"),
    "RC4 and 3DES": (hello_record(ciphers=[0x0005, 0x000A]), "handshake_failure"),
    "CBC, with forward secrecy": (hello_record(ciphers=[0xC009, 0xC013, 0xC023]), "handshake_failure"),
    "unknown ciphers": (hello_record(ciphers=[0x0A0A]), "handshake_failure"),
    "no ciphers": (hello_record(ciphers=[]), ""),
    "compression alone": (hello_record(compressions=[1]), ""),
    "no way to compress": (hello_record(compressions=[]), ""),
    "two names": (hello_record(name=server_name(HOST.encode(), b"bar.example.com")), ""),
    "the name twice": (hello_record(server_name(b"bar.example.com")), ""),
    "a name with NUL": (hello_record(name=server_name(HOST.encode() + b"\0.example.org")), ""),
    "a name of 256 bytes": (hello_record(name=server_name(b"a" * 256)), ""),
    "a name that is not ASCII": (hello_record(name=server_name("föö.example.com".encode())), ""),
    "a name of another kind": (hello_record(name=server_name(HOST.encode(), kind=9)), ""),
    "an empty list of names": (hello_record(name=server_name()), ""),
    "a name with a wrong length": (hello_record(name=extension(0, b"\x00\x05\x00\x00\x02ab!")), ""),
    "an extension twice": (hello_record(extension(10, b"\x00\x02\x00\x1d")), ""),
    "a session id of 33 bytes": (hello_record(session=bytes(33)), ""),
    "renegotiation at once": (hello_record(extension(0xFF01, b"\x0cabcdefghijkl")), ""),
    "TLS 1.3 without a key share": (hello_record(MODERN, ciphers=[0x1301]), "missing_extension"),
    "a key share of nothing": (
        hello_record(MODERN, extension(51, b"\x00\x24\x00\x1d\x00\x20" + bytes(32)), ciphers=[0x1301]),
        "",
    ),
    "a key share that is too short": (
        hello_record(MODERN, extension(51, b"\x00\x05\x00\x1d\x00\x01\x00"), ciphers=[0x1301]),
        "",
    ),
    "a session that is not last": (hello_record(MODERN, TICKET, SHARE, RESUMED, ciphers=[0x1301]), ""),
    "an empty list of protocols": (hello_record(extension(16, b"\x00\x01\x00")), ""),
    "a length that is too short": (record(22, b"\x01" + (len(HELLO) - 14).to_bytes(3, "big") + HELLO[4:]), ""),
    "a hello of a server": (record(22, b"\x02" + HELLO[1:]), "unexpected_message"),
    "the end first": (record(22, b"\x14\x00\x00\x0c" + bytes(12)), "unexpected_message"),
    "a change of ciphers within": (record(22, HELLO[:20]) + record(20, b"\x01") + record(22, HELLO[20:]), ""),
}
"""What is sent, and the alert that the RFCs ask for; empty: whichever OpenSSL finds right."""


async def opened(port: int, data: bytes) -> str:
    """What comes back first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return opening_answer(await within(reader.read(65536)))
    finally:
        writer.transport.abort()


TABLES = pytest.mark.parametrize("peeked", [False, True], ids=["usual", "hello read before"])


@TABLES
@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
async def test_odd_hellos_that_are_allowed_are_answered(data: bytes, peeked: bool) -> None:
    """Also where the server name is read before OpenSSL sees it."""
    async with running_proxy(asking(1) if peeked else secured([])) as proxy:
        assert await opened(proxy.tls_port, data) == "hello"


@TABLES
@pytest.mark.parametrize(("data", "alert"), BAD.values(), ids=BAD)
async def test_bad_hellos_are_told_why(data: bytes, alert: str, peeked: bool) -> None:
    """An alert comes before the connection ends (RFC 8446 section 6.2), and the failure is counted, once."""
    async with running_proxy(asking(1) if peeked else secured([])) as proxy:
        answer = await opened(proxy.tls_port, data)
        assert answer not in ("hello", "closed", "?")
        assert answer == (alert or answer)
        assert proxy.worker.telemetry.tls_handshake_failures == 1
        assert proxy.worker.telemetry.tls_handshakes == 0


async def test_a_process_tells_why_too(tmp_path: Path) -> None:
    """With the event loop of production, which is another than that of the tests."""
    async with proxy_process(secured([]), tmp_path) as process:
        for data, alert in BAD.values():
            answer = await opened(process.tls_port, data)
            assert answer not in ("hello", "closed", "?")
            assert answer == (alert or answer)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("certificate", "told"),
    [(None, "HANDSHAKE_FAILURE|CERTIFICATE_REQUIRED"), (FOREIGN, "UNKNOWN_CA"), (EXPIRED, "CERTIFICATE_EXPIRED")],
    ids=["none", "unknown authority", "expired"],
)
async def test_who_is_refused_in_the_handshake_is_told_why(
    certificate: trustme.LeafCert | None, told: str, version: ssl.TLSVersion
) -> None:
    """A browser can then say what is wrong with the certificate, and not that the network is broken."""
    async with running_proxy(asking(1, rules(refuse_in_handshake=True))) as proxy:
        with pytest.raises(ssl.SSLError, match=told):
            client = await proxy.connect(tls_context=client_with(certificate, version), server_hostname=HOST)
            # In TLS 1.3 the client has done its part before the server has judged it.
            await within(client.reader.read())


AFTER = {
    "an unknown kind of record": (99, b"x"),
    "a change of ciphers": (20, b"\x01"),
    "a heartbeat": (24, b"\x01\x40\x00"),
    "the end again": (22, b"\x14\x00\x00\x0c" + bytes(12)),
    "a request for a hello": (22, b"\x00\x00\x00\x00"),
    "a fatal alert": (21, b"\x02\x28"),
    "new keys of an unknown kind": (22, b"\x18\x00\x00\x01\x09"),
    "a record that nobody encrypted": record(23, b"GET / HTTP/1.1\r\nHost: foo.example.com\r\n\r\n"),
    "a change of ciphers that nobody encrypted": record(20, b"\x01"),
    "noise": record(23, bytes(64)),
}


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("message", AFTER.values(), ids=AFTER)
async def test_records_out_of_place_end_the_connection(
    message: tuple[int, bytes] | bytes, version: tuple[int, int]
) -> None:
    """Nothing that comes with or behind them reaches a backend, and the next client is served."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        talk = await talking(proxy.tls_port, version)
        if isinstance(message, bytes):
            await talk.write_raw(message)
        else:
            await talk.send(message)
        with contextlib.suppress(ConnectionError):
            await talk.send((23, get()))
        await talk.end()
        talk.close()
        assert backend.heads == []
        assert await still_serves(proxy)


FLOODS = {"empty records": (23, b""), "warnings": (21, b"\x01\x5a")}


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("message", FLOODS.values(), ids=FLOODS)
async def test_records_that_carry_nothing_are_not_taken_for_ever(
    message: tuple[int, bytes], version: tuple[int, int]
) -> None:
    """Less than a hundred of them, and the connection ends."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        talk = await talking(proxy.tls_port, version)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                await talk.send(message)
            await talk.send((23, get()))
        await talk.end()
        talk.close()
        assert backend.heads == []
        assert await still_serves(proxy)


async def test_a_hello_on_a_connection_starts_no_second_handshake() -> None:
    """Renegotiation is declined by the alert for it, and what was agreed on goes on (RFC 5246 section 7.2.2)."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        talk = await talking(proxy.tls_port, TLS_1_2)
        await talk.send((22, HELLO))
        await talk.send((23, get()))
        assert await talk.end() == "no_renegotiation"
        talk.close()
        assert proxy.worker.telemetry.tls_handshakes == 1
        assert await still_serves(proxy)


async def test_keys_may_be_renewed() -> None:
    """KeyUpdate (RFC 8446 section 4.6.3), once and many times, and requests go on."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        talk = await talking(proxy.tls_port, TLS_1_3)
        for times in (1, 40):
            for _ in range(times):
                await talk.do(key_update)
            assert (await talk.ask(get())).startswith(b"HTTP/1.1 200 ")
        talk.close()
