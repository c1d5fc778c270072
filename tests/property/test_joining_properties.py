"""Parts are added, joined, cut and retired in random order while a plain glob is read all the time.

The model is a set of row numbers. A reading that succeeds shows each row once, all that were there
before it began and were not removed, and none that came after it ended. One that met a file that
was gone asks again. Crashes in between: see `test_store_machine`.
"""

import tempfile
import threading
from datetime import date, timedelta
from pathlib import Path

import duckdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.layout import Part
from tests.support.parts import NO_LIMIT, Parts
from tests.support.rows import make_row

_DAYS = [date(2024, 2, 28) + timedelta(days=n) for n in range(3)]
_GONE = ("No such file", "Cannot open", "could not open", "No files found")


class _Reader(threading.Thread):
    """Reads the glob until told to stop; notes what it saw, and what was done and begun then."""

    def __init__(self, events: Path, model: "_Model") -> None:
        super().__init__(daemon=True)
        self._sql = f"SELECT dedup_key FROM read_parquet('{events}/**/*.parquet')"  # noqa: S608
        self._model = model
        self._stop_it = threading.Event()
        self.readings: list[tuple[int, int, list[int]]] = []
        self.surprises: list[str] = []

    def run(self) -> None:
        connection = duckdb.connect(config={"threads": 1})
        is_last = False
        while not is_last:
            is_last = self._stop_it.is_set()
            began = self._model.done
            try:
                rows = connection.execute(self._sql).fetchall()
            except duckdb.Error as error:
                if not any(text in str(error) for text in _GONE):
                    self.surprises.append(str(error))
                continue
            self.readings.append(
                (began, len(self._model.history) - 1, [int(row[0], 16) for row in rows])
            )
        connection.close()

    def finish(self) -> None:
        self._stop_it.set()
        self.join()


class _Model:
    """Which rows there are after each operation that was begun; how many of them are done."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.done = 0
        self.history: list[set[int]] = [set()]
        self.rows: dict[int, tuple[date, str]] = {}
        self.segment = 0

    def add(self, day: date, count: int) -> None:
        self.segment += 1
        first = len(self.rows) + 1
        numbers = range(first, first + count)
        self.rows |= {n: (day, "ab"[n % 2]) for n in numbers}
        rows = [make_row(n, site_id=self.rows[n][1], visitor_id=f"v{n % 3}") for n in numbers]
        temporary = self.parts.directory.publish(self.segment, self.segment, *rows, day=_FAR)
        self.history.append(self.history[-1] | set(numbers))
        self.parts.folders.add(temporary, Part(day, self.segment, self.segment))

    def join(self, day: date) -> None:
        self.history.append(set(self.history[-1]))
        if (self.parts.folders.events / f"date={day}").is_dir():
            self.parts.work.join(day, is_open=False, limit=NO_LIMIT, parts_min=2)

    def cut(self, visitor: int) -> None:
        condition = f"visitor_id = 'v{visitor}'"
        self.history.append({n for n in self.history[-1] if n % 3 != visitor})
        for day in self.parts.work.dates():
            if cuts := self.parts.work.matching(condition, day, NO_LIMIT):
                self.parts.work.cut(day, cuts, condition, "erased")

    def retire(self, day: date) -> None:
        self.history.append({n for n in self.history[-1] if self.rows[n][0] != day})
        if cuts := self.parts.work.matching("true", day, NO_LIMIT):
            assert self.parts.work.retire(day, cuts, self.parts.listed(day))


# Where rows are written before they are added: no glob of the test looks there.
_FAR = date(1999, 1, 1)

_OPERATIONS = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(_DAYS), st.integers(1, 4)),
    st.tuples(st.just("add"), st.sampled_from(_DAYS), st.integers(1, 4)),
    st.tuples(st.just("join"), st.sampled_from(_DAYS)),
    st.tuples(st.just("cut"), st.integers(0, 2)),
    st.tuples(st.just("retire"), st.sampled_from(_DAYS)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_OPERATIONS, min_size=5, max_size=30), st.booleans())
def test_a_glob_sees_every_row_once(operations: list[tuple[object, ...]], clears: bool) -> None:
    """Whatever is done to the files, a reading shows rows of some moment while it went on."""
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(Path(folder))
        staging = Parts(Path(folder) / "staging")
        model = _Model(parts)
        parts.directory.publish = staging.directory.publish  # type: ignore[method-assign]
        reader = _Reader(parts.folders.events, model)
        reader.start()
        try:
            for name, *arguments in operations:
                getattr(model, str(name))(*arguments)
                model.done += 1
                if clears:
                    parts.now_s += 60
                    parts.folders.clear()
        finally:
            reader.finish()
            parts.work.compactor.close()
        assert reader.surprises == []
        for began, ended, seen in reader.readings:
            assert len(seen) == len(set(seen)), "a row twice"
            moments = model.history[began : ended + 1]
            # Dates change one after the other, so a reading may be between two of them.
            assert set.intersection(*moments) <= set(seen) <= set.union(*moments)
        assert set(parts.numbers()) == model.history[-1]
