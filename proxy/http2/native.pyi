"""What type checkers know of native.pyx: its class and its function are the contracts of the pure ones."""

from proxy.http2.connection import Http2Connection as Http2Connection
from proxy.http2.joined import sort_out as sort_out

LIBRARY: str
SOURCE: str
