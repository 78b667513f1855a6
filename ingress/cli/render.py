"""Text for people: aligned columns, and colour where a terminal shows it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

import click

__all__ = ["columns", "is_coloured", "paint"]


def is_coloured(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that wants colour (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def paint(text: str, colour: str, *, stream: TextIO | None = None, bold: bool = False) -> str:
    """``text`` in ``colour`` if ``stream`` (standard output by default) shows colour."""
    return click.style(text, fg=colour, bold=bold or None) if is_coloured(stream or sys.stdout) else text


def columns(rows: Sequence[Sequence[str]], *, indent: str = "") -> list[str]:
    """``rows`` as lines with aligned columns, two spaces between; colour codes have no width."""
    if not rows:
        return []
    widths = [max(_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines


def _width(cell: str) -> int:
    return len(click.unstyle(cell))
