"""The visitor page: whose events are one person's, visit by visit, and what privacy keeps apart."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.dashboard import visitor, visitor_questions
from collector.dashboard.ranges import Scope
from collector.dashboard.visitor_questions import EVENTS_MAX, KINDS
from storage import Deadline, Files, Row
from storage.query import Lake
from tests.support import app, panelpages
from tests.support.lake import DataDirectory
from tests.support.panelpages import Shown
from tests.support.rows import NOW_US, TODAY, make_row
from tests.support.viewing import croct, scanova, scanova_server, zenovay

SECOND = 1_000_000
MINUTE = 60 * SECOND
SCOPE = Scope("", TODAY, TODAY)


def at(minutes: float) -> int:
    """So many minutes after the beginning."""
    return NOW_US + int(minutes * MINUTE)


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory without rows."""
    return DataDirectory(tmp_path / "data")


def shown(data: DataDirectory, **query: str) -> Shown:
    """The page over these rows."""
    config = app.example(data.path.parent)
    return panelpages.load(visitor.Visitor, data.path, config, TODAY, query)


def found(data: DataDirectory, kind: str, key: str) -> list[dict[str, Any]]:
    """The rows of a timeline."""
    with Lake(data.path, Files()) as lake:
        return asked(lake, kind, key)


def asked(lake: Lake, kind: str, key: str) -> list[dict[str, Any]]:
    """The rows of a timeline, newest first."""
    question = visitor_questions.timeline(kind, key, SCOPE, (0, ""))
    with Deadline(60) as deadline:
        result = lake.ask(question.sql, dict(question.values), deadline=deadline)
    names = [column.name for column in result.columns]
    return [dict(zip(names, row, strict=True)) for row in result.rows()]


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    """The rows' numbers, as `make_row` gave them."""
    return [row["event_id"].int for row in rows]


# --- whose events


@st.composite
def lives(draw: st.DrawFn) -> list[Row]:
    """A few visitors and users of two sites who sign in and out, some of them without consent."""
    rows = []
    for number in range(1, draw(st.integers(4, 16)) + 1):
        user = draw(st.sampled_from([None, None, None, "ada", "grace"]))
        rows.append(
            make_row(
                number,
                event_time=NOW_US + draw(st.integers(0, 6)) * SECOND,
                site_id=draw(st.sampled_from(["demo", "demo", "demo", "other"])),
                event_type=draw(st.sampled_from(["pageview", "userSignedOut"])) if user else "x",
                visitor_id=draw(st.sampled_from(["one", "two", "three", None])),
                user_id=user,
                consent=draw(st.sampled_from([None, None, "granted", "denied", "pending"])),
                flags=draw(st.sampled_from([(), (), ("gpc",), ("late",)])),
            )
        )
    return rows


