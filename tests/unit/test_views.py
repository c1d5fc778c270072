"""The published views mean what docs/QUERYING.md says, in `collector query` and in views.sql."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from storage import COLUMNS, Files, Row, layout, views
from storage.query import Lake
from tests.support.lake import DataDirectory
from tests.support.rows import NOW_US, make_row
from tests.support.viewing import croct, scanova, scanova_server, select, zenovay

NOW = datetime.fromtimestamp(NOW_US / 1e6, UTC)
EVENT_COLUMNS = [*(column.name for column in COLUMNS), "date"]
HOUR_US = 3_600_000_000


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory without rows."""
    return DataDirectory(tmp_path / "data")


def types_in(data: DataDirectory, view: str) -> list[tuple[str, str]]:
    """Protocol and type (or name) of each row of a view, sorted."""
    rows = select(data, f"FROM {view} SELECT protocol, coalesce(event_type, event_name) AS t")
    return sorted((row["protocol"], row["t"]) for row in rows)


# --- shapes


def names(text: str) -> list[str]:
    """Names written as one text."""
    return text.split()


SHAPES = {
    "events": EVENT_COLUMNS,
    "valid_events": EVENT_COLUMNS,
    "page_views": EVENT_COLUMNS,
    "visitors": names("site_id visitor_id first_seen last_seen sessions page_views events"),
    "sessions": names(
        "site_id session_id visitor_id started ended page_views events entry_url exit_url referrer"
    ),
    "custom_events": EVENT_COLUMNS,
    "identified_users": names(
        "site_id visitor_id email name customer_id phone company attributes "
        "first_identified last_identified"
    ),
    "goal_completions": [*EVENT_COLUMNS, "goal", "value"],
    "payment_events": [
        *EVENT_COLUMNS,
        *names("amount currency payment_provider status provider_event_id plan_name"),
    ],
    "scan_conversions": [
        *EVENT_COLUMNS,
        *names(
            "first_event_id first_event_time first_event_type first_page_url first_page_title "
            "first_referrer first_visitor_id first_session_id first_device_type "
            "first_browser_family first_os_family first_country_code first_city"
        ),
    ],
    "identities": names("site_id visitor_id user_id first_seen last_seen"),
    "stitched_events": EVENT_COLUMNS,
}


@pytest.mark.parametrize("view", SHAPES)
@pytest.mark.parametrize("is_empty", [True, False])
def test_each_view_has_exactly_its_columns(data: DataDirectory, view: str, is_empty: bool) -> None:
    """The columns of a view are a contract, with rows or without."""
    if not is_empty:
        data.append(1, 1)
    with Lake(data.path, Files()) as lake:
        assert [column.name for column in lake.run(f"FROM {view}").columns] == SHAPES[view]


def test_every_view_is_listed() -> None:
    """Nothing is published that this file does not know."""
    assert ["events", *(view.name for view in views.VIEWS)] == list(SHAPES)


# --- which rows


@pytest.mark.parametrize("mark", ["is_duplicate", "is_fraud"])
@pytest.mark.parametrize("view", [view for view in SHAPES if view != "events"])
def test_only_events_shows_repeats_and_fraud(data: DataDirectory, view: str, mark: str) -> None:
    """A repeat or a fraud counts nowhere but in `events`."""
    ids = {"visitor_id": "v", "session_id": "s", "scan_session_id": "q", mark: 1}
    data.append(
        1,
        scanova("pageview", **ids),
        scanova("signup", **ids),
        scanova_server("purchase", conversion_value=1.0, **ids),
        zenovay("identify", {"email": "a@example.com"}, **ids),
        zenovay("goal", {"name": "g"}, event_name="g", **ids),
        zenovay("purchase", {"amount": 1}, conversion_value=1.0, **ids),
    )
    assert select(data, f"FROM {view}") == []
    assert len(select(data, "FROM events")) == 6


def test_page_views_of_all_protocols(data: DataDirectory) -> None:
    """One navigation is one page view: Croct's pageLoaded belongs to a pageOpened."""
    data.append(
        1,
        *(scanova(t) for t in ("pageview", "page_view", "click", "pageView", "pageOpened")),
        *(croct(t) for t in ("pageOpened", "pageLoaded", "tabOpened", "tabUrlChanged", "pageview")),
        *(zenovay(t) for t in ("pageview", "event", "page_view")),
        scanova_server("pageview"),
    )
    assert types_in(data, "page_views") == [
        ("croct", "pageOpened"),
        ("croct", "tabUrlChanged"),
        ("scanova", "page_view"),
        ("scanova", "pageview"),
        ("zenovay", "pageview"),
    ]


