"""What one Ingress asks for, before it is known what others ask for."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from ingress.annotations.hash_key import format_hash_key
from ingress.resources import Ingress, Key, ObjectRef, Problem, Severity, Source
from proxy.table import (
    Affinity,
    Balance,
    ClientCertificates,
    Cluster,
    Ejection,
    HostPattern,
    ProxyProtocol,
    Respond,
    Route,
    UpstreamTls,
)

__all__ = [
    "ANY_HOST",
    "GOES_FIRST",
    "PLAIN_BALANCE",
    "PLAIN_EJECTION",
    "REFUSED",
    "Age",
    "BackendKey",
    "BackendUse",
    "ClientClaim",
    "Finding",
    "IngressPart",
    "RouteClaim",
    "Spoken",
    "TlsClaim",
    "age_of",
    "covers",
]

ANY_HOST: HostPattern = "*"

PLAIN_BALANCE: Final = Cluster().balance
"""The very default of the field: one value for all clusters, and left out of every encoding."""

PLAIN_EJECTION: Final = Cluster().ejection
"""Likewise."""

REFUSED: Final = Respond(status=503, reason="the configuration of this route is refused")

PLAIN_PROTOCOL: Final = Cluster().protocol
"""Likewise."""

GOES_FIRST: Final = "goes first (by age, then name)"
"""What a loser hears of the winner."""

Spoken = Literal["", "http", "https", "grpc", "grpcs"]
"""What a backend speaks; gRPC is HTTP/2. Empty: what its Service says."""

_APP_PROTOCOLS: Final[dict[str, Spoken]] = {
    "https": "https",
    "kubernetes.io/wss": "https",
    "kubernetes.io/h2c": "grpc",
    "grpc": "grpc",
}
"""``appProtocol`` of Service ports (KEP-1422, KEP-3726); others are plain HTTP."""

Age = tuple[str, str, str]
"""creationTimestamp, namespace, name: the smaller wins. An empty timestamp (files) counts as oldest."""


def age_of(ingress: Ingress) -> Age:
    metadata = ingress.metadata
    return (metadata.creation_timestamp, metadata.namespace, metadata.name)


def covers(pattern: str, host: str) -> bool:
    """Whether a TLS name covers a host: the same, or ``*.`` for exactly one label (RFC 6125 section 6.4.3)."""
    return pattern == host or (pattern.startswith("*.") and host.partition(".")[2] == pattern[2:])


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A Problem without its place. Whoever names the thing gets it, at the field that names it."""

    reason: str
    message: str
    severity: Severity = "error"


class BackendKey(msgspec.Struct, frozen=True, kw_only=True):
    """Determines a cluster: a Service port and how its endpoints are chosen and left out."""

    namespace: str
    service: str
    port: str
    """A number or a name."""
    balance: Balance = PLAIN_BALANCE
    affinity: Affinity | None = None
    ejection: Ejection = PLAIN_EJECTION
    max_requests: int = 0
    send_proxy: ProxyProtocol = ""
    spoken: Spoken = ""
    tls: UpstreamTls | None = None
    """How TLS is spoken, where it is. ``None``: as usual."""
    affinity_as: Literal["", "http"] = ""
    """Clients return by the cookies of the same backend spoken to in plain text. Empty: by cookies of its own."""

    @property
    def service_key(self) -> Key:
        return (self.namespace, self.service)

    @property
    def cluster(self) -> str:
        """The key of the cluster in the table."""
        name = f"{self.namespace}/{self.service}:{self.port}"
        shape = [*_balance_text(self.balance), *_affinity_text(self.affinity), *_ejection_text(self.ejection)]
        if self.max_requests:
            shape.append(f"max-requests={self.max_requests}")
        if self.send_proxy:
            shape.append(f"send-proxy={self.send_proxy}")
        if self.spoken:
            shape.append(f"backend-protocol={self.spoken}")
        shape += _tls_text(self.tls)
        if self.affinity_as:
            shape.append(f"affinity-as={self.affinity_as}")
        return f"{name}?{'&'.join(shape)}" if shape else name

    def shaped(self, cluster: Cluster, app_protocol: str = "") -> Cluster:
        """``cluster`` with what this key says of it, and where it says nothing the Service port."""
        spoken = self.spoken or _APP_PROTOCOLS.get(app_protocol.lower(), "http")
        return msgspec.structs.replace(
            cluster,
            balance=self.balance,
            affinity=self._shared_affinity,
            ejection=self.ejection,
            max_requests=self.max_requests,
            send_proxy=self.send_proxy,
            protocol="http2" if spoken in ("grpc", "grpcs") else PLAIN_PROTOCOL,
            tls=(self.tls or UpstreamTls()) if spoken in ("https", "grpcs") else None,
        )

    @property
    def _shared_affinity(self) -> Affinity | None:
        if self.affinity is None or not self.affinity_as:
            return self.affinity
        other = msgspec.structs.replace(self, spoken=self.affinity_as, tls=None, affinity_as="")
        return msgspec.structs.replace(self.affinity, cluster=other.cluster)


