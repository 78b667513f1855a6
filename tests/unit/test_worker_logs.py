"""The worker's own log lines."""

from __future__ import annotations

import json
import logging
import sys

from proxy.worker.logs import LogFormatter


def record(message: str, *values: object, error: bool = False) -> logging.LogRecord:
    try:
        raise ValueError("inner")
    except ValueError:
        info = sys.exc_info() if error else None
    return logging.LogRecord("pyngress.worker", logging.WARNING, "", 0, message, values, info)


def test_a_line_for_people_names_the_worker() -> None:
    """Plain text, level first."""
    assert LogFormatter(3, as_json=False).format(record("lost %d", 7)) == "worker 3: WARNING lost 7"


def test_a_line_for_machines_is_one_object() -> None:
    """Line ends in a message or a traceback do not end the line."""
    line = LogFormatter(3, as_json=True).format(record("a\nb", error=True))
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["message"], told["worker"]) == ("warning", "a\nb", 3)
    assert told["time"].endswith("Z")
    assert "ValueError: inner" in told["exception"]
