"""``metadata``, references to objects, and where an object was read."""

from __future__ import annotations

import msgspec

__all__ = ["ObjectMeta", "ObjectRef", "Source", "printable"]


def printable(text: str) -> str:
    """``text`` for logs and terminals: what does not print is escaped, so that no object writes a line of its own."""
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class ObjectMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``metadata`` (Kubernetes ``ObjectMeta``)."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    """RFC 3339 in UTC, so that it sorts as text; empty in most files."""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The place in a manifest file that an object came from. ``document`` and ``line`` count from 1."""

    file: str
    document: int
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line} (document {self.document})"


class ObjectRef(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Names one object."""

    kind: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        return printable(f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}")
