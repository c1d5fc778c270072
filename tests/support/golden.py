"""The golden exchanges: where they are, and how their placeholders of the clock are filled in."""

import re
from pathlib import Path
from typing import Any, Final

import msgspec

GOLDEN: Final = Path(__file__).parent.parent / "golden"
FILES: Final = sorted(GOLDEN.glob("*/*.json"))
_NOW: Final = re.compile(r"<now_ms([+-]\d+)?>")


def fill(value: Any, now_ms: int) -> Any:
    """Replace clock placeholders: a whole string by a number, a part of one by its digits."""
    if isinstance(value, dict):
        return {name: fill(member, now_ms) for name, member in value.items()}
    if isinstance(value, list):
        return [fill(member, now_ms) for member in value]
    if not isinstance(value, str):
        return value
    whole = _NOW.fullmatch(value)
    if whole:
        return now_ms + int(whole[1] or 0)
    return _NOW.sub(lambda match: str(now_ms + int(match[1] or 0)), value)


def requests(now_ms: int) -> list[dict[str, Any]]:
    """Every request of every exchange: method, path, headers, body (text, or JSON to be)."""
    found = []
    for path in FILES:
        golden = msgspec.json.decode(path.read_bytes())
        exchanges = golden.get("exchanges", [golden])
        found += [fill(exchange["request"], now_ms) for exchange in exchanges]
    return found


def body_of(request: dict[str, Any]) -> bytes:
    """The bytes of a request's body."""
    body = request.get("body", "")
    return body.encode() if isinstance(body, str) else msgspec.json.encode(body)
