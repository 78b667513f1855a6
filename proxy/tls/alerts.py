"""A handshake that fails tells its client why (RFC 8446 section 6.2).

OpenSSL leaves the alert among the bytes to be sent, and event loops drop those when a handshake fails: the client would
see a connection that closes, and could not tell an old version from a broken network. So the alert is sent here, right
when it is made. Whose socket that is comes by a context variable, for loops and the ssl module pass nothing on.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from contextvars import ContextVar
from typing import Any, Final

__all__ = ["ServerContext", "TellingConnection", "note_client"]

_client: Final[ContextVar[socket.socket]] = ContextVar("client")


def note_client(client: socket.socket) -> None:
    """The handshake that this task begins is with ``client``, which does not block."""
    _client.set(client)


class TellingConnection(ssl.SSLObject):
    """One of a :class:`ServerContext`."""

    outgoing: ssl.MemoryBIO

    def do_handshake(self) -> None:
        """As that of the ssl module."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            client = _client.get(None)
            if client is not None:
                # What does not go out at once need not: nobody waits for it.
                with contextlib.suppress(OSError):
                    client.send(self.outgoing.read())
            raise


class ServerContext(ssl.SSLContext):
    """A context for handshakes with clients."""

    sslobject_class = TellingConnection

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *arguments: Any, **named: Any
    ) -> ssl.SSLObject:
        """As that of the ssl module."""
        connection = super().wrap_bio(incoming, outgoing, *arguments, **named)
        assert isinstance(connection, TellingConnection), "it is of the class above, or of one that is made of it"
        connection.outgoing = outgoing
        return connection
