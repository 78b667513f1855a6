"""Whether a request reached the other side at all.

A pooled connection can be closed by the backend in the very moment in which a request is written to it. Whether the
request may be sent again then depends on its method, unless it can be shown that the peer never took it in. The kernel
knows: it counts the bytes that the peer acknowledged, and the end of a stream (FIN) acknowledges all that came before
it. So a peer whose end came, and acknowledged nothing of the request, had closed before the request reached it.

A reset shows nothing of the kind: the kernel drops it without looking at what it acknowledges, and a peer may read a
request, act on it and reset, all before its acknowledgement (delayed by up to 40 ms) leaves.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

__all__ = ["acknowledged", "is_undelivered"]

_BYTES_ACKED: Final = struct.Struct("=120xQ")
"""``tcpi_bytes_acked`` in Linux's ``struct tcp_info`` (since 4.1); it counts the SYN as one."""


def is_undelivered(transport: asyncio.BaseTransport, written_before: int) -> bool:
    """True when the peer, which has ended its stream, acknowledged nothing beyond the first ``written_before`` bytes.

    To be asked only after that end was seen. False where that cannot be known.
    """
    return 0 <= acknowledged(transport) <= written_before + 1


def acknowledged(transport: asyncio.BaseTransport) -> int:
    """Bytes that the peer has acknowledged, and one for its connection. -1: no TCP, no Linux, a socket that is gone."""
    handle = transport.get_extra_info("socket")
    if handle is None or not hasattr(socket, "TCP_INFO"):
        return -1
    try:
        info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        (acked,) = _BYTES_ACKED.unpack_from(info)
    except (OSError, struct.error):
        return -1
    return int(acked)
