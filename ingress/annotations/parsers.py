"""The grammars of annotation values. Each takes the text as written and raises :class:`BadValue` with what it wants.

Lengths and numbers are ASCII and bounded: ``int()`` alone would take ``+5``, ``1_000`` and digits of other scripts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

import re2

from ingress.resources.values import (
    COOKIE_PATH,
    MAX_SIZE,
    MAX_TIMEOUT,
    ORIGIN,
    TOKEN,
    BadValue,
    matches,
    parse_cidr,
)

__all__ = [
    "MAX_SIZE",
    "MAX_TIMEOUT",
    "BadValue",
    "parse_bool",
    "parse_choice",
    "parse_cookie_name",
    "parse_cookie_path",
    "parse_count",
    "parse_duration",
    "parse_max_age",
    "parse_names",
    "parse_object",
    "parse_origins",
    "parse_ranges",
    "parse_same_site",
    "parse_seconds",
    "parse_size",
    "parse_subject",
    "parse_url",
]

T = TypeVar("T", bound=str)

MAX_ITEMS: Final = 256
"""Of a list in one annotation."""

_TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE: Final = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_SIZE: Final = re.compile(r"([0-9]{1,16})([bkmgBKMG]?)", re.ASCII)
_SIZE_UNITS: Final = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]{1,12})(ms|s|m|h|)", re.ASCII)
_COUNT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_SAME_SITE: Final = {"strict": "Strict", "lax": "Lax", "none": "None"}
_OBJECT: Final = re.compile(
    r"(?:([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)/)?([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?)", re.ASCII
)
_URL: Final = re.compile(
    r"https?://[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?([/?#]([A-Za-z0-9._~:/?#@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)?", re.ASCII
)
_DURATION_UNITS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


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


def parse_count(text: str) -> int:
    """A whole number, 0 to 1,000,000."""
    if _COUNT.fullmatch(text) is None or int(text) > 1_000_000:
        raise BadValue("is not a whole number between 0 and 1000000")
    return int(text)


def parse_max_age(text: str) -> int:
    """Seconds that a cookie or an answer may be kept: a whole number, at most a year."""
    if _SECONDS.fullmatch(text) is None or int(text) > MAX_TIMEOUT:
        raise BadValue(f"is not a whole number of seconds between 0 and {MAX_TIMEOUT}")
    return int(text)


def parse_ranges(text: str) -> tuple[str, ...]:
    """Address ranges (CIDR) or addresses, separated by commas; at least one. In their usual spelling."""
    return tuple(dict.fromkeys(parse_cidr(item) for item in _listed(text, "address ranges")))


def parse_names(text: str) -> tuple[str, ...]:
    """Tokens (RFC 9110 section 5.6.2) separated by commas: methods, header names, ``*``."""
    items = _listed(text, "names")
    for item in items:
        if len(item) > 128 or not matches(TOKEN, item):
            raise BadValue("is not a list of names, separated by commas")
    return tuple(dict.fromkeys(items))


def parse_origins(text: str) -> tuple[str, ...]:
    """Origins separated by commas: ``https://a.example``, with ``*.`` for the first label, ``null`` or ``*``."""
    items = _listed(text, "origins")
    for item in items:
        if len(item) > 300 or not matches(ORIGIN, item):
            raise BadValue("is not a list of origins like https://a.example.com or https://*.example.com, or *")
    return tuple(dict.fromkeys(item.lower() for item in items))


def parse_cookie_name(text: str) -> str:
    """The name of a cookie (RFC 6265 section 4.1.1)."""
    if len(text) > 128 or not matches(TOKEN, text):
        raise BadValue("is not the name of a cookie")
    return text


def parse_cookie_path(text: str) -> str:
    """The path of a cookie (RFC 6265 section 4.1.1), which begins with ``/``."""
    if len(text) > 512 or not matches(COOKIE_PATH, text):
        raise BadValue("is not a path of ASCII without a space or ;")
    return text


def parse_same_site(text: str) -> str:
    """``Strict``, ``Lax`` or ``None``, in any case."""
    if text.lower() not in _SAME_SITE:
        raise BadValue("is none of Strict, Lax, None")
    return _SAME_SITE[text.lower()]


def parse_subject(text: str) -> str:
    """An expression (RE2) for the subject of a certificate, as ingress-nginx: it begins with ``CN=``."""
    if not text.startswith("CN=") or len(text) > 512 or not text.isprintable():
        raise BadValue('is not an expression that begins with "CN="')
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(text, options)
    except re2.error:
        raise BadValue("is not an expression of RE2") from None
    return text


def parse_url(text: str) -> str:
    """An absolute http or https URL (RFC 3986)."""
    if len(text) > 2048 or _URL.fullmatch(text) is None:
        raise BadValue("is not a URL that begins with http:// or https://")
    return text


def parse_object(text: str) -> tuple[str, str]:
    """Namespace (empty: not given) and name of an object."""
    match = _OBJECT.fullmatch(text)
    if match is None:
        raise BadValue("is not the name of an object, alone or behind its namespace and /")
    return match[1] or "", match[3]


def _listed(text: str, what: str) -> list[str]:
    items = [item.strip(" ") for item in text.split(",")]
    if items and not items[-1]:
        items.pop()  # a comma at the end is common, and harmless
    if not items or not all(items):
        raise BadValue(f"is not a list of {what}, separated by commas")
    if len(items) > MAX_ITEMS:
        raise BadValue(f"has more than {MAX_ITEMS} items")
    return items


def _bounded(seconds: float) -> float:
    if not seconds > 0:
        raise BadValue("is not above zero: a timeout of nothing would fail every request")
    if seconds > MAX_TIMEOUT:
        raise BadValue(f"is more than {MAX_TIMEOUT} seconds (a year)")
    return seconds
