"""The session that answers the dashboard: kept, looks again, and leaves out what is too long."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import panel_session
from collector.panel_session import LakeSession
from collector.panels import Found, Pending, Question
from storage import Deadline, Files, QueryError, TookTooLong
from tests.support import app
from tests.support.lake import DataDirectory

_S = 1_000_000
_COUNT = Question("SELECT count(*) FROM events")


class World:
    """A data directory, a session over it, a clock that is set by hand."""

    def __init__(self, path: Path) -> None:
        self.data = DataDirectory(path)
        self.now_us = 1_000 * _S
        self.session = LakeSession(path, Files(), lambda: self.now_us)

    def ask(self, question: Question = _COUNT) -> Found:
        """One answer."""
        with Deadline(60) as deadline:
            return self.session.ask(question, deadline, lambda _share: None)

    def count(self) -> int:
        """How many rows it sees."""
        [(count,)] = self.ask().rows
        return int(count)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A part, and a log."""
    made = World(tmp_path / "data")
    made.data.publish(1, 1, 1, 2)
    made.data.append(2, 3)
    yield made
    made.session.close()


def test_questions_of_one_moment_are_answered_alike(world: World) -> None:
    """What comes meanwhile is seen at the next look, a second later; answers tell which."""
    assert world.ask().as_of_us == 1_000 * _S
    world.data.append(2, 4)
    world.now_us += _S // 2
    assert world.count() == 3
    assert world.ask().as_of_us == 1_000 * _S
    world.now_us += _S
    assert world.count() == 4
    assert world.ask().as_of_us == world.now_us
    world.data.flush(2)
    world.now_us += 2 * _S
    assert world.count() == 4


def test_nothing_is_opened_again_where_nothing_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is read and the views are made once."""
    lake = world.session._opened(Deadline(1))
    looks: list[object] = []
    monkeypatch.setattr(lake, "_look_again", lambda: looks.append(None))
    for _ in range(3):
        world.now_us += 20 * _S
        assert world.count() == 3
    assert looks == []
    world.data.append(2, 4)
    world.now_us += 20 * _S
    world.ask()
    assert looks == [None]


def test_a_long_log_is_left_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is told; its rows are seen as soon as they are in a part."""
    assert world.ask().lacks_newest is False
    monkeypatch.setattr(panel_session, "_LOG_BYTES_MAX", 100)
    world.session.close()
    found = world.ask()
    assert found.rows == [(2,)]
    assert found.lacks_newest
    world.data.flush(2, remove=False)
    world.now_us += 20 * _S
    found = world.ask()
    assert found.rows == [(3,)]
    assert not found.lacks_newest, "the segment is done, and only about to go"


def test_it_begins_anew_after_trouble(world: World) -> None:
    """A question that cannot be answered spoils nothing for the next one."""
    with pytest.raises(QueryError):
        world.ask(Question("SELECT * FROM nowhere"))
    assert world.count() == 3
    with Deadline(60) as deadline:
        deadline.end()
        with pytest.raises(TookTooLong):
            world.session.ask(_COUNT, deadline, lambda _share: None)
    assert world.count() == 3


def test_values_are_bound(world: World) -> None:
    """A text is a text, whatever it looks like."""
    question = Question("SELECT $site AS site, $n AS n", (("n", 1), ("site", "' OR 1=1 --")))
    assert world.ask(question).records == [{"site": "' OR 1=1 --", "n": 1}]


def test_what_is_asked_first_is_bound(world: World) -> None:
    """Lists, too; a file of another date is not opened, and each query has what it names only."""
    folder = next(world.data.events.glob("date=*"))
    other = folder.with_name("date=2030-01-01") / "part-000000000009-000000000009.parquet"
    other.parent.mkdir()
    other.write_bytes(b"no Parquet")
    question = Question(
        "SELECT count(*) AS rows FROM events WHERE list_contains($dates::DATE[], date) "
        "AND site_id = $site",
        (("after", "2021-01-01"), ("site", "demo")),
        first=(
            "SELECT DATE '2026-11-18' AS day",
            "SELECT [$day::DATE] AS dates, $after::DATE AS after",
        ),
    )
    assert world.ask(question).records == [{"rows": 3}]
    nothing = Question("SELECT $found::VARCHAR[] AS it", first=("SELECT NULL AS found",))
    assert world.ask(nothing).rows == [(None,)]


def test_the_moment_of_asking_is_bound(world: World) -> None:
    """A question about the last minutes is one for whoever looks, and of the moment it is asked."""
    question = Question("SELECT epoch_us(make_timestamptz($now_us - 60000000))")
    for _ in range(2):
        world.now_us += _S
        assert world.ask(question).rows == [(world.now_us - 60 * _S,)]


def test_an_empty_directory_has_answers(tmp_path: Path) -> None:
    """Nothing is counted as nothing, by every view that pages use."""
    world = World(tmp_path / "data")
    try:
        counted = ("counts", "tops", "sightings", "day_visitors", "goal_days", "payment_days")
        events = ("identified_days", "transactions", "touches", "user_days", "scan_days", "events")
        for view in (*counted, *events):
            assert world.ask(Question(f"FROM {view}")).rows == []
    finally:
        world.session.close()


def test_a_stop_leaves_no_question_behind(tmp_path: Path) -> None:
    """However long it would take; its threads have ended."""
    endless = (
        "SELECT sum(a.range * b.range) FROM range(1000000) AS a, range(1000000000) AS b",
        """\
SELECT sum(a.range * b.range) FROM range(1000000) AS a, range(1000000000) AS b
WHERE a.range >= (SELECT count(*) FROM events)""",
    )

    async def stop() -> None:
        async with app.running(tmp_path) as collector:
            panels = collector.service._inside.questions.panels
            told = await panels.ask(*map(Question, endless), patience_s=0.5)
            assert [type(one) for one in told] == [Pending, Pending]

    app.run(asyncio.wait_for(stop(), 30))
    assert not [one.name for one in threading.enumerate() if one.name.startswith("questions")]
