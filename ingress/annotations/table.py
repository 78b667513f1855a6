"""The one table of annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from ingress.annotations.hash_key import parse_hash_key
from ingress.annotations.parsers import parse_bool, parse_choice, parse_duration, parse_seconds, parse_size
from ingress.annotations.values import LoadBalance

__all__ = [
    "ANNOTATIONS",
    "NGINX_PREFIX",
    "OUR_PREFIX",
    "UNSUPPORTED",
    "AnnotationSpec",
    "Consequence",
    "UnsupportedAnnotation",
]

OUR_PREFIX: Final = "pyngress.io/"
NGINX_PREFIX: Final = "nginx.ingress.kubernetes.io/"

Scope = Literal["ingress", "location"]
Risk = Literal["low", "medium", "high", "critical"]
Consequence = Literal["ignored", "refused", "left_out"]
"""What an annotation without support does to its Ingress: nothing; its routes answer 503; it gives no routes."""


class AnnotationSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One annotation. ``name`` is the suffix behind either prefix; its value goes to the field of the same name (``-``
    as ``_``) of :class:`~ingress.annotations.values.Annotations`."""

    name: str
    parser: Callable[[str], object]
    nginx_parser: Callable[[str], object] | None = None
    """The grammar under ``nginx.ingress.kubernetes.io/``. ``None``: the same."""
    scope: Scope
    """``ingress``: can act on a whole host; ``location``: on the routes of this Ingress."""
    risk: Risk
    unsafe_to_ignore: bool
    """A value that does not parse closes the routes (503) instead of leaving the default."""
    default: str
    help: str
    example: str


class UnsupportedAnnotation(msgspec.Struct, frozen=True, kw_only=True):
    """An annotation of ingress-nginx that Pyngress knows but does not carry out."""

    name: str
    consequence: Consequence = "ignored"


_LOAD_BALANCE: Final[Callable[[str], LoadBalance]] = parse_choice(
    "round_robin",
    "ewma",
    "least_requests",
    "random_two",
    "chash",
    elsewhere={
        "chashsubset": "is internal to ingress-nginx; consistent hashing is upstream-hash-by",
        "sticky_balanced": "is internal to ingress-nginx; it is chosen by the affinity annotations",
        "sticky_persistent": "is internal to ingress-nginx; it is chosen by the affinity annotations",
    },
)

ANNOTATIONS: Final[tuple[AnnotationSpec, ...]] = (
    AnnotationSpec(
        name="ssl-redirect",
        parser=parse_bool,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="`true` (`--no-ssl-redirect` turns it off for all)",
        help="Answer plain http with a redirect to https, on hosts that have a `tls` section.",
        example="false",
    ),
    AnnotationSpec(
        name="force-ssl-redirect",
        parser=parse_bool,
        scope="location",
        risk="medium",
        unsafe_to_ignore=False,
        default="`false`",
        help="Redirect to https even without a `tls` section, for example where a load balancer ends TLS.",
        example="true",
    ),
    AnnotationSpec(
        name="proxy-body-size",
        parser=parse_size,
        scope="location",
        risk="medium",
        unsafe_to_ignore=False,
        default="`--max-body-size`, which is no limit (ingress-nginx: `1m`)",
        help="Largest request body, in bytes or with a unit `b`, `k`, `m`, `g`; `0`: no limit. A larger one gets 413.",
        example="8m",
    ),
    AnnotationSpec(
        name="proxy-connect-timeout",
        parser=parse_duration,
        nginx_parser=parse_seconds,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="`5`",
        help="Longest wait for a connection to an endpoint.",
        example="3",
    ),
    AnnotationSpec(
        name="proxy-read-timeout",
        parser=parse_duration,
        nginx_parser=parse_seconds,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="`60`",
        help="Longest wait between two reads from an endpoint (not for the whole response).",
        example="300",
    ),
    AnnotationSpec(
        name="proxy-send-timeout",
        parser=parse_duration,
        nginx_parser=parse_seconds,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="`60`",
        help="Longest wait between two writes to an endpoint.",
        example="300",
    ),
    AnnotationSpec(
        name="load-balance",
        parser=_LOAD_BALANCE,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="`round_robin`",
        help=(
            "How an endpoint is chosen: `round_robin`, `ewma` (fastest of two by moving average), `least_requests`, "
            "`random_two`; `chash` only beside `upstream-hash-by`."
        ),
        example="ewma",
    ),
    AnnotationSpec(
        name="upstream-hash-by",
        parser=parse_hash_key,
        scope="location",
        risk="high",
        unsafe_to_ignore=False,
        default="none",
        help=(
            "Send equal keys to the same endpoint (consistent hash). The key is text with the variables `$request_uri` "
            "`$uri` `$host` `$remote_addr` `$binary_remote_addr` `$args` `$query_string` `$request_method` `$scheme` "
            "`$arg_NAME` `$http_NAME` `$cookie_NAME`, also as `${NAME}`. It decides over `load-balance`."
        ),
        example="$cookie_user$request_uri",
    ),
)

