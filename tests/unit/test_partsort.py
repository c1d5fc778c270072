"""Sorting in pieces gives the file that sorting at once would, and reads back value by value."""
# ruff: noqa: S608  every piece of this SQL is our own text

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import duckdb
import pytest

from storage import Files, parquet, parquetmerge, partsort, thrift
from storage.partsort import Cut, Source
from storage.schema import COLUMNS

_ORDER = "site_id, event_type, event_time, received_time, event_id"
_ROWS = 3_000


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """One that only this test uses."""
    with parquet.connect(threads=1) as made:
        made.execute(partsort.SETTING)
        yield made


def _write(connection: duckdb.DuckDBPyConnection, path: Path, seed: int) -> Path:
    """Rows in no order; some without type, some without site, many with equal keys."""
    given = {
        "event_id": f"('00000000-0000-4000-8000-' || lpad({seed} || '0' || i, 12, '0'))::UUID",
        "event_time": f"make_timestamptz(((i * 7919 + {seed}) % 50) * 1000000)",
        "received_time": "make_timestamptz(i)",
        "site_id": "CASE i % 7 WHEN 0 THEN NULL WHEN 1 THEN 'it''s' ELSE 's' || i % 3 END",
        "event_type": "CASE i % 5 WHEN 0 THEN NULL ELSE 'type' || i % 4 END",
        "user_agent": "'agent ' || i % 11",
        "metadata": "('{\"n\": ' || i || '}')::JSON",
        "flags": "['late', 'f' || i % 2]",
        "is_duplicate": "0::UTINYINT",
    }
    columns = ", ".join(
        f"{given.get(one.name, f'NULL::{one.type}')} AS {one.name}" for one in COLUMNS
    )
    connection.execute(
        f"COPY (SELECT {columns} FROM range({_ROWS}) AS r(i) ORDER BY hash(i)) "
        f"TO {parquet.quote(path)} (FORMAT parquet, ROW_GROUP_SIZE 2048)"
    )
    return path


def _rows(connection: duckdb.DuckDBPyConnection, source: str) -> list[tuple[object, ...]]:
    names = ", ".join(one.name for one in COLUMNS)
    return connection.execute(f"SELECT {names} FROM {source}").fetchall()


def _sort(
    connection: duckdb.DuckDBPyConnection, sources: list[Source], output: Path
) -> list[tuple[object, ...]]:
    partsort.sort(sources, output, lambda sql: connection.execute(sql).fetchall(), Files())
    return _rows(connection, partsort.read([output]))


@pytest.mark.parametrize("rows_at_once", [500, 1_999, 4_000, 1_000_000])
def test_pieces_give_what_one_sort_gives(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    connection: duckdb.DuckDBPyConnection,
    rows_at_once: int,
) -> None:
    """Every row once, every value, in the whole order; what has no site or type comes last."""
    monkeypatch.setattr(partsort, "ROWS_AT_ONCE", rows_at_once)
    paths = [_write(connection, tmp_path / f"[{n}] part.parquet", n) for n in range(1, 4)]
    expected = _rows(connection, f"(SELECT * FROM {partsort.read(paths)} ORDER BY {_ORDER})")
    sources = [Source(path, is_sorted=index == 1) for index, path in enumerate(paths)]
    assert _sort(connection, sources, tmp_path / "sorted.parquet") == expected
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*(path.name for path in paths), "sorted.parquet"}


def test_what_cannot_be_merged_is_written_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connection: duckdb.DuckDBPyConnection
) -> None:
    """A version of DuckDB with footers that are not understood costs time, and no row."""

    def refuse(*_: object) -> int:
        raise thrift.Malformed("field 99 is not known")

    monkeypatch.setattr(partsort, "ROWS_AT_ONCE", 700)
    source = Source(_write(connection, tmp_path / "one.parquet", 1), is_sorted=False)
    expected = _sort(connection, [source], tmp_path / "a.parquet")
    monkeypatch.setattr(parquetmerge, "merge", refuse)
    assert _sort(connection, [source], tmp_path / "b.parquet") == expected


