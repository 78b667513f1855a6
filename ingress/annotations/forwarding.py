"""The annotations of redirects to https, limits, timeouts and balancing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ingress.annotations.hash_key import parse_hash_key
from ingress.annotations.parsers import (
    parse_bool,
    parse_choice,
    parse_cookie_name,
    parse_cookie_path,
    parse_count,
    parse_duration,
    parse_max_age,
    parse_object,
    parse_same_site,
    parse_seconds,
    parse_size,
)
from ingress.annotations.spec import AnnotationSpec
from ingress.annotations.values import LoadBalance

__all__ = ["FORWARDING"]

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

FORWARDING: Final[tuple[AnnotationSpec, ...]] = (
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
        name="ssl-passthrough",
        parser=parse_bool,
        scope="ingress",
        risk="low",
        unsafe_to_ignore=False,
        default="`false`",
        help=(
            "Leave the TLS of the hosts of this Ingress to the endpoints behind their path `/`: connections are passed "
            "through by their server name, unread, so that other paths and annotations have no effect on them. Plain "
            "http is redirected to https. Each connection has a line in the access log, at its end. "
            "Needs the option `--enable-ssl-passthrough`."
        ),
        example="true",
    ),
    AnnotationSpec(
        name="hsts",
        parser=parse_bool,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="`true` on hosts that have a `tls` section (`--no-hsts` turns it off for all)",
        help=(
            "Send `Strict-Transport-Security` with responses over https, unless the backend sends its own. Here, "
            "ingress-nginx has an option only."
        ),
        example="false",
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
    AnnotationSpec(
        name="send-proxy",
        parser=parse_choice("v1", "v2"),
        scope="location",
        risk="medium",
        unsafe_to_ignore=False,
        ours_only=True,
        default="none",
        help=(
            "Begin each connection to an endpoint with a PROXY protocol header of that version, naming the client. "
            "Each request then has a connection of its own."
        ),
        example="v2",
    ),
    AnnotationSpec(
        name="proxy-next-upstream-tries",
        parser=parse_count,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="`3`",
        help=(
            "How many endpoints are tried at most, where one fails before it answered. `0`: all of them, as in "
            "ingress-nginx."
        ),
        example="2",
    ),
    AnnotationSpec(
        name="affinity",
        parser=parse_choice("cookie"),
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="none",
        help="`cookie`: a client returns to the endpoint that served it before. The cookie is HttpOnly.",
        example="cookie",
    ),
    AnnotationSpec(
        name="session-cookie-name",
        parser=parse_cookie_name,
        scope="location",
        risk="medium",
        unsafe_to_ignore=False,
        default="`INGRESSCOOKIE`",
        help="Name of the cookie of `affinity`.",
        example="route",
    ),
    AnnotationSpec(
        name="session-cookie-path",
        parser=parse_cookie_path,
        scope="location",
        risk="medium",
        unsafe_to_ignore=False,
        default="`/` (ingress-nginx: the path of the route)",
        help="Path of the cookie of `affinity`.",
        example="/shop",
    ),
    AnnotationSpec(
        name="session-cookie-max-age",
        parser=parse_max_age,
        scope="location",
        risk="medium",
        unsafe_to_ignore=False,
        default="none: the cookie lasts until the browser closes",
        help="Seconds that the cookie of `affinity` lasts.",
        example="3600",
    ),
    AnnotationSpec(
        name="session-cookie-expires",
        parser=parse_max_age,
        scope="location",
        risk="medium",
        unsafe_to_ignore=False,
        default="none",
        help="The older form of `session-cookie-max-age`, which decides where both are set.",
        example="3600",
    ),
    AnnotationSpec(
        name="session-cookie-secure",
        parser=parse_bool,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="`true` for a cookie that is given over https",
        help="Whether the cookie of `affinity` is sent over https alone.",
        example="true",
    ),
    AnnotationSpec(
        name="session-cookie-samesite",
        parser=parse_same_site,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="none",
        help="SameSite attribute of the cookie of `affinity`: `Strict`, `Lax` or `None`.",
        example="Lax",
    ),
    AnnotationSpec(
        name="custom-headers",
        parser=parse_object,
        scope="location",
        risk="medium",
        unsafe_to_ignore=False,
        default="none",
        help=(
            "A ConfigMap of the same namespace with names and values of header fields that every response gets. "
            "Fields of framing (Content-Length, Connection and the like) are left out."
        ),
        example="default/response-headers",
    ),
)
