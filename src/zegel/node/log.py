"""Structured logs: one JSON line per event on stderr, never a secret."""

import logging
import sys
from typing import Any

import structlog

__all__ = ["configure"]

_HIDDEN = ("key", "token", "secret", "password")


def configure(zone: str) -> structlog.stdlib.BoundLogger:
    """Set this process's logging up and return its logger, bound to `zone`."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _hide,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=_plain),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(zone=zone)
    return logger


def _hide(_logger: object, _method: str, event: Any) -> Any:
    """Replace bytes and whatever is named like a secret: a log carries neither."""
    for name, value in event.items():
        if isinstance(value, bytes | bytearray | memoryview):
            event[name] = f"<{len(value)} bytes>"
        elif name.endswith(_HIDDEN):
            event[name] = "<hidden>"
    return event


def _plain(value: object) -> str:
    return str(value)
