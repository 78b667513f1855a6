"""What an exchange asks of the client's side, whatever its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.message.forwarding import ClientFacts
from proxy.message.local import ChangeLines, LocalResponse
from proxy.message.response import ResponseHead

if TYPE_CHECKING:
    from proxy.engine.tunnel import Tunnel

__all__ = ["Downstream"]


class Downstream(Protocol):
    """One request stream of a client. For HTTP/1.1 it is the connection, one request after the other."""

    facts: ClientFacts

    def send_continue(self) -> None:
        """The request body is wanted (100 Continue)."""

    def send_informational(self, head: ResponseHead) -> None:
        """Pass a 1xx response on."""

    def send_response(self, head: ResponseHead, body: bytes, close: bool, now: float) -> None:
        """A whole response at once, its body counted or absent; as ``end_response`` after it.

        Positional for speed: this runs once per request. ``now`` as of ``time.monotonic``.
        """

    def begin_response(self, head: ResponseHead, *, close: bool) -> None:
        """The head of the response. ``close``: the connection serves nothing after it."""

    def flush_response(self) -> None:
        """The body is not there yet: let the head go ahead."""

    def send_body(self, data: bytes) -> None:
        """Bytes of the response body."""

    def end_response(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The response is whole. The stream may begin its next request before this returns."""

    def send_local(
        self, response: LocalResponse, *, request_id: bytes, close: bool, change: ChangeLines | None
    ) -> None:
        """A whole response made here; as ``end_response`` after it. ``change`` is done to its header lines."""

    def abort_response(self) -> None:
        """The response cannot be completed: make the client see that it is truncated."""

    def takes_switch(self, head: ResponseHead) -> bool:
        """Whether a 101 answers the handshake of ours, where it is not the client's own, who judges it itself."""

    def start_tunnel(self, head: ResponseHead, tunnel: Tunnel) -> bytes:
        """Pass the 101 on, and give what the client sends to ``tunnel`` from now on.

        Returns what the client already sent behind its request.
        """

    def send_tunnel(self, data: bytes) -> None:
        """Bytes of the tunnel."""

    def end_tunnel(self) -> None:
        """Close once everything was sent."""

    def pause_body(self) -> None:
        """Take no more request bytes from the client for now."""

    def resume_body(self) -> None:
        """Take them again."""

    def is_stuck(self, now: float) -> bool:
        """Whether the client takes the response too slowly to wait for it."""
