"""The worker's own log, on standard error, in the form of the control process's."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

__all__ = ["LogFormatter"]


class LogFormatter(logging.Formatter):
    """A line of text, or of JSON with ``time``, ``level``, ``message`` and ``worker``."""

    def __init__(self, number: int, *, as_json: bool) -> None:
        super().__init__(f"worker {number}: %(levelname)s %(message)s")
        self._number = number
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        if not self._as_json:
            return super().format(record)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "worker": self._number,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()
