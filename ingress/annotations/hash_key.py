"""The key of consistent hashing, written with nginx variables: ``$request_uri``, ``${host}-$cookie_user``.

Grammar: literal printable ASCII, ``$name`` or ``${name}``. A name is one of :data:`VARIABLES`, or one of
:data:`FAMILIES` and what it asks for. The key must hold a variable, else every request would go to one endpoint.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from ingress.annotations.parsers import BadValue
from proxy.table import HashPart

__all__ = ["FAMILIES", "VARIABLES", "format_hash_key", "parse_hash_key"]

Variable = Literal["remote_addr", "host", "request_uri", "uri", "args", "method", "scheme"]
Family = Literal["header", "cookie", "arg"]

VARIABLES: Final[dict[str, Variable]] = {
    "request_uri": "request_uri",
    "uri": "uri",
    "host": "host",
    "remote_addr": "remote_addr",
    "binary_remote_addr": "remote_addr",
    "args": "args",
    "query_string": "args",
    "request_method": "method",
    "scheme": "scheme",
}
FAMILIES: Final[dict[str, Family]] = {"arg_": "arg", "http_": "header", "cookie_": "cookie"}

MAX_LENGTH: Final = 1024
"""Characters; the key is built for every request."""

_PRINTABLE: Final = re.compile(r"[ -~]+", re.ASCII)
_TOKEN: Final = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))|([^$]+)", re.ASCII)


def parse_hash_key(text: str) -> tuple[HashPart, ...]:
    """The parts of a hash key. Raises :class:`BadValue`."""
    if len(text) > MAX_LENGTH:
        raise BadValue(f"is longer than {MAX_LENGTH} characters")
    if _PRINTABLE.fullmatch(text) is None:
        raise BadValue("is empty or holds characters that are not printable ASCII")
    parts: list[HashPart] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise BadValue("holds a $ that begins no variable")
        braced, bare, literal = match.groups()
        parts.append(HashPart(source="text", name=literal) if literal else _variable(braced or bare))
        position = match.end()
    if all(part.source == "text" for part in parts):
        raise BadValue("holds no variable, so that every request would go to the same endpoint")
    return tuple(parts)


def format_hash_key(parts: tuple[HashPart, ...]) -> str:
    """The one spelling of a key: ``parse_hash_key`` of it gives ``parts`` again."""
    spelled: dict[str, str] = {source: name for name, source in reversed(VARIABLES.items())}
    prefixes: dict[str, str] = {source: prefix for prefix, source in FAMILIES.items()}
    pieces = []
    for part in parts:
        if part.source == "text":
            pieces.append(part.name)
        elif part.source in prefixes:
            pieces.append(f"${{{prefixes[part.source]}{part.name.replace('-', '_')}}}")
        else:
            pieces.append(f"${{{spelled[part.source]}}}")
    return "".join(pieces)


def _variable(name: str) -> HashPart:
    source = VARIABLES.get(name)
    if source is not None:
        return HashPart(source=source)
    for prefix, family in FAMILIES.items():
        wanted = name.removeprefix(prefix)
        if wanted not in (name, ""):
            # nginx spells a header in lower case with _ for -.
            return HashPart(source=family, name=wanted.lower().replace("_", "-") if family == "header" else wanted)
    raise BadValue(f"names a variable that Pyngress does not know: ${name[:64]}")
