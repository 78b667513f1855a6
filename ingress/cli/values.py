"""The kinds of values that flags take: how each is read, what it accepts, and how its default is shown.

A bad value is answered with what it was and what is accepted; click adds the flag and the variable it came from.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from typing import Any, NoReturn

import click

from ingress.options import ServiceRef

__all__ = [
    "Address",
    "Ciphers",
    "Count",
    "Duration",
    "LabelSelector",
    "Name",
    "Names",
    "NamespacedName",
    "Networks",
    "Port",
    "ServicePort",
    "Size",
    "StatusAddresses",
    "Value",
    "Words",
    "Workers",
    "show_duration",
    "show_size",
]

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)?", re.ASCII)
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"([0-9]{1,15})([kmg]?)b?", re.ASCII | re.IGNORECASE)
_SIZE_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_NAME = r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?"
_LABEL = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = rf"(?:[a-z0-9](?:[-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_LABEL}"
_REQUIREMENT = rf"(?:!?{_LABEL_KEY}|{_LABEL_KEY}\s*(?:==?|!=)\s*(?:{_LABEL})?|{_LABEL_KEY}\s+(?:in|notin)\s*\([^()]+\))"
_SELECTOR = re.compile(rf"\s*{_REQUIREMENT}\s*(?:,\s*{_REQUIREMENT}\s*)*", re.ASCII)
_CIPHERS = re.compile(r"[-A-Za-z0-9_:+!@=]{1,2048}", re.ASCII)
_ONE_NAME = re.compile(_NAME, re.ASCII)
_NAMESPACED = re.compile(rf"({_NAME})/({_NAME})", re.ASCII)
_SERVICE_PORT = re.compile(rf"({_NAME})/({_NAME}):([a-z0-9](?:[-a-z0-9]{{0,13}}[a-z0-9])?)", re.ASCII)


class Value(click.ParamType[Any]):
    """A kind of value. ``accepts`` completes the sentence "… is not …"."""

    accepts = "a value"

    def read(self, text: str) -> Any:
        """The value of ``text``. Raises ``ValueError``."""
        raise NotImplementedError

    def show(self, value: Any) -> str:
        """``value`` as a user would write it; used for defaults in help and docs."""
        return str(value)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self.read(value.strip())
        except ValueError:
            self._refuse(value, param, ctx)

    def _refuse(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        self.fail(f"{value!r} is not {self.accepts}.", param, ctx)


class Duration(Value):
    """Seconds as a float; ``zero`` says whether none at all is allowed."""

    name = "duration"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero
        more = "0 or more" if zero else "more than 0"
        self.accepts = f"a duration of {more}: seconds, or a number with ms, s, m or h (10, 1.5, 500ms, 2m)"

    def read(self, text: str) -> float:
        found = _DURATION.fullmatch(text)
        if found is None:
            raise ValueError(text)
        seconds = float(found[1]) * _DURATION_UNITS[found[2] or "s"]
        if seconds == 0 and not self._zero:
            raise ValueError(text)
        return seconds

    def show(self, value: Any) -> str:
        return show_duration(value)


class Size(Value):
    """Bytes as an int; ``zero`` says whether 0 (no limit) is allowed."""

    name = "size"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero
        more = "; 0 for no limit" if zero else ", more than 0"
        self.accepts = f"a size: bytes, or a number with k, m or g (8192, 10m){more}"

    def read(self, text: str) -> int:
        found = _SIZE.fullmatch(text)
        if found is None:
            raise ValueError(text)
        size = int(found[1]) * _SIZE_UNITS[found[2].lower()]
        if size == 0 and not self._zero:
            raise ValueError(text)
        return size

    def show(self, value: Any) -> str:
        return show_size(value)


class Count(Value):
    """A whole number from ``least`` to ``most``."""

    name = "number"

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most
        self.accepts = f"a whole number from {least} to {most}"

    def read(self, text: str) -> int:
        if not _NUMBER.fullmatch(text) or not self._least <= int(text) <= self._most:
            raise ValueError(text)
        return int(text)


class Ciphers(Value):
    """An OpenSSL cipher list for TLS 1.2; empty: none."""

    name = "ciphers"
    accepts = "an OpenSSL cipher list of which a cipher is known here (ECDHE-RSA-AES128-GCM-SHA256:…)"

    def read(self, text: str) -> str:
        if text in ("", "none"):
            return ""
        if not _CIPHERS.fullmatch(text):
            raise ValueError(text)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(text)
        except ssl.SSLError:
            raise ValueError(text) from None
        return text

    def show(self, value: Any) -> str:
        return value or "none"


class Port(Count):
    """A TCP port. 0: one that the system picks."""

    name = "port"

    def __init__(self, *, any_free: bool = True, off: bool = False) -> None:
        super().__init__(0 if any_free or off else 1, 65535)
        zero = " (0 for none)" if off else " (0 picks a free one)" if any_free else ""
        self.accepts = f"a port: {self.accepts}{zero}"


class Workers(Value):
    """A number of processes; 0 stands for ``auto``."""

    name = "number|auto"
    accepts = "'auto' or a whole number from 1 to 256"

    def read(self, text: str) -> int:
        if text == "auto":
            return 0
        if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= 256:
            raise ValueError(text)
        return int(text)

    def show(self, value: Any) -> str:
        return "auto" if value == 0 else str(value)


class Words(Value):
    """Comma-separated values as a tuple; the flag may also be repeated."""

    def split_envvar_value(self, rv: str) -> tuple[str, ...]:
        return (rv,)

    def read(self, text: str) -> tuple[str, ...]:
        return tuple(self.read_one(part.strip()) for part in text.split(",") if part.strip())

    def read_one(self, text: str) -> str:
        """One of the values. Raises ``ValueError``."""
        return text

    def show(self, value: Any) -> str:
        return ",".join(value) or "none"


class Address(Words):
    """IP addresses to listen on."""

    name = "ip,..."
    accepts = "an IP address, or several with commas between (0.0.0.0,::)"

    def read(self, text: str) -> tuple[str, ...]:
        addresses = super().read(text)
        if not addresses:
            raise ValueError(text)
        return addresses

    def read_one(self, text: str) -> str:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))


class Networks(Words):
    """Networks in CIDR notation; a bare address is a network of one. Host bits must be zero."""

    name = "cidr,..."
    accepts = "a network, or several with commas between (10.0.0.0/8,fd00::/8); bits behind the prefix must be 0"

    def read_one(self, text: str) -> str:
        return str(ipaddress.ip_network(text))


class Name(Value):
    """The name of an object."""

    name = "name"
    accepts = "a name: lower-case letters, digits, '-' and '.'"

    def read(self, text: str) -> str:
        if not _ONE_NAME.fullmatch(text):
            raise ValueError(text)
        return text


class Names(Words):
    """Names of namespaces."""

    name = "name,..."
    accepts = "a name, or several with commas between: lower-case letters, digits and '-'"

    def read_one(self, text: str) -> str:
        if not _ONE_NAME.fullmatch(text):
            raise ValueError(text)
        return text


class LabelSelector(Value):
    """A label selector as ``kubectl -l`` takes it; what it means is the API server's affair."""

    name = "selector"
    accepts = "a label selector (team=web,stage!=test, stage in (a,b), key, !key)"

    def read(self, text: str) -> str:
        if text and not _SELECTOR.fullmatch(text):
            raise ValueError(text)
        return text

    def show(self, value: Any) -> str:
        return str(value) or "none"


