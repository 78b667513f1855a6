"""Heads to bytes."""

from __future__ import annotations

from proxy.message.local import ChangeLines
from proxy.message.request import CHUNKED, NO_BODY, RequestHead
from proxy.message.response import ResponseHead

__all__ = ["CONTINUE", "encode_informational", "encode_request", "encode_response", "encode_switch"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_CLOSE = b"Connection: close\r\n\r\n"
_KEEP_ALIVE = b"Connection: keep-alive\r\n\r\n"
_END = b"\r\n"


def encode_request(head: RequestHead, forwarding: bytes, request_id: bytes, change: ChangeLines | None = None) -> bytes:
    """The head for the upstream; ``forwarding`` are whole fields without the last line end.

    ``change`` is done to all lines but those of framing and connection management. Everything that frames the message
    or concerns this hop is written anew, never copied.
    """
    if head.content_length == NO_BODY:
        if head.upgrade:
            tail = b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        elif head.method in (b"POST", b"PUT", b"PATCH"):
            tail = b"\r\nContent-Length: 0\r\n\r\n"
        else:
            tail = b"\r\n\r\n"
    elif head.content_length == CHUNKED:
        tail = b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    else:
        tail = b"\r\nContent-Length: %d\r\n\r\n" % head.content_length
    if change is not None:
        lines = change(b"%b%b\r\nX-Request-ID: %b\r\n" % (head.lines, forwarding, request_id))
        return b"".join((head.method, b" ", head.path, head.query, b" HTTP/1.1\r\n", lines[:-2], tail))
    return b"".join(
        (
            head.method,
            b" ",
            head.path,
            head.query,
            b" HTTP/1.1\r\n",
            head.lines,
            forwarding,
            b"\r\nX-Request-ID: ",
            request_id,
            tail,
        )
    )


def encode_response(head: ResponseHead, own: bytes, body: bytes, *, minor: int, chunked: bool, close: bool) -> bytes:
    """The head for the client, and what is there of the body as it is to be sent.

    ``own`` are the Server and Date fields that the upstream did not send.
    ``chunked``: the body is sent in that coding. ``minor``: of the client's HTTP/1 version.
    """
    if chunked:
        own += b"Transfer-Encoding: chunked\r\n"
    if close:
        tail = _CLOSE
    elif minor == 0:
        tail = _KEEP_ALIVE
    else:
        tail = _END
    return b"".join((head.start, head.lines, own, tail, body))


def encode_informational(head: ResponseHead) -> bytes:
    """A 1xx response other than 100 and 101."""
    return b"".join((head.start, head.lines, _END))


def encode_switch(head: ResponseHead) -> bytes:
    """The 101 that opens a WebSocket."""
    return b"".join((head.start, head.lines, b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
