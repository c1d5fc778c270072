"""`collector audit`, `receipt` and `quarantine` as typed, over directories made for them."""

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from collector import service as service_module
from collector.cli import main
from storage import Files
from storage.aside import Aside, Kept
from tests.support.app import ORIGIN, run, running
from tests.support.quarantine import SCANOVA_SERVER, kept_in


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose data directory is `tmp_path / "data"`; what is kept stays for ever."""
    path = tmp_path / "config.toml"
    sections = ("[storage]\nquarantine_days = 0", '[[sites]]\nid = "demo"')
    path.write_text("\n".join((*sections, 'allowed_domains = ["localhost"]\n')))
    return path


def _run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--config", str(config)])


def _keep(directory: Path, *events: Kept) -> None:
    (directory / "data" / "tmp").mkdir(parents=True, exist_ok=True)
    aside = Aside(directory / "data", Files())
    aside.open()
    aside.add(events)


def _one(number: int, raw: bytes, **members: object) -> Kept:
    known: dict[str, object] = {
        "id": f"00000000-0000-7000-8000-{number:012}",
        "time": 1_795_000_000_000_000 + number,
        "site_id": "demo",
        "protocol": "zenovay",
        "source": "server",
        "endpoint": "/api/v1/events",
        "reason": "unknown_goal",
        "message": "m",
        "raw": raw,
    }
    return Kept(**(known | members))  # type: ignore[arg-type]


def test_poison_is_shown_so_that_no_terminal_obeys_it(config: Path, tmp_path: Path) -> None:
    """Text line by line without control characters, other bytes as a hex dump, large ones cut."""
    raws = {
        1: b'{"a":"\x1b[31m\xe2\x80\xae"}\nsecond\r',
        2: b"\xff\xfe\x00plain",
        3: b"x" * 4_194_304,
        4: ("\u00e9" * 100_000).encode() + b"\xff",
        5: b"[" * 200_000,
        6: b"",
        7: ("\u00e9" * 100_000).encode(),
    }
    _keep(tmp_path, *(_one(number, raw) for number, raw in raws.items()))
    shown = {}
    for number, raw in raws.items():
        one = _one(number, raw).id
        result = _run(config, "quarantine", "show", one)
        assert result.exit_code == 0, result.output
        shown[number] = result.output.split("\n\n", 1)[1]
        assert len(result.output) < 400_000
        assert all(c.isprintable() or c == "\n" for c in result.output)
        raw_out = CliRunner().invoke(
            main, ["quarantine", "show", one, "--format", "raw", "--config", str(config)]
        )
        assert raw_out.stdout_bytes == raw
        told = json.loads(_run(config, "quarantine", "show", one, "--format", "json").output)
        assert ("raw" in told) == (number not in {2, 4})
    assert shown[1] == '{"a":"\\x1b[31m\\u202e"}\nsecond\\r\n'
    assert shown[2] == f"00000000  {'ff fe 00 70 6c 61 69 6e':<47}  ...plain\n"
    assert "... and 4128768 bytes more" in shown[3]
    assert shown[4].startswith("00000000  c3 a9")
    assert shown[7].startswith("\u00e9")


def test_the_list_is_what_the_options_leave(config: Path, tmp_path: Path) -> None:
    """By site, reason, protocol, time and number; as table, CSV or JSON; empty is no error."""
    for command in (("quarantine", "list"), ("quarantine", "replay"), ("recover",)):
        result = _run(config, *command)
        assert result.exit_code == 1
        assert "no such data directory; `collector serve` makes it" in result.stderr
    (tmp_path / "data").mkdir()
    assert _run(config, "quarantine", "list").exit_code == 0
    later = _one(3, b"{}", time=1_796_000_000_000_000)
    _keep(tmp_path, _one(1, b"{}"), _one(2, b"{}", site_id="b", reason="invalid_ts"), later)

    def ids(*options: str) -> list[int]:
        result = _run(config, "quarantine", "list", "--format", "json", *options)
        return [int(row["id"][-12:]) for row in json.loads(result.stdout)]

    assert ids() == [3, 2, 1]
    assert ids("--site", "b", "--site", "c") == [2]
    assert ids("--reason", "invalid_ts") == [2]
    assert ids("--protocol", "croct") == []
    for since in ("2026-11-20", "2026-11-20T00:00", "2026-11-20T00:00:00Z", "2026-11-20T05:00+05"):
        assert ids("--since", since) == [3]
    assert ids("--limit", "2") == [3, 2]
    assert "(3 rows)" in _run(config, "quarantine", "list").output
    assert _run(config, "quarantine", "list", "--format", "csv").output.count("\n") == 4
    assert _run(config, "quarantine", "show", "x\x1b").exit_code == 1


def test_the_audit_of_a_period(config: Path, tmp_path: Path) -> None:
    """Only hours of the period and the site asked for; sums per day, or every hour."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            for number in range(3):
                body = {"site_id": "demo", "event_type": "click", "visitor_id": number or None}
                await collector.request("POST", "/ct", body=body, headers=ORIGIN)
            await collector.request("POST", "/server-events", body=b"{", headers=SCANOVA_SERVER)

    run(play())
    today = time.strftime("%Y-%m-%d", time.gmtime())
    lines = json.loads(_run(config, "audit", "--format", "json").output)
    assert {(line["site"], line["received"], line["rejected"]) for line in lines} == {
        ("demo", 1, 0),
        ("unknown", 3, 3),
    }
    assert {line["time"] for line in lines} == {today}
    lines = json.loads(_run(config, "audit", "--format", "json", "--all").output)
    assert all(re.fullmatch(today + r"T\d\d:00Z", line["time"]) for line in lines)
    for options, count in (
        (("--since", today, "--until", today), 2),
        (("--until", f"{today}T00:00"), 0),
        (("--since", f"{today}T00:00:00Z"), 2),
        (("--since", f"{today}T05:00+05:00"), 2),
        (("--until", "1969-12-31T23:00Z"), 0),
        (("--until", "2026-01-01"), 0),
        (("--since", "2099-01-01"), 0),
        (("--site", "unknown"), 1),
        (("--site", "x"), 0),
    ):
        result = _run(config, "audit", "--format", "json", *options)
        assert (result.exit_code, len(json.loads(result.stdout))) == (0, count), options
    assert "total" in _run(config, "audit").output
    assert len(kept_in(tmp_path / "data")) == 3


