"""Pages, referrers, devices, countries: numbers are those of the rows, whatever these hold."""
# ruff: noqa: S608  every piece of this SQL is our own text

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.dashboard import tops
from storage import Row
from tests.support import app, panelpages
from tests.support.lake import DataDirectory
from tests.support.panelpages import Shown
from tests.support.rows import TODAY
from tests.support.viewing import croct, scanova, select, zenovay

NASTY = "<script>hacked=1</script>\"'><img src=x onerror=hacked=1>"
SUBJECTS = {one.path.rpartition("/")[2]: one for one in tops.SUBJECTS}


def at(day: date, hour: int = 12) -> int:
    """An hour of a date, in microseconds."""
    return int(datetime(day.year, day.month, day.day, hour, tzinfo=UTC).timestamp() * 1_000_000)


def view(day: date, hour: int = 12, **members: Any) -> Row:
    """A page view."""
    time = at(day, hour)
    known = {"page_url": "https://shop.example/a?x=1", "visitor_id": "v1"}
    return scanova("pageview", event_time=time, received_time=time, **(known | members))


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """Three weeks of rows: a few a day, of all protocols, with what does not count among them."""
    data = DataDirectory(tmp_path / "data")
    for back in range(20, 0, -1):
        day = TODAY - timedelta(days=back)
        rows = [
            view(day, n, country_code=("DE", "FR", None)[n % 3], browser_family=f"B{n % 2}")
            for n in range(1 + back % 5)
        ]
        rows.append(view(day, page_url="https://shop.example/b#c", referrer="https://r.example/?q"))
        rows.append(view(day, is_duplicate=1))
        rows.append(view(day, is_fraud=1))
        rows.append(view(day, site_id="other", device_type="mobile", visitor_id=f"o{back}"))
        time = {"event_time": at(day), "received_time": at(day)}
        rows.append(croct("pageOpened", page_url="https://shop.example/a", **time))
        rows.append(scanova("click", page_url="https://shop.example/a", **time))
        data.publish(21 - back, 21 - back, *rows, day=day)
    rows = [view(TODAY, 1), view(TODAY, 1, page_url=None), view(TODAY, 23, visitor_id=NASTY)]
    rows.append(
        view(
            TODAY,
            2,
            page_url=f"https://shop.example/{NASTY}",
            referrer=f"https://{NASTY}/",
            browser_family=NASTY,
            os_family=NASTY,
            device_type=NASTY,
            city=NASTY,
        )
    )
    rows.append(zenovay("pageview", page_url="https://shop.example/z", received_time=at(TODAY)))
    data.append(30, *rows)
    return data


def shown(data: DataDirectory, name: str, **query: str) -> Shown:
    """A page over these rows."""
    known = panelpages.known(data.path, app.example(data.path.parent), TODAY)
    return panelpages.load(tops.Tops(known, SUBJECTS[name]).routes, query)


def counted(data: DataDirectory, expression: str, days: int, site: str = "") -> dict[Any, Any]:
    """Views by value now and before, written apart from what the pages ask."""
    since = TODAY - timedelta(days=days - 1)
    rows = select(
        data,
        f"SELECT {expression} AS value, count(*) FILTER (WHERE date >= '{since}') AS views, "
        f"count(*) FILTER (WHERE date < '{since}') AS earlier FROM events "
        f"WHERE date > '{since - timedelta(days=days + 1)}' AND date <= '{TODAY}' "
        f"AND date >= '{since - timedelta(days=days)}' AND ('{site}' IN ('', site_id)) "
        "AND is_duplicate = 0 AND is_fraud = 0 "
        "AND event_type IN ('pageview', 'pageOpened') GROUP BY value",
    )
    return {row["value"]: (row["views"], row["earlier"]) for row in rows}


