"""Sets of address ranges against the plain way to ask."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from proxy.message.networks import Networks, address_number

SMALL = st.integers(0, 255).map(lambda number: f"10.0.{number % 4}.{number}")
SMALL6 = st.integers(0, 255).map(lambda number: f"2001:db8::{number % 4:x}:{number:x}")
RANGES = st.lists(
    st.one_of(
        st.builds(lambda address, length: f"{address}/{length}", SMALL, st.integers(0, 32)),
        st.builds(lambda address, length: f"{address}/{length}", SMALL6, st.integers(0, 128)),
    ),
    max_size=6,
)


@given(RANGES, st.one_of(SMALL, SMALL6))
def test_an_address_is_in_a_set_when_it_is_in_one_of_its_ranges(ranges: list[str], address: str) -> None:
    """Of its own version; host bits in a range do not matter."""
    parsed = ipaddress.ip_address(address)
    wanted = any(parsed in ipaddress.ip_network(text, strict=False) for text in ranges)
    assert (address in Networks(ranges)) == wanted


def test_an_address_within_ipv6_is_the_ipv4_address() -> None:
    """In what is asked and in the ranges; a range wider than all of IPv4 is one of IPv6."""
    assert "::ffff:10.0.0.1" in Networks(["10.0.0.0/8"])
    assert "10.0.0.1" in Networks(["::ffff:10.0.0.0/104"])
    assert "11.0.0.1" not in Networks(["::ffff:10.0.0.0/104"])
    assert "10.0.0.1" not in Networks(["::/0"])


def test_what_is_no_address_is_in_no_range() -> None:
    """Not even in all of them."""
    everything = Networks(["0.0.0.0/0", "::/0"])
    assert not any(text in everything for text in ("", "unknown", "10.0.0", "10.0.0.1:80", "[::1]", "010.0.0.1"))
    assert address_number("fe80::1%eth0") == (6, int(ipaddress.ip_address("fe80::1")))
