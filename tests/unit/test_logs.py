"""What a log line may hold: one line, printable, and nothing of a request that failed."""

import io
import json
import logging
import logging.config
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector import logs
from collector.config_values import escaped
from collector.edge import Edge
from collector.logs import WITHOUT_MESSAGE, Formatter, JsonFormatter
from collector.pipeline import Pipeline
from tests.support.app import ORIGIN, example, run, running
from tests.support.scanova import browser_event

CANARY = "Kan4rie"


def _made(
    message: str, *arguments: object, error: Exception | None = None, **more: Any
) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("n", logging.INFO, "", 0, message, arguments, exc_info)
    record.__dict__.update(more)
    return record


def _record(message: str, *arguments: object, error: Exception | None = None, **more: Any) -> str:
    return Formatter().format(_made(message, *arguments, error=error, **more))


def _json(message: str, *arguments: object, error: Exception | None = None, **more: Any) -> Any:
    line = JsonFormatter().format(_made(message, *arguments, error=error, **more))
    assert line.isascii()
    assert line.isprintable()
    return json.loads(line)


def _caught(text: str) -> Exception:
    """A ValueError that was made of a KeyError, both with a text."""
    try:
        try:
            _fail(text)
        except KeyError as error:
            raise ValueError(text) from error
    except ValueError as error:
        return error


def _fail(text: str) -> None:
    raise KeyError(text)


