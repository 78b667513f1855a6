"""What the client asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["HOST", "SCENARIOS", "Scenario"]

HOST: Final = "foo.mydomain.com"
"""The host that every proxy routes; any other is answered by the proxy itself."""

KIB: Final = 1024
MIB: Final = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of request, sent over and over on kept-alive HTTP/1.1 connections."""

    name: str
    title: str
    tls: bool = False
    method: Literal["GET", "POST"] = "GET"
    path: str = "/"
    request_bytes: int = 0
    response_bytes: int = KIB
    other_hosts: int = 0
    """Hosts in the routing table besides ``HOST``."""


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="http", title="HTTP, 1 KiB"),
        Scenario(name="https", title="HTTPS (TLS 1.3, ECDSA P-256), 1 KiB", tls=True),
        Scenario(name="http-10k-routes", title="HTTP, 1 KiB, 10,000 hosts", other_hosts=9_999),
        Scenario(name="download", title="HTTP, 1 MiB down", path="/mebibyte", response_bytes=MIB),
        Scenario(name="upload", title="HTTP, 1 MiB up", method="POST", path="/upload", request_bytes=MIB),
    )
}
