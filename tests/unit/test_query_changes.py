"""Queries while the directory changes: flushed, joined, expired under a reader's eyes."""

import threading
from pathlib import Path

import duckdb
import pytest

from storage import Files, layout, query
from storage.query import Lake, QueryError
from tests.support.lake import DataDirectory

NUMBERS = "SELECT event_id FROM events"


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory without rows."""
    return DataDirectory(tmp_path / "data")


def numbers(data: DataDirectory) -> list[int]:
    """Numbers of the rows that a query finds, ascending."""
    with Lake(data.path, Files()) as lake:
        return sorted(row[0].int for row in lake.run(NUMBERS).rows())


class Interfering(Files):
    """Lets something happen to the directory just before a segment is read."""

    def __init__(self, *events: object) -> None:
        self._events = iter(events)

    def read(self, path: Path) -> bytes:
        """See Files."""
        for event in self._events:
            event()  # type: ignore[operator]
            break
        return super().read(path)


def test_a_segment_flushed_before_it_could_be_read_is_found_in_its_part(
    data: DataDirectory,
) -> None:
    """A flush between listing and reading costs a second look, no row."""
    data.append(1, 1, 2)
    data.append(2, 3)
    with Lake(data.path, Interfering(lambda: data.flush(1))) as lake:
        assert sorted(row[0].int for row in lake.run(NUMBERS).rows()) == [1, 2, 3]


def test_parts_joined_during_a_session_are_found_joined(data: DataDirectory) -> None:
    """A session whose files were joined asks again by itself."""
    data.publish(1, 1, 1)
    data.publish(2, 2, 2)
    with Lake(data.path, Files()) as lake:
        assert lake.run("SELECT count(*) FROM events").rows() == [(2,)]
        data.join(1, 2)
        data.append(3, 3)
        assert lake.run("SELECT count(*) FROM events").rows() == [(3,)]


def test_parts_joined_between_listing_and_binding_are_found_joined(data: DataDirectory) -> None:
    """Joining before the views are made is as harmless as after."""
    data.publish(1, 1, 1)
    data.publish(2, 2, 2)
    data.append(3, 3)
    with Lake(data.path, Interfering(lambda: data.join(1, 2))) as lake:
        assert lake.run("SELECT count(*) FROM events").rows() == [(3,)]


class Broken:
    """A connection that cannot read on."""

    def fetchmany(self, _count: int) -> list[tuple[object, ...]]:
        """Fail as DuckDB does when a file is gone."""
        raise duckdb.IOException("IO Error: Cannot open file")


@pytest.mark.parametrize(("is_joined", "message"), [(True, "ask again"), (False, "Cannot open")])
def test_a_result_that_cannot_go_on_says_so(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, is_joined: bool, message: str
) -> None:
    """When rows were given out and the rest cannot be read, there is an error, not an end."""
    data.publish(1, 1, 1)
    data.publish(2, 2, 2)
    with Lake(data.path, Files()) as lake:
        chunks = lake.run("SELECT * FROM events").chunks()
        assert len(next(chunks)) == 2
        if is_joined:
            data.join(1, 2)
        monkeypatch.setattr(lake, "_connection", Broken())
        with pytest.raises(QueryError, match=message):
            next(chunks)


def test_a_query_whose_files_keep_going_is_an_error(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking again is bounded."""
    monkeypatch.setattr(query, "_PAUSES_S", (0.0, 0.0))
    with Lake(data.path, Files()) as lake:
        monkeypatch.setattr(lake, "_is_stale", lambda: True)
        with pytest.raises(QueryError, match="ask again"):
            lake.run("FROM nothing")


def listing_with(
    monkeypatch: pytest.MonkeyPatch, data: DataDirectory, *changes: object
) -> query.Listing:
    """Look at `data` while `changes[n]` happens just before the n-th listing of parts."""
    pending = iter(changes)
    list_parts = layout.list_parts

    def change_and_list(events: Path) -> list[layout.Part]:
        change = next(pending, None)
        if change is not None:
            change()  # type: ignore[operator]
        return list_parts(events)

    monkeypatch.setattr(layout, "list_parts", change_and_list)
    return query.look(data.path)


def nothing() -> None:
    """Change nothing."""