def test_slices_are_merged_by_this_version_of_duckdb(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    connection: duckdb.DuckDBPyConnection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is decoded a second time."""
    monkeypatch.setattr(partsort, "ROWS_AT_ONCE", 700)
    source = Source(_write(connection, tmp_path / "one.parquet", 1), is_sorted=False)
    _sort(connection, [source], tmp_path / "a.parquet")
    assert not caplog.records


def test_the_same_input_gives_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connection: duckdb.DuckDBPyConnection
) -> None:
    """No chance in where the order is cut."""
    monkeypatch.setattr(partsort, "ROWS_AT_ONCE", 700)
    source = [Source(_write(connection, tmp_path / "one.parquet", 1), is_sorted=False)]
    _sort(connection, source, tmp_path / "a.parquet")
    _sort(connection, source, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_filters_skip_only_what_has_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connection: duckdb.DuckDBPyConnection
) -> None:
    """Statistics and Bloom filters of each row group are still those of its own rows."""
    monkeypatch.setattr(partsort, "ROWS_AT_ONCE", 400)
    source = _write(connection, tmp_path / "one.parquet", 1)
    _sort(connection, [Source(source, is_sorted=False)], tmp_path / "sorted.parquet")
    groups = connection.execute(
        "SELECT count(DISTINCT row_group_id), count(bloom_filter_offset) > 0 "
        f"FROM parquet_metadata({parquet.quote(tmp_path / 'sorted.parquet')})"
    ).fetchall()
    assert groups[0][0] > 3
    assert groups[0][1]
    for column, value in (("user_agent", "agent 7"), ("event_type", "type2"), ("site_id", "it's")):
        one, other = (
            connection.execute(
                f"SELECT count(*), sum(hash(event_id)::HUGEINT) FROM {partsort.read([path])} "
                f"WHERE {column} = {parquet.quote(value)}"
            ).fetchall()
            for path in (source, tmp_path / "sorted.parquet")
        )
        assert one == other
        assert one[0][0] > 0


def test_slices_are_apart_and_leave_nothing_out(connection: duckdb.DuckDBPyConnection) -> None:
    """Whatever the cuts, each row is in exactly one slice, and slices are in order."""
    rng = Random(1)
    sites, kinds = ["a", "b", None], ["x", "y", None]
    keys = [(s, k, t) for s in sites for k in kinds for t in (1, 2, None)]
    connection.execute("CREATE TABLE t (site_id VARCHAR, event_type VARCHAR, event_us BIGINT)")
    connection.executemany("INSERT INTO t VALUES (?, ?, ?)", keys)
    source = "(SELECT site_id, event_type, make_timestamptz(event_us) AS event_time FROM t)"
    for _ in range(30):
        cuts = sorted(rng.sample(range(len(keys)), 3))  # `keys` are in the order of the file
        bounds = [None, *(Cut(*keys[at]) for at in cuts), None]
        found = []
        for low, high in pairwise(bounds):
            where = partsort.between(low, high)
            found += connection.execute(
                f"SELECT site_id, event_type, epoch_us(event_time) FROM {source} WHERE {where} "
                "ORDER BY site_id, event_type, event_time"
            ).fetchall()
        assert found == keys


def test_groups_of_runs_fit_at_once() -> None:
    """Neighbours are taken together as far as they fit; what is sorted needs no other run."""
    half = partsort.ROWS_AT_ONCE // 2

    def source(name: str, rows: int, *, is_sorted: bool = False) -> Source:
        return Source(Path(name), is_sorted, rows)

    sources = [
        source("a", half),
        source("b", half),
        source("c", 1),
        source("d", 9 * half, is_sorted=True),
        source("e", 9 * half),
        source("f", 1),
    ]
    groups = [[one.path.name for one in group] for group in partsort.grouped(sources)]
    assert groups == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]


def test_files_of_another_schema_are_not_merged(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    """Nothing is guessed: a file that is not like the first is told."""
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path, column in zip(paths, ("a", "b"), strict=True):
        connection.execute(f"COPY (SELECT 1 AS {column}) TO {parquet.quote(path)} (FORMAT parquet)")
    with pytest.raises(thrift.Malformed, match="another schema"):
        parquetmerge.merge(paths, tmp_path / "merged.parquet", Files())


@pytest.mark.parametrize(
    "tail", [b"", b"PAR1", b"PAR1\xff\xff\xff\xffPAR1", b"PAR1\x01\x00\x00\x00PAR1"]
)
def test_what_is_no_parquet_file_is_told(tmp_path: Path, tail: bytes) -> None:
    """No index error, no reading of what lies before the file."""
    path = tmp_path / "a.parquet"
    path.write_bytes(tail)
    with pytest.raises(thrift.Malformed):
        parquetmerge.merge([path], tmp_path / "merged.parquet", Files())


def test_footers_are_written_as_they_were_read(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    """Members that nobody here knows keep their bytes."""
    data = _write(connection, tmp_path / "a.parquet", 1).read_bytes()
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    assert thrift.encode(thrift.decode(footer)) == footer


def test_every_type_of_thrift_is_kept() -> None:
    """Truth values in fields and lists, long lists, far field numbers, negative numbers."""
    numbers = thrift.Items(thrift.I32, [-1, 0, 127, 128, -(1 << 31), *range(20)])
    fields = {
        1: thrift.Field(thrift.TRUE, value=True),
        2: thrift.Field(thrift.FALSE, value=False),
        3: thrift.Field(thrift.BYTE, 200),
        4: thrift.Field(thrift.I64, -(1 << 60)),
        5: thrift.Field(thrift.DOUBLE, b"12345678"),
        6: thrift.Field(thrift.BINARY, b"x" * 300),
        30: thrift.Field(thrift.LIST, numbers),
        31: thrift.Field(thrift.STRUCT, {16: thrift.Field(thrift.I16, 5)}),
        99: thrift.Field(thrift.SET, thrift.Items(thrift.TRUE, [True, False])),
    }
    assert thrift.decode(thrift.encode(fields)) == fields
    with pytest.raises(thrift.Malformed):
        thrift.decode(thrift.encode(fields)[:-1])
