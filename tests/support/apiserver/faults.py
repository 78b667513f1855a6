"""What may go wrong on demand. Everything is off until asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.apiserver.access import Action
from tests.support.apiserver.failures import ApiError, of_code

__all__ = ["Faults"]


@dataclass(slots=True, kw_only=True)
class _Failure:
    left: int
    code: int
    verb: str
    plural: str
    retry_after: int | None


@dataclass(slots=True)
class Faults:
    """The switches; delays in seconds."""

    list_delay: float = 0.0
    """Before a list is answered."""
    event_delay: float = 0.0
    """Before events of a watch are sent."""
    duplicate_events: bool = False
    """Every event of a watch comes twice."""
    gone_as_http: bool = False
    """A watch from a compacted version is answered with HTTP 410 instead of an ERROR event."""
    deaf: bool = False
    """Every watch, old or new, stays open without a byte."""
    _failures: list[_Failure] = field(default_factory=list)

    def fail(
        self, code: int, times: int = 1, *, verb: str = "", plural: str = "", retry_after: int | None = None
    ) -> None:
        """The next ``times`` requests of a verb (``get``, ``list``, ``patch``, …) and a plural get ``code``.

        ``ingresses/status`` names a subresource; empty means any.
        """
        failure = _Failure(left=times, code=code, verb=verb, plural=plural, retry_after=retry_after)
        self._failures.append(failure)

    def failure_for(self, action: Action) -> ApiError | None:
        """The failure that this request gets, used up by it."""
        for each in self._failures:
            if each.verb in ("", action.verb) and each.plural in ("", action.target):
                each.left -= 1
                if each.left <= 0:
                    self._failures.remove(each)
                return of_code(each.code, retry_after=each.retry_after)
        return None

    def clear(self) -> None:
        """Everything off again."""
        self.list_delay = self.event_delay = 0.0
        self.duplicate_events = self.gone_as_http = self.deaf = False
        self._failures.clear()
