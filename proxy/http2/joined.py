"""Fields in one piece, which can be compared and hashed: what the heads of one connection have in common.

A field is the lengths of its name and of its value, four bytes each in network order, then both. So any bytes may be in
them, and two lists of fields are equal if and only if their pieces are.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.http2.events import Fields

__all__ = ["join_fields", "sort_out", "split_fields", "take_path"]

_PATH: Final = b":path"
_UNCLEAN: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]\Z")


def join_fields(fields: Fields) -> bytes:
    """``fields`` in one piece."""
    return b"".join(
        part for name, value in fields for part in (len(name).to_bytes(4), len(value).to_bytes(4), name, value)
    )


def split_fields(joined: bytes) -> Fields:
    """The fields that a piece is made of."""
    fields: Fields = []
    at = 0
    end = len(joined)
    while at < end:
        middle = at + 8 + int.from_bytes(joined[at : at + 4])
        after = middle + int.from_bytes(joined[at + 4 : at + 8])
        fields.append((joined[at + 8 : middle], joined[middle:after]))
        at = after
    return fields


def take_path(fields: Fields) -> tuple[bytes, Fields]:
    """The first ``:path`` in front of all fields that are no pseudo-header fields, and the others. Without one: empty
    bytes, and all of them."""
    for index, (name, value) in enumerate(fields):
        if name == _PATH:
            return value, fields[:index] + fields[index + 1 :]
        if name[:1] != b":":
            break
    return b"", fields


def sort_out(joined: bytes, plain: dict[bytes, bool]) -> tuple[bytes, int, Fields]:
    """The fields of a piece: those that ask for no thought as header lines, in their order; how many these are; all
    others, in their order.

    A field asks for none if its name is in ``plain`` and its value clean: no control characters but tabs, and no space
    around it. Where a pseudo-header field stands behind such a field, all are others, so that this can be seen.
    """
    lines: list[bytes] = []
    others: Fields = []
    fields = split_fields(joined)
    for field in fields:
        name, value = field
        if name in plain and _UNCLEAN.search(value) is None:
            lines.append(b"%b: %b\r\n" % field)
        elif lines and name[:1] == b":":
            return b"", 0, fields
        else:
            others.append(field)
    return b"".join(lines), len(lines), others
