"""A fault: what is wrong at one place of one object, before it is known which object and which file that is."""

from __future__ import annotations

import re

import msgspec

__all__ = ["Fault", "FieldPath", "field_text"]

FieldPath = tuple[str | int, ...]
"""Keys and indices from the root of the object: ``("spec", "rules", 0, "host")``."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9]+\Z")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """``reason`` and ``message`` become those of the Problem."""

    path: FieldPath
    reason: str
    message: str
    harmless: bool = False
    """The object means the same with or without the faulty field, so nothing of it is left out."""


def field_text(path: FieldPath) -> str:
    """The path as Kubernetes writes it: ``spec.rules[0].host``, ``metadata.annotations[example.com/a]``."""
    text = ""
    for step in path:
        if isinstance(step, int) or not _PLAIN_KEY.match(step):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text
