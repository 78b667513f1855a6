"""The control process's own log, on standard error. (The access log is the workers', on standard output.)

Events are short sentences in lower case, their facts are keys. Nothing from a Secret is ever one of them.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from ingress.options import LogFormat, LogLevel

__all__ = ["configure_logs", "is_text"]


def configure_logs(log_format: LogFormat, level: LogLevel, stream: TextIO | None = None) -> None:
    """Write structlog events, and what libraries log by ``logging``, to ``stream`` (standard error)."""
    out = stream or sys.stderr
    text = is_text(log_format, out)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if text else "iso", utc=not text, key="time"),
    ]
    least = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(text, out)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)
    for noisy in ("asyncio", "aiohttp.access", "watchfiles"):
        logging.getLogger(noisy).setLevel(max(least, logging.WARNING))


def is_text(log_format: LogFormat, stream: TextIO) -> bool:
    """Whether people read it."""
    return log_format == "text" or (log_format == "auto" and stream.isatty())


def _rendering(text: bool, out: TextIO) -> list[Any]:
    if text:
        return [
            structlog.dev.ConsoleRenderer(colors=out.isatty(), timestamp_key="time", pad_event_to=0, sort_keys=False)
        ]
    return [
        structlog.processors.dict_tracebacks,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(default=str),
    ]
