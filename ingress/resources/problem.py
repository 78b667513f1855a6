"""A Problem: something wrong with one object that its owner should hear of, and that stops nobody else."""

from __future__ import annotations

from typing import Literal

import msgspec

from ingress.resources.meta import ObjectRef, Source

__all__ = ["Problem", "Severity"]

Severity = Literal["error", "warning"]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``reason`` is CamelCase as in Kubernetes Events; ``message`` is one sentence for people."""

    object: ObjectRef
    field: str
    """Path of the field, e.g. ``spec.rules[0].http.paths[1].backend``; empty: the whole object."""
    reason: str
    message: str
    severity: Severity = "error"
    source: Source | None = None

    @property
    def sort_key(self) -> tuple[ObjectRef, str, str, str]:
        return (self.object, self.field, self.reason, self.message)
