"""Manifest files: finding them, reading them within bounds, decoding their documents."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from ingress.resources import KubernetesObject, ObjectRef, Problem, Source
from ingress.resources.decode import Decoded, decode_object, expand_lists
from ingress.resources.fault import FieldPath
from ingress.resources.manifest import Document, ManifestError, parse_json, parse_yaml

__all__ = ["MAX_FILE_SIZE", "SUFFIXES", "Content", "Found", "Stamp", "decode_text", "file_problem", "find", "read_file"]

SUFFIXES: Final = (".yaml", ".yml", ".json")
MAX_FILE_SIZE: Final = 16 * 1024 * 1024
"""Bytes; etcd refuses single objects above 1.5 MiB."""


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """While it stays, so does the content. Times in ns."""

    device: int
    inode: int
    modified: int
    changed: int
    """Also moves with the permissions."""
    size: int


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a file came to. ``broken``: it holds nothing that can be told, only a problem."""

    decoded: tuple[Decoded, ...] = ()
    broken: Problem | None = None

    @property
    def objects(self) -> Iterator[KubernetesObject]:
        return (item.object for item in self.decoded if item.object is not None)

    @property
    def problems(self) -> Iterator[Problem]:
        if self.broken is not None:
            yield self.broken
        for item in self.decoded:
            yield from item.problems


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest files below some paths, in the order in which they count, and the places that can not be listed."""

    files: dict[Path, Stamp]
    unreadable: dict[Path, str]
    """Folder or file → the reason."""


def find(paths: Sequence[Path]) -> Found:
    """List folders recursively; take files as they are given. Never raises for what is found there.

    Symbolic links are followed. Names that begin with a dot are skipped: the hidden folders of mounted ConfigMaps,
    whose files are seen through their links, and the droppings of editors.
    """
    found = Found(files={}, unreadable={})
    for path in paths:
        try:
            if path.is_dir():
                _find_below(path, found, set())
            else:
                _take(path, found)
        except OSError as error:
            found.unreadable[path] = _reason(error)
    return found


def _find_below(folder: Path, found: Found, seen: set[tuple[int, int]]) -> None:
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:  # a link back to a folder above, or a second link to this one
        return
    seen.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as listing:
        entries = sorted((entry for entry in listing if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        path = folder / entry.name
        try:
            if entry.is_dir():
                _find_below(path, found, seen)
            elif path.suffix in SUFFIXES:
                _take(path, found)
        except FileNotFoundError:  # gone since it was listed, or a link to nothing
            continue
        except OSError as error:
            found.unreadable[path] = _reason(error)


def _take(path: Path, found: Found) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait forever
        found.unreadable[path] = "is not a regular file"
        return
    stamp = Stamp(
        device=status.st_dev,
        inode=status.st_ino,
        modified=status.st_mtime_ns,
        changed=status.st_ctime_ns,
        size=status.st_size,
    )
    found.files.setdefault(path, stamp)


def read_file(path: Path, name: str) -> Content:
    """Read and decode one file. Never raises for what is in it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        return Content(broken=file_problem(name, "UnreadableFile", _reason(error)))
    if len(data) > MAX_FILE_SIZE:
        return Content(broken=file_problem(name, "FileTooLarge", f"is larger than {MAX_FILE_SIZE >> 20} MiB"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Content(broken=file_problem(name, _syntax_reason(name), "is not UTF-8 text", line=line))
    return decode_text(text, name)


def decode_text(text: str, name: str) -> Content:
    """Decode the text of a file; ``name`` tells JSON (``.json``) from YAML and stands in every Source."""
    try:
        documents = parse_json(text) if name.endswith(".json") else parse_yaml(text)
    except ManifestError as error:
        problem = file_problem(name, _syntax_reason(name), error.message, line=error.line, document=error.document)
        return Content(broken=problem)
    return Content(decoded=tuple(item for document in documents for item in _decode_document(document, name)))


def _decode_document(document: Document, name: str) -> Iterator[Decoded]:
    for at, data in expand_lists(document.data):
        source = Source(file=name, document=document.number, line=document.locate(at))
        yield decode_object(data, source, partial(_locate, document, at))


def _locate(document: Document, at: FieldPath, path: FieldPath) -> int:
    return document.locate((*at, *path))


def file_problem(name: str, reason: str, message: str, *, line: int = 1, document: int = 1) -> Problem:
    """A problem of a whole file."""
    return Problem(
        object=ObjectRef(kind="File", name=name),
        field="",
        reason=reason,
        message=message,
        source=Source(file=name, document=document, line=line),
    )


def _syntax_reason(name: str) -> str:
    return "InvalidJSON" if name.endswith(".json") else "InvalidYAML"


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
