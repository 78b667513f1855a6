"""``pyngress check``: every problem of manifests, as aligned text or JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingress.cli.render import columns, paint
from ingress.resources import Problem

__all__ = ["problem_lines", "problems_json", "summary"]

_COLOURS = {"error": "red", "warning": "yellow"}


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """One aligned line per problem: severity, object, place, field, message."""
    return columns(
        [
            (
                paint(problem.severity, _COLOURS[problem.severity], bold=problem.severity == "error"),
                str(problem.object),
                _place(problem),
                problem.field or "-",
                f"{problem.message} ({problem.reason})",
            )
            for problem in problems
        ]
    )


def problems_json(problems: Sequence[Problem]) -> str:
    """The problems as a JSON array of objects: severity, object, field, reason, message, source."""
    rows = [
        {
            "severity": problem.severity,
            "object": msgspec.to_builtins(problem.object),
            "field": problem.field,
            "reason": problem.reason,
            "message": problem.message,
            "source": msgspec.to_builtins(problem.source),
        }
        for problem in problems
    ]
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode()


def summary(problems: Sequence[Problem], served: int) -> str:
    """One line: what was found in how many Ingresses."""
    errors = sum(problem.severity == "error" for problem in problems)
    counts = f"{_count(errors, 'error')}, {_count(len(problems) - errors, 'warning')}"
    return f"{_count(served, 'Ingress', 'Ingresses')} served: {counts}"


def _place(problem: Problem) -> str:
    return str(problem.source) if problem.source else "-"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
