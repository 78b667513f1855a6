"""Sets of address ranges, and addresses as numbers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["Networks", "address_number"]

_BITS = {4: 32, 6: 128}


@lru_cache(maxsize=4096)
def address_number(text: str) -> tuple[int, int] | None:
    """Version and number of an address; ``None`` where it is none. An IPv4 address mapped into IPv6 is an IPv4 one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


class Networks:
    """Whether an address is in one of many ranges: a set lookup per length of prefix that occurs, however many ranges
    there are."""

    __slots__ = ("_prefixes",)

    def __init__(self, ranges: Iterable[str]) -> None:
        """Raises ``ValueError`` on what is no CIDR."""
        found: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for text in ranges:
            network = ipaddress.ip_network(text, strict=False)
            version, length, number = network.version, network.prefixlen, int(network.network_address)
            if isinstance(network, ipaddress.IPv6Network) and length >= 96:
                mapped = network.network_address.ipv4_mapped
                if mapped is not None:
                    version, length, number = 4, length - 96, int(mapped)
            shift = _BITS[version] - length
            found[version].setdefault(shift, set()).add(number >> shift)
        self._prefixes = {
            version: tuple((shift, frozenset(numbers)) for shift, numbers in by_shift.items())
            for version, by_shift in found.items()
            if by_shift
        }

    def __contains__(self, address: str) -> bool:
        if not self._prefixes:
            return False
        parsed = address_number(address)
        if parsed is None:
            return False
        version, number = parsed
        return any(number >> shift in numbers for shift, numbers in self._prefixes.get(version, ()))

    def __bool__(self) -> bool:
        return bool(self._prefixes)
