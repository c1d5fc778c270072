"""Custom events, users, goals, revenue, scans, reconciliation: numbers equal SQL written apart."""
# ruff: noqa: S608  SQL of this file over rows of this file

from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from collector.dashboard import pieces
from collector.dashboard.customevents import CustomEvents
from collector.dashboard.goals import Goals
from collector.dashboard.known import Known
from collector.dashboard.qrscans import QrScans
from collector.dashboard.reconciliation import Reconciliation
from collector.dashboard.revenue import Revenue
from collector.dashboard.users import Users
from collector.dashboard.visitor import Visitor
from storage import Row
from tests.support import app, panelpages
from tests.support.lake import DataDirectory
from tests.support.panelpages import Shown
from tests.support.rows import NOW_US, TODAY
from tests.support.traffic import FIRST_DAY, make_traffic
from tests.support.viewing import croct, scanova, scanova_server, select, zenovay

PAGES = (Visitor, CustomEvents, Users, Goals, Revenue, QrScans, Reconciliation)
LAST_DAY = date(2026, 11, 22)
# A week and the one before it, both within the three weeks.
WEEK = "date BETWEEN '2026-11-16' AND '2026-11-22'"
BEFORE = "date BETWEEN '2026-11-09' AND '2026-11-15'"
MINUTE = 60_000_000
DAY = 1_440 * MINUTE


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> DataDirectory:
    """Three weeks of three sites."""
    assert (LAST_DAY - FIRST_DAY).days == 20
    return make_traffic(tmp_path_factory.mktemp("traffic") / "data")


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory without rows."""
    return DataDirectory(tmp_path / "data")


def shown(page: Any, data: DataDirectory, today: date = TODAY, /, **query: str) -> Shown:
    """A page over these rows."""
    config = app.example(data.path.parent)
    found = panelpages.load(page, data.path, config, today, query)
    assert "cannot be read" not in found.text
    return found


def counted(text: str) -> int:
    """A number as a page writes it."""
    return int(text.replace("\N{NARROW NO-BREAK SPACE}", ""))


def euros(amount: float) -> str:
    """An amount as a page writes it."""
    return f"{amount:,.2f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


# --- custom events


def test_names_are_counted_as_the_view_counts(traffic: DataDirectory) -> None:
    """Events and those of the week before, per name, largest first; a site alone, too."""
    sql = f"""
        SELECT coalesce(event_name, event_type) AS name,
            count(*) FILTER (WHERE {WEEK}) AS now, count(*) FILTER (WHERE {BEFORE}) AS before
        FROM custom_events WHERE true {{}} GROUP BY ALL HAVING now > 0 ORDER BY now DESC, name"""
    for site, condition in (("", ""), ("menu", "AND site_id = 'menu'")):
        page = shown(CustomEvents, traffic, LAST_DAY, site=site)
        rows = [(row[0], counted(row[1]), counted(row[2])) for row in page.rows("Custom events")]
        expected = [tuple(row.values()) for row in select(traffic, sql.format(condition))]
        assert rows == expected
        assert rows


def test_one_name_in_detail(data: DataDirectory) -> None:
    """Its days, its newest events, and values of members at any depth; others are not counted."""
    details = {"reason": "price", "items": [{"sku": "a"}, {"sku": "b"}]}
    data.publish(
        1,
        1,
        croct("eventOccurred", {"details": details}, event_name="left", received_time=NOW_US + 1),
        croct("eventOccurred", {"details": {"reason": "price"}}, event_name="left"),
        croct("eventOccurred", {"details": {"reason": "time"}}, event_name="left", visitor_id="v"),
        croct("eventOccurred", {"details": {"reason": "x"}}, event_name="came"),
        croct("eventOccurred", {"details": {"reason": "x"}}, event_name="left", is_duplicate=1),
    )
    page = shown(CustomEvents, data, name="left")
    assert page.rows("Events per day")[-1] == [str(TODAY), "3"]
    assert len(page.rows("Events per day")) == 7
    newest = page.text.partition("Newest ")[2].partition("Most frequent")[0]
    assert newest.count("sent by croct, browser") == 3
    assert newest.index('"reason":"price"') < newest.index('"reason":"time"')
    assert page.rows("details.reason") == [["price", "2", "66.7 %"], ["time", "1", "33.3 %"]]
    assert [row[:2] for row in page.rows("details.items[].sku")] == [["a", "1"], ["b", "1"]]
    assert any("kind=visitor" in link and "id=v" in link for link in page.links)
    assert [row[0] for row in shown(CustomEvents, data, part="LEF").rows("Custom")] == ["left"]


# --- users


def test_users_are_searched_and_paged(data: DataDirectory) -> None:
    """The latest attributes of each, latest first, 25 on a page; the search minds no capitals."""
    rows = [
        zenovay(
            "identify",
            {"email": f"user{n}@example.com", "name": f"Name {n}", "customer_id": f"c{n}"},
            visitor_id=f"v{n}",
            user_id=f"c{n}",
            event_time=NOW_US + n * MINUTE,
        )
        for n in range(30)
    ]
    late = zenovay(
        "identify",
        {"email": "changed@example.com", "plan": "pro"},
        visitor_id="v0",
        event_time=NOW_US + 60 * MINUTE,
    )
    data.publish(1, 1, *rows, late, croct("userSignedIn", user_id="only-an-id", visitor_id="c"))
    first, second = (shown(Users, data, page=page) for page in ("0", "1"))
    emails = [row[0] for page in (first, second) for row in page.rows("Identified users")]
    assert emails == ["changed@example.com", *(f"user{n}@example.com" for n in range(29, 0, -1))]
    assert "1 to 25 of 30" in first.text
    latest = first.rows("Identified users")[0]
    assert latest == shown(Users, data, search="changed@").rows("Identified users")[0]
    [found] = shown(Users, data, search="CHANGED@").rows("Identified users")
    assert found[:2] == ["changed@example.com", "Name 0"]
    assert found[4:6] == ["2", "c0"], "events of the range"
    assert found[-1] == '{"plan":"pro"}'
    ids = shown(Users, data, search="only-an").rows("Users by id")
    assert [row[:4] for row in ids] == [["only-an-id", "demo", "1", "1"]]


# --- goals


def test_goals_are_counted_as_the_view_counts(traffic: DataDirectory) -> None:
    """Completions, the week before, visitors, and their share of the site's visitors."""
    sql = f"""
        SELECT goal, site_id, count(*) FILTER (WHERE {WEEK}) AS now,
            count(*) FILTER (WHERE {BEFORE}) AS before,
            count(DISTINCT visitor_id) FILTER (WHERE {WEEK}) AS reached,
            (SELECT count(DISTINCT visitor_id) FROM valid_events AS e
             WHERE e.site_id = g.site_id AND {WEEK}) AS everybody
        FROM goal_completions AS g GROUP BY ALL ORDER BY now DESC, goal"""
    rows = shown(Goals, traffic, LAST_DAY).rows("Goals")
    expected = [
        [
            r["goal"],
            r["site_id"],
            r["now"],
            r["before"],
            r["reached"],
            f"{100 * r['reached'] / r['everybody']:.1f} %",
        ]
        for r in select(traffic, sql)
    ]
    told = [
        [row[0], row[1], counted(row[2]), counted(row[3]), counted(row[5]), row[6]] for row in rows
    ]
    assert told[: len(expected)] == expected
    assert told[len(expected) :] == [["signup", "demo", 0, 0, 0, ""]], "of the settings"
    assert expected


