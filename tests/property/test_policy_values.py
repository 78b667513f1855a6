"""Whatever the schemas accept, the proxy can carry out: no accepted value is unfit for the wire."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ingress.annotations import parse_annotations
from ingress.resources import Change, ObjectMeta, Response, TrafficPolicy
from ingress.resources.decode import decode_object
from ingress.resources.values import COOKIE_PATH, HEADER_VALUE, ORIGIN, TOKEN, is_framing_field
from ingress.translate.lookup import Objects
from ingress.translate.policies import read_policy
from ingress.translate.responses import read_response
from ingress.translate.wishes import cluster_of, policy_of
from proxy.engine.route import CompiledRoute
from proxy.filters import FILTERS
from proxy.filters import ClientCertificates as AskForCertificates
from proxy.table import ClientCertificates, Forward, Route, RouteAction, Settings
from proxy.telemetry import Telemetry
from tests.unit.test_policies import REFERENCE


def of(pattern: str, size: int) -> st.SearchStrategy[str]:
    return st.from_regex(pattern.removeprefix("^").removesuffix("$"), fullmatch=True).filter(lambda t: len(t) <= size)


NAMES = (of(TOKEN, 128) | st.sampled_from(["Host", "content_length", "Transfer-Encoding", "te", "X-A"])).filter(
    lambda name: not is_framing_field(name)
)
FIELDS = st.lists(
    st.fixed_dictionaries({"name": NAMES, "value": of(HEADER_VALUE, 4096)}),
    max_size=3,
    unique_by=lambda field: field["name"],
)
EDITS = st.fixed_dictionaries({"set": FIELDS, "add": FIELDS, "remove": st.lists(NAMES, max_size=3)})
TOKENS = st.lists(of(TOKEN, 128), max_size=3)
RANGES = st.lists(
    st.ip_addresses().map(str) | st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map("{0[0]}/{0[1]}".format),
    max_size=3,
)
SECONDS = st.integers(1, 10**6).map("{}s".format)
POLICY = st.fixed_dictionaries(
    {
        "targetSelector": st.just({"kind": "Ingress"}),
        "requestHeaders": EDITS,
        "responseHeaders": EDITS,
        "access": st.fixed_dictionaries({"allow": RANGES, "deny": RANGES}),
        "cors": st.fixed_dictionaries(
            {
                "allowOrigins": st.lists(of(ORIGIN, 300), min_size=1, max_size=3),
                "allowMethods": TOKENS,
                "allowHeaders": TOKENS,
                "exposeHeaders": TOKENS,
                "allowCredentials": st.booleans(),
                "maxAge": SECONDS,
            }
        ),
        "rateLimit": st.fixed_dictionaries(
            {
                "requests": st.integers(1, 10**6),
                "per": st.sampled_from(["Second", "Minute", "Hour"]),
                "burst": st.integers(0, 10**6),
                "statusCode": st.integers(400, 599),
                "exempt": RANGES,
            }
        ),
        "affinity": st.fixed_dictionaries(
            {"cookie": st.fixed_dictionaries({"name": of(TOKEN, 128), "path": of(COOKIE_PATH, 512), "maxAge": SECONDS})}
        ),
    }
)
PATHS = st.from_regex(r"/([-A-Za-z0-9._~!$&'()*+,;=:@]|%[0-9A-F]{2})?[-a-z0-9%./]{0,20}", fullmatch=True)
REDIRECT = st.fixed_dictionaries(
    {"path": st.builds(lambda path: {"type": "ReplacePrefixMatch", "replacePrefixMatch": path}, PATHS)},
    optional={
        "scheme": st.sampled_from(["http", "https"]),
        "hostname": of("^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", 253),
        "port": st.integers(1, 65535),
        "statusCode": st.sampled_from([301, 302, 303, 307, 308]),
    },
)
ANSWER = st.fixed_dictionaries({"redirect": REDIRECT}) | st.fixed_dictionaries(
    {"status": st.integers(200, 599), "headers": FIELDS}, optional={"body": st.text(max_size=20)}
)


def accepted(kind: str, spec: dict[str, Any]) -> Any:
    """The object, if it has no problem; else the example does not count."""
    metadata = {"name": "r", "namespace": "default"}
    decoded = decode_object({"apiVersion": "pyngress.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
    assume(not decoded.problems)
    return decoded.object


def compile_filters(route: Route) -> None:
    """Raises ``ValueError`` for what has no safe meaning."""
    for kind in FILTERS:
        kind.compile(route, Settings())


@settings(max_examples=50)
@given(POLICY)
def test_accepted_policy_compiles(spec: dict[str, Any]) -> None:
    """Every policy that the decoder accepts becomes filters and a cluster."""
    policy = accepted("TrafficPolicy", spec)
    assert isinstance(policy, TrafficPolicy)
    reading = read_policy(policy)
    assert not reading.problems
    assert cluster_of(reading.wishes)["affinity"].cookie == spec["affinity"]["cookie"]["name"]
    compile_filters(Route(action=Forward(cluster="c"), policy=policy_of(reading.wishes)))


@settings(max_examples=50)
@given(ANSWER, PATHS)
def test_accepted_response_compiles(spec: dict[str, Any], path: str) -> None:
    """Every Response that the decoder accepts becomes an answer that the proxy can give."""
    response = accepted("Response", spec)
    assert isinstance(response, Response)
    objects = Objects()
    objects.put(Change(kind=Response, key=("default", "r"), value=response))
    action: RouteAction | None = read_response(REFERENCE, "default", objects).action
    assert action is not None
    route = Route(action=action)
    compile_filters(route)
    compiled = CompiledRoute(route, "a.example.com", Settings(), Telemetry())
    assert compiled.response is None or compiled.response.error != "BadRoute"


@settings(max_examples=50)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.text(max_size=12) | good
            for name, good in {
                "whitelist-source-range": RANGES.map(",".join),
                "denylist-source-range": RANGES.map(",".join),
                "limit-rps": st.integers(0, 10**6).map(str),
                "limit-rpm": st.integers(0, 10**6).map(str),
                "limit-burst-multiplier": st.integers(0, 10**6).map(str),
                "enable-cors": st.sampled_from(["true", "false"]),
                "cors-allow-origin": st.lists(of(ORIGIN, 300), max_size=2).map(",".join),
                "cors-allow-headers": TOKENS.map(",".join),
                "cors-expose-headers": TOKENS.map(",".join),
                "cors-max-age": st.integers(0, 10**8).map(str),
            }.items()
        },
    )
)
def test_any_annotation_compiles_or_refuses(annotations: dict[str, str]) -> None:
    """Whatever stands in an annotation, the policy that comes of it can be carried out."""
    named = {f"pyngress.io/{name}": value for name, value in annotations.items()}
    values = parse_annotations(ObjectMeta(namespace="default", name="a", annotations=named)).values
    compile_filters(Route(action=Forward(cluster="c"), policy=values.policy))
    limit = values.rate_limit("k")
    assert limit is None or (limit.rate > 0 and limit.burst >= 0)


@given(st.text(max_size=30).map("CN=".__add__) | st.text(max_size=12), st.text(max_size=40).map("https://".__add__))
def test_any_rule_for_client_certificates_compiles_or_is_bad(subject: str, page: str) -> None:
    """What the annotations accept, the proxy can carry out."""
    named = {"pyngress.io/auth-tls-match-cn": subject, "pyngress.io/auth-tls-error-page": page}
    values = parse_annotations(ObjectMeta(namespace="default", name="a", annotations=named)).values
    rules = ClientCertificates(
        match_subject=values.auth_tls_match_cn or "", error_page=values.auth_tls_error_page or ""
    )
    AskForCertificates(rules, "a.example.com", "/")
