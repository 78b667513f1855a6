"""The server name in a ClientHello, against OpenSSL's own hellos, cut and mangled in every way."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tls import MAX_HELLO, server_name_in

NAMES = st.from_regex(r"\A[a-z][a-z0-9]{0,19}(\.[a-z][a-z0-9]{0,19}){0,3}\Z")


def hello(name: str | None = "foo.example.com", *, alpn: int = 0) -> bytes:
    """What OpenSSL sends first; with ``alpn`` protocols it grows by 200 bytes each."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(["p" * 199] * alpn)
    out = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return out.read()


HELLO = hello()


def in_records(handshake: bytes, sizes: list[int]) -> bytes:
    """The same handshake bytes, in records of these sizes, the rest in one."""
    records = b""
    for size in [*sizes, len(handshake)]:
        part, handshake = handshake[:size], handshake[size:]
        if part:
            records += b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
    return records


@given(NAMES)
def test_the_name_that_openssl_writes_is_read(name: str) -> None:
    """Whole; and with one byte less there is no verdict yet."""
    data = hello(name)
    assert server_name_in(data) == name.encode()
    assert server_name_in(data + b"\x17\x03\x03") == name.encode()
    assert server_name_in(data[:-1]) is None


def test_a_hello_without_a_name_has_none() -> None:
    """A client that connects to an address sends no server name."""
    assert server_name_in(hello(None)) == b""
    assert server_name_in(hello("127.0.0.1")) == b""


@given(st.lists(st.integers(1, 200), max_size=20), st.data())
def test_records_may_cut_the_hello_anywhere(sizes: list[int], data: st.DataObject) -> None:
    """The name is that of the whole, and every true beginning needs more."""
    split = in_records(HELLO[5:], sizes)
    assert server_name_in(split) == b"foo.example.com"
    end = data.draw(st.integers(0, len(split) - 1))
    assert server_name_in(split[:end]) is None


def test_a_large_hello_is_read_up_to_the_bound() -> None:
    """Post-quantum keys make hellos of kilobytes; beyond the bound there is no name."""
    assert server_name_in(hello(alpn=60)) == b"foo.example.com"
    assert len(HELLO) + 90 * 200 > MAX_HELLO
    assert server_name_in(hello(alpn=90)) == b""


@given(st.binary(max_size=600))
def test_any_bytes_give_a_verdict(data: bytes) -> None:
    """Never an exception; and what is not even the beginning of a hello is told at once."""
    verdict = server_name_in(data)
    assert verdict is None or isinstance(verdict, bytes)
    if data[:1] not in (b"", b"\x16"):
        assert verdict == b""


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255), st.integers(0, 5))
def test_a_mangled_hello_gives_a_verdict(place: int, byte: int, cut: int) -> None:
    """One byte changed anywhere, and some taken off the end: no exception, and no more than a name."""
    mangled = HELLO[:place] + bytes([byte]) + HELLO[place + 1 : len(HELLO) - cut]
    verdict = server_name_in(mangled)
    assert verdict is None or len(verdict) <= 255


@given(st.integers(0, 255), st.integers(0, 3))
def test_unknown_extensions_around_the_name_do_not_matter(kind: int, before: int) -> None:
    """GREASE (RFC 8701) and whatever comes next: extensions of unknown kinds and lengths are passed over."""
    grease = bytes([kind | 0x0A, kind | 0x0A]) + (3).to_bytes(2, "big") + b"abc"
    body = bytearray(HELLO[9:])
    at = 34 + 1 + body[34]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    extensions = grease * before + bytes(body[at + 2 :]) + grease
    body[at:] = len(extensions).to_bytes(2, "big") + extensions
    handshake = b"\x01" + len(body).to_bytes(3, "big") + bytes(body)
    assert server_name_in(in_records(handshake, [])) == b"foo.example.com"


def test_a_hello_without_extensions_has_no_name() -> None:
    """As clients of before 2003 send it; and one that claims extensions of another length is none."""
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x00\x2f" + b"\x01\x00"
    for tail in (b"", b"\x00\x01"):
        handshake = b"\x01" + len(body + tail).to_bytes(3, "big") + body + tail
        assert server_name_in(in_records(handshake, [])) == b""