_IGNORED: Final = """
    affinity affinity-canary-behavior affinity-mode app-root auth-always-set-cookie auth-cache-duration auth-cache-key
    auth-keepalive auth-keepalive-requests auth-keepalive-share-vars auth-keepalive-timeout auth-method
    auth-proxy-set-headers auth-realm auth-request-redirect auth-response-headers auth-secret-type auth-signin
    auth-signin-redirect-param backend-protocol canary-by-cookie canary-by-header canary-by-header-pattern
    canary-by-header-value canary-weight canary-weight-total client-body-buffer-size connection-proxy-header
    cors-allow-credentials cors-allow-headers cors-allow-methods cors-allow-origin cors-expose-headers cors-max-age
    custom-headers custom-http-errors default-backend disable-proxy-intercept-errors enable-access-log enable-cors
    enable-global-auth enable-modsecurity enable-opentelemetry enable-owasp-core-rules enable-rewrite-log
    fastcgi-index fastcgi-params-configmap from-to-www-redirect http2-push-preload limit-allowlist
    limit-burst-multiplier limit-connections limit-rate limit-rate-after limit-rpm limit-rps limit-whitelist mirror-host
    mirror-request-body mirror-target modsecurity-snippet modsecurity-transaction-id opentelemetry-operation-name
    opentelemetry-trust-incoming-span permanent-redirect permanent-redirect-code preserve-trailing-slash
    proxy-buffer-size proxy-buffering proxy-buffers-number proxy-busy-buffers-size proxy-cookie-domain
    proxy-cookie-path proxy-http-version proxy-max-temp-file-size proxy-next-upstream proxy-next-upstream-timeout
    proxy-next-upstream-tries proxy-redirect-from proxy-redirect-to proxy-request-buffering proxy-ssl-ciphers
    proxy-ssl-name proxy-ssl-protocols proxy-ssl-secret proxy-ssl-server-name proxy-ssl-verify proxy-ssl-verify-depth
    relative-redirects rewrite-target server-alias service-upstream session-cookie-change-on-failure
    session-cookie-conditional-samesite-none session-cookie-domain session-cookie-expires session-cookie-max-age
    session-cookie-name session-cookie-path session-cookie-samesite session-cookie-secure ssl-ciphers ssl-passthrough
    ssl-prefer-server-ciphers stream-snippet temporal-redirect temporal-redirect-code upstream-hash-by-subset
    upstream-hash-by-subset-size upstream-vhost use-port-in-redirects use-regex x-forwarded-prefix
"""
"""Going on without these may surprise, but lets nobody in."""

_REFUSED: Final = """
    allowlist-source-range auth-secret auth-snippet auth-tls-error-page auth-tls-match-cn
    auth-tls-pass-certificate-to-upstream auth-tls-secret auth-tls-verify-client auth-tls-verify-depth auth-type
    auth-url configuration-snippet denylist-source-range satisfy server-snippet whitelist-source-range
"""
"""These keep people out, or (the snippets) may; ingress-nginx itself refuses snippets unless told otherwise."""

_LEFT_OUT: Final = "canary"
"""A canary serves nothing by itself in ingress-nginx; as a plain Ingress it could take the traffic of its main one."""

UNSUPPORTED: Final[tuple[UnsupportedAnnotation, ...]] = tuple(
    sorted(
        (
            *(UnsupportedAnnotation(name=name) for name in _IGNORED.split()),
            *(UnsupportedAnnotation(name=name, consequence="refused") for name in _REFUSED.split()),
            *(UnsupportedAnnotation(name=name, consequence="left_out") for name in _LEFT_OUT.split()),
        ),
        key=lambda annotation: annotation.name,
    )
)
