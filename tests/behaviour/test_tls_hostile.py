"""TLS that no honest client sends, on real sockets: each costs its own connection, and nobody else's."""

from __future__ import annotations

import asyncio
import shutil
import ssl

import pytest

from tests.behaviour.test_tls_termination import OK, secured, trusting
from tests.support.backend import fixed, raw_backend
from tests.support.clients import get, read_reply, within
from tests.support.proxy import HOST, RunningProxy, running_proxy


def hello(version: ssl.TLSVersion | None = None) -> bytes:
    """A ClientHello of OpenSSL."""
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        trusting(version).wrap_bio(ssl.MemoryBIO(), out, server_hostname=HOST).do_handshake()
    return out.read()


async def still_serves(proxy: RunningProxy) -> bool:
    client = await within(proxy.connect(tls_context=trusting(), server_hostname=HOST))
    client.send(get())
    try:
        return (await read_reply(client)).status == 200
    finally:
        client.close()


BAD = {
    "plain HTTP": get(),
    "no TLS version": b"\x16\x09\x09\x00\x05hello",
    "a record of nothing": b"\x16\x03\x01\x00\x00" * 64,
    "a record that is too long": b"\x16\x03\x01\xff\xff" + bytes(65535),
    "data before a handshake": b"\x17\x03\x03\x00\x05hello",
    "an alert before a handshake": b"\x15\x03\x03\x00\x02\x02\x28",
    "a change of ciphers before a handshake": b"\x14\x03\x03\x00\x01\x01" * 64,
    "a hello of SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(37),
    "a hello that claims 16 MiB": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03" + bytes(16378),
    "a hello and garbage behind it": hello() + b"\x17\x03\x03\x00\x20" + bytes(32),
    "heartbeats": b"\x18\x03\x03\x00\x03\x01\x40\x00" * 8,
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
async def test_bad_records_end_their_connection(data: bytes) -> None:
    """At most an alert comes back, never a byte of HTTP; the failure is counted, the backend hears nothing, and the
    next client is served."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
        writer.write(data)
        answer = b""
        try:
            while part := await within(reader.read(65536)):
                answer += part
        except ConnectionError:
            pass
        writer.transport.abort()
        assert b"HTTP/" not in answer
        assert backend.heads == []
        assert proxy.worker.telemetry.tls_handshake_failures == 1
        assert await still_serves(proxy)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_record_that_was_tampered_with_is_never_acted_on(version: ssl.TLSVersion) -> None:
    """One bit of an encrypted request is turned over: the connection ends and the backend hears nothing."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    shake = trusting(version).wrap_bio(into, out, server_hostname=HOST)
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
        while True:
            try:
                shake.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(out.read())
                into.write(await within(reader.read(65536)))
        writer.write(out.read())
        shake.write(get())
        record = bytearray(out.read())
        record[-1] ^= 1
        writer.write(record)
        try:
            while await within(reader.read(65536)):
                pass
        except ConnectionError:
            pass
        writer.transport.abort()
        assert backend.heads == []
        assert await still_serves(proxy)


async def test_compression_is_never_agreed_on() -> None:
    """A client that offers it gets none (CRIME): the ServerHello names the null method."""
    data = bytearray(hello(ssl.TLSVersion.TLSv1_2))
    at = 5 + 4 + 34
    at += 1 + data[at]
    at += 2 + int.from_bytes(data[at : at + 2], "big")
    assert data[at : at + 2] == b"\x01\x00"
    data[at : at + 2] = b"\x02\x01\x00"
    data[3:5] = (len(data) - 5).to_bytes(2, "big")
    data[6:9] = (len(data) - 9).to_bytes(3, "big")
    async with running_proxy(secured([])) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
        writer.write(data)
        answer = await within(reader.readexactly(5 + 4 + 35))
        rest = await within(reader.readexactly(answer[-1] + 3))
        writer.transport.abort()
    assert (answer[0], answer[5]) == (0x16, 2), "a ServerHello"
    assert rest[-1] == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command, which can renegotiate")
async def test_renegotiation_is_refused() -> None:
    """A client may not have the server do handshakes over and over on one connection (CVE-2011-1473)."""
    async with running_proxy(secured([])) as proxy:
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{proxy.tls_port}", "-servername", HOST),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        while b"Verify return code" not in said:
            said += await within(process.stdout.read(65536))
        process.stdin.write(b"R\n")
        said, _ = await within(process.communicate())
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said
