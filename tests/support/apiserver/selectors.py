"""Label and field selectors: text → predicate. A selector that cannot be read is a 400, as on a real server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.support.apiserver.failures import bad_request
from tests.support.apiserver.kinds import Resource

__all__ = ["Selector", "fixed_field", "read_fields", "read_label_selector", "read_labels"]

Selector = Callable[[dict[str, Any]], bool]
"""Whether an object is selected."""

_TERM: Final = re.compile(
    r"\s*(?:(?P<key>[\w./-]+)\s+(?P<set>in|notin)\s+\((?P<values>[^()]*)\)"
    r"|(?P<name>[\w./-]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[\w.-]*)"
    r"|(?P<absent>!)?\s*(?P<present>[\w./-]+))\s*(?:,|$)"
)
_FIELD: Final = re.compile(r"\s*([\w.]+)\s*(==|=|!=)\s*([^,]*?)\s*(?:,|$)")


def read_labels(text: str) -> Callable[[Mapping[str, str]], bool]:
    """``a=b,c!=d,e in (x,y),f notin (z),g,!h`` as a predicate on labels."""
    tests: list[Callable[[Mapping[str, str]], bool]] = []
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None:
            raise bad_request(f"unable to parse requirement: {text!r} at {at}")
        tests.append(_label_test(match))
        at = match.end()
    return lambda labels: all(test(labels) for test in tests)


def _label_test(match: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    if key := match["key"]:
        values = {each.strip() for each in match["values"].split(",")}
        if match["set"] == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: key not in labels or labels[key] not in values
    if name := match["name"]:
        value = match["value"]
        if match["operator"] == "!=":
            return lambda labels: name not in labels or labels[name] != value
        return lambda labels: name in labels and labels[name] == value
    present, absent = match["present"], bool(match["absent"])
    return lambda labels: (present in labels) != absent


def read_label_selector(value: Mapping[str, Any]) -> Callable[[Mapping[str, str]], bool]:
    """A ``LabelSelector`` object, as a webhook configuration holds it."""
    terms = [f"{key}={wanted}" for key, wanted in (value.get("matchLabels") or {}).items()]
    for each in value.get("matchExpressions") or ():
        key, operator, values = each["key"], each["operator"], ",".join(each.get("values") or ())
        forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        terms.append(forms.get(operator, f"!{key}"))
    return read_labels(",".join(terms))


def read_fields(resource: Resource, text: str) -> Selector:
    """``metadata.name=a,status.phase!=b`` as a predicate on objects; only fields that the kind supports."""
    terms = _field_terms(text)
    supported = {"metadata.name", "metadata.namespace", *resource.fields}
    for name, _, _ in terms:
        if name not in supported:
            raise bad_request(f"field label not supported: {name}")
    paths = [(name.split("."), operator != "!=", value) for name, operator, value in terms]

    def selected(value: dict[str, Any]) -> bool:
        return all((_text_at(value, path) == wanted) is equal for path, equal, wanted in paths)

    return selected


def fixed_field(text: str, name: str) -> str:
    """The value that a field selector demands of a field; empty when it demands none."""
    return next((value for field, operator, value in _field_terms(text) if field == name and operator != "!="), "")


def _field_terms(text: str) -> list[tuple[str, str, str]]:
    terms: list[tuple[str, str, str]] = []
    at = 0
    while at < len(text):
        match = _FIELD.match(text, at)
        if match is None:
            raise bad_request(f"invalid field selector: {text!r}")
        terms.append((match[1], match[2], match[3]))
        at = match.end()
    return terms


def _text_at(value: Any, path: list[str]) -> str:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return "" if value is None else str(value)
