"""What can go wrong with the API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["KubeConfigError", "KubeError", "KubeUnreachable", "error_from"]

SHOWN: Final = 300
"""Characters of a body that is no Status object, such as an error page of a proxy in between."""


class KubeError(Exception):
    """The API server refused, or could not be asked (:class:`KubeUnreachable`). The text is for people."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        """Of the Status object where there is one."""
        self.status = status
        """HTTP status; 0: there was no response."""
        self.reason = reason
        """Of the Status object, such as ``Conflict``, ``AlreadyExists`` or ``Expired``; empty: it gave none."""
        self.retry_after = retry_after
        """Seconds to wait that the server asks for; ``None``: it did not ask."""


class KubeUnreachable(KubeError):  # noqa: N818 - says what is, as its siblings in the API do (Conflict, Expired)
    """No answer: refused, reset, timed out, or no trust in the certificate. A request may have taken effect."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="Unreachable")


class KubeConfigError(Exception):
    """The cluster or the credentials cannot be found. The text says why, and what to do."""


class _Details(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    retry_after_seconds: int = 0


class _Status(msgspec.Struct, frozen=True, kw_only=True):
    """``meta/v1 Status``."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None


_status_decoder: Final = msgspec.json.Decoder(_Status)


def error_from(body: bytes | msgspec.Raw, *, status: int = 0, headers: Mapping[str, str] | None = None) -> KubeError:
    """The error that a response, or the object of an ERROR event, tells."""
    try:
        told = _status_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = bytes(body)[:SHOWN].decode("utf-8", "replace").strip()
        told = _Status(message=text)
    after = (headers or {}).get("Retry-After", "")
    retry_after = float(after) if after.isascii() and after.isdigit() else None
    if retry_after is None and told.details is not None and told.details.retry_after_seconds > 0:
        retry_after = float(told.details.retry_after_seconds)
    code = status or told.code
    return KubeError(
        told.message or f"the API server answered {code}", status=code, reason=told.reason, retry_after=retry_after
    )
