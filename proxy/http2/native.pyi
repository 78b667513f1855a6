"""What type checkers know of native.pyx: its class is the contract of the pure one."""

from proxy.http2.connection import Http2Connection as Http2Connection

LIBRARY: str
SOURCE: str
