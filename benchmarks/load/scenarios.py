"""What the client asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["HOST", "KIB", "MIB", "SCENARIOS", "ClientName", "Scenario"]

HOST: Final = "foo.mydomain.com"
"""The host that every proxy routes; any other is answered by the proxy itself."""

KIB: Final = 1024
MIB: Final = 1024 * KIB

ClientName = Literal["wrk", "h2load", "handshakes"]
"""``wrk`` and ``handshakes`` speak HTTP/1.1, the latter with one request per connection; ``h2load`` HTTP/2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of request, sent over and over; on connections that are kept alive unless the client makes new ones."""

    name: str
    title: str
    client: ClientName = "wrk"
    tls: bool = False
    method: Literal["GET", "POST"] = "GET"
    path: str = "/"
    changing: bool = False
    """Whether the heads are a browser's, no two in a row alike."""
    request_bytes: int = 0
    response_bytes: int = KIB
    other_hosts: int = 0
    """Hosts in the routing table besides ``HOST``."""
    resume: bool = False
    """Whether each connection offers to resume the TLS session of the one before it."""
    workers: int = 1
    """Processes of a proxy that scales by processes; threads stay one. All of them share the proxy's core."""

    @property
    def http2(self) -> bool:
        """Whether the requests are HTTP/2, agreed on in the TLS handshake."""
        return self.client == "h2load"


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="http", title="HTTP, 1 KiB"),
        Scenario(name="https", title="HTTPS (TLS 1.3, ECDSA P-256), 1 KiB", tls=True),
        Scenario(name="http-10k-routes", title="HTTP, 1 KiB, 10,000 hosts", other_hosts=9_999),
        Scenario(name="http-changing", title="HTTP, 1 KiB, a browser's heads that differ", changing=True),
        Scenario(name="h2", title="HTTP/2 over TLS 1.3, 1 KiB", client="h2load", tls=True),
        Scenario(name="handshake", title="a full TLS 1.3 handshake per request", client="handshakes", tls=True),
        Scenario(
            name="resumed",
            title="a TLS 1.3 handshake per request that offers to resume, 4 workers",
            client="handshakes",
            tls=True,
            resume=True,
            workers=4,
        ),
        Scenario(name="download", title="HTTP, 1 MiB down", path="/mebibyte", response_bytes=MIB),
        Scenario(name="upload", title="HTTP, 1 MiB up", method="POST", path="/upload", request_bytes=MIB),
    )
}