def test_a_log_line_cannot_be_forged() -> None:
    """Control characters from outside do not start a line or move a terminal's cursor."""
    line = _record("a\nb\x1b[2J\r%s", "c\x9b")
    assert line.endswith(r"INFO a\nb\x1b[2J\rc\x9b")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\x00", r"\x00"),
        ("\t", r"\t"),
        ("\x7f", r"\x7f"),
        ("\x85", r"\x85"),
        ("\u202e", r"\u202e"),
        ("\u2066", r"\u2066"),
        ("\u2028", r"\u2028"),
        ("\ufeff", r"\ufeff"),
        ("\ud83d", r"\ud83d"),
        ("\U000e0041", r"\U000e0041"),
        ("\u00e9", "\u00e9"),
        ("\\", "\\"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(character: str, shown: str) -> None:
    """Nothing of a message is obeyed by a terminal, nor hidden from who reads it."""
    assert _record("%s", f"a{character}b").endswith(f"INFO a{shown}b")


def test_a_traceback_cannot_forge_a_line() -> None:
    """What follows a line is indented and printable, whatever the exception says."""
    text = "x\n2026-11-26T00:00:00Z INFO all is well\x1b[2J\u202e"
    first, *rest = _record("failed", error=_caught(text)).split("\n")
    assert first.endswith("INFO failed")
    assert any("all is well" in line for line in rest)
    for line in rest:
        assert line.startswith("  ")
        assert line.isprintable()


def test_a_traceback_without_message() -> None:
    """Where it was raised and what kind it was, causes too; not the text."""
    told = _record("failed", error=_caught(CANARY), **WITHOUT_MESSAGE)
    assert CANARY not in told
    assert told.index("builtins.KeyError") < told.index("builtins.ValueError")
    assert told.count("in _caught") == 2
    assert told.count("in _fail") == 1


def test_a_fault_of_ours_logs_nothing_of_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that repeats what a client sent leaves its text out of the log."""

    async def fail(*_: object) -> None:
        raise ValueError(CANARY)

    async def play() -> None:
        async with running(tmp_path) as collector:
            monkeypatch.setattr(Pipeline, "ingest", fail)
            answer = await collector.request("POST", "/ct", headers=ORIGIN, body=browser_event())
            assert answer.status == 500
            assert CANARY.encode() not in answer.body

    run(play())
    told = "\n".join(map(Formatter().format, caplog.records))
    assert "scanova_ct failed" in told
    assert "builtins.ValueError" in told
    assert CANARY not in told


def test_what_libraries_say_looks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger that nobody configured writes to the same place in the same way."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configuration = logs.dictionary("info")
    del configuration["loggers"]["granian.access"]
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logging.config.dictConfig(configuration)
        logging.getLogger("asyncio").error("Task exception\x1b[2J\nwas never retrieved")
    finally:
        root.handlers[:], root.level = before[0], before[1]
        for name in ("collector", "_granian"):
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True
            logging.getLogger(name).setLevel(logging.NOTSET)
    assert stream.getvalue().endswith("ERROR Task exception\\x1b[2J\\nwas never retrieved\n")


def test_the_server_keeps_no_access_log() -> None:
    """Paths, addresses and times of requests are written nowhere."""
    configured = logs.dictionary("debug")["loggers"]["granian.access"]
    assert configured["handlers"] == []
    assert configured["propagate"] is False


@pytest.mark.parametrize(
    "text", ["a\nb\x1b[2J\x9b", "\u202e\u2028\ufeff", "\ud83d", '"}\\', "é漢😀"]
)
def test_a_line_of_json_cannot_be_forged(text: str) -> None:
    """One line of ASCII whatever a message or field holds; printed alone it is harmless, too."""
    found = _json("%s", text, fields={"path": text, "message": "forged", "ms": 1.5})
    assert found["message"] == found["path"] == escaped(text)
    assert found["message"].isprintable()
    assert (found["ms"], found["level"], found["logger"]) == (1.5, "INFO", "n")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])


def test_a_traceback_in_json_is_one_value() -> None:
    """Its lines are printable; in the way of a request it says nothing but where and what kind."""
    found = _json("failed", error=_caught(f"{CANARY}\x1b[2J"))
    assert all(line.isprintable() for line in found["exception"].split("\n"))
    assert CANARY in found["exception"]
    found = _json("failed", error=_caught(CANARY), **WITHOUT_MESSAGE)
    assert CANARY not in found["exception"]
    assert found["exception"].endswith("builtins.ValueError")


def test_fields_stand_behind_the_message() -> None:
    """By name, in text as well."""
    assert _record("request", fields={"status": 200, "path": "/a\nb"}).endswith(
        "INFO request status=200 path=/a\\nb"
    )


def test_lines_of_requests_come_at_any_level() -> None:
    """Who asks for them gets them, also where nothing else but warnings is told."""
    found = logs.dictionary("error", "json")
    assert found["loggers"]["collector.requests"] == {"level": "INFO"}
    assert found["formatters"]["line"] == {"()": "collector.logs.JsonFormatter"}


def test_each_request_is_one_line_without_what_was_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Method, path, status, time, size and endpoint; of strange paths and methods nothing."""
    config = example(tmp_path)
    server = msgspec.structs.replace(config.server, log_requests=True)

    async def play() -> None:
        async with running(tmp_path, msgspec.structs.replace(config, server=server)) as collector:
            await collector.request("POST", "/ct", headers=ORIGIN, body=browser_event())
            await collector.request("GET", "/healthz")
            await collector.request(CANARY, f"/{CANARY}")
            await collector.request("GET", f"/admin/{CANARY}", address="127.0.0.1")
            await collector.request("GET", "/admin/v1/state", address="127.0.0.1")

    with caplog.at_level(logging.INFO, "collector.requests"):
        run(play())
    told = [record.__dict__["fields"] for record in caplog.records if record.msg == "request"]
    assert [(one["method"], one["path"], one["status"], one["endpoint"]) for one in told] == [
        ("POST", "/ct", 200, "scanova_ct"),
        ("GET", "/healthz", 200, "other"),
        ("-", "-", 404, "other"),
        ("GET", "-", 404, "admin_other"),
        ("GET", "/admin/v1/state", told[4]["status"], "admin_state"),
    ]
    assert all(set(one) == {*_FIELDS} for one in told)
    assert all(one["bytes"] > 0 and one["ms"] >= 0 for one in told)


_FIELDS = ("method", "path", "status", "ms", "bytes", "endpoint")


def test_without_them_a_request_is_answered_by_the_plain_edge(tmp_path: Path) -> None:
    """It costs nothing: not a branch, not a look at a setting."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            assert type(collector.edge) is Edge

    run(play())
