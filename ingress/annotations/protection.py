"""The annotations that say who may ask, how often, and from which origin."""

from __future__ import annotations

from typing import Final

from ingress.annotations.parsers import (
    parse_bool,
    parse_count,
    parse_max_age,
    parse_names,
    parse_origins,
    parse_ranges,
)
from ingress.annotations.spec import AnnotationSpec

__all__ = ["PROTECTION"]

_PER_CLIENT: Final = (
    "of one client address on all routes of this Ingress, per pod of the controller. More get 503. `0`: no limit."
)

PROTECTION: Final[tuple[AnnotationSpec, ...]] = (
    AnnotationSpec(
        name="whitelist-source-range",
        parser=parse_ranges,
        scope="location",
        risk="medium",
        unsafe_to_ignore=True,
        default="everybody",
        help="Address ranges (CIDR), separated by commas, of the only clients that may ask. Others get 403.",
        example="10.0.0.0/8,2001:db8::/32",
    ),
    AnnotationSpec(
        name="allowlist-source-range",
        parser=parse_ranges,
        scope="location",
        risk="medium",
        unsafe_to_ignore=True,
        default="everybody",
        help="Another name of `whitelist-source-range`, and decides where both are set.",
        example="10.0.0.0/8",
    ),
    AnnotationSpec(
        name="denylist-source-range",
        parser=parse_ranges,
        scope="location",
        risk="medium",
        unsafe_to_ignore=True,
        default="nobody",
        help="Address ranges (CIDR), separated by commas, of clients that get 403, also where they are allowed.",
        example="192.0.2.0/24",
    ),
    AnnotationSpec(
        name="limit-rps",
        parser=parse_count,
        scope="location",
        risk="low",
        unsafe_to_ignore=True,
        default="none",
        help=f"Requests per second {_PER_CLIENT}",
        example="10",
    ),
    AnnotationSpec(
        name="limit-rpm",
        parser=parse_count,
        scope="location",
        risk="low",
        unsafe_to_ignore=True,
        default="none",
        help=(f"Requests per minute {_PER_CLIENT} Beside `limit-rps`, the lower rate and the smaller burst hold."),
        example="300",
    ),
    AnnotationSpec(
        name="limit-burst-multiplier",
        parser=parse_count,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="`5`",
        help="How many requests beyond the rate may come at once: the limit times this.",
        example="3",
    ),
    AnnotationSpec(
        name="limit-whitelist",
        parser=parse_ranges,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="nobody",
        help="Address ranges (CIDR), separated by commas, of clients that `limit-rps` and `limit-rpm` do not count.",
        example="10.0.0.0/8",
    ),
    AnnotationSpec(
        name="limit-allowlist",
        parser=parse_ranges,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="nobody",
        help="Another name of `limit-whitelist`, and decides where both are set.",
        example="10.0.0.0/8",
    ),
    AnnotationSpec(
        name="max-requests",
        parser=parse_count,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        ours_only=True,
        default="none",
        help=(
            "Requests that may be under way to the Service at a time, per worker; more get 503 with `Retry-After: 1`, "
            "at once. Upgraded connections count for as long as they last. `0`: no limit."
        ),
        example="100",
    ),
    AnnotationSpec(
        name="enable-cors",
        parser=parse_bool,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        default="`false`",
        help="Let scripts of other origins read responses. Preflight requests are answered here, with 204.",
        example="true",
    ),
    AnnotationSpec(
        name="cors-allow-origin",
        parser=parse_origins,
        scope="location",
        risk="medium",
        unsafe_to_ignore=True,
        only_with="enable-cors",
        default="`*`",
        help=(
            "Origins that may, separated by commas: `https://app.example.com`, `https://*.example.com` (one label), "
            "`null`, or `*` for any."
        ),
        example="https://app.example.com,https://*.example.org",
    ),
    AnnotationSpec(
        name="cors-allow-methods",
        parser=parse_names,
        scope="location",
        risk="medium",
        unsafe_to_ignore=False,
        only_with="enable-cors",
        default="`GET, PUT, POST, DELETE, PATCH, OPTIONS`",
        help="Methods that a preflight allows, separated by commas.",
        example="GET, POST",
    ),
    AnnotationSpec(
        name="cors-allow-headers",
        parser=parse_names,
        scope="location",
        risk="medium",
        unsafe_to_ignore=False,
        only_with="enable-cors",
        default=(
            "`DNT, Keep-Alive, User-Agent, X-Requested-With, If-Modified-Since, Cache-Control, Content-Type, Range, "
            "Authorization`"
        ),
        help="Request headers that a preflight allows, separated by commas.",
        example="X-Token, Content-Type",
    ),
    AnnotationSpec(
        name="cors-allow-credentials",
        parser=parse_bool,
        scope="location",
        risk="low",
        unsafe_to_ignore=True,
        only_with="enable-cors",
        default="`true`",
        help="Whether requests with cookies or client certificates may be read.",
        example="false",
    ),
    AnnotationSpec(
        name="cors-expose-headers",
        parser=parse_names,
        scope="location",
        risk="medium",
        unsafe_to_ignore=False,
        only_with="enable-cors",
        default="none",
        help="Response headers that scripts may read, separated by commas.",
        example="X-Total",
    ),
    AnnotationSpec(
        name="cors-max-age",
        parser=parse_max_age,
        scope="location",
        risk="low",
        unsafe_to_ignore=False,
        only_with="enable-cors",
        default="`1728000`",
        help="Seconds that a browser may remember a preflight.",
        example="600",
    ),
)
