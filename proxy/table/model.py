"""The values of the routing table.

Rules of the language:

1. ``hosts``, ``clusters``, ``certificates`` and ``server_names`` are maps; a change replaces whole values by key.
2. A route names its clusters and a server name its certificate by key. A key that is missing is not an error of the
   table: the route answers 503, the name gets the default certificate.
3. A host key is a lower-case DNS name, ``*.`` and a name (one label), or ``*`` (any host).
4. All durations are seconds, all sizes bytes. ``0`` means "no limit" for sizes, never for durations.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "AccessLogFormat",
    "Affinity",
    "Balance",
    "BalanceMethod",
    "Certificate",
    "ClientCertificateMode",
    "ClientCertificates",
    "Cluster",
    "Cors",
    "Ejection",
    "Endpoint",
    "Forward",
    "HashPart",
    "HeaderRules",
    "Host",
    "HostPattern",
    "Hsts",
    "Labels",
    "PathKind",
    "Policy",
    "ProxyProtocol",
    "RateLimit",
    "Redirect",
    "Respond",
    "Route",
    "RouteAction",
    "Settings",
    "Table",
    "TlsVersion",
    "UpstreamProtocol",
    "UpstreamTls",
]

HostPattern = str
PathKind = Literal["exact", "prefix"]
AccessLogFormat = Literal["off", "json", "combined"]
TlsVersion = Literal["1.2", "1.3"]
UpstreamProtocol = Literal["http1", "http2"]
"""``http2``: by ALPN over TLS, by prior knowledge in plain text (RFC 9113 section 3.3)."""
ProxyProtocol = Literal["", "v1", "v2"]
ClientCertificateMode = Literal["required", "optional", "optional_no_ca"]
SameSite = Literal["", "Strict", "Lax", "None"]
BalanceMethod = Literal["round_robin", "least_requests", "random_two", "ewma", "hash"]
HashSource = Literal[
    "text", "remote_addr", "host", "request_uri", "uri", "args", "method", "scheme", "header", "cookie", "arg"
]


class Labels(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a route comes from: the bounded label values of metrics and the access log."""

    namespace: str = ""
    ingress: str = ""
    path: str = ""
    """The path as the Ingress wrote it."""
    service: str = ""
    port: str = ""
    """The Service port, a number or a name, as the Ingress wrote it."""


class HeaderRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is done to the fields of a message, in this order: remove, set, add. Names in any case.

    Whoever makes the table sees to it that no name or value can break framing (RFC 9110 section 5) and that no name is
    one of framing, routing or connection management (Host, Content-Length, Transfer-Encoding, Connection, …).
    """

    remove: tuple[str, ...] = ()
    set: dict[str, str] = {}
    """Replaces every field of that name."""
    add: dict[str, str] = {}
    """Adds one more field of that name."""


class Cors(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Cross-origin requests (Fetch standard, CORS protocol). Preflights are answered here, with 204."""

    allow_origins: tuple[str, ...] = ("*",)
    """Origins (``https://a.example``), ``*`` (any), or with ``*.`` for one label (``https://*.example.com``)."""
    allow_methods: tuple[str, ...] = ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
    allow_headers: tuple[str, ...] = (
        "DNT",
        "Keep-Alive",
        "User-Agent",
        "X-Requested-With",
        "If-Modified-Since",
        "Cache-Control",
        "Content-Type",
        "Range",
        "Authorization",
    )
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = True
    """As ingress-nginx. With it, a ``*`` origin is answered by the origin that asked."""
    max_age: int = 1728000
    """Seconds that a browser may remember a preflight."""