def test_values_of_goals_are_told_by_currency(data: DataDirectory) -> None:
    """No sum across currencies; a value without one has none."""
    for_goal: dict[str, Any] = {"event_name": "signup", "site_id": "demo"}
    data.publish(
        1,
        1,
        croct("goalCompleted", conversion_value=2.0, conversion_currency="EUR", **for_goal),
        croct("goalCompleted", conversion_value=3.0, conversion_currency="EUR", **for_goal),
        croct("goalCompleted", conversion_value=4.0, conversion_currency="USD", **for_goal),
        zenovay("goal", {}, conversion_value=5.0, **for_goal),
    )
    [row] = shown(Goals, data).rows("Goals")
    assert row[-1] == "5.00 EUR, 4.00 USD, 5.00"


def funnel_of(page: Shown) -> list[tuple[str, int]]:
    """Steps and how many visitors came there."""
    return [(row[0], counted(row[1])) for row in page.rows("Visitors who came so far")]


def test_a_funnel_is_in_order_of_time(traffic: DataDirectory, data: DataDirectory) -> None:
    """As docs/QUERYING.md counts the shop's; and a step that came too early is none."""
    steps = {
        "kind1": "page",
        "step1": "/products/",
        "kind2": "event",
        "step2": "add_to_cart",
        "kind3": "page",
        "step3": "/checkout",
        "kind4": "event",
        "step4": "purchase",
    }
    # The events of three weeks, and a purchase that a back end tells of, too.
    page = shown(Goals, traffic, LAST_DAY, days="30", site="shop", **steps)
    assert [count for _, count in funnel_of(page)][:3] == [76, 46, 31]
    early = {"visitor_id": "early", "page_url": "http://localhost/b"}
    late = {"visitor_id": "late", "page_url": "http://localhost/b"}
    data.publish(
        1,
        1,
        scanova("pageview", event_time=NOW_US, **early),
        scanova("pageview", event_time=NOW_US + 2, **{**early, "page_url": "http://localhost/a"}),
        scanova("pageview", event_time=NOW_US, **{**late, "page_url": "http://localhost/a?x=1"}),
        scanova("pageview", event_time=NOW_US + 2 * MINUTE, **late),
        scanova("pageview", event_time=NOW_US + 2 * MINUTE, page_url="http://localhost/a"),
    )
    page = shown(Goals, data, kind1="page", step1="/a", kind2="page", step2="/b")
    assert [count for _, count in funnel_of(page)] == [2, 1]
    assert page.rows("Visitors who")[1][2:] == ["50.0 %", "1 (50.0 %)", "2 min 0 s"]


