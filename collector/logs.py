"""How log lines look: one line each, time in UTC, no control characters, to standard error."""

import logging
import re
import time
from typing import Any, Final

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Formatter(logging.Formatter):
    """`2026-11-21T10:00:00Z INFO message`; whatever a message holds cannot forge a line."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the base class's name)
        """The line, without its traceback."""
        text = super().formatMessage(record).replace("\n", "\\n")
        return _CONTROL.sub("?", text)


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
        "loggers": {
            "collector": {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
            "_granian": {"handlers": ["stderr"], "propagate": False},
            "granian.access": {"handlers": [], "level": "WARNING", "propagate": False},
        },
    }
