"""Responses that the proxy makes itself."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec

__all__ = ["EXPLANATIONS", "OVERLOADED", "ChangeLines", "LocalResponse", "local_response", "render"]

EXPLANATIONS: Final[dict[int, str]] = {
    400: "The request is malformed.",
    403: "This client may not ask for this.",
    404: "No route matches this host and path.",
    405: "This method is not served here.",
    408: "The request took too long to arrive.",
    413: "The request body is larger than this route allows.",
    414: "The request line is too long.",
    417: "The expectation cannot be met.",
    421: "This connection is for another host.",
    429: "Too many requests. Try again later.",
    431: "The request header fields are too large.",
    500: "The proxy failed to handle this request.",
    501: "The request asks for something that is not implemented.",
    502: "The backend did not give a valid response.",
    503: "The backend has no endpoint that is ready.",
    504: "The backend did not answer in time.",
}


ChangeLines = Callable[[bytes], bytes]
"""Whole header lines in, whole header lines out."""

_BODILESS: Final = (204, 304)
"""Neither a body nor a word about one (RFC 9110 sections 15.3.5 and 15.4.5)."""
TEXT: Final = b"text/plain; charset=utf-8"


class LocalResponse(msgspec.Struct, frozen=True, kw_only=True):
    """``fields`` are rendered header fields with their line ends; ``message`` is shown to people."""

    status: int
    message: str = ""
    fields: bytes = b""
    error: str = ""
    """A short CamelCase word for the access log."""
    close: bool = False
    """The connection must end: its framing is in doubt, or the rest of the body is not wanted."""
    body: bytes | None = None
    """``None``: the standard page, which tells status and message."""
    content_type: bytes = TEXT
    """Of ``body``."""


def local_response(
    status: int, *, error: str = "", message: str = "", fields: bytes = b"", close: bool = False
) -> LocalResponse:
    """A response with the usual words for its status."""
    return LocalResponse(
        status=status, message=message or EXPLANATIONS.get(status, ""), fields=fields, error=error, close=close
    )


OVERLOADED: Final = local_response(
    503, error="Overloaded", message="Too many requests at once. Try again in a second.", fields=b"Retry-After: 1\r\n"
)
"""Beyond a limit of requests under way (RFC 9110 section 10.2.3): to wait here would only move the queue."""


def render(
    response: LocalResponse,
    *,
    request_id: bytes,
    accept: bytes,
    own: bytes,
    head_only: bool,
    close: bool,
    minor: int = 1,
    change: ChangeLines | None = None,
) -> bytes:
    """The whole response as HTTP/1.1 bytes; the standard page is JSON where the client prefers it, else text.

    ``own`` are the Server and Date fields; ``minor`` is of the client's HTTP/1 version. ``change`` is the last to touch
    the header lines, those of connection management apart.
    """
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = ""
    given = response.body
    if given is not None:
        kind, body = response.content_type, given
    elif wants_json(accept):
        kind = b"application/json"
        body = msgspec.json.encode(
            {
                "status": response.status,
                "error": phrase,
                "message": response.message,
                "request_id": request_id.decode("ascii"),
            }
        )
        body += b"\n"
    else:
        kind = TEXT
        body = f"{response.status} {phrase}\n{response.message}\nRequest id: {request_id.decode('ascii')}\n".encode()
    end = b"\r\n" if minor == 1 else b"Connection: keep-alive\r\n\r\n"
    if close:
        end = b"Connection: close\r\n\r\n"
    if response.status in _BODILESS:
        content = body = b""
    else:
        content = b"Content-Type: %b\r\nContent-Length: %d\r\n" % (kind, len(body))
    lines = b"%b%bX-Request-ID: %b\r\n%b" % (own, content, request_id, response.fields)
    if change is not None:
        lines = change(lines)
    start = b"HTTP/1.1 %d %b\r\n" % (response.status, phrase.encode("ascii"))
    return b"".join((start, lines, end, b"" if head_only else body))


def wants_json(accept: bytes) -> bool:
    """Whether an Accept value (RFC 9110 section 12.5.1) names JSON before any text."""
    for part in accept.lower().split(b","):
        kind = part.partition(b";")[0].strip()
        if kind == b"application/json" or kind.endswith(b"+json"):
            return True
        if kind.startswith(b"text/"):
            return False
    return False
