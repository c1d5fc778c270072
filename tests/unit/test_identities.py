"""Who a visitor is: identities, stitched events, and the QR code that a scan began with."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from storage import Row
from tests.support.lake import DataDirectory
from tests.support.rows import NOW_US
from tests.support.viewing import croct, scanova, scanova_server, select, zenovay

NOW = datetime.fromtimestamp(NOW_US / 1e6, UTC)
HOUR_US = 3_600_000_000


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory without rows."""
    return DataDirectory(tmp_path / "data")


def test_a_scan_session_learns_its_code_from_any_of_its_rows(data: DataDirectory) -> None:
    """The row that knows the code need be neither the first nor of a browser."""
    scan = {"scan_session_id": "q"}
    data.append(
        1,
        scanova("pageview", **scan),
        scanova_server("purchase", **scan),
        scanova_server("refund", qr_code_id="qr1", event_time=NOW_US + 5, **scan),
        scanova_server("purchase", qr_code_id="qr9", scan_session_id="q", site_id="other"),
    )
    shown = select(data, "SELECT qr_code_id FROM scan_conversions WHERE site_id = 'demo'")
    assert [row["qr_code_id"] for row in shown] == ["qr1", "qr1"]
    stitched = select(data, "SELECT qr_code_id FROM stitched_events WHERE site_id = 'demo'")
    assert [row["qr_code_id"] for row in stitched] == ["qr1"] * 3


def test_identities_are_the_pairs_that_were_seen_together(data: DataDirectory) -> None:
    """One row per site, visitor and user, with the first and the last time."""
    data.append(
        1,
        zenovay("identify", visitor_id="v", user_id="a", event_time=NOW_US + HOUR_US),
        zenovay("identify", visitor_id="v", user_id="a"),
        zenovay("identify", visitor_id="v", user_id="b"),
        zenovay("identify", visitor_id="v", user_id="a", site_id="other"),
        zenovay("pageview", visitor_id="v"),
        zenovay("purchase", user_id="a"),
    )
    rows = select(data, "FROM identities ORDER BY ALL")
    hour = NOW + timedelta(hours=1)
    assert [tuple(row.values()) for row in rows] == [
        ("demo", "v", "a", NOW, hour),
        ("demo", "v", "b", NOW, NOW),
        ("other", "v", "a", NOW, NOW),
    ]


def users_of(data: DataDirectory) -> dict[str, str | None]:
    """The user of each stitched event, by its name."""
    rows = select(data, "SELECT event_name, user_id FROM stitched_events ORDER BY event_time")
    return {row["event_name"]: row["user_id"] for row in rows}


def seen(name: str, hour: int, **members: object) -> Row:
    """An event of visitor `v` at `hour`."""
    known = {"visitor_id": "v", "event_time": NOW_US + hour * HOUR_US, "event_name": name}
    return croct("eventOccurred", **(known | members))


def test_stitching_follows_a_device_from_user_to_user(data: DataDirectory) -> None:
    """Anonymous events belong to the latest user known, those before any to the first."""
    data.append(
        1,
        seen("before", 0),
        seen("login a", 1, user_id="a"),
        seen("of a", 2),
        seen("login b", 3, user_id="b"),
        seen("of b", 4),
        seen("stranger", 4, visitor_id="w"),
        seen("nobody", 4, visitor_id=None),
        seen("elsewhere", 4, site_id="other"),
    )
    assert users_of(data) == {
        "before": "a",
        "login a": "a",
        "of a": "a",
        "login b": "b",
        "of b": "b",
        "stranger": None,
        "nobody": None,
        "elsewhere": None,
    }


def test_stitching_ends_at_a_sign_out(data: DataDirectory) -> None:
    """Who uses the device afterwards is nobody that is known, until somebody signs in."""
    data.append(
        1,
        seen("login", 1, user_id="a"),
        msgspec.structs.replace(seen("logout", 2, user_id="a"), event_type="userSignedOut"),
        seen("after", 3),
        seen("login b", 4, user_id="b"),
        seen("later", 5),
    )
    assert users_of(data) == {
        "login": "a",
        "logout": "a",
        "after": None,
        "login b": "b",
        "later": "b",
    }


@pytest.mark.parametrize(
    "members", [{"consent": "denied"}, {"consent": "pending"}, {"flags": ("late", "gpc")}]
)
def test_who_does_not_consent_is_not_stitched(
    data: DataDirectory, members: dict[str, object]
) -> None:
    """What the visitor's other events tell does not make this one known."""
    data.append(1, seen("login", 1, user_id="a"), seen("private", 2, **members))
    assert users_of(data) == {"login": "a", "private": None}


def test_stitching_multiplies_no_event(data: DataDirectory) -> None:
    """Several users, codes and equal times: still one row per valid event."""
    scan = {"scan_session_id": "q"}
    data.append(
        1,
        *(seen(f"{user}{hour}", hour, user_id=user, **scan) for user in "ab" for hour in (1, 1, 2)),
        *(seen(f"code {code}", 1, qr_code_id=code, **scan) for code in "xy"),
        seen("plain", 3, **scan),
    )
    assert len(select(data, "FROM stitched_events")) == len(select(data, "FROM valid_events")) == 9