class StatusAddresses(Words):
    """IP addresses and host names."""

    name = "ip|name,..."
    accepts = "an IP address or a host name, or several with commas between"

    def read_one(self, text: str) -> str:
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            name = text.lower()
            if not _ONE_NAME.fullmatch(name) or name.rpartition(".")[2].isdigit():
                raise
            return name


class NamespacedName(Value):
    """``namespace/name`` as a pair."""

    name = "namespace/name"
    accepts = "of the form namespace/name"

    def read(self, text: str) -> tuple[str, str] | None:
        if not text:
            return None
        found = _NAMESPACED.fullmatch(text)
        if found is None:
            raise ValueError(text)
        return (found[1], found[2])

    def show(self, value: Any) -> str:
        return "/".join(value) if value else "none"


class ServicePort(Value):
    """``namespace/name:port`` of a Service."""

    name = "namespace/name:port"
    accepts = "of the form namespace/name:port, the port a number or a name"

    def read(self, text: str) -> ServiceRef | None:
        if not text:
            return None
        found = _SERVICE_PORT.fullmatch(text)
        if found is None or (found[3].isdigit() and not 1 <= int(found[3]) <= 65535):
            raise ValueError(text)
        return ServiceRef(namespace=found[1], name=found[2], port=found[3])

    def show(self, value: Any) -> str:
        return str(value) if value else "none"


def show_duration(seconds: float) -> str:
    """``seconds`` in the largest unit that shows it whole."""
    for unit in ("h", "m", "s"):
        if seconds and seconds % _DURATION_UNITS[unit] == 0:
            return f"{seconds / _DURATION_UNITS[unit]:g}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


def show_size(size: int) -> str:
    """``size`` in the largest unit that shows it whole; 0 stays 0."""
    for unit in ("g", "m", "k"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return str(size)
