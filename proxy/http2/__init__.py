"""HTTP/2 (RFC 9113, 7541) as bytes in and events out, the same for either role; no sockets here.

Everything above sees this interface only. Two codecs stand behind it: one on libnghttp2, which serves where it was
built (``PYNGRESS_NGHTTP2=1`` at build time), and one in Python on the h2 library, which serves everywhere else. That
the former was built and does not load is an error.
"""

from importlib.util import find_spec

from proxy.http2.codes import PREFACE
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
    RequestReceived,
    SettingsReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from proxy.http2.limits import Limits

if find_spec("proxy.http2.native") is None:
    from proxy.http2.connection import Http2Connection
    from proxy.http2.joined import sort_out

    CODEC = "h2"
    """Which one serves."""
else:
    from proxy.http2.native import LIBRARY, Http2Connection, sort_out

    CODEC = f"nghttp2 {LIBRARY}"

__all__ = [
    "CODEC",
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
    "RequestReceived",
    "SettingsReceived",
    "StreamEnded",
    "StreamReset",
    "TrailersReceived",
    "sort_out",
]
