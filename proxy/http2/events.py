"""What a peer did, as :meth:`proxy.http2.Http2Connection.receive` tells it. ``stream`` is a stream's number."""

from __future__ import annotations

import msgspec

__all__ = [
    "ConnectionFailed",
    "DataReceived",
    "Drained",
    "Event",
    "Fields",
    "GoAwayReceived",
    "HeadersReceived",
    "InformationalReceived",
    "PingAnswered",
    "RequestReceived",
    "SettingsReceived",
    "StreamEnded",
    "StreamReset",
    "TrailersReceived",
]

Fields = list[tuple[bytes, bytes]]
"""Header fields in their order, pseudo-header fields among them, as they came or are to be sent."""


class RequestReceived(msgspec.Struct, frozen=True, gc=False):
    """A request, to a server. Its fields are decoded, and judged by nobody yet."""

    stream: int
    path: bytes
    """The first ``:path``; empty: there is none among the pseudo-header fields at the beginning."""
    others: bytes
    """All other fields in one piece: see :mod:`proxy.http2.joined`."""
    ended: bool
    """Nothing follows it."""


class HeadersReceived(msgspec.Struct, frozen=True, gc=False):
    """The final response, to a client. Its fields are decoded, and judged by nobody yet."""

    stream: int
    fields: Fields
    ended: bool
    """Nothing follows it."""


class InformationalReceived(msgspec.Struct, frozen=True, gc=False):
    """A 1xx response."""

    stream: int
    fields: Fields


class DataReceived(msgspec.Struct, frozen=True, gc=False):
    """Bytes of a body. They count against the peer's windows until ``release(stream, size)`` gives them back."""

    stream: int
    data: bytes
    size: int
    """With padding."""


class TrailersReceived(msgspec.Struct, frozen=True, gc=False):
    """The end of a body with trailer fields; no ``StreamEnded`` follows."""

    stream: int
    fields: Fields


class StreamEnded(msgspec.Struct, frozen=True, gc=False):
    """The end of a body without trailer fields."""

    stream: int


class StreamReset(msgspec.Struct, frozen=True, gc=False):
    """The stream is gone: the peer reset it, or broke a rule that cost the stream. Nothing more is sent on it."""

    stream: int
    code: int
    by_peer: bool


class Drained(msgspec.Struct, frozen=True, gc=False):
    """What ``send_data`` had to keep back is on its way: more may be sent."""

    stream: int


class GoAwayReceived(msgspec.Struct, frozen=True, gc=False):
    """The peer takes no streams above ``last_stream``; those that were opened were not acted on."""

    last_stream: int
    code: int


class SettingsReceived(msgspec.Struct, frozen=True, gc=False):
    """The peer's settings came or changed."""


class PingAnswered(msgspec.Struct, frozen=True, gc=False):
    """The answer to a ping of ours."""

    data: bytes


class ConnectionFailed(msgspec.Struct, frozen=True, gc=False):
    """The peer broke a rule that costs the connection. GOAWAY is written; send it, then close. Nothing follows."""

    code: int
    reason: str
    """A short CamelCase word; never input of the peer."""


Event = (
    RequestReceived
    | HeadersReceived
    | InformationalReceived
    | DataReceived
    | TrailersReceived
    | StreamEnded
    | StreamReset
    | Drained
    | GoAwayReceived
    | SettingsReceived
    | PingAnswered
    | ConnectionFailed
)
