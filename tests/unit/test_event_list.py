"""The newest events on a page."""

import re

from collector.dashboard import eventlist


def _row(number: int, *, is_duplicate: int = 0) -> dict[str, object]:
    return {
        "event_id": f"00000000-0000-7000-8000-{number:012}",
        "received_time": "2026-11-27T12:00:00.000000Z",
        "is_duplicate": is_duplicate,
    }


def _ids(rows: list[dict[str, object]]) -> list[str]:
    return re.findall(r'<details id="([^"]*)"', str(eventlist.show("Newest", rows)))


def test_a_stored_repeat_has_a_name_of_its_own() -> None:
    """No two elements share an id, and what was opened is found again when newer rows come."""
    before = _ids([_row(1, is_duplicate=1), _row(1)])
    assert len(set(before)) == 2
    after = _ids([_row(1, is_duplicate=1), _row(2), _row(1, is_duplicate=1), _row(1)])
    assert len(set(after)) == 4
    assert after[-2:] == before
