"""A data directory whose name means a pattern to DuckDB: nothing of another one is read.

Every module that has DuckDB read files is here, since a pattern that is not escaped finds the
sibling's files, or none.
"""

import uuid
from datetime import date
from pathlib import Path

import pytest

from storage import Files, Lake, aside, asidereader, census, export, find, layout, parquet
from storage.layout import Part
from tests.support.lake import DataDirectory
from tests.support.rows import TODAY, make_row

# The name of a directory, and of a sibling that it would match as a pattern.
NAMES = [("d*s", "dXs"), ("d[ab]", "da"), ("d?", "dX"), ("it's d*", "it's dX"), ("[!a]'", "b'")]
EVERY_NAME = pytest.mark.parametrize(("name", "sibling"), NAMES)
IN_PART, IN_LOG, ELSEWHERE = 1, 2, 7


def every_segment(_day: date) -> int:
    """A border behind which nothing lies."""
    return 10**9


def filled(path: Path, *numbers: int) -> DataDirectory:
    """A data directory with a published row per number but the last, which is in the log."""
    data = DataDirectory(path)
    for segment, number in enumerate(numbers, start=1):
        data.append(segment, make_row(number))
        if number != numbers[-1]:
            data.flush(segment)
    return data


@pytest.fixture
def directory(tmp_path: Path, name: str, sibling: str) -> Path:
    """A data directory with two rows beside one with five."""
    filled(tmp_path / sibling, 3, 4, 5, 6, ELSEWHERE)
    return filled(tmp_path / name, IN_PART, IN_LOG).path


@EVERY_NAME
def test_rows_of_a_sibling_are_not_counted(directory: Path) -> None:
    """`census.take` counts what is there, in parts and in the log."""
    found = census.take(directory, Files(), every_segment)
    assert sum(rows.rows for rows in found.before) == 2


@EVERY_NAME
def test_an_id_is_found_where_it_stands(directory: Path) -> None:
    """`find` tells rows by paths of its own directory, and none of the sibling's."""
    [part] = find.in_parts(directory, TODAY, find.sought(str(uuid.UUID(int=IN_PART))))
    assert (directory / part.file).is_file()
    assert len(find.in_log(directory, Files(), find.sought(str(uuid.UUID(int=IN_LOG))))) == 1
    for other in (4, ELSEWHERE):
        assert find.in_parts(directory, TODAY, find.sought(str(uuid.UUID(int=other)))) == []


@EVERY_NAME
def test_keys_come_from_own_rows(directory: Path) -> None:
    """After a restart without key files keys are read from the rows of this directory only."""
    parts = [directory / "events" / Part(TODAY, 1, 1).name]
    assert sum(len(keys.high) for keys in parquet.recent_keys(parts, 0)) == 1


@EVERY_NAME
def test_a_segment_is_flushed_by_itself(directory: Path, tmp_path: Path, sibling: str) -> None:
    """The writer puts one segment's rows into Parquet, not those of segments like it."""
    DataDirectory(tmp_path / sibling).append(2, 3, 4, 5)
    segment = directory / layout.WAL / layout.segment_name(2)
    writer = parquet.ParquetWriter()
    assert writer.write(segment, tmp_path / "x.parquet") == 1
    writer.close()


@EVERY_NAME
def test_a_query_and_an_export_read_own_rows(directory: Path) -> None:
    """Published rows and those in the log; what is written goes to a folder of such a name too."""
    output = directory / "export.csv"
    with Lake(directory, Files()) as lake:
        assert lake.run("SELECT count(*) FROM events").rows() == [(2,)]
        selection = export.Selection(columns=("event_id",))
        export.to_file(lake, Files(), selection, "csv", output, lambda _rows, _total: None)
    assert len(output.read_text().splitlines()) == 3


@EVERY_NAME
def test_quarantine_of_a_sibling_is_neither_read_nor_erased(
    tmp_path: Path, name: str, sibling: str
) -> None:
    """Keeping, reading, joining, rewriting and erasing stay in the directory."""
    kept = {}
    for number, one in enumerate((sibling, name), start=1):
        (tmp_path / one / "tmp").mkdir(parents=True)
        kept[one] = aside.Aside(tmp_path / one, Files())
        kept[one].open()
        kept[one].add([_kept(number)])
    assert asidereader.ids(tmp_path / name, asidereader.Filter()) == [str(uuid.UUID(int=2))]
    assert kept[name].erase("demo", ["visitor-one"], dry_run=True)
    assert sum(kept[name].erase("demo", ["visitor-one"]).values()) == 1
    assert kept[name].ids() == set()
    assert kept[sibling].ids() == {str(uuid.UUID(int=1))}
    for number in range(10, 30):  # until small files are joined
        kept[name].add([_kept(number)])
        kept[name].join()
    assert len(kept[name].ids()) == 20


def _kept(number: int) -> aside.Kept:
    return aside.Kept(
        id=str(uuid.UUID(int=number)),
        time=1_795_000_000_000_000,
        site_id="demo",
        protocol="p",
        source="server",
        endpoint="/p",
        reason="r",
        message="m",
        raw=b'{"v":"visitor-one"}',
    )