def test_custom_events_are_those_the_site_named(data: DataDirectory) -> None:
    """What an SDK sends by itself is no custom event; server events are, by their name."""
    data.append(
        1,
        *(scanova(t) for t in ("pageview", "page_view", "click", "form_submit", "scroll")),
        *(scanova(t) for t in ("cta_click", "signup_completed")),
        *(scanova_server(n) for n in ("purchase", "click")),
        *(croct(t) for t in ("eventOccurred", "pageOpened", "goalCompleted", "leadGenerated")),
        *(zenovay(t) for t in ("event", "pageview", "goal", "purchase", "identify")),
    )
    assert types_in(data, "custom_events") == [
        ("croct", "eventOccurred"),
        ("scanova", "click"),
        ("scanova", "cta_click"),
        ("scanova", "purchase"),
        ("scanova", "signup_completed"),
        ("zenovay", "event"),
    ]


def test_goal_completions_give_goal_and_value(data: DataDirectory) -> None:
    """Goals of Zenovay and Croct, with what they are worth if that was told."""
    data.append(
        1,
        zenovay("goal", {"name": "signup"}, event_name="signup"),
        zenovay("goal", {"name": "buy"}, event_name="buy", conversion_value=9.5),
        croct("goalCompleted", {"goalId": "ns:g"}, event_name="ns:g", conversion_value=2.0),
        zenovay("event", {"name": "signup"}, event_name="signup"),
    )
    rows = select(data, "SELECT protocol, goal, value FROM goal_completions ORDER BY ALL")
    assert [tuple(row.values()) for row in rows] == [
        ("croct", "ns:g", 2.0),
        ("zenovay", "buy", 9.5),
        ("zenovay", "signup", None),
    ]


PAYMENT = (
    "SELECT amount, currency, payment_provider, status, provider_event_id, plan_name "
    "FROM payment_events"
)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            zenovay("purchase", {"amount": 5}, conversion_value=5.0, conversion_currency="USD"),
            (5.0, "USD", "server", "succeeded", None, None),
        ),
        (
            zenovay(
                "purchase",
                {
                    "payment_provider": "stripe",
                    "status": "refunded",
                    "provider_event_id": "evt_1",
                    "plan_name": "Größe XL",
                },
                conversion_value=-5.0,
                conversion_currency="EUR",
            ),
            (-5.0, "EUR", "stripe", "refunded", "evt_1", "Größe XL"),
        ),
        (
            zenovay("purchase", {"payment_provider": None, "status": ""}, conversion_value=1.0),
            (1.0, None, "server", "succeeded", None, None),
        ),
        (
            croct(
                "orderPlaced",
                {"order": {"orderId": "b3", "status": "complete", "total": 10}},
                conversion_value=10.0,
                conversion_currency="BRL",
            ),
            (10.0, "BRL", "server", "completed", "b3", None),
        ),
        (
            croct("orderPlaced", {"order": {"orderId": "b4", "status": "placed"}}),
            (None, None, "server", "placed", "b4", None),
        ),
        (
            croct("orderPlaced", {"order": {"orderId": "b5"}, "status": "x", "plan_name": "y"}),
            (None, None, "server", "succeeded", "b5", None),
        ),
        (
            scanova_server("purchase", conversion_value=3.0, conversion_currency="JPY"),
            (3.0, "JPY", "server", "succeeded", None, None),
        ),
    ],
)
def test_payment_events_have_defaults(
    data: DataDirectory, row: Row, expected: tuple[object, ...]
) -> None:
    """Every payment says how much, by whom, and in what state, as far as anybody told."""
    data.append(1, row)
    [found] = select(data, PAYMENT)
    assert tuple(found.values()) == expected


def test_what_is_no_payment_is_not_in_payment_events(data: DataDirectory) -> None:
    """A lead with a value is not money; neither is a purchase without an amount at Scanova."""
    data.append(
        1,
        scanova_server("lead", conversion_value=3.0),
        scanova_server("purchase"),
        scanova("purchase", conversion_value=3.0),
        croct("goalCompleted", conversion_value=3.0),
        croct("leadGenerated", conversion_value=3.0),
        zenovay("goal", conversion_value=3.0),
    )
    assert select(data, "FROM payment_events") == []


