"""The control process's log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from ingress.logs import configure_logs
from ingress.options import LogFormat


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is global: leave it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class Stream(io.StringIO):
    """Text that is, or is not, a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: terminal  # type: ignore[method-assign]  # what a terminal answers


@pytest.mark.parametrize(
    ("log_format", "terminal", "is_json"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("text", False, False)],
)
def test_the_form_follows_the_reader_unless_it_is_chosen(log_format: LogFormat, terminal: bool, is_json: bool) -> None:
    """Text on a terminal, JSON elsewhere; a flag decides otherwise. Colour on a terminal only."""
    stream = Stream(terminal=terminal)
    configure_logs(log_format, "info", stream)
    structlog.get_logger("x").info("table changed", generation=2)
    line = stream.getvalue()
    if is_json:
        entry = json.loads(line)
        assert (entry["message"], entry["generation"], entry["level"]) == ("table changed", 2, "info")
        assert entry["time"].endswith("Z")
    else:
        assert "table changed" in line
        assert ("\x1b[" in line) == terminal


def test_less_than_the_level_is_left_out_and_libraries_log_the_same_way() -> None:
    """One stream, one form, for our events and for those of ``logging``."""
    stream = Stream(terminal=False)
    configure_logs("json", "warning", stream)
    structlog.get_logger("x").info("small")
    logging.getLogger("library").info("small")
    structlog.get_logger("x").warning("big")
    logging.getLogger("library").warning("big too")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["big", "big too"]


def test_an_exception_is_one_line_of_json() -> None:
    """Log collectors cut at line ends."""
    stream = Stream(terminal=False)
    configure_logs("json", "info", stream)
    try:
        raise ValueError("defect")
    except ValueError:
        structlog.get_logger("x").exception("translation failed")
    (line,) = stream.getvalue().splitlines()
    assert "defect" in json.dumps(json.loads(line)["exception"])
