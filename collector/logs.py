"""How log lines look: one line each, time in UTC, nothing that a terminal would obey, to stderr.

What follows a line (a traceback) is indented, so that no text in it can pass for a line.
"""

import logging
import time
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from collector.config_values import escaped

# With `_log.error(..., exc_info=error, extra=WITHOUT_MESSAGE)` the type of an exception is told and
# where it was raised, not its text: in the way of a request that may hold what a client sent.
WITHOUT_MESSAGE: Final = {"is_without_message": True}
_INDENT: Final = "  "

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Formatter(logging.Formatter):
    """`2026-11-21T10:00:00Z INFO message`; whatever a message holds cannot forge a line."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The line, and its traceback if there is one."""
        if record.exc_info and hasattr(record, "is_without_message"):
            record.exc_text = _without_message(record.exc_info)
        first, *rest = super().format(record).split("\n")
        return "\n".join([first, *(_INDENT + escaped(line) for line in rest)])

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the base class's name)
        """The line, without its traceback."""
        return escaped(super().formatMessage(record))


def _without_message(exc_info: _ExcInfo) -> str:
    """A traceback that says what kind of exception it was, and of those behind it."""
    return "".join(_told(exc_info[1])).rstrip("\n")


def _told(error: BaseException | None) -> Iterator[str]:
    if error is None:
        return
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    yield from _told(before)
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}\n"


def dictionary(level: str) -> dict[str, Any]:
    """A configuration for `logging.config.dictConfig`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "collector.logs.Formatter"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "stream": "ext://sys.stderr",
            }
        },
        # What libraries say; without this it would go to standard error as it is.
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "collector": {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
            "_granian": {"handlers": ["stderr"], "propagate": False},
            "granian.access": {"handlers": [], "level": "WARNING", "propagate": False},
        },
    }
