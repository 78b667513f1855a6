"""The grammars of annotation values. Each takes the text as written and raises :class:`BadValue` with what it wants.

Lengths and numbers are ASCII and bounded: ``int()`` alone would take ``+5``, ``1_000`` and digits of other scripts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

__all__ = [
    "MAX_SIZE",
    "MAX_TIMEOUT",
    "BadValue",
    "parse_bool",
    "parse_choice",
    "parse_duration",
    "parse_seconds",
    "parse_size",
]

T = TypeVar("T", bound=str)

MAX_TIMEOUT: Final = 31_536_000
"""Seconds: a year. Longer is a slip of the pen, and timers stay in a range where a float is exact."""
MAX_SIZE: Final = 1 << 50
"""Bytes: 1 PiB, beyond what one request carries."""

_TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE: Final = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_SIZE: Final = re.compile(r"([0-9]{1,16})([bkmgBKMG]?)", re.ASCII)
_SIZE_UNITS: Final = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]{1,12})(ms|s|m|h|)", re.ASCII)
_DURATION_UNITS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class BadValue(ValueError):  # noqa: N818 - a verdict on input
    """A value outside its grammar. The text says what is wanted and completes the sentence "value X …"."""


def parse_bool(text: str) -> bool:
    """``true`` or ``false`` in the spellings of Go's ``strconv.ParseBool``, which Kubernetes users know."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise BadValue('is neither "true" nor "false"')


def parse_size(text: str) -> int:
    """Bytes from a whole number with an optional unit ``b``, ``k``, ``m`` or ``g`` (powers of 1024)."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise BadValue("is not a whole number of bytes with an optional unit b, k, m or g")
    size = int(match[1]) * _SIZE_UNITS[match[2].lower()]
    if size > MAX_SIZE:
        raise BadValue(f"is more than {MAX_SIZE} bytes")
    return size


def parse_seconds(text: str) -> float:
    """A timeout as ingress-nginx writes it: whole seconds without a unit."""
    if _SECONDS.fullmatch(text) is None:
        raise BadValue("is not a whole number of seconds without a unit")
    return _bounded(float(int(text)))


def parse_duration(text: str) -> float:
    """Seconds from a whole number, alone or with a unit ``ms``, ``s``, ``m`` or ``h``."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadValue("is not a whole number of seconds, or one with a unit ms, s, m or h")
    return _bounded(int(match[1]) * _DURATION_UNITS[match[2]])


def parse_choice(*choices: T, elsewhere: dict[str, str] | None = None) -> Callable[[str], T]:
    """A parser that takes one of ``choices`` as written; ``elsewhere`` explains words that are known but not taken."""

    def parse(text: str) -> T:
        for choice in choices:
            if text == choice:
                return choice
        if elsewhere is not None and text in elsewhere:
            raise BadValue(elsewhere[text])
        raise BadValue(f"is none of {', '.join(choices)}")

    return parse


def _bounded(seconds: float) -> float:
    if not seconds > 0:
        raise BadValue("is not above zero: a timeout of nothing would fail every request")
    if seconds > MAX_TIMEOUT:
        raise BadValue(f"is more than {MAX_TIMEOUT} seconds (a year)")
    return seconds
