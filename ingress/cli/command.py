"""Commands whose help shows flags in sections, and the decorator that turns flags into Options."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from ingress.cli.flags import Flag, FlagOption, as_option, options_from
from ingress.options import Options

__all__ = ["SectionedCommand", "with_options"]

R = TypeVar("R")


class SectionedCommand(click.Command):
    """A command whose help lists flags by their group, in the order of the table."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                group = parameter.flag.group if isinstance(parameter, FlagOption) else "Options"
                sections.setdefault(group, []).append(record)
        for group, records in sections.items():
            with formatter.section(group):
                formatter.write_dl(records)


def with_options(flags: Sequence[Flag]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a command ``flags``; it is called with ``options`` (:class:`Options`) in their place."""

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(command)
        def call(**values: Any) -> R:
            options: Options = options_from(values)
            own = {name: value for name, value in values.items() if name not in taken}
            return command(options=options, **own)

        added = [as_option(flag) for flag in flags]
        taken = {option.name for option in added}
        inherited: list[click.Parameter] = getattr(command, "__click_params__", [])
        call.__click_params__ = [*inherited, *reversed(added)]  # type: ignore[attr-defined]  # as click's decorators do
        return call

    return decorate
