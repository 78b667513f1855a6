"""What can be wrong with a message, kept apart by whose mistake it is."""

from __future__ import annotations

__all__ = ["BadRequest", "BadResponse", "MessageError"]


class MessageError(Exception):
    """A message that cannot be used. ``reason`` is a short CamelCase word for the log, never input of the peer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadRequest(MessageError):  # noqa: N818 - a verdict on input, as its siblings in proxy.routing
    """The client's mistake. It is answered with ``status`` and the connection is closed: its framing is in doubt."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class BadResponse(MessageError):  # noqa: N818
    """The upstream's mistake. The client gets 502 and the upstream connection is closed."""
