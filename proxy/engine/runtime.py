"""What all exchanges of a worker share."""

from __future__ import annotations

from email.utils import formatdate
from random import Random
from typing import Final

from proxy.engine.state import EMPTY, State
from proxy.filters import Allowances
from proxy.telemetry import AccessLog, Telemetry
from proxy.upstream.dial import Dialer

__all__ = ["Runtime"]

SERVER: Final = b"Server: pyngress\r\n"


class Runtime:
    """One per process. ``state`` is replaced by one assignment; everything else is counters and tools."""

    __slots__ = (
        "access_log",
        "active",
        "allowances",
        "date",
        "dialer",
        "draining",
        "random_bits",
        "server_and_date",
        "state",
        "telemetry",
        "tunnels",
    )

    def __init__(
        self,
        *,
        telemetry: Telemetry,
        dialer: Dialer,
        access_log: AccessLog | None,
        random: Random,
        allowances: Allowances,
    ) -> None:
        self.state: State = EMPTY
        self.allowances = allowances
        self.telemetry = telemetry
        self.dialer = dialer
        self.access_log = access_log
        self.random_bits = random.getrandbits
        self.draining = False
        """Every response closes its connection."""
        self.active = 0
        """Exchanges under way, tunnels among them."""
        self.tunnels = 0
        self.date = b""
        self.server_and_date = b""
        self.tick()

    def tick(self) -> None:
        """Once a second: the Date field (RFC 9110 section 6.6.1)."""
        self.date = b"Date: %b\r\n" % formatdate(usegmt=True).encode("ascii")
        self.server_and_date = SERVER + self.date

    def own_fields(self, *, has_server: bool, has_date: bool) -> bytes:
        """The Server and Date fields that a response still lacks."""
        if has_server:
            return b"" if has_date else self.date
        return SERVER if has_date else self.server_and_date

    def request_id(self) -> bytes:
        """32 hexadecimal digits, as nginx's ``$request_id``; unique, not secret."""
        return b"%032x" % self.random_bits(128)
