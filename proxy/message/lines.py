"""Header lines as one block of bytes: each ``name: value`` with its line end, as they came.

A head is passed on as the parser has checked it, and only the lines that must not pass are cut out. That is cheaper
than taking every field apart and putting it together again, and nothing can be lost in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

__all__ = ["cut_named", "cut_spelled", "values", "without_spaces"]

_KEEP_ALIVE: Final = b"\r\nConnection: keep-alive\r\n"
_FEW: Final = 4
"""Lines cut out one by one; more are worth a walk through all."""


def cut_spelled(lines: bytes, names: Sequence[bytes]) -> bytes:
    """``lines`` without the fields of these names, spelled exactly so; each name stands there at least once."""
    if len(names) == 1:
        # Most often it is this line; a line end stands on both sides of it, so it is no part of another.
        shorter = lines.replace(_KEEP_ALIVE, b"\r\n", 1)
        if len(shorter) != len(lines):
            return shorter
    elif len(names) > _FEW:
        spelled = frozenset(names)
        return b"".join(line + b"\r\n" for line in lines.split(b"\r\n")[:-1] if line.partition(b":")[0] not in spelled)
    for name in names:
        start = lines.find(b"\r\n%b:" % name)
        if start >= 0:
            lines = lines[:start] + lines[lines.find(b"\r\n", start + 2) :]
        else:  # found behind no line end: it is the first
            lines = lines[lines.find(b"\r\n") + 2 :]
    return lines


def cut_named(lines: bytes, names: Collection[bytes]) -> bytes:
    """``lines`` without the fields of these names, given in lower case, in any spelling."""
    return b"".join(
        line + b"\r\n" for line in lines.split(b"\r\n")[:-1] if line.partition(b":")[0].lower() not in names
    )


def values(lines: bytes, name: bytes) -> Iterator[bytes]:
    """The values of the field ``name``, given in lower case, in the order of the lines."""
    lowered = b"\r\n" + lines.lower()
    label = b"\r\n" + name + b":"
    at = lowered.find(label)
    while at >= 0:
        start = at - 2 + len(label)
        end = lines.find(b"\r\n", start)
        yield without_spaces(lines[start:end])
        at = lowered.find(label, end)


def without_spaces(value: bytes) -> bytes:
    """``value`` without the spaces around it that are no part of it (RFC 9110 section 5.5)."""
    return value.strip(b" \t")
