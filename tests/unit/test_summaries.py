"""Summaries: they say what their parts say, go before them, and may go at any time."""
# ruff: noqa: S608  every piece of this SQL is our own text

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from storage import Deadline, Files, Lake, Person, Row, SummaryViews, erasure, layout, panelviews
from storage.layout import Part
from storage.partwork import PartWork
from storage.retention import Retention, expire
from storage.summaries import FORMAT, folder_of
from tests.support.files import failing, io_error
from tests.support.parts import NO_LIMIT, Parts
from tests.support.rows import make_row
from tests.support.store import Harness

_DAYS = (date(2024, 2, 29), date(2024, 3, 1))
_START_US = 1_709_164_800_000_000
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_PAGES = ("https://a.example/", "https://a.example/x?y=1", "https://a.example/x#z", "no page", None)

# Each with the same question to the rows, written without the views that are tested.
_QUESTIONS = {
    "SELECT date, hour, site_id, protocol, source, event_type, event_name, is_duplicate, is_fraud, "
    "sum(events)::BIGINT FROM counts GROUP BY ALL": (
        "SELECT date, time_bucket(INTERVAL 1 HOUR, received_time), site_id, protocol, source, "
        "event_type, event_name, is_duplicate, is_fraud, count(*) FROM events GROUP BY ALL"
    ),
    "SELECT date, site_id, value, sum(views)::BIGINT FROM tops WHERE dimension = 'page' "
    "GROUP BY ALL": (
        "SELECT date, site_id, CASE WHEN contains(page_url, '://') THEN "
        "split_part(split_part(split_part(page_url, '://', 2), '?', 1), '#', 1) END, count(*) "
        "FROM page_views GROUP BY ALL"
    ),
    "SELECT site_id, value, sum(views)::BIGINT FROM tops WHERE dimension = 'country' AND "
    "date = DATE '2024-03-01' GROUP BY ALL": (
        "SELECT site_id, country_code, count(*) FROM page_views WHERE date = DATE '2024-03-01' "
        "GROUP BY ALL"
    ),
    "SELECT date, site_id, count(*) FROM day_visitors GROUP BY ALL": (
        "SELECT date, site_id, count(DISTINCT visitor_id) FROM valid_events "
        "WHERE visitor_id IS NOT NULL GROUP BY ALL"
    ),
    "SELECT count(DISTINCT visitor) FROM sightings": (
        "SELECT count(DISTINCT visitor_id) FROM valid_events"
    ),
    "SELECT site_id, visitor, sum(events)::BIGINT, max(last_seen) FROM sightings GROUP BY ALL": (
        "SELECT site_id, hash(visitor_id), count(*), max(event_time) FROM valid_events "
        "WHERE visitor_id IS NOT NULL GROUP BY ALL"
    ),
    "SELECT site_id, visitor, min(first_view) FROM sightings WHERE first_view IS NOT NULL "
    "GROUP BY ALL": (
        "SELECT site_id, hash(visitor_id), min(event_time) FROM page_views "
        "WHERE visitor_id IS NOT NULL AND page_url IS NOT NULL GROUP BY ALL"
    ),
    "SELECT date, site_id, visitor, count(DISTINCT attributes), max(last_seen) "
    "FROM identified_days GROUP BY ALL": (
        "SELECT date, site_id, hash(visitor_id), count(DISTINCT json_keys(metadata)), "
        "max(event_time) FROM valid_events WHERE event_type = 'identify' GROUP BY ALL"
    ),
    "SELECT date, site_id, goal, currency, sum(events)::BIGINT, sum(amount), "
    "count(DISTINCT visitor), min(event_time) FROM goal_days GROUP BY ALL": (
        "SELECT date, site_id, event_name, conversion_currency, count(*), sum(conversion_value), "
        "count(DISTINCT visitor_id), min(event_time) FROM goal_completions GROUP BY ALL"
    ),
    "SELECT date, site_id, event_time, status, currency, amount, visitor, scan, is_withheld, "
    "count(*) FROM transactions GROUP BY ALL": (
        "SELECT date, site_id, event_time, status, currency, amount, "
        "if(visitor_id IS NULL, NULL, hash(visitor_id)), "
        "if(scan_session_id IS NULL, NULL, hash(site_id, scan_session_id)), "
        "coalesce(consent, '') = 'denied', count(*) FROM payment_events GROUP BY ALL"
    ),
    "SELECT DISTINCT date, site_id, visitor, event_time, touch FROM touches WHERE touch <> ''": (
        "SELECT DISTINCT date, site_id, hash(visitor_id), event_time, 'else.example' "
        "FROM page_views WHERE referrer IS NOT NULL AND page_url IS NOT NULL "
        "AND visitor_id IS NOT NULL AND consent IS NULL"
    ),
    "SELECT date, site_id, protocol, source, status, payment_provider, plan_name, currency, "
    "sum(events)::BIGINT, sum(amount) FROM payment_days GROUP BY ALL": (
        "SELECT date, site_id, protocol, source, status, payment_provider, plan_name, currency, "
        "count(*), sum(amount) FROM payment_events GROUP BY ALL"
    ),
    "SELECT site_id, user_id, sum(events)::BIGINT, count(DISTINCT visitor), min(first_seen), "
    "max(last_seen) FROM user_days GROUP BY ALL": (
        "SELECT site_id, user_id, count(*), count(DISTINCT visitor_id), min(event_time), "
        "max(event_time) FROM valid_events WHERE user_id IS NOT NULL GROUP BY ALL"
    ),
    "SELECT site_id, count(DISTINCT scan), source, currency, min(qr_code_id), "
    "sum(events)::BIGINT, sum(amount), count(DISTINCT visitor), is_withheld, min(first_seen), "
    "max(last_seen) FROM scan_days GROUP BY ALL": (
        "SELECT site_id, count(DISTINCT scan_session_id), source, conversion_currency, "
        "min(qr_code_id), count(*), sum(conversion_value), count(DISTINCT visitor_id), "
        "coalesce(consent, '') = 'denied', min(event_time), max(event_time) FROM valid_events "
        "WHERE scan_session_id IS NOT NULL GROUP BY ALL"
    ),
}
# What a tenth of the rows are, in turn; none of it is a page view.
_SPECIAL: tuple[dict[str, object], ...] = (
    {"event_type": "goal", "conversion_currency": "EUR"},
    {
        "event_type": "purchase",
        "conversion_currency": "USD",
        "metadata": {"status": "paid", "payment_provider": "stripe", "plan_name": "pro"},
    },
    {"event_type": "goal", "conversion_value": None, "visitor_id": None},
    {"event_type": "purchase", "metadata": {"status": "refunded"}},
    {"event_type": "identify", "visitor_id": "visitor-3", "metadata": {"plan": "pro"}},
)


