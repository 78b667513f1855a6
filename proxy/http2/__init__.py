"""HTTP/2 (RFC 9113, 7541) as bytes in and events out, the same for either role; no sockets here.

Everything above sees this interface only. Its frames come from the h2 library; another could take its place.
"""

from proxy.http2.connection import PREFACE, Http2Connection
from proxy.http2.events import (
    ConnectionFailed,
    DataReceived,
    Drained,
    Event,
    Fields,
    GoAwayReceived,
    HeadersReceived,
    InformationalReceived,
    PingAnswered,
    SettingsReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from proxy.http2.limits import Limits

__all__ = [
    "PREFACE",
    "ConnectionFailed",
    "DataReceived",
    "Drained",
    "Event",
    "Fields",
    "GoAwayReceived",
    "HeadersReceived",
    "Http2Connection",
    "InformationalReceived",
    "Limits",
    "PingAnswered",
    "SettingsReceived",
    "StreamEnded",
    "StreamReset",
    "TrailersReceived",
]
