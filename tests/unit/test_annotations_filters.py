"""Annotations with a filter behind them: lists of addresses, names and origins, rates, CORS, affinity, retries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ingress.annotations import NGINX_PREFIX, OUR_PREFIX, BadValue, ParsedAnnotations, parse_annotations
from ingress.annotations.parsers import (
    MAX_ITEMS,
    parse_cookie_name,
    parse_cookie_path,
    parse_count,
    parse_max_age,
    parse_names,
    parse_object,
    parse_origins,
    parse_ranges,
    parse_same_site,
)
from ingress.resources import ObjectMeta
from proxy.table import Affinity, Cors, RateLimit


def read(prefix: str = NGINX_PREFIX, **annotations: str) -> ParsedAnnotations:
    named = {prefix + name.replace("_", "-"): value for name, value in annotations.items()}
    return parse_annotations(ObjectMeta(namespace="default", name="a", annotations=named))


@pytest.mark.parametrize(
    ("parser", "text", "value"),
    [
        (parse_ranges, "10.1.2.3/8", ("10.0.0.0/8",)),
        (parse_ranges, "10.0.0.1, ::1 ,2001:DB8::/32,", ("10.0.0.1/32", "::1/128", "2001:db8::/32")),
        (parse_ranges, "10.0.0.0/8,10.1.0.0/8", ("10.0.0.0/8",)),
        (parse_names, "GET, PUT,*", ("GET", "PUT", "*")),
        (parse_origins, "HTTPS://A.example.com:8443", None),
        (parse_origins, "https://A.example.com:8443,null", ("https://a.example.com:8443", "null")),
        (parse_origins, "https://*.example.com,http://[::1]:3000", ("https://*.example.com", "http://[::1]:3000")),
        (parse_origins, "https://a.*.example.com", None),
        (parse_origins, "https://a.example.com/", None),
        (parse_ranges, "", None),
        (parse_ranges, ",", None),
        (parse_ranges, "10.0.0.0/8,,10.1.0.0/16", None),
        (parse_ranges, "10.0.0.0/33", None),
        (parse_ranges, "10.0.0.0/255.0.0.0", None),
        (parse_ranges, "fe80::1%eth0", None),
        (parse_ranges, "010.0.0.1", None),
        (parse_ranges, "10.0.0.0/8\n", None),
        (parse_ranges, ",".join(["10.0.0.1"] * (MAX_ITEMS + 1)), None),
        (parse_names, "X-A: b", None),
        (parse_names, "X-A\r\nX-B", None),
        (parse_names, "X" * 129, None),
        (parse_count, "0", 0),
        (parse_count, "1000000", 1_000_000),
        (parse_count, "1000001", None),
        (parse_count, "-1", None),
        (parse_count, "٣", None),
        (parse_max_age, "0", 0),
        (parse_max_age, "1h", None),
        (parse_max_age, "31536001", None),
        (parse_cookie_name, "__Host-a", "__Host-a"),
        (parse_cookie_name, "a;b", None),
        (parse_cookie_name, "", None),
        (parse_cookie_path, "/a/b,c", "/a/b,c"),
        (parse_cookie_path, "/a;b", None),
        (parse_cookie_path, "/a b", None),
        (parse_cookie_path, "a", None),
        (parse_same_site, "LAX", "Lax"),
        (parse_same_site, "none", "None"),
        (parse_same_site, "no", None),
        (parse_object, "headers", ("", "headers")),
        (parse_object, "web/headers.v1", ("web", "headers.v1")),
        (parse_object, "a/b/c", None),
        (parse_object, "/b", None),
        (parse_object, "A", None),
    ],
)
def test_grammar(parser: Callable[[str], object], text: str, value: object) -> None:
    """Each list and word has one meaning, or none (shown as ``None``): then it is refused."""
    if value is None:
        with pytest.raises(BadValue):
            parser(text)
    else:
        assert parser(text) == value


@pytest.mark.parametrize("prefix", [OUR_PREFIX, NGINX_PREFIX])
@pytest.mark.parametrize(
    "name", ["whitelist_source_range", "allowlist_source_range", "denylist_source_range", "limit_rps", "limit_rpm"]
)
def test_protection_that_does_not_parse_refuses(prefix: str, name: str) -> None:
    """Going on without a list or a rate could let somebody in, so the routes close."""
    for value in ("", "x"):
        parsed = read(prefix, **{name: value})
        assert parsed.refused
        assert [problem.reason for problem in parsed.problems] == ["BadAnnotation"]


@pytest.mark.parametrize(
    ("switch", "refused"), [("true", True), ("1", True), ("false", False), ("", False), ("x", False), (None, False)]
)
def test_bad_origin_refuses_while_cors_is_on(switch: str | None, refused: bool) -> None:
    """A bad origin would be any origin, if there were CORS; without it, it means nothing."""
    others = {} if switch is None else {"enable_cors": switch}
    assert read(cors_allow_origin="example", **others).refused is refused
    assert read(cors_allow_credentials="no?", **others).refused is refused
    assert not read(cors_allow_methods="?!,", **others).refused


def test_our_switch_decides_over_the_other() -> None:
    """Whether CORS is on is told by our prefix where both are set."""
    annotations = {
        f"{OUR_PREFIX}enable-cors": "false",
        f"{NGINX_PREFIX}enable-cors": "true",
        f"{NGINX_PREFIX}cors-allow-origin": "x",
    }
    parsed = parse_annotations(ObjectMeta(namespace="default", name="a", annotations=annotations))
    assert not parsed.refused
    assert parsed.values.cors is None


@pytest.mark.parametrize(
    ("annotations", "limit"),
    [
        ({}, None),
        ({"limit_burst_multiplier": "3"}, None),
        ({"limit_rps": "0", "limit_rpm": "0"}, None),
        ({"limit_rps": "4"}, RateLimit(key="k", rate=4.0, burst=20, status=503)),
        ({"limit_rpm": "30"}, RateLimit(key="k", rate=0.5, burst=150, status=503)),
        ({"limit_rps": "4", "limit_burst_multiplier": "0"}, RateLimit(key="k", rate=4.0, burst=0, status=503)),
        ({"limit_rps": "1", "limit_rpm": "600"}, RateLimit(key="k", rate=1.0, burst=5, status=503)),
        (
            {"limit_rps": "1", "limit_whitelist": "10.0.0.0/8", "limit_allowlist": "10.1.0.0/16"},
            RateLimit(key="k", rate=1.0, burst=5, status=503, exempt=("10.1.0.0/16",)),
        ),
    ],
)
def test_rates(annotations: dict[str, str], limit: RateLimit | None) -> None:
    """Rates per second and minute become one limit, never looser than either."""
    assert read(**annotations).values.rate_limit("k") == limit


def test_retries_and_lists_become_policy() -> None:
    """Tries count the first; allowlist decides over whitelist."""
    values = read(
        proxy_next_upstream_tries="3",
        whitelist_source_range="10.0.0.0/8",
        allowlist_source_range="10.1.0.0/16",
        denylist_source_range="10.1.1.1",
    ).values
    assert values.policy.max_retries == 2
    assert values.policy.allow == ("10.1.0.0/16",)
    assert values.policy.deny == ("10.1.1.1/32",)
    assert read(proxy_next_upstream_tries="1").values.policy.max_retries == 0
    assert read(proxy_next_upstream_tries="0").values.policy.max_retries == 99


def test_cors_defaults_are_those_of_ingress_nginx() -> None:
    """Only what is set differs from the defaults."""
    assert read(enable_cors="true").values.policy.cors == Cors()
    assert read(enable_cors="true", cors_max_age="5", cors_allow_credentials="false").values.cors == Cors(
        max_age=5, allow_credentials=False
    )
    assert read(cors_max_age="5").values.policy.cors is None


def test_cookie_needs_affinity() -> None:
    """The cookie's annotations mean nothing alone; max-age decides over the older expires."""
    assert read(session_cookie_name="a").values.cookie_affinity is None
    assert read(affinity="cookie").values.cookie_affinity == Affinity()
    assert read(affinity="cookie", session_cookie_expires="5").values.cookie_affinity == Affinity(max_age=5)
    values = read(affinity="cookie", session_cookie_expires="5", session_cookie_max_age="0", session_cookie_name="b")
    assert values.values.cookie_affinity == Affinity(cookie="b", max_age=0)
    assert [problem.reason for problem in values.problems] == ["AnnotationShadowed"]