@pytest.mark.parametrize(("days", "site"), [("1", ""), ("7", "demo"), ("30", "other")])
def test_lists_are_those_of_the_rows(data: DataDirectory, days: str, site: str) -> None:
    """Views, those before, shares, changes: equal to SQL over the rows."""
    for name, caption, expression in (
        ("countries", "Countries", "country_code"),
        ("devices", "Browsers", "browser_family"),
        ("devices", "Devices", "device_type"),
    ):
        expected = counted(data, expression, int(days), site)
        rows = shown(data, name, days=days, site=site).rows(f"{caption} by page views")
        found = {row[0]: (int(row[1]), int(row[4])) for row in rows}
        assert found == {
            "(not known)" if value is None else value: pair
            for value, pair in expected.items()
            if any(pair)
        }
        total = sum(now for now, _ in expected.values())
        for row in rows:
            now, before = found[row[0]]
            assert row[3] == (f"{100 * now / total:.1f} %" if total else "")
            if before and now != before:
                change = f"{100 * (now - before) / before:+.0f} %".replace("-", "\N{MINUS SIGN}")
                arrow = "\N{UPWARDS ARROW}" if now > before else "\N{DOWNWARDS ARROW}"
                assert row[5] == f"{arrow} {change}"
        assert [found[row[0]][0] for row in rows] == sorted(
            (now for now, _ in found.values()), reverse=True
        )


def test_a_page_is_its_host_and_path(data: DataDirectory) -> None:
    """What follows a question mark or hash is left out; a referrer is its host."""
    rows = {row[0]: row for row in shown(data, "pages", days="30").rows("Pages by")}
    assert {"shop.example/a", "shop.example/b", "shop.example/z", "(not known)"} < rows.keys()
    assert int(rows["shop.example/b"][1]) == 20
    rows = {row[0]: row for row in shown(data, "referrers", days="30").rows("Referrers by")}
    assert int(rows["r.example"][1]) == 20


@pytest.mark.parametrize("days", ["1", "7"])
def test_the_chart_adds_up(data: DataDirectory, days: str) -> None:
    """Per hour of one day, per day of more: all views of the range, and of that before."""
    page = shown(data, "pages", days=days)
    title = "Page views per hour" if days == "1" else "Page views per day"
    rows = page.rows(title)
    assert len(rows) == (24 if days == "1" else int(days))
    expected = counted(data, "1", int(days))
    assert (sum(int(r[1]) for r in rows), sum(int(r[2]) for r in rows)) == expected[1]
    assert f"{expected[1][0]} page views, {expected[1][1]} in the range before" in " ".join(
        page.text.split()
    )


def test_one_value_is_shown_with_what_goes_with_it(data: DataDirectory) -> None:
    """Its views over time, and other values of the very same page views."""
    page = shown(data, "countries", days="30", by="country", value="DE")
    expected = counted(data, "country_code", 30)["DE"]
    assert sum(int(row[1]) for row in page.rows("Page views per day")) == expected[0]
    browsers = {row[0]: int(row[1]) for row in page.rows("Browsers")}
    rows = select(
        data,
        "SELECT browser_family AS value, count(*) AS views FROM page_views "
        "WHERE country_code = 'DE' GROUP BY value",
    )
    assert browsers == {row["value"]: row["views"] for row in rows}
    assert [row[3] for row in page.rows("Operating systems")] == ["100.0 %"]
    assert any("value=B0" in link and "by=browser" in link for link in page.links)
    one = shown(data, "countries", days="1", by="country", value="DE")
    assert one.rows("Page views per day") == [[str(TODAY), "0", "1"]]


@pytest.mark.parametrize("name", SUBJECTS)
def test_whatever_is_stored_stays_text(data: DataDirectory, name: str) -> None:
    """In lists, in links, and as the value that a page is about."""
    page = shown(data, name)
    assert not page.elements & {"script", "img"} - {"script"}
    assert "hacked" in page.text
    for by in SUBJECTS[name].headings:
        one = shown(data, name, by=by, value=NASTY)
        assert "img" not in one.elements
        assert NASTY in one.text


@pytest.mark.parametrize(
    "query",
    [
        {"days": "x", "site": NASTY},
        {"days": "99999", "by": "x", "value": "x"},
        {"by": "page_url", "value": "\x00\ufffd"},
        {"value": "x" * 5_000},
    ],
    ids=str,
)
def test_odd_members_are_no_fault(data: DataDirectory, query: dict[str, str]) -> None:
    """What is no range is the usual one, what is no dimension the first; nothing is found."""
    page = shown(data, "devices", **query)
    assert "cannot be read" not in page.text
    assert "log says why" not in page.text


@pytest.mark.parametrize("name", SUBJECTS)
def test_an_empty_lake_has_pages(tmp_path: Path, name: str) -> None:
    """Any range, with and without a value, says that there is nothing."""
    data = DataDirectory(tmp_path / "data")
    for days in ("1", "365"):
        page = shown(data, name, days=days)
        assert "0 page views, 0 in the range before" in " ".join(page.text.split())
    assert "none" in shown(data, name, value="x").text
