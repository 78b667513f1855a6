"""PROXY protocol headers: what they say, where they end, and what is none."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.message.proxy_protocol import MAX_HEADER, BadProxyHeader, Ends, ProxyHeader, encode_header, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = Ends(address="192.0.2.1", port=56324, local_address="198.51.100.7", local_port=443)
V6 = Ends(address="2001:db8::1", port=4124, local_address="2001:db8::2", local_port=80)
BLOCK4 = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + struct.pack(">HH", 56324, 443)


def v2(block: bytes, *, first: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    """A header of version 2, right or wrong."""
    return SIGNATURE + struct.pack(">BBH", first, family, len(block) if length is None else length) + block


GOOD = {
    "v1 TCP4": (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", V4),
    "v1 TCP6": (b"PROXY TCP6 2001:db8::1 2001:DB8:0::2 4124 80\r\n", V6),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "v1 UNKNOWN with more": (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535 what ever\r\n", None),
    "v1 longest": (
        b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535".ljust(105, b"f") + b"\r\n",
        None,
    ),
    "v1 mapped": (
        b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.7 56324 443\r\n",
        V4,
    ),
    "v2 TCP4": (v2(BLOCK4), V4),
    "v2 TCP6": (
        v2(
            ipaddress.ip_address("2001:db8::1").packed
            + ipaddress.ip_address("2001:db8::2").packed
            + struct.pack(">HH", 4124, 80),
            family=0x21,
        ),
        V6,
    ),
    "v2 with TLVs": (v2(BLOCK4 + b"\x01\x00\x02h2" + b"\x20\x00\x05garba"), V4),
    "v2 largest": (v2(BLOCK4 + b"\x04" * (MAX_HEADER - 16 - len(BLOCK4))), V4),
    "v2 LOCAL": (v2(b"", first=0x20, family=0), None),
    "v2 LOCAL with addresses": (v2(BLOCK4, first=0x20), None),
    "v2 UDP": (v2(BLOCK4, family=0x12), None),
    "v2 Unix": (v2(b"/" * 216, family=0x31), None),
    "v2 unspecified": (v2(b"", family=0), None),
}

BAD = {
    "HTTP": b"GET / HTTP/1.1\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\n",
    "other case": b"proxy TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    "space before": b" PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    "no family": b"PROXY \r\n",
    "other family": b"PROXY UDP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    "two spaces": b"PROXY TCP4  192.0.2.1 198.51.100.7 56324 443\r\n",
    "too few words": b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
    "too many words": b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443 1\r\n",
    "space at the end": b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443 \r\n",
    "family and address differ": b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    "address and family differ": b"PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n",
    "leading zero in an address": b"PROXY TCP4 192.0.02.1 198.51.100.7 1 2\r\n",
    "short address": b"PROXY TCP4 127.1 198.51.100.7 1 2\r\n",
    "name": b"PROXY TCP4 localhost 198.51.100.7 1 2\r\n",
    "scope": b"PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n",
    "not ASCII": b"PROXY TCP4 192.0.2.\xb2 198.51.100.7 1 2\r\n",
    "port too large": b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n",
    "port with zero": b"PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
    "port with sign": b"PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
    "port empty": b"PROXY TCP4 192.0.2.1 198.51.100.7  2\r\n",
    "line feed alone": b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n".ljust(107, b"x"),
    "line too long": b"PROXY UNKNOWN".ljust(106, b"f") + b"\r\n",
    "signature cut": SIGNATURE[:-1] + b"\r",
    "version 1 in 2": v2(BLOCK4, first=0x11),
    "version 3": v2(BLOCK4, first=0x31),
    "command 2": v2(BLOCK4, first=0x22),
    "family 4": v2(BLOCK4, family=0x41),
    "protocol 3": v2(BLOCK4, family=0x13),
    "short block": v2(BLOCK4[:-1]),
    "short block of IPv6": v2(BLOCK4, family=0x21),
    "short block of Unix": v2(b"/" * 215, family=0x31),
    "too long": v2(BLOCK4, length=MAX_HEADER - 15),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\r\n\r\n", b"PROXY UNKNOWN\r\n"])
def test_a_header_says_its_ends_and_is_read_to_the_byte(name: str, rest: bytes) -> None:
    """Each part of it alone asks for more; the bytes behind it are not of it, whatever they are."""
    data, ends = GOOD[name]
    for cut in range(len(data)):
        assert read_header(data[:cut]) is None, cut
    assert read_header(data + rest) == ProxyHeader(size=len(data), ends=ends)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_header_is_refused(name: str) -> None:
    """Nothing is guessed: a peer that should introduce its client and does not, is not understood."""
    with pytest.raises(BadProxyHeader):
        read_header(BAD[name])


@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=100).map(lambda tail: b"PROXY " + tail),
        st.binary(max_size=300).map(lambda tail: SIGNATURE + tail),
    )
)
def test_any_bytes_are_a_header_or_the_beginning_of_one_or_refused(data: bytes) -> None:
    """Nothing else comes of them; and what is a header does not depend on what follows."""
    try:
        header = read_header(data)
    except BadProxyHeader:
        with pytest.raises(BadProxyHeader):
            read_header(data + b"x")
        return
    if header is None:
        assert len(data) < MAX_HEADER
        return
    assert 0 < header.size <= len(data)
    assert read_header(data[: header.size]) == header
    assert read_header(data[: header.size - 1]) is None
    if header.ends is not None:
        assert str(ipaddress.ip_address(header.ends.address)) == header.ends.address


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
PORTS = st.integers(0, 65535)


@given(
    ends=st.builds(Ends, address=ADDRESSES, port=PORTS, local_address=ADDRESSES, local_port=PORTS),
    version=st.sampled_from(["v1", "v2"]),
)
def test_what_is_written_is_read_again(ends: Ends, version: str) -> None:
    """In both versions, for any two addresses; IPv4 beside IPv6 is written as IPv6, and read as IPv4."""
    data = encode_header(ends, version)
    header = read_header(data)
    assert header is not None
    assert header.size == len(data)
    read = header.ends
    assert read is not None
    assert (read.port, read.local_port) == (ends.port, ends.local_port)
    for given_address, got in ((ends.address, read.address), (ends.local_address, read.local_address)):
        address = ipaddress.ip_address(given_address)
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        assert got == str(mapped or address)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_end_that_is_not_known_speaks_for_nobody(version: str) -> None:
    """UNKNOWN and LOCAL, which every receiver must take."""
    for ends in (None, Ends(address="unknown", port=1, local_address="192.0.2.1", local_port=2)):
        data = encode_header(ends, version)
        assert read_header(data) == ProxyHeader(size=len(data), ends=None)


def test_the_bytes_are_those_of_the_specification() -> None:
    """Not only of our own reader."""
    assert encode_header(V4, "v1") == GOOD["v1 TCP4"][0]
    assert encode_header(V4, "v2") == GOOD["v2 TCP4"][0]
    assert encode_header(V6, "v2") == GOOD["v2 TCP6"][0]
    assert encode_header(None, "v1") == b"PROXY UNKNOWN\r\n"
