"""A document of a manifest file, and the error of a text that holds none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ingress.resources.fault import FieldPath

__all__ = ["MAX_DEPTH", "Document", "ManifestError", "within"]

MAX_DEPTH: Final = 100
"""Levels of nesting; the deepest field of the API is far above."""


class ManifestError(ValueError):
    """The text is not YAML or JSON. ``line`` and ``document`` count from 1; ``name`` is that of the file, if known."""

    def __init__(self, message: str, *, line: int, document: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.document = document
        self.name = ""

    def __str__(self) -> str:
        place = f"{self.name}:{self.line}" if self.name else f"line {self.line}"
        return f"{place}: {self.message}"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One document of a file. ``line`` is that of its first value, after comments and the ``---``."""

    number: int
    line: int
    data: Any
    locate: Callable[[FieldPath], int]
    """The line of a field, or of the nearest thing around it that exists."""


def within(text: str, line: int) -> int:
    """Parsers place a missing end on the line after the last."""
    return max(1, min(line, len(text.splitlines())))