def test_without_a_choice_the_funnel_leads_to_the_goal(data: DataDirectory) -> None:
    """From any page to the first goal of the settings."""
    data.publish(
        1,
        1,
        *[scanova("pageview", visitor_id=v, page_url="http://localhost") for v in ("a", "b")],
        zenovay("goal", {}, event_name="signup", visitor_id="b", event_time=NOW_US + 1),
    )
    page = shown(Goals, data)
    assert [count for _, count in funnel_of(page)] == [2, 1]
    assert page.values["step2"] == "signup"


# --- revenue


def test_revenue_is_that_of_the_view(traffic: DataDirectory) -> None:
    """By currency with the week before, by day, and by provider; one sender alone, too."""
    paid = "status IN ('succeeded', 'paid', 'completed')"
    for by, condition in (("", "true"), ("scanova", "protocol = 'scanova'")):
        page = shown(Revenue, traffic, LAST_DAY, by=by)
        totals = select(
            traffic,
            f"""SELECT currency, sum(amount) FILTER (WHERE {WEEK}) AS now,
                count(*) FILTER (WHERE {WEEK}) AS payments,
                sum(amount) FILTER (WHERE {BEFORE}) AS before
            FROM payment_events WHERE {paid} AND {condition} AND ({WEEK} OR {BEFORE})
            GROUP BY ALL ORDER BY ALL""",
        )
        assert [row[:4] for row in page.rows("Revenue by currency")] == [
            [r["currency"], euros(r["now"]), str(r["payments"]), euros(r["before"])] for r in totals
        ]
        days = select(
            traffic,
            f"""SELECT date, currency, sum(amount) AS amount FROM payment_events
            WHERE {paid} AND {condition} AND {WEEK} GROUP BY ALL ORDER BY date DESC, currency""",
        )
        assert [row[:3] for row in page.rows("Revenue per day")] == [
            [str(r["date"]), r["currency"], euros(r["amount"])] for r in days
        ]
        providers = select(
            traffic,
            f"""SELECT payment_provider AS p, currency, sum(amount) AS amount FROM payment_events
            WHERE {paid} AND {condition} AND {WEEK} GROUP BY ALL""",
        )
        assert sorted(row[:3] for row in page.rows("Payment provider")) == sorted(
            [r["p"], r["currency"], euros(r["amount"])] for r in providers
        )


def payment(status: str = "succeeded", amount: float = 10.0, **members: object) -> Row:
    """A payment that a back end reports."""
    return zenovay(
        "purchase",
        {"status": status},
        **{"conversion_value": amount, "conversion_currency": "EUR", **members},
    )