class RateLimit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Requests of one client address on the routes with the same ``key``, per pod: all workers count together."""

    key: str
    """Whose limit it is, e.g. ``TrafficPolicy default/api``: routes of the same key share one allowance."""
    rate: float
    """Requests per second."""
    burst: int
    """Requests beyond the rate that may come at once."""
    status: int = 429
    exempt: tuple[str, ...] = ()
    """CIDRs that are not limited."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a route does besides forwarding. ``None`` means: as in :class:`Settings`, or not at all."""

    max_body_bytes: int | None = None
    connect_timeout: float | None = None
    read_timeout: float | None = None
    """Longest wait between two reads from the upstream, seconds."""
    send_timeout: float | None = None
    """Longest wait between two writes to the upstream, seconds."""
    max_retries: int | None = None
    deny: tuple[str, ...] = ()
    """CIDRs of clients that get 403; looked at before ``allow``."""
    allow: tuple[str, ...] | None = None
    """CIDRs of the only clients that may; empty: nobody. ``None``: all."""
    rate_limit: RateLimit | None = None
    cors: Cors | None = None
    request_headers: HeaderRules | None = None
    """Done last before the upstream gets the request."""
    response_headers: HeaderRules | None = None
    """Done to what the client gets, also where the answer is made here."""


class Forward(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="forward"):
    """Send the request to an endpoint of ``cluster``."""

    cluster: str
    tls_cluster: str = ""
    """The cluster for clients whose own connection is TLS, whatever ``X-Forwarded-Proto`` says. Empty: the same."""

    @property
    def clusters(self) -> tuple[str, ...]:
        """The keys of all clusters that requests may go to."""
        return (self.cluster, self.tls_cluster) if self.tls_cluster else (self.cluster,)


class Respond(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="respond"):
    """Answer here: a route whose configuration is unsafe or whose backend cannot exist answers 503."""

    status: int
    reason: str
    """Shown to the client on the standard page; never carries user input."""
    headers: dict[str, str] = {}
    """Checked as in :class:`HeaderRules`. A ``Content-Type`` here is that of ``body``."""
    body: str | None = None
    """``None``: the standard page, which suits ``status`` and what the client accepts."""


class Redirect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="redirect"):
    """Answer with a ``Location``. What is not given stays as the client asked for it; the query always stays."""

    status: int = 302
    scheme: str = ""
    host: str = ""
    port: int = 0
    """0: none is named, which is the usual one of the scheme if ``scheme`` or ``host`` is given."""
    replace_path: str | None = None
    """The whole path."""
    replace_prefix: str | None = None
    """What stands in place of the path of the (prefix) route that matched."""


RouteAction = Forward | Respond | Redirect


