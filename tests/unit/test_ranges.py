"""What a page is about, and how it shows what it was told."""

from datetime import date, timedelta

import pytest

from collector.dashboard import answers, ranges
from collector.dashboard.html import tag
from collector.panels import Failed, Found, Pending

TODAY = date(2026, 11, 27)


def test_the_week_is_taken_without_a_choice() -> None:
    """Seven dates, today among them; all sites."""
    scope = ranges.scope_of({}, TODAY)
    assert (scope.site, scope.since, scope.until) == ("", date(2026, 11, 21), TODAY)
    assert scope.days == 7


@pytest.mark.parametrize("days", [*ranges.SPANS])
def test_a_range_can_be_sent_to_somebody(days: str) -> None:
    """Its query leads to the same range, and the time before it is as long and ends before it."""
    scope = ranges.scope_of({"site": "shop", "days": days}, TODAY)
    assert scope.days == int(days)
    assert ranges.scope_of(scope.query, TODAY) == scope
    assert scope.before.days == scope.days
    assert scope.before.until == scope.since - timedelta(days=1)


@pytest.mark.parametrize("days", ["", "0", "-1", "8", "1e3", "٣", "366", "9" * 5_000])
def test_wrong_members_are_taken_for_absent_ones(days: str) -> None:
    """A page is shown, not refused; an id is cut where none can be longer."""
    assert ranges.scope_of({"days": days}, TODAY).days == 7
    assert len(ranges.scope_of({"site": "x" * 5_000}, TODAY).site) == 256


def test_values_are_texts_and_dates() -> None:
    """What a question binds: the site, both dates, and whatever the page adds."""
    scope = ranges.scope_of({"site": "a'; --", "days": "2"}, TODAY)
    assert dict(scope.values(limit=10)) == {
        "limit": 10,
        "site": "a'; --",
        "since": "2026-11-26",
        "until": "2026-11-27",
    }


def test_the_picker_offers_what_is_chosen() -> None:
    """Also a site that nothing is configured for; text stays text."""
    scope = ranges.scope_of({"site": "<b>", "days": "30"}, TODAY)
    text = str(ranges.picker("/dashboard/pages", scope, ["shop"]))
    assert '<option value="&lt;b&gt;" selected>&lt;b&gt;</option>' in text
    assert '<option value="30" selected>' in text
    assert '<option value="shop">shop</option>' in text
    assert text.count("selected") == 2


def _shown(told: object, rows: list[object]) -> str:
    def show(records: answers.Records) -> object:
        rows.extend(records)
        return tag("p", "shown")

    return str(answers.panel("Top pages", told, show))  # type: ignore[arg-type]


def test_every_panel_tells_how_complete_it_is() -> None:
    """The moment of an answer, how far a question has come, or why there is no answer."""
    rows: list[object] = []
    text = _shown(Found(("n",), [(1,)], 1_700_000_000_000_000, 0.1), rows)
    assert rows == [{"n": 1}]
    assert "shown" in text
    assert '<time datetime="2023-11-14T22:13:20' in text
    assert "22:13:20 UTC" in text
    assert "without" not in text
    assert '<section aria-labelledby="top-pages"><h2 id="top-pages">' in text
    assert "without what came" in _shown(Found(("n",), [], 0, 0.1, lacks_newest=True), rows)
    assert 'value="40"' in _shown(Pending(0.4), rows)
    assert "<progress" in _shown(Pending(), rows)
    assert 'value="' not in _shown(Pending(), rows)
    assert "&lt;why&gt;" in _shown(Failed("<why>"), rows)
    assert rows == [{"n": 1}]