def test_payments_without_metadata_have_defaults(data: DataDirectory) -> None:
    """Consent may have taken the metadata away."""
    data.append(1, make_row(protocol="zenovay", event_type="purchase", conversion_value=1.0))
    [found] = select(data, PAYMENT)
    assert tuple(found.values()) == (1.0, None, "server", "succeeded", None, None)


# --- one row per visitor, session, user


def test_visitors_count_over_all_events(data: DataDirectory) -> None:
    """A visitor's row sums up its events, sessions and page views on one site."""
    data.append(
        1,
        scanova("pageview", visitor_id="v", session_id="s1", event_time=NOW_US),
        scanova("click", visitor_id="v", session_id="s1", event_time=NOW_US + HOUR_US),
        scanova("pageview", visitor_id="v", session_id="s2", event_time=NOW_US - HOUR_US),
        scanova("pageview", visitor_id="v", event_time=NOW_US),
        scanova("pageview", visitor_id="v", site_id="other"),
        scanova("pageview"),
        croct("pageOpened", visitor_id="w"),
    )
    rows = select(data, "FROM visitors ORDER BY site_id, visitor_id")
    hour = timedelta(hours=1)
    assert [tuple(row.values()) for row in rows] == [
        ("demo", "v", NOW - hour, NOW + hour, 2, 3, 4),
        ("demo", "w", NOW, NOW, 0, 1, 1),
        ("other", "v", NOW, NOW, 0, 1, 1),
    ]


def test_sessions_begin_and_end_with_their_pages(data: DataDirectory) -> None:
    """Entry, exit and referrer follow the time of the events, not the order of arrival."""
    data.append(
        1,
        scanova(
            "pageview",
            session_id="s",
            visitor_id="v",
            page_url="/b",
            referrer="https://site.example/a",
            event_time=NOW_US + 2,
        ),
        scanova_server("purchase", session_id="s", event_time=NOW_US + 3),
        scanova("click", session_id="s", visitor_id="v", page_url="/c", event_time=NOW_US + 2_000),
        scanova("scroll", session_id="s", event_time=NOW_US),
        scanova("pageview", session_id="s", visitor_id="v", page_url="/a", event_time=NOW_US + 1),
        zenovay("pageview", session_id="z", visitor_id="x", page_url="/z", referrer="https://r"),
        croct("pageOpened", visitor_id="w", page_url="/"),
    )
    rows = select(data, "FROM sessions ORDER BY session_id")
    end = NOW + timedelta(microseconds=2_000)
    assert [tuple(row.values()) for row in rows] == [
        ("demo", "s", "v", NOW, end, 2, 5, "/a", "/c", None),
        ("demo", "z", "x", NOW, NOW, 1, 1, "/z", "/z", "https://r"),
    ]


def test_a_session_without_pages_has_no_entry(data: DataDirectory) -> None:
    """Consent may have taken the addresses away."""
    data.append(1, scanova("pageview", session_id="s", referrer="x"))
    [row] = select(data, "FROM sessions")
    assert (row["entry_url"], row["exit_url"], row["referrer"]) == (None, None, None)


def test_identified_users_keep_the_latest_of_each_attribute(data: DataDirectory) -> None:
    """Each identification adds to what is known; by time of the event, not of arrival."""
    data.append(
        1,
        zenovay(
            "identify",
            {"email": "new@example.com", "plan": "pro", "tags": ["b"], "name": ""},
            visitor_id="v",
            event_time=NOW_US + HOUR_US,
        ),
        zenovay(
            "identify",
            {
                "email": "old@example.com",
                "name": "Zoë",
                "customer_id": "c1",
                "phone": "+1",
                "company": "ACME",
                "plan": "free",
                "seats": 3,
                "tags": ["a"],
            },
            visitor_id="v",
            event_time=NOW_US,
        ),
        zenovay(
            "identify",
            {"phone": None, "seats": None, "nested": {"a": {"b": None}}},
            visitor_id="v",
            event_time=NOW_US + 2 * HOUR_US,
        ),
        zenovay("identify", {"email": "x@example.com"}, visitor_id="v", site_id="other"),
        zenovay("event", {"email": "never@example.com"}, visitor_id="v"),
        croct("userSignedUp", {"externalUserId": "c"}, visitor_id="v", user_id="c"),
    )
    rows = select(data, "FROM identified_users ORDER BY site_id")
    assert [tuple(row.values()) for row in rows] == [
        (
            "demo",
            "v",
            "new@example.com",
            "Zoë",
            "c1",
            "+1",
            "ACME",
            {"nested": {"a": {"b": None}}, "plan": "pro", "seats": 3, "tags": ["b"]},
            NOW,
            NOW + timedelta(hours=2),
        ),
        ("other", "v", "x@example.com", None, None, None, None, {}, NOW, NOW),
    ]