def test_a_flush_while_looking_needs_no_second_look(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that publishes all the time cannot keep readers looking for ever."""
    data.append(1, 1)
    data.append(2, 2)
    listing = listing_with(
        monkeypatch, data, nothing, lambda: data.flush(1), lambda: pytest.fail("looked again")
    )
    assert (listing.segments, listing.parts) == ((1, 2), ())


def test_parts_newer_than_everything_listed_need_no_second_look(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that came after the moment of looking are left to the next query."""
    data.publish(1, 1, 1)
    listing = listing_with(
        monkeypatch,
        data,
        nothing,
        lambda: data.publish(2, 2, 2),
        lambda: pytest.fail("looked again"),
    )
    assert [part.last for part in listing.parts] == [1]


@pytest.mark.parametrize("moment", [0, 1])
def test_joining_while_looking_hides_nothing(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """A folder that changes while it is listed is listed anew."""
    data.publish(1, 1, 1)
    data.publish(2, 2, 2)
    changes = [nothing] * moment + [lambda: data.join(1, 2)]
    listing = listing_with(monkeypatch, data, *changes)
    assert [(part.first, part.last) for part in listing.parts] == [(1, 2)]


def test_a_wide_part_missing_from_a_listing_is_noticed(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that shows neither the joined parts nor what they became is not believed."""
    data.publish(1, 2, 1, 2)
    data.publish(3, 3, 3)
    list_parts = layout.list_parts
    blind = iter([True])

    def list_some(events: Path) -> list[layout.Part]:
        parts = list_parts(events)
        return [p for p in parts if p.first == 3] if next(blind, False) else parts

    monkeypatch.setattr(layout, "list_parts", list_some)
    assert [part.first for part in query.look(data.path).parts] == [1, 3]


def test_a_folder_that_goes_while_it_is_listed_is_no_error(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention may take the last file and the folder of a date."""
    data.publish(1, 1, 1)

    def vanish() -> None:
        raise FileNotFoundError(2, "gone")

    listing = listing_with(monkeypatch, data, vanish)
    assert [part.last for part in listing.parts] == [1]


def test_a_directory_that_never_holds_still_is_an_error(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking again is bounded."""
    monkeypatch.setattr(query, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(query, "_maybe_listing", lambda _directory: None)
    with pytest.raises(QueryError, match="ask again"):
        query.look(data.path)


def test_segments_that_keep_vanishing_are_an_error(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading again is bounded, too."""
    monkeypatch.setattr(query, "_PAUSES_S", (0.0, 0.0))
    data.append(1, 1)

    def gone(_files: Files, path: Path) -> bytes:
        raise FileNotFoundError(2, "gone", str(path))

    monkeypatch.setattr(Files, "read", gone)
    with pytest.raises(QueryError, match="ask again"), Lake(data.path, Files()):
        pass


def test_queries_beside_a_writer_see_a_growing_prefix(data: DataDirectory) -> None:
    """While segments grow, are flushed and joined, each query sees rows 1 to n, n never falling."""
    stop = threading.Event()
    committed = 0

    def write() -> None:
        nonlocal committed
        segment, first = 1, 1
        while not stop.is_set():
            for _ in range(3):
                data.append(segment, committed + 1, committed + 2)
                committed += 2
            data.flush(segment)
            if segment % 4 == 0:
                data.join(first, segment)
            segment += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = 0
        for _ in range(25):
            before = committed
            found = numbers(data)
            assert found == list(range(1, len(found) + 1))
            assert len(found) >= max(before, seen)
            seen = len(found)
    finally:
        stop.set()
        writer.join()
    assert numbers(data) == list(range(1, committed + 1))


def test_a_query_writes_nothing_into_the_data_directory(data: DataDirectory) -> None:
    """Files, sizes and times of change are as before, and nothing is left in the scratch folder."""
    data.publish(1, 1, 1)
    data.append(2, 2)

    def state() -> list[tuple[str, int, int]]:
        found = sorted(data.path.rglob("*"))
        return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in found]

    before = state()
    with Lake(data.path, Files()) as lake:
        lake.run("CREATE TABLE t AS SELECT * FROM events")
        assert lake.run("SELECT count(*) FROM t").rows() == [(2,)]
        scratch = lake._scratch
    assert state() == before
    assert not scratch.exists()
