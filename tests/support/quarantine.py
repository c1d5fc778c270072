"""Shortcuts for tests of the quarantine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from collector.keys import DEMO_KEY
from storage import asidereader
from storage.aside import Kept
from tests.support.app import Collector

SCANOVA_BROWSER = {"Origin": "http://localhost", "Content-Type": "application/json"}
SCANOVA_SERVER = {"X-API-Key": DEMO_KEY, "Content-Type": "application/json"}
ZENOVAY = {"Authorization": f"Bearer {DEMO_KEY}"}
CROCT = {
    "Origin": "http://localhost",
    "Content-Type": "application/json",
    "X-App-Id": "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a",
    "X-Client-Id": "2c9f0f4be1d34f7a8a6d5b1c0e9f7a63",
}


def kept_in(data: Path, **wanted: Any) -> list[Kept]:
    """What the quarantine of a data directory holds, oldest first."""
    return asidereader.read(data, asidereader.Filter(**wanted))[::-1]


async def kept(collector: Collector, **wanted: Any) -> list[Kept]:
    """What a running collector keeps, that which waits included."""
    await collector.service._quarantine.flush()
    return kept_in(collector.config.storage.directory, **wanted)


async def replay(collector: Collector, **arguments: Any) -> dict[str, Any]:
    """An order to replay, carried out."""
    report = await collector.service.orders.carry_out("replay", arguments, lambda *_: None)
    assert isinstance(report, dict)
    return report


def headers_of(one: Kept) -> dict[str, str]:
    """The headers kept."""
    return {} if one.headers is None else msgspec.json.decode(one.headers)


def files_hold(folder: Path, text: str) -> list[str]:
    """Files below `folder` whose bytes hold `text`; Parquet is compressed, so see `kept_in`."""
    return [str(p) for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


async def post(
    collector: Collector, path: str, body: Any, headers: Mapping[str, str], **more: str
) -> int:
    """Send a body; the status. Names of `more` are further headers."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    answer = await collector.request("POST", path, body=body, headers={**headers, **named})
    return answer.status