def _balance_text(balance: Balance) -> list[str]:
    if balance == PLAIN_BALANCE:
        return []
    if balance.method == "hash":
        return [f"upstream-hash-by={format_hash_key(balance.hash_key).replace('%', '%25').replace('&', '%26')}"]
    return [f"load-balance={balance.method}"]


def _affinity_text(affinity: Affinity | None) -> list[str]:
    if affinity is None:
        return []
    secure = None if affinity.secure is None else str(affinity.secure).lower()
    rest = {"path": affinity.path, "max-age": affinity.max_age, "secure": secure, "samesite": affinity.same_site}
    cookie = quote(affinity.cookie, safe="")
    return [
        f"affinity={cookie}",
        *(f"{name}={quote(str(value))}" for name, value in rest.items() if value not in (None, "")),
    ]


def _ejection_text(ejection: Ejection) -> list[str]:
    if ejection == PLAIN_EJECTION:
        return []
    parts = (ejection.consecutive_failures, ejection.base_time, ejection.max_time, ejection.max_percent)
    return [f"ejection={','.join(map(str, parts))}"]


def _tls_text(tls: UpstreamTls | None) -> list[str]:
    if tls is None:
        return []
    trusted = blake2b(tls.ca_pem.encode(), digest_size=8).hexdigest() if tls.ca_pem else "system"
    versions = f"{tls.min_version}-{tls.max_version}"
    rest = {
        "verify": trusted if tls.verify else "",
        "verify-depth": str(tls.verify_depth) if tls.verify_depth != 1 else "",
        "name": tls.server_name,
        "secret": tls.certificate or "",
        "protocols": versions if versions != "1.2-1.3" else "",
        "ciphers": tls.ciphers,
    }
    return [f"proxy-ssl-{name}={quote(value)}" for name, value in rest.items() if value]


class BackendUse(msgspec.Struct, frozen=True, kw_only=True):
    """``field`` names the backend ``key``."""

    key: BackendKey
    field: str


class RouteClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A route that the Ingress wants on ``host``; ``field`` is its path."""

    host: HostPattern
    route: Route
    field: str
    passes_to: str = ""
    """The cluster that ends the TLS of the host itself; empty: it is ended here."""

    @property
    def slot(self) -> tuple[HostPattern, str, str]:
        """At most one route may have it: host, kind, and path without the trailing slash of a prefix."""
        path = self.route.path
        if self.route.kind == "prefix":
            path = path.removesuffix("/")
        return (self.host, self.route.kind, path)


class ClientClaim(msgspec.Struct, frozen=True, kw_only=True):
    """What an Ingress asks of all clients of its hosts."""

    rules: ClientCertificates | None = None
    """``None``: it cannot be settled, so that nobody is let in."""
    field: str = ""


class TlsClaim(msgspec.Struct, frozen=True, kw_only=True):
    """One ``spec.tls`` entry with a Secret."""

    secret: Key
    hosts: tuple[HostPattern, ...] = ()
    rule_hosts: bool = False
    """The entry names no host: it is for those hosts of the rules that the certificate covers."""
    field: str


class IngressPart(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one Ingress asks for."""

    ref: ObjectRef
    age: Age
    source: Source | None = None
    hosts: tuple[HostPattern, ...] = ()
    """Host patterns of its rules, :data:`ANY_HOST` for a rule without one."""
    has_rules: bool = False
    routes: tuple[RouteClaim, ...] = ()
    """No two of the same slot."""
    defaults: dict[HostPattern, Route] = {}
    """The default backend as a route: of each host, and of :data:`ANY_HOST`. Empty: it has none."""
    backends: tuple[BackendUse, ...] = ()
    tls: tuple[TlsClaim, ...] = ()
    shown: tuple[Key, ...] = ()
    """Secrets with certificates that backends are shown."""
    clients: ClientClaim | None = None
    """``None``: it asks nothing of clients."""
    applied_policies: tuple[tuple[Key, ObjectRef], ...] = ()
    """Each TrafficPolicy that shaped this part, and the Ingress or Service that it is attached to."""
    problems: tuple[Problem, ...] = ()

    def problem(self, field: str, finding: Finding) -> Problem:
        """``finding`` at a field of this Ingress."""
        return Problem(
            object=self.ref,
            field=field,
            reason=finding.reason,
            message=finding.message,
            severity=finding.severity,
            source=self.source,
        )
