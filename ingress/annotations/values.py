"""The annotations of one Ingress as values."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from proxy.table import Affinity, Balance, Cors, HashPart, Policy, RateLimit, TlsVersion

__all__ = ["Annotations", "BackendProtocol", "LoadBalance"]

LoadBalance = Literal["round_robin", "ewma", "least_requests", "random_two", "chash"]
BackendProtocol = Literal["http", "https", "grpc", "grpcs", "auto_http"]

_BURST_MULTIPLIER: Final = 5
"""As ingress-nginx."""
_REFUSED_STATUS: Final = 503
"""As ingress-nginx ``limit-req-status-code``."""
_ALL_TRIES: Final = 100
"""Endpoints that are tried where the annotation sets no bound."""


class Annotations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field per annotation, named like it. ``None``: absent, or a value that did not parse and has its Problem.

    Sizes are bytes (0: no limit), timeouts seconds.
    """

    ssl_redirect: bool | None = None
    force_ssl_redirect: bool | None = None
    ssl_passthrough: bool | None = None
    hsts: bool | None = None
    proxy_body_size: int | None = None
    proxy_connect_timeout: float | None = None
    proxy_read_timeout: float | None = None
    proxy_send_timeout: float | None = None
    load_balance: LoadBalance | None = None
    upstream_hash_by: tuple[HashPart, ...] | None = None
    send_proxy: Literal["v1", "v2"] | None = None
    proxy_next_upstream_tries: int | None = None
    affinity: Literal["cookie"] | None = None
    session_cookie_name: str | None = None
    session_cookie_path: str | None = None
    session_cookie_max_age: int | None = None
    session_cookie_expires: int | None = None
    session_cookie_secure: bool | None = None
    session_cookie_samesite: Literal["Strict", "Lax", "None"] | None = None
    custom_headers: tuple[str, str] | None = None
    """Namespace (empty: that of the Ingress) and name of a ConfigMap."""
    whitelist_source_range: tuple[str, ...] | None = None
    allowlist_source_range: tuple[str, ...] | None = None
    denylist_source_range: tuple[str, ...] | None = None
    limit_rps: int | None = None
    limit_rpm: int | None = None
    limit_burst_multiplier: int | None = None
    limit_whitelist: tuple[str, ...] | None = None
    limit_allowlist: tuple[str, ...] | None = None
    max_requests: int | None = None
    enable_cors: bool | None = None
    cors_allow_origin: tuple[str, ...] | None = None
    cors_allow_methods: tuple[str, ...] | None = None
    cors_allow_headers: tuple[str, ...] | None = None
    cors_allow_credentials: bool | None = None
    cors_expose_headers: tuple[str, ...] | None = None
    cors_max_age: int | None = None
    backend_protocol: BackendProtocol | None = None
    proxy_ssl_secret: tuple[str, str] | None = None
    """Namespace (empty: that of the Ingress) and name of a Secret."""
    proxy_ssl_verify: bool | None = None
    proxy_ssl_verify_depth: int | None = None
    proxy_ssl_name: str | None = None
    proxy_ssl_server_name: bool | None = None
    proxy_ssl_protocols: tuple[TlsVersion, TlsVersion] | None = None
    """Lowest and highest."""
    proxy_ssl_ciphers: str | None = None
    auth_tls_secret: tuple[str, str] | None = None
    """Namespace (empty: that of the Ingress) and name of a Secret."""
    auth_tls_verify_client: Literal["on", "off", "optional", "optional_no_ca"] | None = None
    auth_tls_verify_depth: int | None = None
    auth_tls_match_cn: str | None = None
    auth_tls_error_page: str | None = None
    auth_tls_pass_certificate_to_upstream: bool | None = None
    auth_tls_refuse_in_handshake: bool | None = None

    @property
    def balance(self) -> Balance | None:
        """A hash key decides over ``load_balance``, as in ingress-nginx. ``None``: neither is set."""
        if self.upstream_hash_by is not None:
            return Balance(method="hash", hash_key=self.upstream_hash_by)
        if self.load_balance is None or self.load_balance == "chash":
            return None
        return Balance(method=self.load_balance)

    @property
    def cookie_affinity(self) -> Affinity | None:
        if self.affinity is None:
            return None
        max_age = self.session_cookie_max_age
        return Affinity(
            cookie=self.session_cookie_name or Affinity().cookie,
            path=self.session_cookie_path or "",
            max_age=self.session_cookie_expires if max_age is None else max_age,
            secure=self.session_cookie_secure,
            same_site=self.session_cookie_samesite or "",
        )

    @property
    def policy(self) -> Policy:
        """All of it but the rate limit, which needs an owner."""
        allow = self.allowlist_source_range
        tries = self.proxy_next_upstream_tries
        return Policy(
            max_body_bytes=self.proxy_body_size,
            connect_timeout=self.proxy_connect_timeout,
            read_timeout=self.proxy_read_timeout,
            send_timeout=self.proxy_send_timeout,
            max_retries=None if tries is None else (tries or _ALL_TRIES) - 1,
            deny=self.denylist_source_range or (),
            allow=self.whitelist_source_range if allow is None else allow,
            cors=self.cors,
        )

    @property
    def cors(self) -> Cors | None:
        if not self.enable_cors:
            return None
        given = {
            "allow_origins": self.cors_allow_origin,
            "allow_methods": self.cors_allow_methods,
            "allow_headers": self.cors_allow_headers,
            "expose_headers": self.cors_expose_headers,
            "allow_credentials": self.cors_allow_credentials,
            "max_age": self.cors_max_age,
        }
        return msgspec.structs.replace(Cors(), **{name: value for name, value in given.items() if value is not None})

    def rate_limit(self, key: str) -> RateLimit | None:
        """The limit on all routes of the Ingress that ``key`` names. Of two, the lower rate and the smaller burst."""
        counts = {seconds: count for seconds, count in ((1, self.limit_rps), (60, self.limit_rpm)) if count}
        if not counts:
            return None
        multiplier = _BURST_MULTIPLIER if self.limit_burst_multiplier is None else self.limit_burst_multiplier
        exempt = self.limit_whitelist if self.limit_allowlist is None else self.limit_allowlist
        return RateLimit(
            key=key,
            rate=min(count / seconds for seconds, count in counts.items()),
            burst=multiplier * min(counts.values()),
            status=_REFUSED_STATUS,
            exempt=exempt or (),
        )
