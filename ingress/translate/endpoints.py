"""Service port → addresses.

1. EndpointSlices of the Service decide; only without any, its Endpoints object does.
2. Ready endpoints are used. Only when there is none, those that terminate but still serve.
3. A slice says the port of its addresses under the name of the Service port. TCP only.
4. An address that stands in several slices counts once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from ingress.resources import Endpoints, EndpointSlice, ServicePort, SliceEndpoint
from proxy.table import Endpoint

__all__ = ["find_endpoints"]


def find_endpoints(
    port: ServicePort, slices: Sequence[EndpointSlice], endpoints: Endpoints | None, *, portless: bool = False
) -> tuple[Endpoint, ...]:
    """The endpoints to use, sorted. ``portless``: a headless Service without ports; its addresses get ``port.port``."""
    ready: set[Endpoint] = set()
    leaving: set[Endpoint] = set()
    for one in slices:
        numbers = {port.port} if portless else _slice_ports(one, port.name)
        if not numbers or one.address_type not in ("IPv4", "IPv6"):
            continue
        for endpoint in one.endpoints:
            group = ready if _is_ready(endpoint) else leaving if _is_leaving(endpoint) else None
            if group is not None:
                group.update(_addresses(endpoint.addresses[:1], numbers))
    if not slices and endpoints is not None:
        for subset in endpoints.subsets:
            numbers = (
                {port.port}
                if portless
                else {
                    candidate.port
                    for candidate in subset.ports
                    if candidate.name == port.name and candidate.protocol == "TCP"
                }
            )
            ready.update(_addresses([address.ip for address in subset.addresses], numbers))
    return tuple(sorted(ready or leaving, key=lambda endpoint: (endpoint.address, endpoint.port)))


def _slice_ports(one: EndpointSlice, name: str) -> set[int]:
    return {
        port.port
        for port in one.ports
        if (port.name or "") == name and port.port is not None and port.protocol in (None, "TCP")
    }


def _is_ready(endpoint: SliceEndpoint) -> bool:
    return endpoint.conditions.ready is not False


def _is_leaving(endpoint: SliceEndpoint) -> bool:
    """Not ready, since its pod is being deleted, but still able to answer. ``serving`` of ``None`` says nothing."""
    return endpoint.conditions.serving is True and endpoint.conditions.terminating is True


def _addresses(texts: Iterable[str], ports: Iterable[int]) -> Iterator[Endpoint]:
    """One endpoint per address and port; what is no IP address or port has no endpoint."""
    for text in texts:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        for port in ports:
            if 0 < port < 65536 and "%" not in text:
                yield Endpoint(address=address.compressed, port=port)
