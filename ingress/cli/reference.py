"""``python -m ingress.cli.reference > docs/options.md``: the page of all flags, from their table."""

from __future__ import annotations

import click

from ingress.cli.flags import FLAGS, TABLE_FLAGS, Flag
from ingress.cli.values import Value

__all__ = ["options_page"]

_HEAD = """# Options of `pyngress run`

Made from `ingress/cli/flags.py` by `make docs`; a test keeps it equal. The command line goes before the environment,
the environment before the default. Durations are seconds, or a number with `ms`, `s`, `m` or `h`; sizes are bytes, or a
number with `k`, `m` or `g`. A switch is `true` or `false` in the environment; `PYNGRESS_NO_…` turns it round.

`check`, `routes` and `explain` take the flags marked with ✓ too.
"""


def options_page() -> str:
    """The page as Markdown."""
    lines = [_HEAD]
    for group in dict.fromkeys(flag.group for flag in FLAGS):
        lines += [
            f"## {group}",
            "",
            "| flag | environment | default | accepts | meaning | |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_row(flag) for flag in FLAGS if flag.group == group]
        lines.append("")
    return "\n".join(lines)


def _row(flag: Flag) -> str:
    names = f"`{flag.name}`, `{flag.negation}`" if flag.kind == "switch" else f"`{flag.name}`"
    mark = "✓" if flag in TABLE_FLAGS else ""
    cells = (names, f"`{flag.variable}`", f"`{flag.shown_default}`", _accepts(flag), flag.help, mark)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _accepts(flag: Flag) -> str:
    if flag.kind == "switch":
        return "switch"
    if isinstance(flag.kind, click.Choice):
        return ", ".join(f"`{choice}`" for choice in flag.kind.choices)
    return flag.kind.accepts if isinstance(flag.kind, Value) else "text"


if __name__ == "__main__":
    click.echo(options_page(), nl=False)
