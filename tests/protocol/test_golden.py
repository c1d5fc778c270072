"""Golden exchanges: every example on the vendors' pages, request to answer to stored row."""

import re
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.app import Collector, example, run, running
from tests.support.golden import FILES, GOLDEN, body_of, fill

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX32 = re.compile(r"[0-9a-f]{32}")


def _matches(expected: Any, actual: Any) -> bool:
    if expected == "<any>":
        return actual is not None
    if expected == "<uuid>":
        return bool(_UUID.fullmatch(str(actual)))
    if expected == "<hex32>":
        return bool(_HEX32.fullmatch(str(actual)))
    if isinstance(actual, msgspec.Raw):
        actual = msgspec.json.decode(actual)
    if isinstance(expected, dict):
        return (
            isinstance(actual, dict)
            and expected.keys() == actual.keys()
            and all(_matches(expected[name], actual[name]) for name in expected)
        )
    if isinstance(expected, list):
        return (
            isinstance(actual, list | tuple)
            and len(expected) == len(actual)
            and all(map(_matches, expected, actual))
        )
    if isinstance(actual, datetime) and isinstance(expected, str):
        return actual == datetime.fromisoformat(expected)
    if not isinstance(expected, str | int | float | bool | None):
        return False
    return bool(expected == actual) or (isinstance(expected, str) and expected == str(actual))


def _row_matches(expected: dict[str, Any], row: dict[str, Any]) -> list[str]:
    return [name for name, value in expected.items() if not _matches(value, row[name])]


async def _exchange(collector: Collector, golden: dict[str, Any], seen: set[str]) -> None:
    now_ms = time.time_ns() // 1_000_000
    request = fill(golden["request"], now_ms)
    answer = await collector.request(
        request["method"], request["path"], headers=request["headers"], body=body_of(request)
    )
    assert answer.status == golden["status"], answer
    for name, value in golden.get("headers", {}).items():
        assert _matches(value, answer.headers.get(name.lower())), (name, answer.headers)
    if golden.get("body") is None:
        assert answer.body == b""
    elif isinstance(golden["body"], str):
        assert _matches(golden["body"], answer.body.decode())
    else:
        assert _matches(fill(golden["body"], now_ms), answer.json), answer.body
    rows = [row for row in collector.rows() if _identity(row) not in seen]
    seen.update(_identity(row) for row in rows)
    expected = golden.get("rows", [])
    assert len(rows) == len(expected), rows
    for wanted, row in zip(expected, rows, strict=True):
        wrong = _row_matches(fill(wanted, now_ms), row)
        assert not wrong, {name: (wanted[name], row[name]) for name in wrong}


def _identity(row: dict[str, Any]) -> str:
    return f"{row['event_id']} {row['received_time']} {row['is_duplicate']}"


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A folder for all collectors of this module."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_golden(path: Path, directory: Path) -> None:
    """The exchange in the file happens exactly as written there."""
    golden = msgspec.json.decode(path.read_bytes())

    async def play() -> None:
        home = directory / path.parent.name / path.stem
        async with running(home, example(home)) as collector:
            seen: set[str] = set()
            for exchange in golden.get("exchanges", [golden]):
                await _exchange(collector, exchange, seen)

    run(play())


def test_every_protocol_has_golden_exchanges() -> None:
    """Nobody can empty a folder without being noticed."""
    counts = {name: len(list((GOLDEN / name).glob("*.json"))) for name in ("croct", "zenovay")}
    assert all(count >= 30 for count in counts.values()), counts
