"""The patch formats. Each takes the present object and gives a new one; the present one is never changed."""

from __future__ import annotations

import copy
from typing import Any

from tests.support.apiserver.failures import ApiError, bad_request

__all__ = ["json_patch", "merge_patch"]


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: ``null`` removes, mappings merge, everything else (lists too) replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902, all or nothing. A test that fails is 422, as on a real server."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    document = {"": copy.deepcopy(target)}
    for each in operations:
        try:
            _apply(document, each)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ApiError(422, f"the server rejected our request due to an error in our request: {error}") from None
    return document[""]


def _apply(document: dict[str, Any], each: dict[str, Any]) -> None:
    operation, path = each["op"], _steps(each["path"])
    if operation == "test":
        if _read(document, path) != each["value"]:
            raise ValueError(f"testing value {each['path']} failed")
    elif operation == "add":
        _add(document, path, copy.deepcopy(each["value"]))
    elif operation == "remove":
        _remove(document, path)
    elif operation == "replace":
        _remove(document, path)
        _add(document, path, copy.deepcopy(each["value"]))
    elif operation in ("move", "copy"):
        source = _steps(each["from"])
        value = copy.deepcopy(_read(document, source))
        if operation == "move":
            _remove(document, source)
        _add(document, path, value)
    else:
        raise ValueError(f"unexpected kind: {operation}")


def _steps(pointer: str) -> list[str]:
    """A JSON pointer (RFC 6901) below the wrapper that lets the root itself be replaced."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")]


def _child(parent: Any, step: str) -> Any:
    return parent[int(step)] if isinstance(parent, list) else parent[step]


def _read(document: Any, path: list[str]) -> Any:
    for step in path:
        document = _child(document, step)
    return document


def _add(document: Any, path: list[str], value: Any) -> None:
    parent, last = _read(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        at = len(parent) if last == "-" else int(last)
        if at > len(parent):
            raise IndexError(f"index {at} is out of range")
        parent.insert(at, value)
    else:
        parent[last] = value


def _remove(document: Any, path: list[str]) -> None:
    parent, last = _read(document, path[:-1]), path[-1]
    del parent[int(last) if isinstance(parent, list) else last]