class Route(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One path of one host."""

    kind: PathKind = "prefix"
    path: str = "/"
    """Begins with ``/``. A prefix matches whole path elements; one trailing slash of a prefix does not count."""
    action: RouteAction
    https_redirect: bool = False
    """Plain-text requests are answered by a redirect to the same URL with https."""
    hsts: bool = False
    """Responses over https carry ``Strict-Transport-Security`` as in :class:`Settings`."""
    policy: Policy = Policy()
    labels: Labels = Labels()


class ClientCertificates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the clients of a host have to show (ingress-nginx ``auth-tls-*``)."""

    mode: ClientCertificateMode = "required"
    """``optional_no_ca``: asked for and passed on, not judged."""
    ca_pem: str = ""
    crl_pem: str = ""
    verify_depth: int = 1
    match_subject: str = ""
    """A regular expression (RE2) that the subject (RFC 2253) must match. Empty: any."""
    pass_certificate: bool = False
    """Send ``ssl-client-cert`` (PEM, percent-encoded), beside ``ssl-client-verify`` and the two names."""
    refuse_in_handshake: bool = False
    """Instead of answering 400."""
    error_page: str = ""
    """A URL to redirect to instead of answering 400."""


class Hsts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``Strict-Transport-Security`` on https (RFC 6797)."""

    max_age: int = 31536000
    """Seconds."""
    include_subdomains: bool = True
    preload: bool = False


class Host(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The routes of one host pattern. At most one route per kind and path (a trailing slash of a prefix aside)."""

    routes: tuple[Route, ...] = ()
    default: Route | None = None
    """Serves what no route of this host matches. ``None``: the table's default."""
    client_certificates: ClientCertificates | None = None


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One address that serves a cluster. ``address`` is an IP address, or a DNS name where the cluster says so."""

    address: str
    port: int


class HashPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of a hash key. ``name`` is the literal text, or the header, cookie or query argument."""

    source: HashSource
    name: str = ""


class Balance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an endpoint is chosen. ``hash_key`` is used by method ``hash`` only."""

    method: BalanceMethod = "round_robin"
    hash_key: tuple[HashPart, ...] = ()


class Affinity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client returns to its endpoint by a cookie (RFC 6265). One whose endpoint is gone or ejected gets another."""

    cookie: str = "INGRESSCOOKIE"
    """A token (RFC 9110 section 5.6.2); the name is that of ingress-nginx."""
    path: str = ""
    """Empty: ``/``."""
    cluster: str = ""
    """The key of the cluster whose cookies these are, so that a client returns to the same address from there, too.
    Empty: of this one."""
    max_age: int | None = None
    """Seconds. ``None``: a session cookie."""
    secure: bool | None = None
    """``None``: on https."""
    same_site: SameSite = ""


class Ejection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When an endpoint that fails (no connection, a reset or no answer in time) is left out."""

    consecutive_failures: int = 1
    """0: never ejected."""
    base_time: float = 5.0
    """Seconds of the first ejection; each further one in a row lasts twice as long."""
    max_time: float = 60.0
    max_percent: int = 100
    """Share of a cluster's endpoints that may be out at once; with all of them out, all are tried."""


class UpstreamTls(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """TLS towards the endpoints of a cluster."""

    verify: bool = False
    """Off: any certificate is taken, as ingress-nginx ``proxy-ssl-verify`` off."""
    ca_pem: str = ""
    """Whom to trust. Empty: the system's authorities."""
    verify_depth: int = 1
    """Longest chain between the endpoint's certificate and a trusted one, as OpenSSL counts it."""
    server_name: str = ""
    """Sent as SNI and looked for in the certificate. Empty: the host of the request is not sent, the endpoint's name
    or address is looked for."""
    certificate: str | None = None
    """Key in ``certificates`` of the one to show to the endpoint. ``None``: none."""
    min_version: TlsVersion = "1.2"
    max_version: TlsVersion = "1.3"
    ciphers: str = ""
    """An OpenSSL cipher list for TLS 1.2. Empty: the default."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A backend with its endpoints, sorted, without duplicates. No endpoints: its routes answer 503."""

    endpoints: tuple[Endpoint, ...] = ()
    by_name: bool = False
    """Endpoint addresses are DNS names, resolved when dialled (Service type ExternalName). Names that resolve to
    loopback, link-local or unspecified addresses are refused unless ``Settings.allow_local_names``."""
    balance: Balance = Balance()
    protocol: UpstreamProtocol = "http1"
    tls: UpstreamTls | None = None
    """``None``: plain text."""
    send_proxy: ProxyProtocol = ""
    """A PROXY protocol header before anything else on each connection."""
    max_requests: int = 0
    """Requests under way per worker, tunnels among them; beyond: 503 with Retry-After. 0: no limit."""
    affinity: Affinity | None = None
    ejection: Ejection = Ejection()


class Certificate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A certificate chain and its key. ``__repr__`` hides the key; debug views must too."""

    chain_pem: str
    key_pem: str

    def __repr__(self) -> str:
        return f"Certificate(chain_pem=<{len(self.chain_pem)} bytes>, key_pem=<redacted>)"


class Settings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What holds for every host."""

    max_request_line: int = 8 * 1024
    """As nginx ``large_client_header_buffers`` and Apache ``LimitRequestLine``. More: 414."""
    max_header_bytes: int = 32 * 1024
    """All header lines together, nginx 4 × 8 KiB. More: 431."""
    max_header_fields: int = 100
    """As Apache ``LimitRequestFields``. More: 431."""
    max_body_bytes: int = 0
    """0: no limit, bodies stream. More: 413."""
    max_connections: int = 0
    """Client connections of one worker. 0: what the limit of open files allows. Beyond: 503 and close."""
    max_requests: int = 0
    """Requests to backends under way per worker, tunnels aside; beyond: 503 with Retry-After. 0: no limit but that of
    connections."""

    tls_min_version: TlsVersion = "1.2"
    tls_ciphers: str = ""
    """An OpenSSL cipher list for TLS 1.2. Empty: ECDHE with AES-GCM or ChaCha20, as Mozilla's intermediate list."""
    hsts: Hsts | None = Hsts()
    """Sent on routes that ask for it. ``None``: no such header."""
    http2: bool = True
    """Offer HTTP/2 by ALPN."""
    h2c: bool = False
    """Take HTTP/2 by prior knowledge on plain-text listeners."""
    proxy_protocol_from: tuple[str, ...] = ()
    """CIDRs of peers whose connections begin with a PROXY protocol header (v1 or v2), which must be there."""
    tls_handshake_timeout: float = 10.0
    header_timeout: float = 15.0
    """From the first byte (or the accept) to the end of the request head, as HAProxy ``timeout http-request``."""
    keepalive_timeout: float = 75.0
    """Idle time between two requests, as nginx."""
    body_timeout: float = 60.0
    """Longest wait for the next bytes of a request body, as nginx ``client_body_timeout``."""
    body_min_rate: int = 240
    """Bytes per second below which a request body is cut off after ``body_timeout`` (Kestrel's 240)."""
    write_timeout: float = 60.0
    """Longest wait for a client to take response bytes, as nginx ``send_timeout``."""
    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    send_timeout: float = 60.0
    tunnel_timeout: float = 3600.0
    """Idle time of an upgraded connection, as HAProxy ``timeout tunnel 1h``."""
    upstream_keepalive_timeout: float = 55.0
    """Idle time of a pooled connection; below the 60 s after which most servers close."""
    upstream_keepalive_connections: int = 320
    """Idle connections kept per endpoint and worker, as ingress-nginx."""

    max_retries: int = 2
    """Further endpoints tried after the first, as ingress-nginx ``proxy-next-upstream-tries`` 3."""
    retry_budget_percent: int = 20
    """Retries allowed per 100 requests once a cluster has no healthy endpoint left, so that retries never multiply an
    outage."""

    trusted_proxies: tuple[str, ...] = ()
    """CIDRs whose X-Forwarded-* headers are believed."""
    merge_slashes: bool = True
    """``//`` in a path counts as ``/``, in matching and forwarding."""
    allow_underscores: bool = False
    """Keep header names with ``_``. Off: they are dropped, since CGI-like backends confuse them with ``-``."""
    https_redirect_status: int = 308
    https_redirect_port: int = 443
    """The port that clients reach https on; named in redirects unless 443."""
    http_port: int = 80
    https_port: int = 443
    """The ports X-Forwarded-Port tells for each scheme."""
    allow_local_names: bool = False
    access_log: AccessLogFormat = "json"


class Table(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything a worker needs."""

    hosts: dict[HostPattern, Host] = {}
    clusters: dict[str, Cluster] = {}
    certificates: dict[str, Certificate] = {}
    server_names: dict[HostPattern, str] = {}
    """TLS server name (exact or ``*.`` wildcard) → key in ``certificates``."""
    passthrough: dict[HostPattern, str] = {}
    """TLS server name → cluster whose endpoints end the TLS themselves; its bytes are tunnelled."""
    default: Route | None = None
    """Serves what no host matches. ``None``: 404."""
    default_certificate: str | None = None
    """Key in ``certificates``. ``None``: a self-signed one that the worker makes."""
    settings: Settings = Settings()