@settings(max_examples=12, deadline=None)
@given(rows=lives())
def test_a_user_has_the_events_that_stitching_gives(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> None:
    """A user's timeline is what `stitched_events` says of that user; a visitor's is its own events
    and those of the one user it was ever known as.
    """
    data = DataDirectory(tmp_path_factory.mktemp("lives") / "data")
    data.publish(1, 1, *rows)
    with Lake(data.path, Files()) as lake:
        stitched = lake.run("SELECT site_id, visitor_id, user_id, event_id FROM stitched_events")
        events = [(*row[:3], row[3].int) for row in stitched.rows()]
        identities = lake.run("SELECT site_id, visitor_id, user_id FROM identities").rows()
        for user in ("ada", "grace"):
            expected = {event for _, _, of, event in events if of == user}
            assert set(numbers(asked(lake, "user", user))) == expected, user
        for visitor_id in ("one", "two", "three"):
            expected = {event for _, of, _, event in events if of == visitor_id}
            for site in ("demo", "other"):
                users = {u for s, v, u in identities if (s, v) == (site, visitor_id)}
                if len(users) == 1:
                    expected |= {e for s, _, u, e in events if s == site and u in users}
            assert set(numbers(asked(lake, "visitor", visitor_id))) == expected, visitor_id


def test_protocols_are_joined_by_the_user(data: DataDirectory) -> None:
    """Scanova's browser, Croct's client id and a back end's purchase of one user are one visit."""
    data.publish(
        1,
        1,
        scanova("pageview", visitor_id="v", session_id="s", event_time=at(0)),
        croct("userSignedIn", visitor_id="c", user_id="u", event_time=at(1)),
        zenovay("identify", {"email": "a@example.com"}, visitor_id="v", user_id="u"),
        zenovay("purchase", visitor_id=None, user_id="u", event_time=at(2), conversion_value=5.0),
    )
    for kind, key in (("visitor", "v"), ("visitor", "c"), ("user", "u"), ("session", "s")):
        rows = found(data, kind, key)
        assert len(rows) == 4, kind
        assert {row["visit"] for row in rows} == {1}


def test_a_shared_device_brings_nobody_along(data: DataDirectory) -> None:
    """Of a visitor with two users only its own events are shown; each user has their own."""
    data.publish(
        1,
        1,
        make_row(1, visitor_id="v", user_id="ada", event_time=at(0)),
        make_row(2, visitor_id="v", user_id="grace", event_time=at(1)),
        make_row(3, visitor_id="phone", user_id="ada", event_time=at(2)),
        make_row(4, visitor_id="v", event_time=at(3)),
    )
    assert numbers(found(data, "visitor", "v")) == [4, 2, 1]
    assert numbers(found(data, "user", "ada")) == [3, 1]
    assert numbers(found(data, "user", "grace")) == [4, 2]


def test_a_scan_joins_what_names_no_visitor(data: DataDirectory) -> None:
    """A back end's conversion belongs to the visitor of its scan; without consent to nobody."""
    scan = {"scan_session_id": "scan", "visitor_id": None}
    data.publish(
        1,
        1,
        scanova("pageview", visitor_id="v", scan_session_id="scan", event_time=at(0)),
        scanova_server("purchase", event_time=at(1), conversion_value=9.0, **scan),
        scanova_server("lead", event_time=at(2), consent="denied", **scan),
        scanova_server("lead", event_time=at(3), flags=("gpc",), **scan),
    )
    for kind, key in (("visitor", "v"), ("scan", "scan")):
        rows = found(data, kind, key)
        assert [row["event_name"] or row["event_type"] for row in rows] == ["purchase", "pageview"]


@pytest.mark.parametrize(
    "members", [{"consent": "denied"}, {"consent": "pending"}, {"flags": ("gpc",)}]
)
def test_who_withholds_consent_is_found_by_their_own_id_only(
    data: DataDirectory, members: dict[str, Any]
) -> None:
    """Neither a user nor a scan leads there; a visitor's or session's own id does. It is said."""
    data.publish(
        1,
        1,
        make_row(1, visitor_id="v", user_id="u", event_time=at(0)),
        make_row(
            2,
            visitor_id="v",
            session_id="s",
            scan_session_id="scan",
            event_time=at(1),
            **members,
        ),
    )
    assert numbers(found(data, "user", "u")) == [1]
    assert numbers(found(data, "scan", "scan")) == []
    assert numbers(found(data, "visitor", "v")) == [2, 1]
    assert 2 in numbers(found(data, "session", "s"))
    assert "no consent" in shown(data, id="v").text
    assert "1 of these events withhold consent" in shown(data, id="v").text


# --- what is shown


def test_the_profile_is_what_the_views_say(data: DataDirectory) -> None:
    """First and last seen and referrer, payments by currency, the latest attributes."""
    own = {"visitor_id": "v", "page_url": "https://shop.example/a"}
    data.publish(
        1,
        1,
        scanova("pageview", event_time=at(0), referrer="https://first.example/", **own),
        scanova("pageview", event_time=at(1), referrer="https://shop.example/b", **own),
        scanova("pageview", event_time=at(90), referrer="https://last.example/", **own),
        zenovay("identify", {"email": "old@example.com", "plan": "x"}, visitor_id="v"),
        zenovay("identify", {"email": "new@example.com"}, visitor_id="v", event_time=at(5)),
        zenovay(
            "purchase",
            {"plan_name": "monthly", "payment_provider": "polar"},
            visitor_id="v",
            event_time=at(91),
            conversion_value=1234.5,
            conversion_currency="EUR",
        ),
    )
    page = shown(data, id="v")
    for text in (
        "came first from https://first.example/",
        "came last from https://last.example/",
        "visits 2 ",
        "pages seen 3 ",
        "events 6 ",
        "1 succeeded: 1\N{NARROW NO-BREAK SPACE}234.50 EUR",
        "email new@example.com",
        '{"plan":"x"}',
        "provider polar",
        "plan monthly",
    ):
        assert text in page.text, text
    assert "old@example.com" not in page.text.partition("Visits")[0]


def test_a_pause_ends_a_visit(data: DataDirectory) -> None:
    """Half an hour is no pause yet, a second more is; entry and length are the whole visit's."""
    times = (0, 30, 60 + 1 / 60, 61)
    pages = [
        scanova(
            "pageview",
            visitor_id="v",
            event_time=at(time),
            page_url=f"https://shop.example/{place}",
            referrer="https://shop.example/x" if place else None,
        )
        for place, time in enumerate(times)
    ]
    data.publish(1, 1, *pages)
    rows = found(data, "visitor", "v")
    assert [row["visit"] for row in rows] == [2, 2, 1, 1]
    assert [row["visit_entry"][-1] for row in rows] == ["2", "2", "0", "0"]
    assert [row["visit_referrer"] for row in rows][-1] is None
    lengths = [row["visit_ended"] - row["visit_started"] for row in rows]
    assert lengths[::2] == [timedelta(seconds=59), timedelta(minutes=30)]


def test_repeats_and_fraud_are_left_out(data: DataDirectory) -> None:
    """Events are those of `valid_events`, each once, even where two ways lead to it."""
    data.publish(
        1,
        1,
        make_row(1, visitor_id="v", session_id="s", scan_session_id="scan", user_id="u"),
        make_row(2, visitor_id="v", is_duplicate=1),
        make_row(3, visitor_id="v", is_fraud=1),
        make_row(4, session_id="s", scan_session_id="scan", event_time=at(1)),
    )
    for kind, key in (("visitor", "v"), ("session", "s"), ("scan", "scan"), ("user", "u")):
        assert numbers(found(data, kind, key)) == [4, 1], kind


def test_further_back_leads_through_all_events(data: DataDirectory) -> None:
    """Page by page, each event once and in order, also where many share a moment."""
    count = 2 * EVENTS_MAX + 50
    rows = [make_row(n, visitor_id="v", event_time=at(n // 90)) for n in range(1, count + 1)]
    data.publish(1, 1, *rows)
    seen: list[int] = []
    page = shown(data, id="v")
    for _ in range(4):
        ids = [link.partition("?id=")[2] for link in page.links if "/receipt?" in link]
        seen += [int(one[-12:], 16) for one in ids]
        on = [link for link in page.links if "before=" in link]
        if not on:
            break
        before = on[0].partition("before=")[2]
        page = shown(data, id="v", before=before)
    assert len(seen) == count
    assert seen == sorted(seen, key=lambda n: (n // 90, n), reverse=True)


def test_nothing_outside_of_the_range_is_shown(data: DataDirectory) -> None:
    """Events of other dates are left out, but who was known then is known."""
    data.publish(1, 1, make_row(1, visitor_id="v", user_id="u"), day=TODAY - timedelta(days=40))
    data.publish(2, 2, make_row(2, visitor_id="v", event_time=at(1)))
    assert numbers(found(data, "visitor", "v")) == [2]
    assert numbers(found(data, "user", "u")) == [2]


def ways() -> Iterator[dict[str, str]]:
    """Queries that are not as the page makes them."""
    yield {}
    yield {"id": ""}
    yield {"id": "nobody", "kind": "nothing", "days": "x"}
    for kind in KINDS:
        yield {"id": "' OR 1=1 --", "kind": kind, "site": "\x00", "before": "9" * 40}
        yield {"id": "v", "kind": kind, "before": "1.x'"}


def test_wrong_members_and_no_rows_at_all(data: DataDirectory) -> None:
    """The page is shown, and says that there is nothing."""
    for query in ways():
        page = shown(data, **query)
        assert "cannot be read" not in page.text, query
        assert "took too long" not in page.text
