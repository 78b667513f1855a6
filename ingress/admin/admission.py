"""AdmissionReview (``admission.k8s.io/v1``) as bytes: what the API server sends, and what it gets.

Nothing of a user is executed, rendered or resolved here. A value comes back in a message only, escaped and cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ingress.resources import Problem

__all__ = ["MAX_BODY", "AdmissionRequest", "ReviewError", "Verdict", "encode_verdict", "plain", "read_review"]

MAX_BODY: Final = 3 * 1024 * 1024
"""Bytes of a review: the new and the old object at etcd's limit of 1.5 MiB."""
MAX_DEPTH: Final = 100
"""Levels of nesting, as for manifests."""
MAX_LINE: Final = 512
"""Bytes of one error in a refusal."""
MAX_ERRORS: Final = 20
MAX_WARNING: Final = 256
"""Bytes of one warning; the API server cuts longer ones."""
MAX_WARNINGS: Final = 4096
"""Bytes of all warnings, as the API server has it too."""

VERSION: Final = "admission.k8s.io/v1"
INVALID: Final = 422
"""kubectl then says "The request is invalid: …" with the file and the whole message. 403 would read as a lack of
rights. ``details`` is left out: kubectl shows it instead of the message, without the webhook's name."""


class ReviewError(ValueError):
    """The body is no review that can be answered. The text says why."""


class GroupKind(msgspec.Struct, frozen=True, kw_only=True):
    """``GroupVersionKind``."""

    group: str = ""
    version: str = ""
    kind: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


class AdmissionRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``AdmissionRequest``, as far as it is used. ``dryRun`` changes nothing: nothing is kept."""

    uid: str
    kind: GroupKind
    operation: str = ""
    sub_resource: str = ""
    name: str = ""
    namespace: str = ""
    object: dict[str, Any] | None = None
    old_object: dict[str, Any] | None = None


class _Review(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    api_version: str
    kind: str
    request: AdmissionRequest


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Refused if there are errors. ``notes`` are warnings of no object."""

    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        return not self.errors


_decoder: Final = msgspec.json.Decoder(_Review)


def read_review(body: bytes) -> AdmissionRequest:
    """Raises :class:`ReviewError`."""
    try:
        review = _decoder.decode(body)
    except UnicodeDecodeError:
        raise ReviewError("the body is not UTF-8") from None
    except RecursionError:
        raise ReviewError(f"nested deeper than {MAX_DEPTH} levels") from None
    except msgspec.DecodeError as error:
        raise ReviewError(f"not an AdmissionReview: {plain(str(error), MAX_LINE)}") from None
    if review.kind != "AdmissionReview" or review.api_version != VERSION:
        kind = plain(f"{review.api_version} {review.kind}", MAX_WARNING)
        raise ReviewError(f"only AdmissionReview of {VERSION} is answered, not {kind}")
    if not review.request.uid:
        raise ReviewError("request.uid is empty")
    if _is_deep(review.request.object) or _is_deep(review.request.old_object):
        raise ReviewError(f"nested deeper than {MAX_DEPTH} levels")
    return review.request


def encode_verdict(uid: str, verdict: Verdict) -> bytes:
    """The AdmissionReview that answers the request of ``uid``."""
    response: dict[str, Any] = {"uid": uid, "allowed": verdict.allowed}
    if not verdict.allowed:
        message = _refusal(verdict.errors)
        response["status"] = {"status": "Failure", "code": INVALID, "reason": "Invalid", "message": message}
    warnings = _warnings(verdict)
    if warnings:
        response["warnings"] = warnings
    return msgspec.json.encode({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response})


def plain(text: str, limit: int) -> str:
    """``text`` in one line of at most ``limit`` bytes of UTF-8: what does not print is escaped, the rest is cut."""
    text = text[:limit]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    data = text.encode()
    return text if len(data) <= limit else data[: limit - 3].decode(errors="ignore") + "…"


def _refusal(errors: Sequence[Problem]) -> str:
    if len(errors) == 1:
        problem = errors[0]
        return plain(f"{problem.object}: {_told(problem)}", MAX_LINE)
    lines = [plain(f"{errors[0].object} has {len(errors)} errors:", MAX_LINE)]
    lines += [plain(f"- {_told(problem)}", MAX_LINE) for problem in errors[:MAX_ERRORS]]
    if len(errors) > MAX_ERRORS:
        lines.append(f"and {len(errors) - MAX_ERRORS} more")
    return "\n".join(lines)


def _warnings(verdict: Verdict) -> list[str]:
    texts = [*verdict.notes, *(f"{problem.object}: {_told(problem)}" for problem in verdict.warnings)]
    told: list[str] = []
    room = MAX_WARNINGS
    for number, text in enumerate(texts):
        line = plain(f"pyngress: {text}", MAX_WARNING)
        room -= len(line.encode())
        # Room for the last line is kept.
        if room < (MAX_WARNING if number + 1 < len(texts) else 0):
            told.append(f"pyngress: and {len(texts) - number} more warnings")
            break
        told.append(line)
    return told


def _told(problem: Problem) -> str:
    """The reason stands before the message, so that it outlives a cut."""
    # A field holds user's keys: never so long that nothing of the message is left.
    field = plain(problem.field, MAX_WARNING // 2)
    return f"{field + ': ' if field else ''}{problem.reason}: {problem.message}"


def _is_deep(value: Any) -> bool:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return True
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return False