class World(Parts):
    """Parts that all have summaries, and what is asked of them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.work = PartWork(path, self.files, self.folders, summary_bytes_min=1)
        self.path = path
        self.is_open = True

    def kept(self) -> list[Part]:
        """The parts that have a summary, or had one that is still there."""
        return sorted(layout.list_parts(folder_of(self.path)))

    def summarise(self) -> None:
        """Make all that are missing."""
        for day in self.work.dates():
            while self.work.summarise(day, is_open=self.is_open):
                pass

    def compare(self) -> None:
        """Ask everything in both ways."""
        with Lake(self.path, Files(), more=SummaryViews(self.path, Files())) as lake:
            for sql, plain in _QUESTIONS.items():
                found = set(lake.run(sql).rows())
                assert found == set(lake.run(plain).rows()), sql
                assert found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two dates with two parts each, and the log of the second."""
    made = World(tmp_path)
    for number in range(4):
        made.publish(_DAYS[number // 2], number + 1, *_rows(number, 60))
    made.directory.append(5, *_rows(5, 20), day=_DAYS[1])
    yield made
    made.work.compactor.close()


def _rows(seed: int, count: int) -> list[Row]:
    """Rows of one date: visits by some visitors of some sites to some pages, and other events."""
    day = min(seed // 2, 1)
    return [_row(seed, n, _START_US + day * _DAY_US) for n in range(count)]


def _row(seed: int, n: int, day_us: int) -> Row:
    received_us = day_us + (n * 7 + seed) % 24 * _HOUR_US
    usual: dict[str, object] = {
        "received_time": received_us,
        "event_time": received_us - 1_000 * (n * 5 % 7),
        "site_id": f"site-{n % 3}",
        "event_type": ("pageview", "click", "pageview", None)[n % 4],
        "event_name": f"name {n % 2}" if n % 5 else None,
        "visitor_id": f"visitor-{n * seed % 13}" if n % 7 else None,
        "user_id": f"user-{n % 6}" if n % 4 == 1 else None,
        "scan_session_id": f"scan-{n % 8}" if n % 3 else None,
        "qr_code_id": f"code-{n % 8}" if n % 2 else None,
        "page_url": _PAGES[n % len(_PAGES)],
        "referrer": "https://else.example/x" if n % 4 == 2 else None,
        "consent": "denied" if n % 23 == 22 else None,
        "country_code": ("DE", "CH", None)[n % 3],
        "device_type": "mobile",
        "is_duplicate": int(n % 11 == 0),
        "is_fraud": int(n % 17 == 0),
    }
    if n % 10 == 9:
        usual |= {"protocol": "zenovay", "source": "server", "conversion_value": n / 4}
        usual |= _SPECIAL[n // 10 % len(_SPECIAL)]
    return make_row(1_000 * seed + n, **usual)


def test_a_summary_says_what_its_part_says(world: World) -> None:
    """With none, with some and with all of them, beside rows of the log: the same numbers."""
    world.compare()
    world.work.summarise(_DAYS[0], is_open=True)
    assert world.kept() == [Part(_DAYS[0], 1, 1), Part(_DAYS[0], 2, 2)]
    world.compare()
    world.summarise()
    assert len(world.kept()) == 4
    world.compare()


def test_a_closed_date_has_one_of_its_own(world: World) -> None:
    """Which says what those of its parts say together; also beside rows that came later."""
    world.is_open = False
    world.summarise()
    days = sorted(folder_of(world.path).glob("date=*/day-*.parquet"))
    assert len(days) == 2
    assert world.kept() == [], "those of the parts are not needed beside it"
    world.summarise()
    assert world.kept() == [], "nor made again"
    more = SummaryViews(world.path, Files())
    with Lake(world.path, Files(), more=more):
        assert sorted(more._used) == days
    world.compare()
    world.publish(_DAYS[0], 7, *_rows(7, 30))
    world.compare()
    world.summarise()
    assert len(sorted(folder_of(world.path).glob("date=*/day-*.parquet"))) == 2
    assert not days[0].exists(), "it was of two parts"
    world.compare()


def test_rare_values_are_put_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each site and dimension; all views stay counted, and what is not known stays apart."""
    monkeypatch.setattr(panelviews, "VALUES_KEPT", 2)
    world.summarise()
    with Lake(world.path, Files(), more=SummaryViews(world.path, Files())) as lake:
        per_part = lake.run(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM tops WHERE dimension = 'page' AND "
            "date = DATE '2024-02-29' GROUP BY site_id) "
        ).rows()
        # Two parts, each with two values and what stands for the rest.
        assert per_part == [(6,)]
        found = lake.run(
            "SELECT value IS NULL, value = '(others)', sum(views)::BIGINT FROM tops "
            "WHERE dimension = 'page' AND date = DATE '2024-02-29' GROUP BY ALL ORDER BY ALL"
        ).rows()
        total = "SELECT count(*), count(*) FILTER (page_url = 'no page' OR page_url IS NULL)"
        views = f"{total} FROM page_views WHERE date = DATE '2024-02-29'"
        assert lake.run(views).rows() == [
            (sum(row[2] for row in found), next(row[2] for row in found if row[0]))
        ]
        assert any(row[1] for row in found)


def test_others_have_their_turn_in_between(world: World) -> None:
    """So many at once, the largest first; then it says that there are more."""
    for number in range(10, 16):
        world.publish(_DAYS[0], number, *_rows(0, 20 if number < 15 else 200))
    assert world.work.summarise(_DAYS[0], is_open=True)
    assert len(world.kept()) == 4
    assert Part(_DAYS[0], 15, 15) in world.kept()
    assert not world.work.summarise(_DAYS[0], is_open=True)
    assert len(world.kept()) == 8


def test_small_parts_have_none(world: World) -> None:
    """Their rows are few enough to be counted, and nothing is written."""
    work = PartWork(world.path, world.files, world.folders)
    for day in _DAYS:
        work.summarise(day, is_open=False)
    assert world.kept() == []
    assert not (world.path / layout.SUMMARIES).exists()


def test_a_full_disk_is_left_alone(world: World) -> None:
    """Where room is wanted for events, none is taken for summaries."""
    world.work = PartWork(
        world.path, world.files, world.folders, summary_bytes_min=1, free_bytes_min=10**6
    )
    world.files.free = 10**6
    world.summarise()
    assert world.kept() == []


def test_what_cannot_be_made_is_told_and_made_later(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the disk harms nobody: nothing is left behind, pages count rows."""
    world.files.fail = failing(io_error, "rename", "mkdir", folder=layout.SUMMARIES)
    world.summarise()
    assert world.kept() == []
    assert world.temporaries() == []
    assert "a summary could not be made" in caplog.text
    world.compare()
    world.files.fail = lambda _operation: None
    world.summarise()
    assert len(world.kept()) == 4


def test_a_summary_goes_before_its_part(world: World) -> None:
    """Joined, cut or expired: at no moment is there one of a part that is not there."""
    world.summarise()
    late: list[set[Part]] = []

    def look(_operation: object) -> None:
        there = set(layout.list_parts(world.folders.events))
        late.append(set(world.kept()) - there)

    world.files.watch = look
    assert world.work.join(_DAYS[0], is_open=False, limit=NO_LIMIT, parts_min=2)
    assert world.kept() == [Part(_DAYS[1], 3, 3), Part(_DAYS[1], 4, 4)]
    world.summarise()
    assert Part(_DAYS[0], 1, 2) in world.kept()
    erasure.erase(world.work, Person("site-1", "visitor", "visitor-1"), NO_LIMIT)
    assert world.kept() == []
    world.summarise()
    assert all(part.revision == 1 for part in world.kept())
    world.compare()
    expire(world.work, Retention(days=1), date(2024, 3, 2), NO_LIMIT)
    assert {part.date for part in world.kept()} == {_DAYS[1]}
    assert late
    assert not any(late)


def test_an_erased_person_is_in_no_summary(world: World) -> None:
    """Neither as a number nor in a text, nor by an id."""
    person = make_row(
        9_001,
        site_id="site-1",
        visitor_id="somebody",
        user_id="customer somebody",
        scan_session_id="scan",
        event_type="pageview",
        page_url="https://a.example/of/somebody",
        received_time=_START_US,
    )
    world.publish(_DAYS[0], 3, person, *_rows(0, 10))
    world.summarise()

    def found() -> int:
        paths = [str(folder_of(world.path) / part.name) for part in world.kept()]
        [(count,)] = world.query(
            f"SELECT count(*) FROM read_parquet({paths}) WHERE visitor = hash('somebody') "
            "OR value LIKE '%somebody%' OR user_id LIKE '%somebody%' "
            "OR scan = hash('site-1', 'scan')"
        )
        return int(str(count))

    assert found() == 5, "seen, a page, a touch, a user, a scan"
    erasure.erase(world.work, Person("site-1", "visitor", "somebody"), NO_LIMIT)
    assert Part(_DAYS[0], 3, 3) not in world.kept()
    assert found() == 0
    world.summarise()
    assert found() == 0
    assert Part(_DAYS[0], 3, 3, 1) in world.kept()


def test_that_of_a_date_goes_before_somebody_is_erased(world: World) -> None:
    """At no moment is it there beside other parts than it is of: it is all that tells of them."""
    world.is_open = False
    world.summarise()
    events = world.folders.events
    days = {day: next(folder_of(world.path).glob(f"date={day}/day-*")) for day in _DAYS}
    before = {day: layout.list_date(events, day) for day in _DAYS}
    late: list[bool] = []

    def look(_operation: object) -> None:
        late.extend(
            path.exists() and layout.list_date(events, day) != before[day]
            for day, path in days.items()
        )

    world.files.watch = look
    erasure.erase(world.work, Person("site-1", "visitor", "visitor-1"), NO_LIMIT)
    assert all(layout.list_date(events, day) != before[day] for day in _DAYS)
    assert not any(path.exists() for path in days.values())
    assert late
    assert not any(late)
    world.summarise()
    world.compare()


def test_what_has_no_part_goes_at_a_start(world: World) -> None:
    """Also dates that are gone, and what another version of the format or of DuckDB made."""
    world.summarise()
    folder = folder_of(world.path)
    kept = folder / Part(_DAYS[0], 1, 1).name
    strangers = [
        folder / Part(_DAYS[0], 1, 1, 3).name,
        folder / Part(date(2020, 1, 1), 1, 1).name,
        folder.with_name("0-1.5.0") / Part(_DAYS[0], 1, 1).name,
    ]
    for path in strangers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(kept.read_bytes())
    world.files.adopt()
    world.work.tidy()
    assert kept.exists()
    assert not any(path.exists() for path in strangers)
    assert [path.name for path in folder.parent.iterdir()] == [FORMAT]
    assert len(world.kept()) == 4


@pytest.mark.parametrize("damage", ["torn", "empty", "other bytes within"])
def test_a_damaged_summary_is_not_believed(world: World, damage: str) -> None:
    """It is removed, its rows are read, and it is made anew."""
    world.summarise()
    path = folder_of(world.path) / world.kept()[1].name
    data = bytearray(path.read_bytes())
    if damage == "torn":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data.clear()
    else:
        data[4:200] = b"\xff" * 196
    path.write_bytes(data)
    world.compare()
    assert not path.exists()
    assert len(world.kept()) == 3
    world.summarise()
    assert path.exists()
    world.compare()


def test_one_that_goes_during_a_session_is_done_without(world: World) -> None:
    """A session asks the rows instead, by itself."""
    world.summarise()
    sql = "SELECT sum(events)::BIGINT FROM counts"
    with (
        Lake(world.path, Files(), more=SummaryViews(world.path, Files())) as lake,
        Deadline(60) as deadline,
    ):
        before = lake.ask(sql, {}, deadline=deadline).rows()
        for part in world.kept():
            (folder_of(world.path) / part.name).unlink()
        assert lake.ask(sql, {}, deadline=deadline).rows() == before == [(260,)]


def test_a_session_takes_up_what_is_made_later(world: World) -> None:
    """Also where no event comes meanwhile; a date that goes while it looks is no error."""
    more = SummaryViews(world.path, Files())
    with Lake(world.path, Files(), more=more) as lake:
        world.work.summarise(_DAYS[0], is_open=True)
        lake.refresh()
        assert len(more._used) == 2
        for part in world.kept():
            (folder_of(world.path) / part.name).unlink()
        (folder_of(world.path) / layout.partition_name(_DAYS[0])).rmdir()
        lake.refresh()
        assert more._used == []


def test_a_collector_makes_them_by_itself(tmp_path: Path) -> None:
    """Of what was flushed, of what was joined, and at a start of what is missing."""
    harness = Harness(tmp_path / "data", join_parts_min=3, summary_bytes_min=1)
    harness.open()
    try:

        def kept() -> list[tuple[int, int]]:
            # One look, what it finds to do, and what that finds.
            for _ in range(3):
                harness.advance(10)
            found = layout.list_parts(folder_of(harness.directory))
            return sorted((part.first, part.last) for part in found)

        for number in (1, 2):
            assert harness.submit(number)
            harness.advance(1.5)
            assert harness.settle_flushes()
        assert kept() == [(1, 1), (2, 2)]
        assert harness.submit(3)
        harness.advance(1.5)
        assert harness.settle_flushes()
        assert kept() == [(1, 3)]
        harness.close()
        for path in folder_of(harness.directory).rglob("*.parquet"):
            path.unlink()
        harness.open()
        assert kept() == [(1, 3)]
    finally:
        harness.end()
