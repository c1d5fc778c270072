"""The newest rows, and look-ups that must not cost more than their time."""

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Self

import duckdb
import msgspec
import pytest

from collector.admin_lookups import Busy, Lookups
from storage import Deadline, Files, StorageError, TookTooLong, latest, parquet
from storage.schema import COLUMNS
from tests.support.lake import DataDirectory
from tests.support.rows import NOW_US, make_row

SLOW = "SELECT count(*) FROM range(10_000_000_000) AS a(x) WHERE x % 7 = hash(x) % 11"


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """An empty data directory."""
    return DataDirectory(tmp_path / "data")


def newest(data: DataDirectory, count: int) -> list[dict[str, Any]]:
    """The newest rows of `data`."""
    with Deadline(60) as deadline:
        return latest.latest(data.path, Files(), count, deadline)


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    """The numbers in the ids of rows."""
    return [int(row["event_id"].replace("-", ""), 16) for row in rows]


def row(number: int, **members: Any) -> Any:
    """A row received `number` seconds in."""
    return make_row(number, received_time=NOW_US + number * 1_000_000, **members)


def test_the_newest_come_first_from_wherever_they_are(data: DataDirectory) -> None:
    """From the log, from parts of any age, each row once, also while a part covers a segment."""
    data.publish(1, 3, *(row(n) for n in range(1, 20)))
    data.append(4, row(20), row(21))
    data.flush(4, remove=False)
    data.append(5, row(22))
    data.append(5, row(23), row(24))
    assert numbers(newest(data, 2)) == [24, 23]
    assert numbers(newest(data, 6)) == [24, 23, 22, 21, 20, 19]
    assert numbers(newest(data, 100)) == [*range(24, 0, -1)]
    assert newest(data, 0) == []


def test_many_small_parts_are_not_all_opened(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as it takes, newest first: how much there is does not tell what a look costs."""
    for number in range(1, 40):
        data.publish(number, number, row(2 * number), row(2 * number + 1))
    opened: list[int] = []
    real = latest._in_files

    def counting(paths: list[Path], *rest: Any) -> Any:
        opened.append(len(paths))
        return real(paths, *rest)

    monkeypatch.setattr(latest, "_in_files", counting)
    assert numbers(newest(data, 5)) == [79, 78, 77, 76, 75]
    assert opened == [4]
    assert len(newest(data, 40)) == 40
    assert opened == [4, 4, 16, 39]


def test_a_row_has_all_its_columns(data: DataDirectory) -> None:
    """The same from the log as from a part: JSON with its meaning, NULL left out, plain times."""
    full = row(
        7,
        event_type="x",
        metadata=msgspec.Raw(b'{"a":[1.50,"\\u003c"]}'),
        screen_width=390,
        conversion_value=1.25,
        flags=("late", "bot"),
        is_duplicate=1,
    )
    data.append(1, full)
    [logged] = newest(data, 1)
    data.flush(1)
    [published] = newest(data, 1)
    for name, value in logged.items():
        of_part = published[name]
        if isinstance(value, msgspec.Raw):
            # DuckDB writes it in its own way; a Raw is equal to none.
            value, of_part = json.loads(bytes(value)), json.loads(bytes(of_part))  # noqa: PLW2901
        assert of_part == value, name
    assert {n for n in published if n not in logged} == {"is_fraud"}, "0 is not written to the log"
    assert logged.keys() <= {column.name for column in COLUMNS}
    assert bytes(logged["metadata"]) == b'{"a":[1.50,"\\u003c"]}'


def test_no_directory_is_told(tmp_path: Path) -> None:
    """As every look at a data directory that is not there."""
    with Deadline(60) as deadline, pytest.raises(StorageError, match="no such data directory"):
        latest.latest(tmp_path / "nowhere", Files(), 1, deadline)


def test_a_slow_query_is_interrupted() -> None:
    """A query that would take an hour ends when its time is over, and says so."""
    with (
        parquet.connect(threads=1) as connection,
        Deadline(0.05) as deadline,
        pytest.raises(TookTooLong, match=r"given up after 0\.05 s"),
        deadline.over(connection),
    ):
        connection.execute(SLOW).fetchall()
    with pytest.raises(TookTooLong):
        deadline.check()


def test_an_interruption_by_others_is_not_a_deadline() -> None:
    """Only the deadline's own end is told as one."""
    with parquet.connect(threads=1) as connection, Deadline(60) as deadline:
        threading.Timer(0.05, connection.interrupt).start()
        with pytest.raises(duckdb.InterruptException), deadline.over(connection):
            connection.execute(SLOW).fetchall()
        deadline.check()


def test_no_timer_outlives_a_look_up() -> None:
    """What was quick leaves no thread behind."""
    with Deadline(3_600) as deadline:
        deadline.check()
    deadline._timer.join(5)
    assert not deadline._timer.is_alive()


def lookups(data: DataDirectory, seconds: float = 60.0) -> Lookups:
    """Look-ups in `data`."""
    return Lookups(
        data.path,
        Files(),
        in_thread=asyncio.to_thread,
        wait=lambda _seconds: None,
        seconds=seconds,
    )


def test_only_so_many_questions_at_once(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two; who comes third is told, and when one is done there is room again."""
    go = threading.Event()

    def wait(*_: object) -> list[Any]:
        go.wait(10)
        return []

    monkeypatch.setattr(latest, "latest", wait)

    async def play() -> None:
        desk = lookups(data)
        tasks = [asyncio.ensure_future(desk.newest(1)) for _ in range(2)]
        await asyncio.sleep(0)
        for _ in range(3):
            with pytest.raises(Busy):
                await desk.newest(1)
        go.set()
        assert await asyncio.gather(*tasks) == [[], []]
        assert await desk.newest(1) == []

    asyncio.run(play())


def test_a_question_that_failed_gives_its_place_back(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often: errors do not use up what others need."""

    def fail(*_: object) -> None:
        raise OSError(5, "x")

    async def play() -> None:
        desk = lookups(data)
        with monkeypatch.context() as patch:
            patch.setattr(latest, "latest", fail)
            for _ in range(5):
                with pytest.raises(OSError, match="x"):
                    await desk.newest(1)
        assert await desk.newest(1) == []

    asyncio.run(play())


QUESTIONS: dict[str, Callable[[Lookups], Any]] = {
    "newest": lambda desk: desk.newest(10),
    "receipt": lambda desk: desk.receipt("x"),
    "audit": lambda desk: desk.audit(date(2026, 1, 1)),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_has_an_end(
    name: str, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked, what takes too long is interrupted while DuckDB works."""
    data.publish(1, 1, row(1))
    real = parquet.connect

    class Slow:
        """A connection on which everything takes an hour."""

        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self._connection.close()

        def execute(self, *_: object) -> Any:
            """Run something slow instead."""
            return self._connection.execute(SLOW)

        def interrupt(self) -> None:
            """Pass it on."""
            self._connection.interrupt()

    monkeypatch.setattr(parquet, "connect", lambda **options: Slow(real(**options)))

    async def play() -> None:
        with pytest.raises(TookTooLong):
            await QUESTIONS[name](lookups(data, seconds=0.1))

    asyncio.run(play())
