"""Parts that our own kinds share, each field with its rules."""

from __future__ import annotations

from typing import Final

from ingress.resources.fields import METADATA
from ingress.resources.schema import Fields, Items, Number, NumberOrText, Rule, Text
from ingress.resources.shape import ANY, STR, Record, Shape
from ingress.resources.values import (
    CIDR,
    DURATION,
    FRAMING_FIELD,
    HEADER_VALUE,
    MAX_HEADER_NAME,
    MAX_HEADER_VALUE,
    SIZE,
    TOKEN,
    is_framing_field,
    parse_cidr,
    parse_duration,
    parse_head_size,
    parse_size,
)

__all__ = [
    "BALANCING",
    "DURATION_TEXT",
    "EJECTION",
    "HEADERS",
    "HEADER_EDITS",
    "HEAD_SIZE",
    "NAMESPACE",
    "OBJECT_NAME",
    "RANGES",
    "SIZE_VALUE",
    "SUBDOMAIN",
    "enum_of",
    "has_one_of",
    "our_object",
]

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN: Final = f"^{_LABEL}([.]{_LABEL})*$"


def our_object(spec: Shape) -> Record:
    fields: dict[str, Shape] = {"apiVersion": STR, "kind": STR, "metadata": METADATA, "spec": spec, "status": ANY}
    return Fields(fields, required=("spec",))


def enum_of(*values: str) -> Text:
    return Text(enum=values)


DURATION_TEXT: Final = Text(
    wants="must be a duration like 500ms, 5s, 1m30s or 1h", pattern=DURATION, max_length=32, parser=parse_duration
)
SIZE_VALUE: Final = NumberOrText(pattern=SIZE, max_length=18, parser=parse_size)
HEAD_SIZE: Final = NumberOrText(pattern=SIZE, max_length=18, parser=parse_head_size)
RANGES: Final = Items(
    Text(wants="must be an address range like 10.0.0.0/8", pattern=CIDR, max_length=49, parser=parse_cidr),
    max_items=256,
)
OBJECT_NAME: Final = Text(wants="must be the name of an object", pattern=SUBDOMAIN, min_length=1, max_length=253)
NAMESPACE: Final = Text(wants="must be the name of a namespace", pattern=f"^{_LABEL}$", min_length=1, max_length=63)

_NOT_FRAMING: Final = Rule(
    cel=f"!self.matches('{FRAMING_FIELD}')",
    message="must not be a field of framing or routing",
    holds=lambda name: not is_framing_field(name),
)
_HEADER_NAME: Final = Text(
    wants="must be the name of a header field",
    pattern=TOKEN,
    min_length=1,
    max_length=MAX_HEADER_NAME,
    rules=(_NOT_FRAMING,),
)
_HEADER_VALUE: Final = Text(
    wants="must be printable ASCII without a space at either end",
    pattern=HEADER_VALUE,
    min_length=1,
    max_length=MAX_HEADER_VALUE,
)
HEADERS: Final = Items(
    Fields({"name": _HEADER_NAME, "value": _HEADER_VALUE}, required=("name", "value")), max_items=32, key="name"
)
HEADER_EDITS: Final = Fields({"set": HEADERS, "add": HEADERS, "remove": Items(_HEADER_NAME, max_items=32)})

_NAMED_SOURCES: Final = ("Header", "Cookie", "QueryParameter")
_HASH_PART: Final = Fields(
    {
        "source": enum_of("RemoteAddress", "Host", "RequestURI", "Path", "Query", "Method", "Scheme", *_NAMED_SOURCES),
        "name": Text(
            wants="must be the name of a header, cookie or query parameter",
            pattern=TOKEN,
            min_length=1,
            max_length=MAX_HEADER_NAME,
        ),
    },
    required=("source",),
    rules=(
        Rule(
            cel="has(self.name) == (self.source in ['Header', 'Cookie', 'QueryParameter'])",
            message="Header, Cookie and QueryParameter need a name, and only they",
            holds=lambda part: ("name" in part) == (part.get("source") in _NAMED_SOURCES),
        ),
    ),
)
BALANCING: Final = Fields(
    {
        "method": enum_of("RoundRobin", "LeastRequests", "RandomTwo", "EWMA", "Hash"),
        "hashBy": Items(_HASH_PART, min_items=1, max_items=8),
    },
    required=("method",),
    rules=(
        Rule(
            cel="has(self.hashBy) == (self.method == 'Hash')",
            message="method Hash needs hashBy, and only it",
            holds=lambda value: ("hashBy" in value) == (value.get("method") == "Hash"),
        ),
    ),
)
EJECTION: Final = Fields(
    {
        "consecutiveFailures": Number(minimum=0, maximum=1000),
        "baseTime": DURATION_TEXT,
        "maxTime": DURATION_TEXT,
        "maxPercent": Number(minimum=0, maximum=100),
    }
)


def has_one_of(*fields: str) -> Rule:
    return Rule(
        cel=" || ".join(f"has(self.{field})" for field in fields),
        message=f"needs {' or '.join(fields)}",
        holds=lambda value: any(field in value for field in fields),
    )
