"""Shapes with rules on values: what an OpenAPI schema of Kubernetes can say, checked here without an API server.

``check`` of :mod:`~ingress.resources.shape` does types and unknown fields; ``broken_rules`` does the rest. The schemas
in ``crds/`` say the same rule by rule, which a test holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ingress.resources.fault import Fault, FieldPath
from ingress.resources.shape import ListOf, MapOf, Record, Scalar, Shape
from ingress.resources.values import BadValue, matches

__all__ = ["Fields", "Items", "Number", "NumberOrText", "Pairs", "Rule", "Text", "broken_rules"]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule across fields. ``cel`` and ``message`` stand in the schema; ``holds`` is the same in Python."""

    cel: str
    message: str
    holds: Callable[[Any], bool]


class Text(Scalar, frozen=True, kw_only=True):
    """A string. Lengths are characters; 0: no bound."""

    name: str = "a string"
    types: tuple[type, ...] = (str,)
    wants: str = ""
    """For people, what ``pattern`` means: "must be …"."""
    pattern: str = ""
    enum: tuple[str, ...] = ()
    min_length: int = 0
    max_length: int = 0
    parser: Callable[[str], object] | None = None
    """Raises :class:`BadValue` for what the schema can not tell."""
    rules: tuple[Rule, ...] = ()


class Number(Scalar, frozen=True, kw_only=True):
    """A whole number, bounds included."""

    name: str = "a whole number"
    types: tuple[type, ...] = (int,)
    minimum: int
    maximum: int


class NumberOrText(Scalar, frozen=True, kw_only=True):
    """A whole number, or a string of ``pattern`` (``x-kubernetes-int-or-string``)."""

    name: str = "a whole number or a string"
    types: tuple[type, ...] = (int, str)
    pattern: str
    max_length: int
    parser: Callable[[int | str], object]


class Items(ListOf, frozen=True, kw_only=True):
    """A list; ``key``: the field that no two items share, or ``""`` for plain items that are all different."""

    min_items: int = 0
    max_items: int
    key: str | None = None


class Pairs(MapOf, frozen=True, kw_only=True):
    """A mapping of free keys."""

    max_properties: int


class Fields(Record, frozen=True, kw_only=True):
    """A mapping of known fields."""

    required: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


def broken_rules(shape: Shape, value: Any, path: FieldPath = ()) -> Iterator[Fault]:
    """What is wrong with a value that ``check`` has cleaned. Parts of a wrong type were reported there."""
    if isinstance(shape, Text):
        if isinstance(value, str):
            yield from _text(shape, value, path)
    elif isinstance(shape, Number):
        if type(value) is int and not shape.minimum <= value <= shape.maximum:
            yield _invalid(path, f"{value} must be between {shape.minimum} and {shape.maximum}")
    elif isinstance(shape, NumberOrText):
        if type(value) in (int, str):
            yield from _parsed(shape.parser, value, path)
    elif isinstance(shape, ListOf):
        if isinstance(value, list):
            yield from _items(shape, value, path)
    elif isinstance(shape, MapOf):
        if isinstance(value, dict):
            if isinstance(shape, Pairs) and len(value) > shape.max_properties:
                yield _invalid(path, f"must not have more than {shape.max_properties} entries")
            for key, item in value.items():
                yield from broken_rules(shape.value, item, (*path, key))
    elif isinstance(shape, Record) and isinstance(value, dict):
        yield from _fields(shape, value, path)


def _text(shape: Text, value: str, path: FieldPath) -> Iterator[Fault]:
    if shape.enum and value not in shape.enum:
        yield _invalid(path, f'"{value[:80]}" must be one of {", ".join(shape.enum)}')
    elif len(value) < shape.min_length or (shape.max_length and len(value) > shape.max_length):
        yield _invalid(path, f"must have {shape.min_length} to {shape.max_length} characters")
    elif shape.pattern and not matches(shape.pattern, value):
        yield _invalid(path, f'"{value[:80]}" {shape.wants}')
    elif shape.parser is not None:
        yield from _parsed(shape.parser, value, path)
    for rule in shape.rules:
        if not rule.holds(value):
            yield _invalid(path, f'"{value[:80]}" {rule.message}')


def _items(shape: ListOf, value: list[Any], path: FieldPath) -> Iterator[Fault]:
    if isinstance(shape, Items):
        if not shape.min_items <= len(value) <= shape.max_items:
            yield _invalid(path, f"must have {shape.min_items} to {shape.max_items} items")
        seen: dict[Any, int] = {}
        for index, item in enumerate(value):
            name = item.get(shape.key) if shape.key and isinstance(item, dict) else item
            if shape.key is not None and isinstance(name, str) and seen.setdefault(name, index) != index:
                yield _invalid((*path, index), f'"{name[:80]}" stands twice here')
    for index, item in enumerate(value):
        yield from broken_rules(shape.item, item, (*path, index))


def _fields(shape: Record, value: dict[str, Any], path: FieldPath) -> Iterator[Fault]:
    if isinstance(shape, Fields):
        for field in shape.required:
            if field not in value:
                yield Fault(path=(*path, field), reason="RequiredField", message=f'needs "{field}"')
        yield from _rules(shape.rules, value, path)
    for key, item in value.items():
        known = shape.fields.get(key)
        if known is not None:
            yield from broken_rules(known, item, (*path, key))


def _rules(rules: tuple[Rule, ...], value: Any, path: FieldPath) -> Iterator[Fault]:
    return (_invalid(path, rule.message) for rule in rules if not rule.holds(value))


def _parsed(parser: Callable[[Any], object], value: int | str, path: FieldPath) -> Iterator[Fault]:
    try:
        parser(value)
    except BadValue as bad:
        yield _invalid(path, f'"{str(value)[:80]}" {bad}')


def _invalid(path: FieldPath, message: str) -> Fault:
    return Fault(path=path, reason="InvalidValue", message=message)
