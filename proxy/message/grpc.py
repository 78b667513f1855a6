"""gRPC's own errors (the specification "gRPC over HTTP2"): a client of it reads a status in the trailers, no page."""

from __future__ import annotations

import re
from typing import Final

from proxy.message.local import LocalResponse
from proxy.message.request import RequestHead

__all__ = ["error_fields", "is_grpc", "timeout_of"]

_CANCELLED: Final = 1
_UNKNOWN: Final = 2
_INVALID_ARGUMENT: Final = 3
_DEADLINE_EXCEEDED: Final = 4
_PERMISSION_DENIED: Final = 7
_RESOURCE_EXHAUSTED: Final = 8
_UNIMPLEMENTED: Final = 12
_INTERNAL: Final = 13
_UNAVAILABLE: Final = 14
_UNAUTHENTICATED: Final = 16
_CODES: Final = {
    400: _INTERNAL,
    401: _UNAUTHENTICATED,
    403: _PERMISSION_DENIED,
    404: _UNIMPLEMENTED,
    405: _UNIMPLEMENTED,
    408: _CANCELLED,
    413: _RESOURCE_EXHAUSTED,
    414: _INVALID_ARGUMENT,
    421: _UNAVAILABLE,
    429: _RESOURCE_EXHAUSTED,
    431: _RESOURCE_EXHAUSTED,
    500: _INTERNAL,
    501: _UNIMPLEMENTED,
    502: _UNAVAILABLE,
    503: _UNAVAILABLE,
    504: _DEADLINE_EXCEEDED,
}
"""As the mapping of gRPC's "HTTP to gRPC status code mapping", finer where the proxy knows more."""
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])\Z")
_ESCAPED: Final = re.compile(rb"[^\x20-\x24\x26-\x7e]")


def is_grpc(head: RequestHead) -> bool:
    """Whether the request is a call of gRPC."""
    kind = (head.field(b"content-type") or b"").lower()
    return kind == b"application/grpc" or kind.startswith((b"application/grpc+", b"application/grpc;"))


def error_fields(response: LocalResponse, *, request_id: bytes, own: bytes) -> bytes:
    """The header lines of a response that is all trailers: it has the status 200, and no body.

    ``own`` are the Server and Date fields."""
    text = f"{response.status} {response.message} Request id: {request_id.decode('ascii')}".encode()
    message = _ESCAPED.sub(lambda match: b"%%%02X" % match[0][0], text)
    return b"%bContent-Type: application/grpc\r\ngrpc-status: %d\r\ngrpc-message: %b\r\nX-Request-ID: %b\r\n%b" % (
        own,
        _CODES.get(response.status, _UNKNOWN),
        message,
        request_id,
        response.fields,
    )


def timeout_of(head: RequestHead) -> float:
    """The seconds within which the client wants its answer (``grpc-timeout``); 0: it says nothing, or nonsense."""
    value = head.field(b"grpc-timeout")
    found = None if value is None else _TIMEOUT.match(value)
    return 0.0 if found is None else int(found[1]) * _UNITS[found[2]]
