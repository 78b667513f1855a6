"""The conversation between the control process and one worker, over a socket pair.

Each message is a frame: four bytes of length (big-endian), then MessagePack of one of the structs below.

Down: :class:`Delta`, :class:`Drain`, :class:`Stop`, :class:`AskStats`.
Up: :class:`Ack`, :class:`Nack`, :class:`Stats`, :class:`Drained`.
The first message down is a Delta with ``reset=True``: the whole table. A worker serves from its first Ack on.
When the control process goes away the socket ends; the worker then serves what it has.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from proxy.table.model import Certificate, Cluster, Host, HostPattern, Route, Settings, Table

__all__ = [
    "DURATION_BOUNDS",
    "Ack",
    "AskStats",
    "ChangedKeys",
    "Delta",
    "Down",
    "Drain",
    "Drained",
    "FrameDecoder",
    "Histogram",
    "Nack",
    "RouteStats",
    "Stats",
    "Stop",
    "Up",
    "apply_delta",
    "difference",
    "encode_frame",
]

V = TypeVar("V")
M = TypeVar("M")

MAX_FRAME: Final = 1 << 30
"""Bytes; far above a table of 100,000 hosts. A longer frame is a defect, not a table."""


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="delta"):
    """What changed. A value of ``None`` removes the key; ``UNSET`` leaves a field as it is."""

    generation: int
    """Counts up by one per published table; a worker refuses a delta that does not follow its own generation."""
    reset: bool = False
    """Forget everything first; ``generation`` may then be any number."""
    hosts: dict[HostPattern, Host | None] = {}
    clusters: dict[str, Cluster | None] = {}
    certificates: dict[str, Certificate | None] = {}
    server_names: dict[HostPattern, str | None] = {}
    passthrough: dict[HostPattern, str | None] = {}
    default: Route | msgspec.UnsetType | None = msgspec.UNSET
    default_certificate: str | msgspec.UnsetType | None = msgspec.UNSET
    settings: Settings | msgspec.UnsetType = msgspec.UNSET


class ChangedKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Where two tables may differ; everywhere else they are equal. So a delta costs what changed, not what there is."""

    hosts: frozenset[HostPattern] = frozenset()
    clusters: frozenset[str] = frozenset()
    certificates: frozenset[str] = frozenset()
    server_names: frozenset[HostPattern] = frozenset()
    passthrough: frozenset[HostPattern] = frozenset()
    default: bool = False
    default_certificate: bool = False
    settings: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.hosts
            or self.clusters
            or self.certificates
            or self.server_names
            or self.passthrough
            or self.default
            or self.default_certificate
            or self.settings
        )

    def __or__(self, other: ChangedKeys) -> ChangedKeys:
        """Where the first and the last of three tables in a row may differ."""
        return ChangedKeys(
            hosts=self.hosts | other.hosts,
            clusters=self.clusters | other.clusters,
            certificates=self.certificates | other.certificates,
            server_names=self.server_names | other.server_names,
            passthrough=self.passthrough | other.passthrough,
            default=self.default or other.default,
            default_certificate=self.default_certificate or other.default_certificate,
            settings=self.settings or other.settings,
        )

    def __len__(self) -> int:
        """Keys of the maps."""
        maps = (self.hosts, self.clusters, self.certificates, self.server_names, self.passthrough)
        return sum(map(len, maps))


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag="drain"):
    """Shut down: for ``delay`` seconds keep accepting and answer with ``Connection: close``; then stop accepting,
    close idle connections, and finish what is in flight within ``timeout`` seconds."""

    delay: float
    timeout: float


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """End at once."""


class AskStats(msgspec.Struct, frozen=True, kw_only=True, tag="ask-stats"):
    """Send Stats now instead of at the next tick; ``token`` comes back in it."""

    token: int


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ack"):
    """``generation`` is live in this worker."""

    generation: int


class Nack(msgspec.Struct, frozen=True, kw_only=True, tag="nack"):
    """``generation`` was refused; the one before stays live."""

    generation: int
    reason: str


class Drained(msgspec.Struct, frozen=True, kw_only=True, tag="drained"):
    """The drain ended; ``cut`` requests or tunnels were still open at its time limit."""

    cut: int


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Counts per bucket (not cumulative; one more than there are bounds) and the sum of the values."""

    counts: list[int]
    total: float


class RouteStats(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happened on one route since the last Stats of this worker."""

    host: str
    namespace: str = ""
    ingress: str = ""
    path: str = ""
    service: str = ""
    requests: dict[str, int] = {}
    """``"METHOD CODE"`` → requests, e.g. ``{"GET 200": 12}``; a method outside the common ones is ``other``."""
    duration: Histogram | None = None
    """First byte of the request to last byte of the response, seconds; bounds ``DURATION_BOUNDS``."""
    upstream_duration: Histogram | None = None
    """Request sent to end of the upstream's response, seconds."""
    request_bytes: int = 0
    response_bytes: int = 0
    retries: int = 0