def test_refunds_and_other_states_are_no_revenue(data: DataDirectory) -> None:
    """Each in a column of its own, nothing taken off, no sum across currencies."""
    data.publish(
        1,
        1,
        payment("succeeded", 10),
        payment("paid", 20),
        payment("refunded", 5),
        payment("failed", 99),
        payment("paid", 7, conversion_currency=None),
        croct("orderPlaced", {"order": {"status": "placed"}}, conversion_value=50.0),
    )
    rows = shown(Revenue, data).rows("Revenue by currency")
    assert rows == [
        ["(no currency)", "7.00", "1", "0.00", "new", "0.00", "0", "1"],
        ["EUR", "30.00", "2", "0.00", "new", "5.00", "1", "1"],
    ]


def touches(page: Shown) -> tuple[dict[str, str], dict[str, str]]:
    """Revenue by first and by last touch."""
    first, last = ({row[0]: row[2] for row in page.rows(f"{p} touch")} for p in ("First", "Last"))
    return first, last


def test_payments_are_attributed_by_the_rule(data: DataDirectory) -> None:
    """Scan before campaign before referrer; the first and the last of them up to the payment."""
    shop = "https://shop.example/"
    visit = {"visitor_id": "v", "page_url": shop}
    utm = f"{shop}?utm_source=news+letter&utm_campaign=May%20sale"
    data.publish(
        1,
        1,
        # More than 30 days before the range: too old.
        scanova("pageview", referrer="https://old.example/", **visit),
        day=date(2026, 10, 1),
    )
    data.publish(
        2,
        2,
        scanova(
            "pageview", referrer="https://Search.example/?q=x", event_time=NOW_US - DAY, **visit
        ),
        day=date(2026, 11, 1),
    )
    data.publish(
        3,
        3,
        scanova(
            "pageview",
            scan_session_id="s",
            qr_code_id="table",
            referrer="https://else.example/",
            event_time=NOW_US,
            **{**visit, "page_url": utm},
        ),
        # Another sender tells of the same page; the second page of the scan is a step within.
        zenovay("pageview", {}, event_time=NOW_US, **{**visit, "page_url": f"{utm}&scnv=s"}),
        scanova("pageview", scan_session_id="s", referrer=shop, event_time=NOW_US + 1, **visit),
        payment(amount=1, visitor_id="v", event_time=NOW_US + 2),
        scanova("pageview", event_time=NOW_US + 3, **{**visit, "page_url": utm}),
        payment(amount=2, visitor_id="v", event_time=NOW_US + 4),
        scanova("pageview", referrer="https://after.example/", event_time=NOW_US + 5, **visit),
        payment(amount=4, visitor_id="nobody-seen", event_time=NOW_US),
        payment(amount=8),
        payment("failed", 99, visitor_id="v", event_time=NOW_US + 9),
    )
    first, last = touches(shown(Revenue, data))
    assert first == {"search.example": "3.00", "direct": "4.00", "no visitor known": "8.00"}
    assert last == {
        "QR code table": "1.00",
        "utm news letter / May sale": "2.00",
        "direct": "4.00",
        "no visitor known": "8.00",
    }


def test_payments_without_consent_are_not_attributed(data: DataDirectory) -> None:
    """Neither by a visitor nor by a scan; with consent a scan leads to its visitor."""
    sold = {"conversion_value": 3.0, "conversion_currency": "EUR", "scan_session_id": "s"}
    page = {"visitor_id": "v", "scan_session_id": "s", "page_url": "https://shop.example/"}
    data.publish(
        1,
        1,
        scanova("pageview", qr_code_id="table", **page),
        scanova_server("purchase", event_time=NOW_US + 1, **sold),
        scanova_server("purchase", event_time=NOW_US + 1, consent="denied", **sold),
        scanova_server("purchase", event_time=NOW_US + 1, flags=("gpc",), visitor_id="v", **sold),
    )
    expected = {"QR code table": "3.00", "consent withheld": "6.00"}
    assert touches(shown(Revenue, data)) == (expected, expected)


# --- scans


def test_scans_are_counted_as_the_guide_counts(traffic: DataDirectory) -> None:
    """The table of docs/QUERYING.md: scans, converted, rate and value per code."""
    rows = shown(QrScans, traffic, LAST_DAY, days="30").rows("Scans and conversions")
    assert sorted([row[0], row[2], row[4], row[5], row[7]] for row in rows) == [
        ["table-1", "12", "4", "33.3 %", "111.00 EUR"],
        ["table-2", "19", "7", "36.8 %", "164.50 EUR"],
        ["table-3", "20", "10", "50.0 %", "308.00 EUR"],
        ["table-4", "9", "4", "44.4 %", "67.00 EUR"],
    ]


