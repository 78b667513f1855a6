"""What somebody wishes for routes and clusters, field by field, so that several sources can be laid over each other.

A wish is a field and its value. A field is that of :class:`~proxy.table.Policy` or one of :data:`CLUSTER_FIELDS`, or
``ssl_redirect``; a header rule is a field per message and header name, so that two sources that speak of different
headers both get what they want. A field that is not there is not wished for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from ingress.resources.crd_parts import BalancingSpec, EjectionSpec, HeaderEdits
from ingress.resources.values import BadValue, parse_duration, parse_header_name, parse_header_value
from ingress.translate.part import PLAIN_BALANCE, PLAIN_EJECTION
from proxy.table import Balance, Ejection, HashPart, HeaderRules, Policy

__all__ = [
    "CLUSTER_FIELDS",
    "HeaderWish",
    "Reader",
    "Wishes",
    "cluster_of",
    "layered",
    "policy_of",
]

Wishes = Mapping[str, Any]
W = TypeVar("W")

CLUSTER_FIELDS: Final = ("balance", "affinity", "ejection", "max_requests", "send_proxy", "spoken")
_HEADER_FIELDS: Final = ("request_headers", "response_headers")
_POLICY_FIELDS: Final = frozenset(Policy.__struct_fields__) - set(_HEADER_FIELDS)

_METHODS: Final[dict[str, Any]] = {
    "RoundRobin": "round_robin",
    "LeastRequests": "least_requests",
    "RandomTwo": "random_two",
    "EWMA": "ewma",
    "Hash": "hash",
}
_SOURCES: Final[dict[str, Any]] = {
    "RemoteAddress": "remote_addr",
    "Host": "host",
    "RequestURI": "request_uri",
    "Path": "uri",
    "Query": "args",
    "Method": "method",
    "Scheme": "scheme",
    "Header": "header",
    "Cookie": "cookie",
    "QueryParameter": "arg",
}


class HeaderWish(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to the fields of one name: removed, then set, then added. ``name`` as it was written."""

    name: str
    remove: bool = False
    set: str | None = None
    add: str | None = None


class Reader:
    """Collects the wishes of one object, and what is wrong with them. ``places``: field → its place in the object."""

    def __init__(self) -> None:
        self.wishes: dict[str, Any] = {}
        self.places: dict[str, str] = {}
        self.faults: list[tuple[str, str]] = []
        """Place, and the end of the sentence "value X …"."""

    def put(self, field: str, place: str, value: object) -> None:
        """``value`` of ``None``: not wished for."""
        if value is not None:
            self.wishes[field] = value
            self.places[field] = place

    def parse(self, place: str, parser: Callable[[Any], W], value: object) -> W | None:
        """The value, or ``None`` where it is absent (``None`` or empty) or bad."""
        if value is None or value == "":
            return None
        try:
            return parser(value)
        except BadValue as bad:
            self.faults.append((place, f"value {str(value)[:80]!a} {bad}"))
            return None

    def duration(self, field: str, place: str, text: str) -> None:
        self.put(field, place, self.parse(place, parse_duration, text))

    def headers(self, field: str, place: str, edits: HeaderEdits) -> None:
        """The rules of one message, by name."""
        wishes: dict[str, HeaderWish] = {}
        for index, name in enumerate(edits.remove):
            if self.parse(f"{place}.remove[{index}]", parse_header_name, name) is not None:
                wishes[name.lower()] = HeaderWish(name=name, remove=True)
        for edit, items in (("set", edits.set), ("add", edits.add)):
            for index, item in enumerate(items):
                here = f"{place}.{edit}[{index}]"
                good = self.parse(f"{here}.name", parse_header_name, item.name)
                value = self.parse(f"{here}.value", parse_header_value, item.value)
                if good is not None and value is not None:
                    before = wishes.get(item.name.lower(), HeaderWish(name=item.name))
                    wishes[item.name.lower()] = msgspec.structs.replace(before, **{edit: value})
        for name, wish in wishes.items():
            self.put(f"{field}:{name}", place, wish)

    def balancing(self, place: str, spec: BalancingSpec | None) -> None:
        if spec is None:
            return
        method = _METHODS.get(spec.method)
        sources = [_SOURCES.get(part.source) for part in spec.hash_by]
        if method is None or None in sources or (method == "hash") != bool(sources):
            self.faults.append((place, "is not a way to choose endpoints"))
            return
        parts = tuple(
            HashPart(source=source, name=part.name.lower() if source == "header" else part.name)
            for source, part in zip(sources, spec.hash_by, strict=True)
            if source is not None
        )
        self.put("balance", place, Balance(method=method, hash_key=parts))

    def ejection(self, place: str, spec: EjectionSpec | None) -> None:
        if spec is None:
            return
        base = self.parse(f"{place}.baseTime", parse_duration, spec.base_time)
        longest = self.parse(f"{place}.maxTime", parse_duration, spec.max_time)
        plain = Ejection()
        self.put(
            "ejection",
            place,
            Ejection(
                consecutive_failures=spec.consecutive_failures,
                base_time=plain.base_time if base is None else base,
                max_time=plain.max_time if longest is None else longest,
                max_percent=spec.max_percent,
            ),
        )


def layered(layers: Iterable[Wishes]) -> dict[str, Any]:
    """Every field as the first layer that has it wishes."""
    result: dict[str, Any] = {}
    for layer in layers:
        for field, value in layer.items():
            result.setdefault(field, value)
    return result


def policy_of(wishes: Wishes) -> Policy:
    """The policy of a route."""
    fields = {field: value for field, value in wishes.items() if field in _POLICY_FIELDS}
    for message in _HEADER_FIELDS:
        rules = _rules(wishes, message)
        if rules is not None:
            fields[message] = rules
    return Policy(**fields)


def cluster_of(wishes: Wishes) -> dict[str, Any]:
    """What shapes the cluster beyond the usual: fields of :class:`~ingress.translate.part.BackendKey`."""
    found = {field: wishes[field] for field in CLUSTER_FIELDS if field in wishes}
    return {field: value for field, value in found.items() if value not in (PLAIN_BALANCE, PLAIN_EJECTION)}


def _rules(wishes: Wishes, message: str) -> HeaderRules | None:
    """In order of the names, so that no order of sources shows."""
    found: list[HeaderWish] = [wishes[field] for field in sorted(wishes) if field.startswith(f"{message}:")]
    if not found:
        return None
    return HeaderRules(
        remove=tuple(wish.name for wish in found if wish.remove),
        set={wish.name: wish.set for wish in found if wish.set is not None},
        add={wish.name: wish.add for wish in found if wish.add is not None},
    )
