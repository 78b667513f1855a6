"""How much a peer may ask for."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["Limits", "Patience"]

_CONTROLS: Final = 2_000
"""Frames that carry nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, …) that may come in a burst."""
_CONTROLS_PER_SECOND: Final = 1_000
_MAX_CONTROLS: Final = 20_000
_CONTROLS_PER_DATA_FRAME: Final = 10
"""WINDOW_UPDATE frames that a DATA frame of ours may be answered by, as Envoy allows."""
_TINY: Final = 1024
_CONTROLS_PER_TINY_FRAME: Final = 4
"""gRPC's own library answers each message with two, for the stream and for the connection, and a PING now and then."""
_RESETS: Final = 256
"""Streams that may be cancelled in a burst: twice those that may be open. A browser that leaves a page cancels some
dozens; the "rapid reset" of 2023 did millions."""
_RESETS_PER_SECOND: Final = 50


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What this side announces, and keeps to."""

    max_streams: int = 128
    """Streams of the peer at a time, as nginx ``http2_max_concurrent_streams``. More: REFUSED_STREAM."""
    max_header_list: int = 64 * 1024
    """Bytes of a decoded header block, counted as RFC 9113 section 6.5.2 does. More costs the connection, since the
    compression context is lost with the rest of it."""
    max_header_block: int = 64 * 1024
    """Bytes of a header block on the wire, however many CONTINUATION frames bring it."""
    stream_window: int = 256 * 1024
    """Bytes that a stream may send ahead of what is released: what waits here when a backend does not take it."""
    connection_window: int = 1024 * 1024
    """The same of all streams together."""
    extended_connect: bool = False
    """Announce RFC 8441."""


class Patience:
    """What is left of what a peer may do for nothing. Runs out within a burst, and comes back with time and work."""

    __slots__ = ("_controls", "_resets")

    def __init__(self) -> None:
        self._controls = _CONTROLS
        self._resets = _RESETS

    def control(self) -> bool:
        """A frame that carries nothing; false: it was one too many."""
        self._controls -= 1
        return self._controls >= 0

    def reset(self) -> bool:
        """A stream was begun for nothing; false: it was one too many."""
        self._resets -= 1
        return self._resets >= 0

    def data_sent(self, size: int) -> None:
        """A DATA frame left, which the peer will answer. That it is tiny may be the doing of the peer's windows."""
        if self._controls < _MAX_CONTROLS:
            self._controls += _CONTROLS_PER_DATA_FRAME if size >= _TINY else _CONTROLS_PER_TINY_FRAME

    def stream_served(self) -> None:
        """A stream came to its proper end."""
        if self._resets < _RESETS:
            self._resets += 1

    def tick(self) -> None:
        """A second went by."""
        self._controls = max(self._controls, min(self._controls + _CONTROLS_PER_SECOND, _CONTROLS))
        self._resets = min(self._resets + _RESETS_PER_SECOND, _RESETS)