def test_the_newest_conversions_are_those_of_the_view(traffic: DataDirectory) -> None:
    """Time, value, code, first page and how long after it, as `scan_conversions` has them."""
    rows = shown(QrScans, traffic, LAST_DAY, days="30").rows("The newest conversions")
    expected = select(
        traffic,
        """SELECT strftime(event_time, '%Y-%m-%d %H:%M:%S') AS time, event_name,
            conversion_value AS value, qr_code_id, first_page_url,
            epoch(event_time - first_event_time)::INTEGER AS seconds
        FROM scan_conversions ORDER BY event_time DESC LIMIT 25""",
    )
    assert len(rows) == 25
    assert [[row[0], row[1], row[2], row[3], row[5], row[6]] for row in rows] == [
        [
            r["time"],
            r["event_name"],
            f"{r['value']:.2f} EUR",
            r["qr_code_id"],
            r["first_page_url"],
            pieces.length(timedelta(seconds=r["seconds"])),
        ]
        for r in expected
    ]


def test_a_conversion_without_consent_tells_nothing_of_its_scan(data: DataDirectory) -> None:
    """It is counted and has the code of its scan, but no page and no way to the timeline."""
    scan = {"scan_session_id": "s"}
    data.publish(
        1,
        1,
        scanova("pageview", page_url="http://localhost/secret", qr_code_id="c", **scan),
        scanova_server("lead", consent="pending", event_time=NOW_US + 1, **scan),
    )
    page = shown(QrScans, data)
    [row] = page.rows("The newest conversions")
    assert row[3:] == ["c", "demo", "consent withheld", ""]
    assert sum("kind=scan" in link for link in page.links) == 1, "that of the scan itself"
    assert page.rows("The newest scans")[0][3:5] == ["1", "0"]
    assert page.rows("Scans and")[0][:6] == ["c", "demo", "1", "1", "1", "100.0 %"]


# --- reconciliation


def test_streams_are_compared_by_name_and_day(traffic: DataDirectory) -> None:
    """Purchases of both streams, per day; a day is off beyond the threshold only."""
    sql = f"""
        SELECT date, count(*) FILTER (WHERE source = 'browser') AS b,
            count(*) FILTER (WHERE source = 'server') AS s
        FROM valid_events
        WHERE coalesce(event_name, event_type) IN ('purchase', 'orderPlaced') AND {WEEK}
        GROUP BY ALL ORDER BY date DESC"""
    expected = select(traffic, sql)
    for off in ("10", "50"):
        page = shown(Reconciliation, traffic, LAST_DAY, name="purchase", off=off)
        rows = page.rows("purchase, day by day")
        assert [(row[0], int(row[2]), int(row[3])) for row in rows] == [
            (str(r["date"]), r["b"], r["s"]) for r in expected
        ]
        marked = [abs(r["b"] - r["s"]) * 100 > max(r["b"], r["s"]) * int(off) for r in expected]
        assert [row[5] == "off" for row in rows] == marked
        [line] = [row for row in page.rows("Names in both") if row[0] == "purchase"]
        assert line[1:3] == [str(sum(r[x] for r in expected)) for x in ("b", "s")]
        assert line[5] == f"{sum(marked)} of {len(expected)}"


def test_names_of_one_stream_stand_apart(data: DataDirectory) -> None:
    """Orders and purchases are one name, page views too; repeats and fraud do not count."""
    data.publish(
        1,
        1,
        croct("orderPlaced"),
        zenovay("purchase"),
        scanova_server("purchase"),
        croct("pageOpened"),
        croct("pageLoaded"),
        zenovay("pageview"),
        scanova("click"),
        scanova("scroll", is_duplicate=1),
        zenovay("goal", event_name="signup", is_fraud=1),
    )
    page = shown(Reconciliation, data)
    assert [row[:3] for row in page.rows("Names in both")] == [
        ["purchase", "1", "2"],
        ["page view", "1", "1"],
    ]
    assert page.rows("Names in one") == [
        ["click", "browsers", "1"],
        ["pageLoaded", "browsers", "1"],
    ]
    assert page.rows("Days that are off") == [[str(TODAY), "purchase", "1", "2", "+1"]]


