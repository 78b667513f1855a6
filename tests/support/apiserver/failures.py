"""What goes wrong, as the API says it: a ``Status`` object with reason, code and details."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.support.apiserver.kinds import Resource

__all__ = [
    "ApiError",
    "already_exists",
    "bad_request",
    "conflict",
    "expired",
    "forbidden",
    "invalid",
    "not_found",
    "of_code",
]

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(Exception):
    """``code`` is the HTTP status; ``retry_after`` in seconds becomes a header."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = _REASONS.get(code, "") if reason is None else reason
        self.details = dict(details or {})
        self.retry_after = retry_after
        if retry_after is not None:
            self.details["retryAfterSeconds"] = retry_after

    def status(self) -> dict[str, Any]:
        """The body of the response."""
        body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        body |= {"message": self.message, "reason": self.reason}
        if self.details:
            body["details"] = self.details
        return body | {"code": self.code}


def _details(resource: Resource, name: str) -> dict[str, Any]:
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return {key: value for key, value in details.items() if value}


def of_code(code: int, message: str = "", *, retry_after: int | None = None) -> ApiError:
    """An error on demand."""
    return ApiError(code, message or f"asked to answer {code}", retry_after=retry_after)


def bad_request(message: str) -> ApiError:
    return ApiError(400, message)


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, f'{resource.qualified} "{name}" not found', details=_details(resource, name))


def already_exists(resource: Resource, name: str) -> ApiError:
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, message, reason="AlreadyExists", details=_details(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, message, details=_details(resource, name))


def forbidden(resource: Resource, name: str, why: str) -> ApiError:
    subject = f'{resource.qualified} "{name}"' if name else resource.qualified
    return ApiError(403, f"{subject} is forbidden: {why}", details=_details(resource, name))


def invalid(resource: Resource, name: str, causes: Iterable[tuple[str, str, str]]) -> ApiError:
    """``causes``: field, reason and message of each fault."""
    listed = [{"reason": reason, "message": message, "field": field} for field, reason, message in causes]
    told = ", ".join(f"{each['field']}: {each['message']}" for each in listed)
    details = {"name": name, "group": resource.group, "kind": resource.kind, "causes": listed}
    return ApiError(422, f'{resource.kind}.{resource.group} "{name}" is invalid: {told}', details=details)


def expired(message: str = "The resourceVersion for the provided watch is too old.") -> ApiError:
    return ApiError(410, message)
