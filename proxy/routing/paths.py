"""One spelling for every path.

A path is normalised once; that form is matched and forwarded, so that Pyngress and the backend never see two different
paths. The rules, in order:

1. A path begins with ``/``. Control characters, ``\\``, ``#`` and ``?`` are refused.
2. Escapes are two hex digits. Those of unreserved characters are decoded, once (RFC 3986 section 6.2.2.2); the hex
   digits of the others become upper case. ``%2F`` therefore stays inside its element. ``%00``, ``%0A`` and ``%0D`` are
   refused.
3. Bytes that may not stand in a path (spaces, quotes, braces, UTF-8) are escaped.
4. Runs of ``/`` become one, if wanted.
5. Dot segments are removed (RFC 3986 section 5.2.4); climbing above the root is refused, as nginx does.
6. Elements that only become dot segments after a backend decodes ``%2F`` or ``%5C`` or cuts a ``;`` parameter
   (``..;x``, ``..%2Fadmin``) are refused.

The result is a fixed point: normalising it again changes nothing.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["BadPath", "normalise_path", "split_target"]

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PLAIN: Final = bytes(sorted(_UNRESERVED)) + b"!$&'()*+,;=:@/"
"""What may stand in a path as it is: ``pchar`` without escapes, and ``/`` (RFC 3986 section 3.3)."""

_DOT: Final = 0x2E
_REFUSED: Final = re.compile(rb"[\x00-\x1f\x7f\\#?]")
_REFUSED_ESCAPES: Final = frozenset((0x00, 0x0A, 0x0D))
_SPECIAL: Final = re.compile(rb"%([0-9A-Fa-f]{2})?|[^%" + re.escape(_PLAIN) + rb"]")
_HIDDEN_DOTS: Final = re.compile(rb"(?:^|/|%2F|%5C)\.\.?(?:;|%3B|%2F|%5C)|(?:%2F|%5C)\.\.?(?:/|$)")


class BadPath(ValueError):  # noqa: N818 - a verdict on input, named like its siblings BadHost and BadRequest
    """The path of a request or of a route has no safe meaning; ``reason`` says why and repeats no input."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def normalise_path(path: bytes, *, merge_slashes: bool = True) -> bytes:
    """The one spelling of ``path`` (without query). Raises :class:`BadPath`."""
    # The common case costs two scans and a translate, and returns the very same object. (``find``, because ``in`` with
    # bytes on both sides first tries the left one as a number, and is three times slower.)
    if (
        path[:1] == b"/"
        and path.find(b"//") < 0
        and (_DOT not in path or path.find(b"/.") < 0)
        and not path.translate(None, _PLAIN)
    ):
        return path
    return _normalise(path, merge_slashes)


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of an origin-form target (RFC 9112 section 3.2.1); the query keeps its ``?``, or is empty."""
    mark = target.find(b"?")
    if mark < 0:
        return target, b""
    return target[:mark], target[mark:]


def _normalise(path: bytes, merge_slashes: bool) -> bytes:
    if path[:1] != b"/":
        raise BadPath("path does not begin with /")
    if _REFUSED.search(path):
        raise BadPath("path holds a control character, a backslash, # or ?")
    path = _SPECIAL.sub(_respelled, path)
    if _HIDDEN_DOTS.search(path):
        raise BadPath("path hides a dot segment behind a parameter or an escaped separator")
    elements = path[1:].split(b"/")
    if merge_slashes:
        # A path that ended in / keeps one: its last element is empty.
        elements = [element for element in elements[:-1] if element] + elements[-1:]
    if b"/." in path:
        elements = _without_dots(elements)
    return b"/" + b"/".join(elements)


def _respelled(match: re.Match[bytes]) -> bytes:
    """The normal spelling of one escape or of one byte that needs escaping."""
    text = match.group()
    if text[0] != 0x25:
        return b"%%%02X" % text[0]
    digits = match.group(1)
    if digits is None:
        raise BadPath("path holds an escape that is not % and two hex digits")
    code = int(digits, 16)
    if code in _UNRESERVED:
        return bytes((code,))
    if code in _REFUSED_ESCAPES:
        raise BadPath("path holds an escaped NUL, CR or LF")
    return text.upper()


def _without_dots(elements: list[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    for element in elements:
        if element == b".":
            continue
        if element == b"..":
            if not kept:
                raise BadPath("path climbs above the root")
            kept.pop()
        else:
            kept.append(element)
    if elements[-1] in (b".", b".."):
        kept.append(b"")  # what a dot segment leaves at the end is a folder
    return kept