def test_a_mistyped_name_is_told(config: Path, tmp_path: Path) -> None:
    """A site that is neither configured nor there is a warning; a reason that is none, a fault."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            body = {"site_id": "demo", "event_type": "click"}
            await collector.request("POST", "/ct", body=body, headers=ORIGIN)

    run(play())
    _keep(tmp_path, _one(1, b"{}", site_id="former"))
    commands = (
        ("audit", "--format", "json"),
        ("export",),
        ("quarantine", "list"),
        ("quarantine", "replay", "--dry-run"),
    )
    for command in commands:
        result = _run(config, *command, "--site", "nosuch")
        told = "warning: site nosuch is not configured, and nothing of it is here"
        assert (result.exit_code, told in result.stderr) == (0, True), command
        assert "warning" not in result.stdout
        assert "warning" not in _run(config, *command, "--site", "demo").stderr
    assert "warning" not in _run(config, "audit", "--site", "unknown").stderr
    assert "warning" not in _run(config, "quarantine", "list", "--site", "former").stderr
    config.write_text('[[sites]]\nid = "other"\nallowed_domains = ["localhost"]\n')
    assert "warning" not in _run(config, "export", "--site", "demo").stderr
    assert "warning" not in _run(config, "audit", "--site", "demo").stderr
    for command in ("list", "replay"):
        result = _run(config, "quarantine", command, "--reason", "rate_limited")
        assert (result.exit_code, "unknown_goal" in result.stderr) == (2, True)


def test_numbers_of_events_are_told_in_words(config: Path, tmp_path: Path) -> None:
    """One event, two events; a dry run says that it does not look for repeats."""
    _keep(tmp_path, _one(1, b"{}"))
    result = _run(config, "quarantine", "replay", "--dry-run")
    told = "1 event: 0 would pass the rules (repeats are not looked for), 0 would be removed"
    assert told in result.stdout
    assert "1 stays: " in result.stdout
    _keep(tmp_path, _one(2, b"{}"))
    assert "2 events: 0 accepted, 0 duplicate" in _run(config, "quarantine", "replay").stdout


def test_faults_are_one_line(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data directory, a damaged day, a damaged file of the quarantine: told, no traceback."""
    noon_us = int(datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp() * 1_000_000)
    monkeypatch.setattr(service_module, "now_us", lambda: noon_us)
    for command in (("audit",), ("receipt", "x")):
        result = _run(config, *command)
        assert (result.exit_code, "no such data directory" in result.output) == (1, True)
    _keep(tmp_path, _one(1, b"{}"))
    for name in ("wal", "events", "audit"):
        (tmp_path / "data" / name).mkdir()
    (tmp_path / "data" / "audit" / "2026-11-26.json").write_bytes(b"{")
    result = _run(config, "audit")
    assert (result.exit_code, "2026-11-26.json" in result.output) == (1, True)
    [part] = (tmp_path / "data" / "quarantine").iterdir()
    part.write_bytes(part.read_bytes()[:100])
    result = _run(config, "quarantine", "list")
    assert (result.exit_code, result.output.startswith("Error: ")) == (1, True)

    async def play() -> None:
        async with running(tmp_path) as collector:
            body = {"site_id": "demo", "event_type": "click", "visitor_id": 1}
            await collector.request("POST", "/ct", body=body, headers=ORIGIN)

    run(play())
    names = sorted(path.name for path in (tmp_path / "data" / "quarantine").iterdir())
    assert names[0].startswith("damaged-part-")
    assert len(kept_in(tmp_path / "data")) == 1
    assert msgspec.json.decode(kept_in(tmp_path / "data")[0].raw)["visitor_id"] == 1
    assert _run(config, "audit").exit_code == 0
