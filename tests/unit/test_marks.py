"""Our own remarks, their bounds, and what a site takes for fraud."""

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import marks
from collector.config import FraudRule, Site
from collector.event import Row
from collector.marks import AHEAD_US_MAX, EARLIEST_US, Marker, RepeatCounter

NOW_US = 1_795_000_000_000_000
DAY_US = 86_400_000_000
EVERY_RULE: tuple[str, ...] = typing.get_args(FraudRule)
KEY = b"k" * 16


def row(**members: object) -> Row:
    """A row of site `demo`, received now."""
    known = {"event_id": "1", "site_id": "demo", "event_time": NOW_US, "received_time": NOW_US}
    return Row(**(known | members))  # type: ignore[arg-type]


def marker(rules: tuple[str, ...] | None = None, copies_max: int = 10) -> Marker:
    """With these fraud rules for `demo`, else the default ones."""
    site = Site(id="demo") if rules is None else Site(id="demo", fraud_rules=rules)  # type: ignore[arg-type]
    return Marker([site], copies_max=copies_max)


def marked(fired: tuple[str, ...] = (), *, is_automated: bool = False, **members: object) -> Row:
    """A row that was marked by the default rules."""
    found = row(**members)
    marker().mark(found, frozenset(fired), is_automated=is_automated)
    return found


@pytest.mark.parametrize(
    ("event_time", "is_impossible"),
    [
        (EARLIEST_US, False),
        (EARLIEST_US - 1, True),
        (0, True),
        (-62_135_596_800_000_000, True),
        (NOW_US + AHEAD_US_MAX, False),
        (NOW_US + AHEAD_US_MAX + 1, True),
        (253_402_300_799_999_999, True),
    ],
)
def test_the_bounds_of_time(event_time, is_impossible):
    """Both are inclusive; beyond them the row is flagged, and by default fraud."""
    found = marked(event_time=event_time, flags=("future",))
    assert found.flags == (("future", "impossible_time") if is_impossible else ("future",))
    assert found.is_fraud == int(is_impossible)


def test_the_earliest_time_is_the_year_2000():
    """As the page says."""
    assert EARLIEST_US == 946_684_800 * 1_000_000
    assert AHEAD_US_MAX == 24 * 3600 * 1_000_000


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_by_default_only_three_rules_are_fraud(rule):
    """Browser tests and scripts are not."""
    expected = rule in {"crawler", "impossible_time", "replay_storm"}
    assert marked(fired=(rule,)).is_fraud == int(expected)


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_each_rule_can_be_chosen_and_left_out(rule):
    """One chosen rule answers to itself alone, and none to nobody."""
    for fired in EVERY_RULE:
        chosen, none = row(), row()
        marker((rule,)).mark(chosen, frozenset({fired}), is_automated=False)
        marker(()).mark(none, frozenset({fired}), is_automated=False)
        assert chosen.is_fraud == int(fired == rule)
        assert none.is_fraud == 0


def test_rules_are_those_of_the_configuration():
    """No rule without a setting, no setting without a rule."""
    ours = {marks.IMPOSSIBLE_TIME, marks.REPLAY_STORM, marks.WEBDRIVER}
    assert ours | {"crawler", "headless", "http_client"} == set(EVERY_RULE)


def test_a_site_answers_for_itself():
    """What one site takes for fraud is nothing to another."""
    sites = [Site(id="demo"), Site(id="other", fraud_rules=())]
    both = Marker(sites, copies_max=10)
    demo, other = row(), row(site_id="other")
    for found in (demo, other):
        both.mark(found, frozenset({"crawler"}), is_automated=False)
    assert (demo.is_fraud, other.is_fraud) == (1, 0)


def test_a_page_may_say_that_a_program_drives_it():
    """It is then a bot, whatever its agent says; and no fraud, unless the site wants that."""
    assert marked(is_automated=True).flags == ("bot", "webdriver")
    assert marked(is_automated=True, flags=("bot", "headless")).flags == (
        *("bot", "headless", "webdriver"),
    )
    assert marked(is_automated=True).is_fraud == 0
    chosen = row()
    marker(("webdriver",)).mark(chosen, frozenset(), is_automated=True)
    assert chosen.is_fraud == 1


def test_a_plain_row_is_not_touched():
    """Most rows are."""
    assert marked() == row()


# --- repeats


def repeat(by: Marker, key: bytes = KEY, now_us: int = NOW_US) -> Row:
    """One more repeat of `key`."""
    found = row(received_time=now_us, event_time=now_us, is_duplicate=1)
    by.mark_repeat(found, key)
    return found


def test_a_storm_begins_behind_the_allowed_repeats():
    """Clients try again a few times; more than that is no client that lost an answer."""
    by = marker(copies_max=10)
    found = [repeat(by) for _ in range(12)]
    assert [row.flags for row in found] == [()] * 10 + [("replay_storm",)] * 2
    assert [row.is_fraud for row in found] == [0] * 10 + [1] * 2
    assert repeat(by, b"other").flags == ()


def test_storms_can_be_ignored():
    """0 is no limit; without the rule the flag stays a remark."""
    assert {repeat(marker(copies_max=0)).flags for _ in range(50)} == {()}
    by = marker((), copies_max=1)
    found = [repeat(by) for _ in range(3)]
    assert [(row.flags, row.is_fraud) for row in found] == [
        *(((), 0), (("replay_storm",), 0), (("replay_storm",), 0)),
    ]


def test_repeats_of_long_ago_are_forgotten():
    """Two days later nobody counts them any more."""
    counter = RepeatCounter()
    assert [counter.count(KEY, NOW_US + n) for n in range(3)] == [1, 2, 3]
    assert counter.count(KEY, NOW_US + DAY_US) == 4, "within a day they count"
    assert counter.count(b"other", NOW_US + 2 * DAY_US) == 1
    assert counter.count(b"other", NOW_US + 3 * DAY_US) == 2
    assert counter.count(KEY, NOW_US + 3 * DAY_US + 1) == 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, DAY_US)), max_size=200))
def test_a_count_is_never_too_high(steps):
    """Memory is bounded by forgetting, so a count may be low, never high; and it stays bounded."""
    counter = RepeatCounter()
    counter.KEYS_MAX = 4  # type: ignore[misc]
    truth: dict[int, int] = {}
    now_us = NOW_US
    for key, passed_us in steps:
        now_us += passed_us
        truth[key] = truth.get(key, 0) + 1
        assert 1 <= counter.count(bytes([key]) * 16, now_us) <= truth[key]
        assert len(counter) <= 8
