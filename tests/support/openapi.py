"""The OpenAPI schema (Kubernetes structural form) that a shape stands for: all of it but descriptions and defaults."""

from __future__ import annotations

from typing import Any

from ingress.resources.schema import Fields, Items, Number, NumberOrText, Pairs, Rule, Text
from ingress.resources.shape import BOOL, STR, ListOf, MapOf, Record, Shape


def openapi(shape: Shape) -> dict[str, Any]:
    """Raises ``TypeError`` for a shape that a schema of ours can not have."""
    if isinstance(shape, Text):
        return _text(shape)
    if isinstance(shape, Number):
        return {"type": "integer", "format": "int32", "minimum": shape.minimum, "maximum": shape.maximum}
    if isinstance(shape, NumberOrText):
        return {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": shape.pattern,
            "maxLength": shape.max_length,
        }
    if shape == STR:
        return {"type": "string"}
    if shape == BOOL:
        return {"type": "boolean"}
    if isinstance(shape, ListOf):
        return _list(shape)
    if isinstance(shape, MapOf):
        bound = {"maxProperties": shape.max_properties} if isinstance(shape, Pairs) else {}
        return {"type": "object", "additionalProperties": openapi(shape.value), **bound}
    if isinstance(shape, Record):
        return _record(shape)
    raise TypeError(shape)


def _text(shape: Text) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if shape.enum:
        schema["enum"] = list(shape.enum)
    if shape.pattern:
        schema["pattern"] = shape.pattern
    if shape.min_length:
        schema["minLength"] = shape.min_length
    if shape.max_length:
        schema["maxLength"] = shape.max_length
    return schema | _rules(shape.rules)


def _list(shape: ListOf) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array", "items": openapi(shape.item)}
    if isinstance(shape, Items):
        schema["maxItems"] = shape.max_items
        if shape.min_items:
            schema["minItems"] = shape.min_items
        if shape.key:
            schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [shape.key]}
        else:
            schema["x-kubernetes-list-type"] = "atomic"
    return schema


def _record(shape: Record) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: openapi(field) for name, field in shape.fields.items()},
    }
    if isinstance(shape, Fields):
        if shape.required:
            schema["required"] = list(shape.required)
        schema |= _rules(shape.rules)
    return schema


def _rules(rules: tuple[Rule, ...]) -> dict[str, Any]:
    if not rules:
        return {}
    return {"x-kubernetes-validations": [{"rule": rule.cel, "message": rule.message} for rule in rules]}
