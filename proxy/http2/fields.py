"""The rules of header fields (RFC 9113 section 8.2), and the way between fields and the lines that heads keep."""

from __future__ import annotations

import re
from typing import Final

from proxy.http2.events import Fields
from proxy.message.errors import MessageError
from proxy.message.fields import is_trailer_allowed

__all__ = ["Malformed", "are_clean", "check_field", "fields_of", "is_clean", "trailers_of"]

_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+\Z")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_STRAY: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OF_THE_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_SPACES: Final = b" \t"
_MAX_NAMES: Final = 4096
"""Names remembered; more are looked at each time, so that a peer cannot fill memory."""
_MAX_TRAILERS: Final = 64

_names: dict[bytes, bool] = {}
"""Names seen → whether they may be there."""
_lowered: dict[bytes, bytes] = {}


class Malformed(MessageError):  # noqa: N818 - a verdict on input, as its siblings
    """A message that costs its stream (RFC 9113 section 8.1.1)."""


def _judge_name(name: bytes) -> bool:
    good = _NAME.match(name) is not None and name not in _OF_THE_CONNECTION
    if len(_names) < _MAX_NAMES:
        _names[name] = good
    return good


def check_field(name: bytes, value: bytes) -> None:
    """Raises :class:`Malformed` where a field that is no pseudo-header field may not be there, its value aside."""
    try:
        good = _names[name]
    except KeyError:
        good = _judge_name(name)
    if not good:
        raise Malformed("BadHeaderName")
    if value != value.strip(_SPACES):
        raise Malformed("BadHeaderValue")
    if name == b"te" and value.lower() != b"trailers":
        raise Malformed("BadTe")


def is_clean(value: bytes) -> bool:
    """Whether there is no control character, such as could end a line early, in ``value``."""
    return _CONTROL.search(value) is None


def are_clean(lines: bytes, number: int) -> bool:
    """Whether so many header lines are just that many lines, and without other control characters."""
    return lines.count(b"\n") == number == lines.count(b"\r") and _STRAY.search(lines) is None


def fields_of(lines: bytes) -> Fields:
    """Header lines (each with its line end) as fields."""
    fields: Fields = []
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        lowered = _lowered.get(name)
        if lowered is None:
            lowered = name.lower()
            if len(_lowered) < _MAX_NAMES:
                _lowered[name] = lowered
        fields.append((lowered, value.strip(_SPACES)))
    return fields


def trailers_of(fields: Fields) -> Fields:
    """Those trailer fields that may be passed on.

    Raises:
        Malformed: they are none.
    """
    if len(fields) > _MAX_TRAILERS:
        raise Malformed("TooManyTrailers")
    for name, value in fields:
        check_field(name, value)
        if not is_clean(value):
            raise Malformed("BadHeaderValue")
    return [(name, value) for name, value in fields if is_trailer_allowed(name)]
