"""Problems in the log: each once when it appears, and once when it is gone."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from ingress.resources import ObjectRef, Problem

__all__ = ["ProblemLog"]

log = structlog.get_logger("pyngress.problems")


class ProblemLog:
    """Remembers what it has said."""

    def __init__(self) -> None:
        self._known: dict[tuple[ObjectRef, str, str, str], Problem] = {}

    def show(self, problems: Sequence[Problem]) -> None:
        """``problems`` are all there are now."""
        now = {problem.sort_key: problem for problem in problems}
        for key, problem in now.items():
            if key not in self._known:
                say = log.error if problem.severity == "error" else log.warning
                say(problem.message, **_facts(problem))
        for key, problem in self._known.items():
            if key not in now:
                log.info(f"cleared: {problem.message}", **_facts(problem))
        self._known = now


def _facts(problem: Problem) -> dict[str, str]:
    facts = {"object": str(problem.object), "field": problem.field, "reason": problem.reason}
    if problem.source is not None:
        facts["source"] = str(problem.source)
    return {name: value for name, value in facts.items() if value}