def test_identifications_of_one_moment_count_in_order_of_receipt(data: DataDirectory) -> None:
    """Of two events with the same time the one received later is the latest."""
    for arrival, email in ((2, "second@example.com"), (1, "first@example.com")):
        data.append(
            1, zenovay("identify", {"email": email}, visitor_id="v", received_time=NOW_US + arrival)
        )
    assert [row["email"] for row in select(data, "FROM identified_users")] == ["second@example.com"]


@pytest.mark.parametrize(
    ("props", "expected"),
    [
        (b'{"email":"e","a":1,"a":2}', {"a": [1, 2]}),
        (b'{"email":"e","":1}', {"": [1]}),
        (b'{"email":"e","$.x[\\"\'":1}', {"$.x[\"'": [1]}),
        (b'{"email":"e","n":"\\u0000"}', {"n": ["\0"]}),
        (b'{"email":"e","n":1e999}', None),
        (b'{"email":"e","n":123456789012345678901234567890}', None),
        (b'{"email":{"deep":1},"email":"f"}', {}),
    ],
)
def test_odd_attributes_of_one_visitor_do_no_harm(
    data: DataDirectory, props: bytes, expected: dict[str, list[object]] | None
) -> None:
    """JSON that is unusual, but was accepted, never makes the view fail for everybody."""
    data.append(
        1,
        zenovay("identify", visitor_id="odd", site_id="a"),
        zenovay("identify", {"email": "g"}, visitor_id="good", site_id="b"),
    )
    data.append(
        1,
        make_row(
            protocol="zenovay",
            event_type="identify",
            metadata=msgspec.Raw(props),
            visitor_id="odd",
            site_id="a",
        ),
    )
    data.flush(1)
    with Lake(data.path, Files()) as lake:
        odd, good = lake.run(
            "SELECT attributes, email FROM identified_users ORDER BY site_id"
        ).rows()
    assert good[1] == "g"
    if expected is not None:
        found = json.loads(bytes(odd[0]))
        assert found.keys() == expected.keys()
        assert all(value in expected[name] for name, value in found.items())


def test_scan_conversions_join_the_first_browser_event_of_the_scan(data: DataDirectory) -> None:
    """A server event of a scan shows where the scan led to and which code it was."""
    scan = {"scan_session_id": "q"}
    data.append(
        1,
        scanova_server("purchase", conversion_value=7.0, event_time=NOW_US + 9, **scan),
        scanova("click", page_url="/later", event_time=NOW_US + 1, **scan),
        scanova(
            "pageview",
            page_url="/landing",
            visitor_id="v",
            qr_code_id="qr1",
            country_code="DE",
            **scan,
        ),
        scanova("pageview", page_url="/never", event_time=NOW_US - 1, is_duplicate=1, **scan),
        scanova("pageview", page_url="/x", site_id="other", event_time=NOW_US - 1, **scan),
        scanova_server("lead", scan_session_id="unknown", qr_code_id="qr2"),
        scanova_server("lead"),
    )
    rows = select(
        data,
        "SELECT event_name, conversion_value, qr_code_id, first_event_type, first_event_time, "
        "first_page_url, first_visitor_id, first_country_code, visitor_id "
        "FROM scan_conversions ORDER BY event_name DESC",
    )
    assert [tuple(row.values()) for row in rows] == [
        ("purchase", 7.0, "qr1", "pageview", NOW, "/landing", "v", "DE", None),
        ("lead", None, "qr2", None, None, None, None, None, None),
    ]