class Stats(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="stats"):
    """Counters since the last Stats of this worker, and gauges as they are now."""

    token: int = 0
    routes: list[RouteStats] = []
    counters: dict[str, int] = {}
    """Since the last Stats: ``accepted``, ``refused_limit``, ``proxy_header_failures``, ``bad_requests``,
    ``http2_connections``, ``http2_resets``, ``http2_floods``,
    ``tls_handshakes``, ``tls_handshake_failures``, ``upstream_connects``, ``upstream_connect_failures``,
    ``upstream_reused``, ``ejections``, ``retries_denied``, ``log_lines_dropped``, ``unrouted`` (requests that no route
    matched)."""
    gauges: dict[str, float] = {}
    """Now: ``connections``, ``active_requests``, ``tunnels``, ``upstream_idle``, ``upstream_active``,
    ``generation``."""
    codec: str = ""
    """What reads and writes HTTP/2 there: ``h2``, or ``nghttp2`` and its version."""


DURATION_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration histograms in seconds, those of ingress-nginx ``--time-buckets``."""

Down = Delta | Drain | Stop | AskStats
Up = Ack | Nack | Drained | Stats

_LENGTH = struct.Struct(">I")
_ENCODER = msgspec.msgpack.Encoder()


def encode_frame(message: Down | Up) -> bytes:
    """One message as bytes for the socket."""
    body = _ENCODER.encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameDecoder(Generic[M]):
    """Cuts a byte stream into messages. Raises ``ValueError`` on a frame that is too long or does not decode."""

    def __init__(self, message_type: Any) -> None:
        self._buffer = bytearray()
        self._decoder = msgspec.msgpack.Decoder(message_type)

    def feed(self, data: bytes) -> list[M]:
        """All messages that ``data`` completes."""
        buffer = self._buffer
        buffer += data
        messages: list[M] = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > MAX_FRAME:
                raise ValueError(f"frame of {length} bytes exceeds {MAX_FRAME}")
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            messages.append(self._decoder.decode(memoryview(buffer)[start + _LENGTH.size : end].tobytes()))
            start = end
        del buffer[:start]
        return messages


def difference(old: Table, new: Table, *, generation: int, changed: ChangedKeys | None = None) -> Delta:
    """The delta that turns ``old`` into ``new``. ``None``: nothing is known of where they may differ."""
    known = changed is not None
    keys = changed or ChangedKeys()
    return Delta(
        generation=generation,
        hosts=_changed(old.hosts, new.hosts, keys.hosts if known else None),
        clusters=_changed(old.clusters, new.clusters, keys.clusters if known else None),
        certificates=_changed(old.certificates, new.certificates, keys.certificates if known else None),
        server_names=_changed(old.server_names, new.server_names, keys.server_names if known else None),
        passthrough=_changed(old.passthrough, new.passthrough, keys.passthrough if known else None),
        default=new.default if new.default != old.default else msgspec.UNSET,
        default_certificate=(
            new.default_certificate if new.default_certificate != old.default_certificate else msgspec.UNSET
        ),
        settings=new.settings if new.settings != old.settings else msgspec.UNSET,
    )


def apply_delta(old: Table, delta: Delta) -> Table:
    """The table after ``delta``; maps that do not change are shared."""
    base = Table() if delta.reset else old
    return Table(
        hosts=_merged(base.hosts, delta.hosts),
        clusters=_merged(base.clusters, delta.clusters),
        certificates=_merged(base.certificates, delta.certificates),
        server_names=_merged(base.server_names, delta.server_names),
        passthrough=_merged(base.passthrough, delta.passthrough),
        default=base.default if isinstance(delta.default, msgspec.UnsetType) else delta.default,
        default_certificate=(
            base.default_certificate
            if isinstance(delta.default_certificate, msgspec.UnsetType)
            else delta.default_certificate
        ),
        settings=base.settings if isinstance(delta.settings, msgspec.UnsetType) else delta.settings,
    )


def _changed(old: dict[str, V], new: dict[str, V], keys: frozenset[str] | None) -> dict[str, V | None]:
    if keys is not None:
        # In order, so that equal changes are equal bytes.
        return {key: new.get(key) for key in sorted(keys) if new.get(key) != old.get(key)}
    changed: dict[str, V | None] = {key: value for key, value in new.items() if old.get(key) != value}
    changed.update((key, None) for key in old if key not in new)
    return changed


def _merged(base: dict[str, V], changes: Mapping[str, V | None]) -> dict[str, V]:
    if not changes:
        return base
    merged = dict(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged
