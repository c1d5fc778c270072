"""The newest events, each of which opens to all its columns. Shared by pages that show rows."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from collector.admin_api import Trouble
from collector.dashboard.answers import PENDING, section
from collector.dashboard.frame import notice, pairs
from collector.dashboard.html import Child, Html, Link, tag

RECEIPT: Final = "/dashboard/receipt"
_encoder: Final = msgspec.json.Encoder()


def show(title: str, found: Sequence[Mapping[str, Any]] | Trouble | None) -> Html:
    """A section with rows as the admin API tells them, or why there are none; None: not yet."""
    if found is None:
        return section(title, tag("p", "Being looked up.", attributes={"class": PENDING}))
    if isinstance(found, Trouble):
        return section(title, notice(found.why, is_bad=True))
    if not found:
        return section(title, tag("p", "There are none yet."))
    # A stored repeat has the id of the event that it repeats: the oldest is 1.
    seen: Counter[str] = Counter(str(row["event_id"]) for row in found)
    lines = []
    for row in found:
        name = str(row["event_id"])
        lines.append(_event(row, f"event-{name}-{seen[name]}"))
        seen[name] -= 1
    return section(title, tag("ol", lines, attributes={"class": "events"}))


def _event(row: Mapping[str, Any], name: str) -> Html:
    kind = " ".join(str(row[name]) for name in ("event_type", "event_name") if name in row)
    time = str(row["received_time"])
    summary = tag(
        "summary",
        tag("time", time, attributes={"datetime": time}),
        " ",
        tag("strong", kind or "event"),
        " ",
        tag("span", f"{row.get('site_id', '')}, {row.get('protocol', '')}"),
        tag("span", " repeat", attributes={"class": "mark"}) if row.get("is_duplicate") else None,
        tag("span", " marked", attributes={"class": "mark"}) if row.get("is_fraud") else None,
    )
    link = tag("a", "its receipt", attributes={"href": Link(RECEIPT, id=str(row["event_id"]))})
    # Found again by its name when the page is made anew, so that what was opened stays open.
    named = {"id": name}
    return tag("li", tag("details", summary, pairs(texts(row)), tag("p", link), attributes=named))


def texts(row: Mapping[str, Any]) -> dict[str, Child]:
    """Each value as text; JSON as it was kept."""
    return {name: _text(value) for name, value in row.items()}


def _text(value: Any) -> Child:
    if isinstance(value, msgspec.Raw):
        return tag("pre", bytes(value).decode("utf-8", "replace"))
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return ", ".join(map(str, value))
    return _encoder.encode(value).decode()