def test_scan_conversions_tell_nothing_of_who_withholds_consent(data: DataDirectory) -> None:
    """A conversion with withheld consent or the signal has no first event; its code stays."""
    flags: list[dict[str, Any]] = [
        {"consent": "denied"},
        {"consent": "pending"},
        {"flags": ("late", "gpc")},
        {"consent": "granted", "flags": ("late",)},
        {"consent": None},
    ]
    scan = {"scan_session_id": "q"}
    data.append(
        1,
        scanova("pageview", page_url="/landing", visitor_id="v", qr_code_id="qr1", **scan),
        *(scanova_server(str(n), **scan, **more) for n, more in enumerate(flags)),
    )
    columns = [name for name in SHAPES["scan_conversions"] if name.startswith("first_")]
    rows = select(data, "SELECT * FROM scan_conversions ORDER BY event_name")
    for row in rows[:3]:
        assert {row[name] for name in columns} == {None}
        assert row["qr_code_id"] == "qr1"
    assert [row["first_page_url"] for row in rows[3:]] == ["/landing", "/landing"]


def test_scan_conversions_bring_nothing_back_that_consent_took(data: DataDirectory) -> None:
    """The first event is one row: what is gone from it is not filled in from a later one."""
    scan = {"scan_session_id": "q", "visitor_id": "v"}
    data.append(
        1,
        scanova("pageview", consent="denied", **scan),
        scanova("pageview", page_url="/later", city="Oslo", event_time=NOW_US + 1, **scan),
        scanova_server("lead", scan_session_id="q", event_time=NOW_US + 2),
    )
    [row] = select(
        data, "SELECT first_page_url, first_city, first_visitor_id FROM scan_conversions"
    )
    assert tuple(row.values()) == (None, None, "v")


# --- views.sql


def run_views_sql(data: DataDirectory) -> duckdb.DuckDBPyConnection:
    """A fresh DuckDB, far from home, in which views.sql was run."""
    connection = duckdb.connect(config={"autoload_known_extensions": False})
    connection.execute(views.views_sql(data.events))
    return connection


def test_views_sql_gives_the_views_to_any_duckdb(data: DataDirectory) -> None:
    """The text stands alone: every view has its columns and shows the published rows."""
    data.publish(1, 1, scanova("pageview", visitor_id="v", session_id="s"))
    data.append(2, scanova("pageview"))
    connection = run_views_sql(data)
    for name, columns in SHAPES.items():
        cursor = connection.execute(f"FROM {name}")
        assert [entry[0] for entry in cursor.description or ()] == columns
        cursor.fetchall()
    assert connection.execute("SELECT count(*) FROM page_views").fetchall() == [(1,)]
    assert connection.execute("SELECT typeof(date), hour(event_time) FROM events").fetchall() == [
        ("DATE", NOW.hour)
    ]
    connection.close()


def test_views_sql_can_be_run_again_and_sees_new_parts(data: DataDirectory, tmp_path: Path) -> None:
    """In a database file the views stay, follow the folder, and may be defined anew."""
    data.publish(1, 1, 1)
    connection = duckdb.connect(str(tmp_path / "analyst.db"))
    connection.execute(views.views_sql(data.events))
    data.publish(2, 2, 2)
    assert connection.execute("SELECT count(*) FROM valid_events").fetchall() == [(2,)]
    connection.execute(views.views_sql(data.events))
    connection.close()
    connection = duckdb.connect(str(tmp_path / "analyst.db"))
    assert connection.execute("SELECT count(*) FROM visitors").fetchall() == [(0,)]
    connection.close()


def test_views_sql_holds_an_absolute_path(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be used from any folder, even if the collector was given a relative one."""
    monkeypatch.chdir(data.path)
    assert f"'{data.events}/**/*.parquet'" in views.views_sql(Path(layout.EVENTS))


def test_views_sql_survives_an_odd_path(tmp_path: Path) -> None:
    """Quotes and pattern characters in the path are quoted, not obeyed."""
    data = DataDirectory(tmp_path / "it's [a]* ?" / "site=1")
    data.publish(1, 1, 1)
    connection = run_views_sql(data)
    assert connection.execute("SELECT count(*) FROM events").fetchall() == [(1,)]
    connection.close()


def test_views_sql_tells_how_to_use_it(data: DataDirectory) -> None:
    """Whoever opens the file finds out what it is for."""
    text = views.views_sql(data.events)
    assert text.startswith("-- ")
    for view in views.VIEWS:
        assert f"-- {view.name}: {view.meaning}\n" in text