# --- figures


def test_a_trend_has_a_place_for_every_day() -> None:
    """Highest where there is most, lowest where there is nothing; one day is a level line."""
    assert 'points="0.0,19.0 50.0,1.0 100.0,10.0"' in str(pieces.trend([0, 4, 2]))
    assert 'points="0.0,1.0 100.0,1.0"' in str(pieces.trend([3]))
    assert 'points="0.0,19.0 100.0,19.0"' in str(pieces.trend([0, 0]))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min 0 s"),
        (3_599, "59 min 59 s"),
        (3_660, "1 h 1 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
        (-61, "\N{MINUS SIGN}1 min 1 s"),
    ],
)
def test_lengths_are_told_in_two_units(seconds: int, text: str) -> None:
    """Rounded down, with the sign of what came before."""
    assert pieces.length(timedelta(seconds=seconds)) == text


def test_changes_and_shares_of_nothing_are_not_told() -> None:
    """Nothing is divided by nought."""
    assert [pieces.change(*pair) for pair in ((2, 0), (0, 0), (3, 2), (0, 2))] == [
        "new",
        "",
        "+50 %",
        "\N{MINUS SIGN}100 %",
    ]
    assert pieces.share(1, 0) == ""
    assert pieces.share(1, 3) == "33.3 %"


# --- all of them

NASTY = "</td><script>hacked=1</script>\"'><img src=x onerror=hacked=1>\u202e"


def nasty_rows() -> list[Row]:
    """Events with markup in every member that a page shows."""
    own = {"visitor_id": NASTY, "session_id": NASTY, "scan_session_id": NASTY, "user_id": NASTY}
    seen = {"page_url": f"http://x/{NASTY}", "referrer": f"http://{NASTY}", "qr_code_id": NASTY}
    device = {"device_type": NASTY, "browser_family": NASTY, "city": NASTY, "consent": NASTY}
    sold = {"conversion_value": 1.0, "conversion_currency": NASTY}
    data: dict[str, object] = dict.fromkeys((NASTY, "email", "name", "plan_name"), NASTY)
    data["status"] = "paid"
    return [
        scanova("pageview", page_title=NASTY, **own, **seen, **device),
        scanova(NASTY, metadata=data, **own, **seen),
        scanova_server(NASTY, metadata=data, **own, **sold),
        zenovay("identify", {**data, "customer_id": NASTY}, **own),
        zenovay("purchase", {**data, "payment_provider": NASTY}, **own, **sold),
        zenovay("purchase", {**data, "status": NASTY}, **own, **sold),
        zenovay("goal", data, event_name=NASTY, **own, **sold),
        croct("eventOccurred", data, event_name=NASTY, **own),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_whatever_was_sent_stays_text(page: Any, data: DataDirectory) -> None:
    """Markup in every stored member, and in the query, is shown as it is."""
    data.publish(1, 1, *nasty_rows())
    query = {"id": NASTY, "name": NASTY, "step1": NASTY, "site": "demo"}
    found = shown(page, data, **query)
    assert "hacked=1" in found.text + str(found.tables)
    assert not found.elements & {"img", "style", "iframe", "object"}
    assert set(found.scripts) <= {"/dashboard/live.js"}
    assert "\u202e" not in found.text
    assert all(link.startswith(("/dashboard", "#main")) for link in found.links)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_an_empty_lake_and_wrong_members(page: Any, data: DataDirectory) -> None:
    """There is nothing to show, whatever is asked for: never a failure."""
    strange = "\x00'\"%_\\\u202e;--"
    names = ("site", "days", "name", "part", "search", "page", "by", "off", "id", "kind", "before")
    for query in (
        {},
        dict.fromkeys(names, strange),
        {"days": "365", "page": "99999999999", "step1": strange, "kind1": strange, "name": "x"},
        {"page": "-1", "days": "0", "step5": "/", "kind5": "goal", "site": "x" * 5_000},
    ):
        assert "took too long" not in shown(page, data, **query).text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_every_member_of_a_query_is_described(page: Any, data: DataDirectory) -> None:
    """What a form of the page sends is among the members that its route tells of."""
    [route] = page(cast("Known", None)).routes
    assert set(shown(page, data, id="x").values) <= set(route.query)
    assert {"site", "days"} <= set(route.query)
