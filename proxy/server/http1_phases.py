"""The phases of an HTTP/1.1 connection; what each means is told in :mod:`proxy.server.http1`."""

from typing import Final

HEAD_PHASE: Final = 0
COUNTED_PHASE: Final = 1
CHUNKED_PHASE: Final = 2
WAIT_PHASE: Final = 3
TUNNEL_PHASE: Final = 4
DISCARD_PHASE: Final = 5
LINGER_PHASE: Final = 6
CLOSED_PHASE: Final = 7
