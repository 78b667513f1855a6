"""TrafficPolicies → wishes for the routes of an Ingress, or to a Service.

1. A policy is attached by reference or by labels, within its namespace.
2. Of several policies on one object the oldest decides, field by field; the others hear of what they lost.
3. A policy whose access, rate or CORS part is wrong closes what it is attached to (503): it was meant to keep somebody
   out. So does one whose upstream part is: it may say whom to believe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ingress.annotations import BackendProtocol
from ingress.resources import Key, ObjectMeta, ObjectRef, Problem, Severity, TrafficPolicy
from ingress.resources.crd_parts import AffinitySpec, CorsSpec, RateLimitSpec
from ingress.resources.values import parse_cidr, parse_duration, parse_size
from ingress.translate.backend_tls import wish_of_policy
from ingress.translate.part import GOES_FIRST, Finding
from ingress.translate.wishes import Reader, Wishes
from proxy.table import Affinity, Cors, RateLimit

__all__ = ["Attached", "attach", "attached_to", "policy_problems", "read_policy", "selects_services"]

_SECONDS: Final = {"Second": 1, "Minute": 60, "Hour": 3600}
_PROTECTIVE: Final = ("spec.access", "spec.rateLimit", "spec.cors", "spec.upstream")
_SPOKEN: Final[dict[str, BackendProtocol]] = {
    "HTTP": "http",
    "HTTPS": "https",
    "GRPC": "grpc",
    "GRPCS": "grpcs",
    "AUTO_HTTP": "auto_http",
}


class PolicyReading(msgspec.Struct, frozen=True, kw_only=True):
    """What one TrafficPolicy says. ``places``: field of a wish → its place in the policy."""

    wishes: Wishes
    places: dict[str, str]
    problems: tuple[Problem, ...] = ()
    refused: bool = False


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """What all policies on one object say together."""

    wishes: Wishes = {}
    problems: tuple[Problem, ...] = ()
    """Of policies that lost a field."""
    refused: bool = False
    applied: tuple[tuple[Key, ObjectRef], ...] = ()
    owners: Mapping[str, tuple[TrafficPolicy, str]] = {}
    """Field of a wish → the policy that decides it, and its place there."""

    def problem(self, field: str, finding: Finding) -> Problem | None:
        """What came out at the wish ``field``, told of the policy that has it; ``None``: none here has."""
        if field not in self.owners:
            return None
        policy, place = self.owners[field]
        return _problem(policy, place, finding.reason, finding.message, finding.severity)


def read_policy(policy: TrafficPolicy) -> PolicyReading:
    """The wishes of one policy. The API server has checked its form; what it can not check is checked here."""
    spec, reader = policy.spec, Reader()
    reader.duration("connect_timeout", "spec.timeouts.connect", spec.timeouts.connect)
    reader.duration("read_timeout", "spec.timeouts.read", spec.timeouts.read)
    reader.duration("send_timeout", "spec.timeouts.send", spec.timeouts.send)
    reader.put("max_retries", "spec.retries.attempts", None if spec.retries is None else spec.retries.attempts)
    place = "spec.limits.bodySize"
    reader.put("max_body_bytes", place, reader.parse(place, parse_size, spec.limits.body_size))
    reader.put("max_requests", "spec.limits.requests", spec.limits.requests)
    reader.headers("request_headers", "spec.requestHeaders", spec.request_headers)
    reader.headers("response_headers", "spec.responseHeaders", spec.response_headers)
    if spec.access is not None:
        reader.put("deny", "spec.access.deny", _ranges(reader, "spec.access.deny", spec.access.deny) or None)
        if spec.access.allow is not None:
            reader.put("allow", "spec.access.allow", _ranges(reader, "spec.access.allow", spec.access.allow))
    if spec.rate_limit is not None:
        reader.put("rate_limit", "spec.rateLimit", _rate_limit(reader, str(policy.ref), spec.rate_limit))
    if spec.cors is not None:
        reader.put("cors", "spec.cors", _cors(reader, spec.cors))
    if spec.upstream is not None:
        reader.put("spoken", "spec.upstream.protocol", _SPOKEN.get(spec.upstream.protocol))
        reader.put("send_proxy", "spec.upstream.sendProxy", spec.upstream.send_proxy or None)
        if spec.upstream.tls is not None:
            reader.put("tls", "spec.upstream.tls", wish_of_policy(spec.upstream.tls))
    reader.balancing("spec.balancing", spec.balancing)
    reader.ejection("spec.ejection", spec.ejection)
    if spec.affinity is not None:
        reader.put("affinity", "spec.affinity", _affinity(reader, spec.affinity))
    closing = [place for place, _ in reader.faults if place.startswith(_PROTECTIVE)]
    return PolicyReading(
        wishes=reader.wishes,
        places=reader.places,
        problems=tuple(
            _problem(
                policy,
                place,
                "InvalidValue",
                f"{fault}; {'its targets answer 503' if place in closing else 'it counts as not set'}",
            )
            for place, fault in reader.faults
        ),
        refused=bool(closing or policy.broken),
    )


def policy_problems(policy: TrafficPolicy, targets: Sequence[ObjectRef]) -> tuple[Problem, ...]:
    """What is wrong with a policy by itself, and whether it applies nowhere."""
    problems = read_policy(policy).problems
    if targets:
        return problems
    message = "matches no Ingress that is served here, and no Service that one forwards to"
    return (*problems, _problem(policy, "spec", "NoTarget", message, "warning"))


def attached_to(policies: Iterable[TrafficPolicy], kind: str, name: str, labels: dict[str, str]) -> list[TrafficPolicy]:
    """Those policies of a namespace that an object of it has, in the order in which they come."""
    return [policy for policy in policies if _selects(policy, kind, name, labels)]


def selects_services(policies: Iterable[TrafficPolicy]) -> bool:
    """Whether labels of Services matter."""
    selectors = (policy.spec.target_selector for policy in policies)
    return any(selector is not None and selector.kind == "Service" for selector in selectors)


def attach(policies: Sequence[TrafficPolicy], target: ObjectRef) -> Attached:
    """What policies on one object, oldest first, say together."""
    wishes: dict[str, Any] = {}
    owners: dict[str, tuple[TrafficPolicy, str]] = {}
    problems: list[Problem] = []
    refused = False
    for policy in policies:
        reading = read_policy(policy)
        refused |= reading.refused
        lost: dict[str, TrafficPolicy] = {}
        for field, value in reading.wishes.items():
            owner, _ = owners.setdefault(field, (policy, reading.places[field]))
            if wishes.setdefault(field, value) != value:
                lost.setdefault(reading.places[field], owner)
        problems += (_conflict(policy, place, owner, target) for place, owner in lost.items())
    return Attached(
        wishes=wishes,
        problems=tuple(problems),
        refused=refused,
        applied=tuple((_key(policy.metadata), target) for policy in policies),
        owners=owners,
    )


def _selects(policy: TrafficPolicy, kind: str, name: str, labels: dict[str, str]) -> bool:
    spec = policy.spec
    if any(ref.kind == kind and ref.name == name for ref in spec.target_refs):
        return True
    selector = spec.target_selector
    return (
        selector is not None
        and selector.kind == kind
        and all(labels.get(label) == value for label, value in selector.match_labels.items())
    )


def _ranges(reader: Reader, place: str, texts: Sequence[str]) -> tuple[str, ...]:
    parsed = (reader.parse(f"{place}[{index}]", parse_cidr, text) for index, text in enumerate(texts))
    return tuple(dict.fromkeys(item for item in parsed if item is not None))


def _rate_limit(reader: Reader, key: str, spec: RateLimitSpec) -> RateLimit | None:
    seconds = _SECONDS.get(spec.per)
    if seconds is None:
        reader.faults.append(("spec.rateLimit.per", f"value {spec.per[:80]!a} is no unit of time"))
        return None
    return RateLimit(
        key=key,
        rate=spec.requests / seconds,
        burst=spec.requests if spec.burst is None else spec.burst,
        status=spec.status_code,
        exempt=_ranges(reader, "spec.rateLimit.exempt", spec.exempt),
    )


def _cors(reader: Reader, spec: CorsSpec) -> Cors | None:
    max_age = reader.parse("spec.cors.maxAge", parse_duration, spec.max_age)
    if max_age is None:
        return None
    return Cors(
        allow_origins=tuple(origin.lower() for origin in spec.allow_origins),
        allow_methods=spec.allow_methods,
        allow_headers=spec.allow_headers,
        expose_headers=spec.expose_headers,
        allow_credentials=spec.allow_credentials,
        max_age=int(max_age),
    )


def _affinity(reader: Reader, spec: AffinitySpec) -> Affinity:
    cookie = spec.cookie
    max_age = reader.parse("spec.affinity.cookie.maxAge", parse_duration, cookie.max_age)
    same_site: Any = cookie.same_site
    return Affinity(
        cookie=cookie.name,
        path="" if cookie.path == "/" else cookie.path,
        max_age=None if max_age is None else int(max_age),
        secure=cookie.secure,
        same_site=same_site,
    )


def _conflict(policy: TrafficPolicy, place: str, owner: TrafficPolicy, target: ObjectRef) -> Problem:
    message = f"{owner.ref} {GOES_FIRST} and decides this for {target}"
    return _problem(policy, place, "PolicyConflict", message, "warning")


def _problem(policy: TrafficPolicy, place: str, reason: str, message: str, severity: Severity = "error") -> Problem:
    return Problem(
        object=policy.ref, field=place, reason=reason, message=message, severity=severity, source=policy.source
    )


def _key(metadata: ObjectMeta) -> Key:
    return (metadata.namespace, metadata.name)
