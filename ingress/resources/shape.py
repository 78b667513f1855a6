"""The shape of a Kubernetes object: which fields it may have and of which JSON type each is.

``check`` compares a plain value (as read from YAML or JSON) with a shape and tells every difference at once, where a
typed decoder would stop at the first. ``null`` is the same as absent, as it is for the API server.
"""

from __future__ import annotations

import difflib
from typing import Any, Final

import msgspec

from ingress.resources.fault import Fault, FieldPath

__all__ = ["ANY", "BOOL", "INT", "INT_OR_STR", "STR", "ListOf", "MapOf", "Record", "Scalar", "Shape", "check"]

_NAMES: Final[dict[type, str]] = {
    str: "a string",
    int: "a whole number",
    float: "a number with a fraction",
    bool: "a boolean",
    dict: "a mapping",
    list: "a list",
    type(None): "nothing",
}


class Scalar(msgspec.Struct, frozen=True):
    """One of the Python types that JSON gives; a boolean is not a number."""

    name: str
    types: tuple[type, ...]


class ListOf(msgspec.Struct, frozen=True):
    """A list of one shape."""

    item: Shape


class MapOf(msgspec.Struct, frozen=True):
    """A mapping whose keys are free."""

    value: Shape


class Record(msgspec.Struct, frozen=True):
    """A mapping whose keys are fields of the API. ``hints``: advice for fields that belong to another API version."""

    fields: dict[str, Shape]
    hints: dict[str, str] = {}


Shape = Scalar | ListOf | MapOf | Record

STR: Final = Scalar("a string", (str,))
INT: Final = Scalar("a whole number", (int,))
BOOL: Final = Scalar("true or false", (bool,))
INT_OR_STR: Final = Scalar("a whole number or a string", (int, str))
ANY: Final = Scalar("anything", ())


def check(shape: Shape, value: Any, path: FieldPath, faults: list[Fault]) -> Any:
    """Append what is wrong to ``faults``; return a copy without unknown and null fields.

    A value of a wrong type stays in the copy as it is. No message shows a value: it may be a secret.
    """
    if isinstance(shape, Scalar):
        if shape.types and type(value) not in shape.types:
            faults.append(_wrong_type(path, shape.name, value))
        return value
    if isinstance(shape, ListOf):
        if not isinstance(value, list):
            faults.append(_wrong_type(path, "a list", value))
            return value
        return [check(shape.item, item, (*path, index), faults) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        faults.append(_wrong_type(path, "a mapping", value))
        return value
    if isinstance(shape, MapOf):
        return {key: check(shape.value, item, (*path, key), faults) for key, item in value.items() if item is not None}
    return _check_record(shape, value, path, faults)


def _check_record(shape: Record, value: dict[str, Any], path: FieldPath, faults: list[Fault]) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for key, item in value.items():
        known = shape.fields.get(key)
        if known is None:
            faults.append(_unknown_field(shape, (*path, key), key))
        elif item is not None:
            cleaned[key] = check(known, item, (*path, key), faults)
    return cleaned


def _wrong_type(path: FieldPath, wanted: str, value: Any) -> Fault:
    advice = ": put it in quotes" if wanted == "a string" and isinstance(value, bool | int | float) else ""
    found = _NAMES.get(type(value), "something else")
    return Fault(path=path, reason="InvalidType", message=f"must be {wanted}, not {found}{advice}")


def _unknown_field(shape: Record, path: FieldPath, key: str) -> Fault:
    advice = shape.hints.get(key, "")
    if not advice:
        folded = {name.casefold(): name for name in shape.fields}
        close = difflib.get_close_matches(key.casefold(), folded, n=1, cutoff=0.7)
        advice = f'did you mean "{folded[close[0]]}"?' if close else ""
    message = f'there is no field "{key}" here' + (f": {advice}" if advice else "")
    return Fault(path=path, reason="UnknownField", message=message, harmless=True)
