"""From files on the command line to a translation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from ingress.options import Options
from ingress.resources import Problem
from ingress.translate import translate
from ingress.watch.files import load
from proxy.table import Table

__all__ = ["Translated", "translate_files"]


class Translated(msgspec.Struct, frozen=True, kw_only=True):
    """What the files come to: the table, and the problems of reading and of translating, sorted."""

    table: Table
    problems: tuple[Problem, ...]
    served: int
    """Ingresses that we serve."""


def translate_files(files: Sequence[str], options: Options) -> Translated:
    """The translation of ``files`` and folders, or of ``--manifests`` if there are none.

    Raises ``click.UsageError`` if a path does not exist or there is none at all.
    """
    names = list(files) or [options.manifests]
    if names == [""]:
        raise click.UsageError("Name the files or folders of manifests, or give --manifests.")
    for name in names:
        if not Path(name).exists():
            raise click.UsageError(f"There is no file or folder {name!r}.")
    loaded = load([Path(name) for name in names])
    options = msgspec.structs.replace(options, manifests=names[0])  # files are what is read, named by either way
    translation = translate(loaded.snapshot, options, now=datetime.now(UTC))
    problems = sorted({*loaded.problems, *translation.problems}, key=lambda problem: problem.sort_key)
    return Translated(table=translation.table, problems=tuple(problems), served=len(translation.served))
