"""JSON text to plain values. No I/O.

Stricter than usual, as ``manifest`` is for YAML: a key that stands twice is an error, and nesting is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from ingress.resources.document import MAX_DEPTH, Document, ManifestError, within
from ingress.resources.fault import FieldPath

__all__ = ["parse_json"]


def parse_json(text: str) -> list[Document]:
    """One JSON value, or several one after another. Raises ManifestError."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)
    documents: list[Document] = []
    position = _skip_space(text, 0)
    while position < len(text):
        line, number = _line_at(text, position), len(documents) + 1
        start = position
        try:
            data, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise ManifestError(error.msg, line=within(text, error.lineno), document=number) from None
        except _TwiceError as error:
            message = f'the key "{error.key}" stands twice in one object'
            raise ManifestError(message, line=_line_of_second(text, start), document=number) from None
        except (ValueError, RecursionError) as error:
            message = str(error) if isinstance(error, ValueError) else f"nested deeper than {MAX_DEPTH} levels"
            raise ManifestError(message, line=line, document=number) from None
        if _depth(data) > MAX_DEPTH:
            raise ManifestError(f"nested deeper than {MAX_DEPTH} levels", line=line, document=number)
        documents.append(Document(number=number, line=line, data=data, locate=_fixed_line(line)))
        position = _skip_space(text, position)
    return [document for document in documents if document.data is not None]


class _TwiceError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _TwiceError(key)
            seen.add(key)
    return result


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _fixed_line(line: int) -> Callable[[FieldPath], int]:
    return lambda _path: line


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')


def _line_of_second(text: str, start: int) -> int:
    """The line of the first key, in reading order, that its object already has. The text is valid JSON up to there."""
    scopes: list[set[str]] = []
    for token, following in _with_next(_TOKEN.finditer(text, start)):
        if token[0] in "{[":
            scopes.append(set())
        elif token[0] in "}]":
            scopes.pop()
        elif token[0].startswith('"') and following == ":":
            key = json.loads(token[0])
            if key in scopes[-1]:
                return _line_at(text, token.start())
            scopes[-1].add(key)
    return _line_at(text, start)


def _with_next(tokens: Iterator[re.Match[str]]) -> Iterator[tuple[re.Match[str], str]]:
    current = next(tokens, None)
    while current is not None:
        following = next(tokens, None)
        yield current, following[0] if following else ""
        current = following


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth
