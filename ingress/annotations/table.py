"""The one table of annotations."""

from __future__ import annotations

from typing import Final

from ingress.annotations.backend import BACKEND
from ingress.annotations.client_certificates import CLIENT_CERTIFICATES
from ingress.annotations.forwarding import FORWARDING
from ingress.annotations.protection import PROTECTION
from ingress.annotations.spec import NGINX_PREFIX, OUR_PREFIX, AnnotationSpec, Consequence, UnsupportedAnnotation

__all__ = [
    "ANNOTATIONS",
    "NGINX_PREFIX",
    "OUR_PREFIX",
    "UNSUPPORTED",
    "AnnotationSpec",
    "Consequence",
    "UnsupportedAnnotation",
]

ANNOTATIONS: Final[tuple[AnnotationSpec, ...]] = (*FORWARDING, *PROTECTION, *BACKEND, *CLIENT_CERTIFICATES)

_IGNORED: Final = """
    affinity-canary-behavior affinity-mode app-root auth-always-set-cookie auth-cache-duration auth-cache-key
    auth-keepalive auth-keepalive-requests auth-keepalive-share-vars auth-keepalive-timeout auth-method
    auth-proxy-set-headers auth-realm auth-request-redirect auth-response-headers auth-secret-type auth-signin
    auth-signin-redirect-param canary-by-cookie canary-by-header canary-by-header-pattern
    canary-by-header-value canary-weight canary-weight-total client-body-buffer-size connection-proxy-header
    custom-http-errors default-backend disable-proxy-intercept-errors enable-access-log enable-global-auth
    enable-modsecurity enable-opentelemetry enable-owasp-core-rules enable-rewrite-log fastcgi-index
    fastcgi-params-configmap from-to-www-redirect http2-push-preload limit-connections limit-rate limit-rate-after
    mirror-host mirror-request-body mirror-target modsecurity-snippet modsecurity-transaction-id
    opentelemetry-operation-name opentelemetry-trust-incoming-span permanent-redirect permanent-redirect-code
    preserve-trailing-slash proxy-buffer-size proxy-buffering proxy-buffers-number proxy-busy-buffers-size
    proxy-cookie-domain proxy-cookie-path proxy-http-version proxy-max-temp-file-size proxy-next-upstream
    proxy-next-upstream-timeout proxy-redirect-from proxy-redirect-to proxy-request-buffering
    relative-redirects rewrite-target server-alias service-upstream
    session-cookie-change-on-failure session-cookie-conditional-samesite-none session-cookie-domain ssl-ciphers
    ssl-prefer-server-ciphers stream-snippet temporal-redirect temporal-redirect-code
    upstream-hash-by-subset upstream-hash-by-subset-size upstream-vhost use-port-in-redirects use-regex
    x-forwarded-prefix
"""
"""Going on without these may surprise, but lets nobody in."""

_REFUSED: Final = """
    auth-secret auth-snippet auth-type auth-url configuration-snippet satisfy server-snippet
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
