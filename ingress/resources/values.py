"""The grammars of values that annotations and our own kinds share: durations, sizes, address ranges, header fields.

Everything is ASCII and bounded: ``int()`` alone would take ``+5``, ``1_000`` and digits of other scripts. The patterns
are those of the schemas in ``crds/``, in the common part of RE2 and Python.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from ingress.resources.names import port_fault, port_name_fault

__all__ = [
    "CIDR",
    "COOKIE_PATH",
    "DURATION",
    "FRAMING_FIELD",
    "HEADER_VALUE",
    "MAX_HEADER_NAME",
    "MAX_HEADER_VALUE",
    "MAX_SIZE",
    "MAX_TIMEOUT",
    "ORIGIN",
    "PORT",
    "SIZE",
    "TOKEN",
    "BadValue",
    "is_framing_field",
    "matches",
    "parse_cidr",
    "parse_duration",
    "parse_head_size",
    "parse_header_name",
    "parse_header_value",
    "parse_port",
    "parse_size",
]

MAX_TIMEOUT: Final = 31_536_000
"""Seconds: a year. Longer is a slip of the pen, and timers stay in a range where a float is exact."""
MAX_SIZE: Final = 1 << 50
"""Bytes: 1 PiB, beyond what one request carries."""
MAX_HEADER_NAME: Final = 128
MAX_HEADER_VALUE: Final = 4096

DURATION: Final = "^([0-9]{1,9}(ms|s|m|h))+$"
SIZE: Final = "^[0-9]{1,16}([kKmMgG]i?)?$"
CIDR: Final = "^[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?$"
TOKEN: Final = "^[-A-Za-z0-9!#$%&'*+.^_`|~]+$"  # noqa: S105 - RFC 9110 section 5.6.2
HEADER_VALUE: Final = "^[!-~]([\\t -~]*[!-~])?$"
ORIGIN: Final = "^([*]|null|[a-z][a-z0-9+.-]*://(([*][.])?[A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?)$"
PORT: Final = "^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$"
COOKIE_PATH: Final = "^/[!-:<-~]*$"

_FRAMING_FIELDS: Final = (
    "connection",
    "content-length",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)
FRAMING_FIELD: Final = f"(?i)^({'|'.join(_FRAMING_FIELDS).replace('-', '[^a-z0-9]')})$"
"""Fields of framing, routing and connection management (RFC 9110 section 7.6.1, RFC 9112), which no rule may touch;
also in spellings that CGI-like readers take for them, such as ``Content_Length``."""

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PIECE: Final = re.compile(r"([0-9]+)(ms|s|m|h)")
_SIZE_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class BadValue(ValueError):  # noqa: N818 - a verdict on input
    """A value outside its grammar. The text says what is wrong and completes the sentence "value X …"."""


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of ``text`` is of an anchored pattern. (``$`` of Python would allow a line end after it.)"""
    return re.fullmatch(pattern.removeprefix("^").removesuffix("$"), text) is not None


def parse_duration(text: str) -> float:
    """Seconds from a Go-style duration of whole numbers: ``500ms``, ``5s``, ``1m30s``, ``1h``."""
    if len(text) > 32 or not matches(DURATION, text):
        raise BadValue("is not a duration like 500ms, 5s, 1m30s or 1h")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in _PIECE.findall(text))
    if not seconds > 0:
        raise BadValue("is not above zero")
    if seconds > MAX_TIMEOUT:
        raise BadValue("is more than a year")
    return seconds


def parse_size(value: int | str) -> int:
    """Bytes from a whole number with an optional unit: ``8m``, ``8M`` and ``8Mi`` are all 8 · 1024 · 1024."""
    text = str(value)
    if not matches(SIZE, text):
        raise BadValue("is not a number of bytes with an optional unit k, m or g")
    digits = text.rstrip("kKmMgGi")
    size = int(digits) * _SIZE_UNITS[text[len(digits) :].lower().removesuffix("i")]
    if size > MAX_SIZE:
        raise BadValue(f"is more than {MAX_SIZE} bytes")
    return size


def parse_head_size(value: int | str) -> int:
    """Bytes that (a part of) a request head may have: 1 KiB to 1 MiB."""
    size = parse_size(value)
    if not 1 << 10 <= size <= 1 << 20:
        raise BadValue("is not between 1k and 1m")
    return size


def parse_cidr(text: str) -> str:
    """The usual spelling of an address range; an address alone is a range of one, and host bits do not count."""
    if matches(CIDR, text):
        try:
            return str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            pass
    raise BadValue("is not an address range like 10.0.0.0/8 or 2001:db8::/32")


def is_framing_field(name: str) -> bool:
    """Whether no rule may touch the field of this name."""
    return re.match(FRAMING_FIELD, name) is not None


def parse_header_name(text: str) -> str:
    """The name of a field that a rule may touch (RFC 9110 section 5.1)."""
    if len(text) > MAX_HEADER_NAME or not matches(TOKEN, text):
        raise BadValue("is not the name of a header field")
    if is_framing_field(text):
        raise BadValue("is a field of framing or routing, which no rule may touch")
    return text


def parse_header_value(text: str) -> str:
    """The value of a field: printable ASCII, spaces and tabs inside (RFC 9110 section 5.5 without obs-text)."""
    if len(text) > MAX_HEADER_VALUE or not matches(HEADER_VALUE, text):
        raise BadValue("is not printable ASCII without a space at either end")
    return text


def parse_port(value: int | str) -> str:
    """A port of a Service, by number or name."""
    text = str(value)
    number = text.isascii() and text.isdigit()
    if len(text) > 15 or (port_fault(int(text)) if number else port_name_fault(text)):
        raise BadValue("is neither a port number nor the name of a port")
    return str(int(text)) if number else text
