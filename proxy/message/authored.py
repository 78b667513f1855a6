"""Header fields that a table author wrote, made fit for the wire.

The control plane checks them too; here is where it counts.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["field_line", "field_name"]

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ALIASES: Final = str.maketrans(dict.fromkeys("!#$%&'*+.^_`|~", "-"))
_LOCKED: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Framing, routing and connection management: written by the proxy alone."""


def field_name(name: str) -> bytes:
    """The name in lower case.

    Raises:
        ValueError: it is no token (RFC 9110 section 5.1), or it is (or to CGI-like readers looks like) the proxy's own.
    """
    if not _TOKEN.match(name):
        raise ValueError(f"{name!r} is no field name")
    lowered = name.lower()
    if lowered.translate(_ALIASES) in _LOCKED:
        raise ValueError(f"field {lowered} is the proxy's own")
    return lowered.encode("ascii")


def field_line(name: str, value: str) -> bytes:
    """The whole line, in the name's own spelling.

    Raises:
        ValueError: as :func:`field_name`; or the value holds a control (RFC 9110 section 5.5).
    """
    field_name(name)
    if _CONTROL.search(value):
        raise ValueError(f"the value of field {name} holds a control character")
    return b"%b: %b\r\n" % (name.encode("ascii"), value.strip(" \t").encode())
