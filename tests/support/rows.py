"""Rows and segments for storage tests."""

import uuid
from datetime import date
from itertools import count

from storage import Row, encode
from storage import segment as segments

NOW_US = 1_795_000_000_000_000
TODAY = date(2026, 11, 18)
_ids = count(1)


def make_row(number: int | None = None, **members: object) -> Row:
    """A row whose event id tells its number."""
    number = next(_ids) if number is None else number
    known = {
        "event_id": str(uuid.UUID(int=number)),
        "event_time": NOW_US,
        "received_time": NOW_US,
        "site_id": "demo",
        "protocol": "scanova",
        "source": "browser",
        "dedup_key": f"{number:032x}",
    }
    return Row(**(known | members))  # type: ignore[arg-type]


def make_lines(*numbers: int, **members: object) -> bytes:
    """Encoded rows with the given numbers."""
    return encode([make_row(number, **members) for number in numbers])


def make_segment(number: int, *groups: list[int], day: date = TODAY) -> bytes:
    """The bytes of a segment with one group per list of row numbers."""
    out = b""
    for numbers in groups:
        body = make_lines(*numbers)
        if not out:
            body = segments.encode_header(number, day) + body
        out += body + segments.encode_commit(body, len(numbers))
    return out
