"""How log lines look: one line each, time in UTC, nothing that a terminal would obey, to stderr.

As text, or as one JSON object per line (`server.log_format`). In text what follows a line (a
traceback) is indented, so that no text in it can pass for a line. A log call with
`extra={"fields": {...}}` tells these by name, behind its message.
"""

import logging
import time
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Literal

import msgspec

from collector.config_values import escaped

# With `_log.error(..., exc_info=error, extra=WITHOUT_MESSAGE)` the type of an exception is told and
# where it was raised, not its text: in the way of a request that may hold what a client sent.
WITHOUT_MESSAGE: Final = {"is_without_message": True}
_INDENT: Final = "  "
_SECONDS: Final = "%Y-%m-%dT%H:%M:%S"
_NO_FIELDS: Final[Mapping[str, str | int | float]] = {}

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_encoder: Final = msgspec.json.Encoder()


class Formatter(logging.Formatter):
    """`2026-11-21T10:00:00Z INFO message name=value`; what a message holds cannot forge a line."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(message)s", _SECONDS)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and its traceback if there is one."""
        if record.exc_info and hasattr(record, "is_without_message"):
            record.exc_text = _without_message(record.exc_info)
        first, *rest = super().format(record).split("\n")
        return "\n".join([first, *(_INDENT + escaped(line) for line in rest)])

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the base class's name)
        """The line, without its traceback."""
        fields = getattr(record, "fields", _NO_FIELDS)
        behind = "".join(f" {name}={value}" for name, value in fields.items())
        return escaped(super().formatMessage(record) + behind)


class JsonFormatter(logging.Formatter):
    """`{"time":…,"level":…,"logger":…,"message":…}` in one line of ASCII, then fields by name.

    `exception` is the traceback. Values are printable by themselves as well: a program that prints
    one does not hand a terminal what it would obey.
    """

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        seconds = self.formatTime(record, _SECONDS)
        told: dict[str, str | int | float] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": escaped(record.getMessage()),
        }
        for name, value in getattr(record, "fields", _NO_FIELDS).items():
            told.setdefault(name, escaped(value) if isinstance(value, str) else value)
        if record.exc_info:
            without_message = hasattr(record, "is_without_message")
            tell = _without_message if without_message else self.formatException
            lines = tell(record.exc_info).split("\n")
            told["exception"] = "\n".join(map(escaped, lines))
        return _ascii(_encoder.encode(told).decode())


def _ascii(text: str) -> str:
    """JSON with everything beyond ASCII written as an escape: no locale can spoil it."""
    if text.isascii():
        return text
    return "".join(c if c.isascii() else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


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


def dictionary(level: str, form: Literal["text", "json"] = "text") -> dict[str, Any]:
    """A configuration for `logging.config.dictConfig`."""
    formatter = {"text": "collector.logs.Formatter", "json": "collector.logs.JsonFormatter"}[form]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
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
            # Who asks for a line per request gets it at any level.
            "collector.requests": {"level": "INFO"},
            "_granian": {"handlers": ["stderr"], "propagate": False},
            "granian.access": {"handlers": [], "level": "WARNING", "propagate": False},
        },
    }
