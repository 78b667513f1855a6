"""Manifest text to plain values, with the line of every part; JSON is in ``json_text``. No I/O.

YAML is read by the rules of kubectl: 1.1 scalars (``yes`` is true, ``0755`` is octal) without dates and base-60
numbers; keys are strings. Stricter than usual: a key that stands twice is an error. Bounded: nesting, and the growth
by aliases.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Final, NoReturn

import yaml

from ingress.resources.document import MAX_DEPTH, Document, ManifestError, within
from ingress.resources.fault import FieldPath
from ingress.resources.json_text import parse_json

__all__ = ["MAX_ALIASED_NODES", "MAX_DEPTH", "Document", "ManifestError", "add_scalars", "parse_json", "parse_yaml"]

MAX_ALIASED_NODES: Final = 100_000
"""Values that all aliases of one document may stand for together, against alias bombs."""

_TAG: Final = "tag:yaml.org,2002:"
_OCTAL: Final = re.compile(r"([-+]?)0([0-7]+)\Z")

_SCALARS: Final = (
    ("null", r"(?:~|null|Null|NULL|)\Z", ("~", "n", "N", "")),
    ("bool", r"(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)\Z", "yYnNtTfFoO"),
    ("int", r"[-+]?(?:0b[01_]+|0o[0-7]+|0x[0-9a-fA-F_]+|0[0-7]*|[1-9][0-9_]*)\Z", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", "-+0123456789."),
    ("merge", r"<<\Z", "<"),
)
"""Tag, pattern, and the first characters of what it matches."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]  # the C loader is typed as Any
    """Resolves plain scalars as kubectl does."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


def add_scalars(target: Any) -> None:
    """Teach a loader, or a dumper that has to know what to quote, the plain scalars of kubectl."""
    for name, pattern, first in _SCALARS:
        target.add_implicit_resolver(_TAG + name, re.compile(pattern), list(first))


add_scalars(_Loader)


def parse_yaml(text: str) -> list[Document]:
    """The documents that hold something. Raises ManifestError, for the first fault of the text."""
    documents: list[Document] = []
    number = 0
    try:
        loader = _Loader(text)
        try:
            while loader.check_node():
                number += 1
                node = loader.get_node()
                data = _Plain().value(node, 0)
                if data is not None:
                    locate = _node_locator(node)
                    documents.append(Document(number=number, line=locate(()), data=data, locate=locate))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        line = within(text, mark.line + 1) if mark else 1
        raise ManifestError(message, line=line, document=max(number, 1)) from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise ManifestError(f"{error.reason}: #x{error.character:04x}", line=line, document=max(number, 1)) from None
    except RecursionError:
        raise ManifestError(f"nested deeper than {MAX_DEPTH} levels", line=1, document=max(number, 1)) from None
    except ManifestError as error:
        error.document = number
        raise
    return documents


class _Plain:
    """Turns the nodes of one document into dicts, lists and scalars. A node met again is an alias: the same value."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()
        self._aliased = 0
        self._count = 0

    def value(self, node: yaml.Node, depth: int) -> Any:
        self._count += 1
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        key = id(node)
        if key in self._done:
            value, size = self._done[key]
            self._aliased += size
            self._count += size
            if self._aliased > MAX_ALIASED_NODES:
                _fail(node, f"the aliases of this document stand for more than {MAX_ALIASED_NODES} values")
            return value
        if key in self._open:
            _fail(node, "a value contains itself by an alias")
        if depth >= MAX_DEPTH:
            _fail(node, f"nested deeper than {MAX_DEPTH} levels")
        self._open.add(key)
        before = self._count
        value = self._sequence(node, depth) if isinstance(node, yaml.SequenceNode) else self._mapping(node, depth)
        self._open.discard(key)
        self._done[key] = value, self._count - before + 1
        return value

    def _sequence(self, node: yaml.SequenceNode, depth: int) -> list[Any]:
        if node.tag != _TAG + "seq":
            _fail(node, f"the tag {node.tag} is not used in manifests")
        return [self.value(item, depth + 1) for item in node.value]

    def _mapping(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        if node.tag != _TAG + "map":
            _fail(node, f"the tag {node.tag} is not used in manifests")
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            value = self.value(value_node, depth + 1)
            if key_node.tag == _TAG + "merge":
                for source in _merge_sources(value_node, value):
                    merged = {**source, **merged}
                continue
            key = _key(key_node)
            line = key_node.start_mark.line + 1
            if key in lines:
                _fail(key_node, f'the key "{key}" stands twice here, first on line {lines[key]}')
            lines[key] = line
            result[key] = value
        return {**merged, **result} if merged else result


def _merge_sources(node: yaml.Node, value: Any) -> list[dict[str, Any]]:
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(source, dict) for source in sources):
        _fail(node, "what is merged with '<<' must be a mapping")
    return sources


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or _scalar(node) is None:
        _fail(node, "a key must be a string")
    return str(node.value)


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text: str = node.value
    try:
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() in {"y", "yes", "true", "on"}
            case "int":
                return _integer(text)
            case "float":
                return float(text)
            case "merge":
                return text
    except ValueError:
        _fail(node, "not a number that can be read")
    return _fail(node, f"the tag {node.tag} is not used in manifests")


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    octal = _OCTAL.match(digits)
    return int(octal[1] + octal[2], 8) if octal else int(digits, 0)


def _fail(node: yaml.Node, message: str) -> NoReturn:
    raise ManifestError(message, line=node.start_mark.line + 1)


def _node_locator(root: yaml.Node) -> Callable[[FieldPath], int]:
    def locate(path: FieldPath) -> int:
        node, line = root, root.start_mark.line
        for step in path:
            found = _step(node, step)
            if found is None:
                break
            line, node = found
        return int(line) + 1

    return locate


def _step(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line, node.value[step]
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if key_node.value == step:
                return key_node.start_mark.line, value_node
    return None
