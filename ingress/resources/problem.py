"""A Problem: something wrong with one object that its owner should hear of, and that stops nobody else."""

from __future__ import annotations

from typing import Literal

import msgspec

from ingress.resources.meta import ObjectRef, Source, printable

__all__ = ["Problem", "Severity"]

Severity = Literal["error", "warning"]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``reason`` is CamelCase as in Kubernetes Events; ``message`` is one sentence for people.

    Both ``field`` and ``message`` may repeat what the object says, and are made printable.
    """

    object: ObjectRef
    field: str
    """Path of the field, e.g. ``spec.rules[0].http.paths[1].backend``; empty: the whole object."""
    reason: str
    message: str
    severity: Severity = "error"
    source: Source | None = None

    def __post_init__(self) -> None:
        for name in ("field", "message"):
            text = getattr(self, name)
            if not text.isprintable():
                msgspec.structs.force_setattr(self, name, printable(text))

    @property
    def sort_key(self) -> tuple[ObjectRef, str, str, str]:
        return (self.object, self.field, self.reason, self.message)
