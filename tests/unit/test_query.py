"""Queries see every acknowledged row exactly once, whatever the log and the parts are doing."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import duckdb
import msgspec
import pytest

from storage import COLUMNS, Corruption, Files, query
from storage.query import Lake, QueryError
from tests.support.lake import DataDirectory
from tests.support.rows import NOW_US, TODAY, make_row

YESTERDAY = date(2026, 11, 17)
NUMBERS = "SELECT event_id FROM events"


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory without rows."""
    return DataDirectory(tmp_path / "data")


def numbers(data: DataDirectory, sql: str = NUMBERS) -> list[int]:
    """Numbers of the rows that a query finds, ascending."""
    with Lake(data.path, Files()) as lake:
        return sorted(row[0].int for row in lake.run(sql).rows())


# --- which rows


def test_an_empty_directory_has_no_rows_and_all_columns(tmp_path: Path) -> None:
    """Before the first event a query answers with the right columns and nothing in them."""
    tmp_path.joinpath("data").mkdir()
    with Lake(tmp_path / "data", Files()) as lake:
        result = lake.run("SELECT * FROM events")
        types = {column.name: column.type for column in result.columns}
        assert result.rows() == []
    expected = {column.name: column.type for column in COLUMNS} | {"date": "DATE"}
    assert {n: t.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ") for n, t in types.items()} == (
        expected
    )
    assert list(types) == list(expected)
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("source", ["log", "part", "both"])
def test_columns_and_types_do_not_depend_on_where_a_row_is(
    data: DataDirectory, source: str
) -> None:
    """A row shows the same values from the log, from a part, and beside rows of the other kind."""
    members = {
        "metadata": {"a": [1, None, "ü\u2028"]},
        "context": msgspec.Raw(b'{"tab":"x"}'),
        "flags": ("late", "bot"),
        "conversion_value": 12.5,
        "screen_width": 1440,
        "event_time": -62_135_596_800_000_000,
        "is_duplicate": 1,
    }
    if source in {"log", "both"}:
        data.append(2, make_row(7, **members))
    if source == "part":
        data.publish(1, 1, make_row(7, **members))
    if source == "both":
        data.publish(1, 1, 3)
    with Lake(data.path, Files()) as lake:
        result = lake.run(f"FROM events WHERE event_id = '{UUID(int=7)}'")
        [row] = result.rows()
        names = [column.name for column in result.columns]
    assert names == [*(column.name for column in COLUMNS), "date"]
    found = dict(zip(names, row, strict=True))
    assert found["event_id"] == UUID(int=7)
    assert found["event_time"] == datetime(1, 1, 1, tzinfo=UTC)
    assert found["received_time"] == datetime.fromtimestamp(NOW_US / 1e6, UTC)
    assert bytes(found["metadata"]) == '{"a":[1,null,"ü\u2028"]}'.encode()
    assert bytes(found["context"]) == b'{"tab":"x"}'
    assert found["flags"] == ["late", "bot"]
    assert (found["conversion_value"], found["screen_width"]) == (12.5, 1440)
    assert (found["is_duplicate"], found["is_fraud"]) == (1, 0)
    assert (found["page_url"], found["date"]) == (None, TODAY)


def test_rows_are_found_in_parts_and_log_alike(data: DataDirectory) -> None:
    """Parts of several dates, sealed segments and the open one together give every row once."""
    data.publish(1, 1, 1, 2, day=YESTERDAY)
    data.publish(2, 4, 3)
    data.append(5, 4, 5)
    data.append(6, 6)
    data.append(6, 7)
    assert numbers(data) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(data, f"{NUMBERS} WHERE date = '{YESTERDAY}'") == [1, 2]
    assert numbers(data, f"{NUMBERS} WHERE date = '{TODAY}'") == [3, 4, 5, 6, 7]


def test_a_segment_of_another_date_keeps_its_own(data: DataDirectory) -> None:
    """The date of a row in the log is its segment's, not today's."""
    data.append(1, 1, day=YESTERDAY)
    data.append(2, 2)
    assert numbers(data, f"{NUMBERS} WHERE date = '{YESTERDAY}'") == [1]


def test_a_flushed_segment_that_is_still_there_counts_once(data: DataDirectory) -> None:
    """Between publishing a part and dropping its segment no row is doubled."""
    data.append(1, 1, 2)
    data.flush(1, remove=False)
    assert numbers(data) == [1, 2]


def test_parts_that_a_wider_one_covers_count_once(data: DataDirectory) -> None:
    """Between publishing joined parts and dropping the narrow ones no row is doubled."""
    data.publish(1, 1, 1)
    data.publish(2, 2, 2)
    data.publish(1, 2, 1, 2)
    assert numbers(data) == [1, 2]


def test_a_part_of_another_date_covers_nothing(data: DataDirectory) -> None:
    """A segment is done only when a part of its own date has its number."""
    data.publish(1, 3, 1, day=YESTERDAY)
    data.append(2, 2)
    assert numbers(data) == [1, 2]


@pytest.mark.parametrize("torn", [b"", b"{", b'{"event_id":"x"}\n', b'{"commit":{"rows":1'])
def test_what_follows_the_last_whole_group_does_not_exist(data: DataDirectory, torn: bytes) -> None:
    """Rows of a group that is being written, or was torn by a crash, are not seen."""
    data.append(1, 1)
    data.append_bytes(1, torn)
    assert numbers(data) == [1]


@pytest.mark.parametrize("content", [b"", b'{"segment":{"format":1,"number":1'])
def test_a_segment_just_begun_has_no_rows(data: DataDirectory, content: bytes) -> None:
    """The last segment may be empty, or hold the start of its first group."""
    data.publish(1, 1, 1)
    data.append_bytes(2, content)
    assert numbers(data) == [1]


def test_a_row_of_16_mebibytes_can_be_read(data: DataDirectory) -> None:
    """The largest row a request can bring is no obstacle."""
    data.append(1, make_row(1, metadata={"a": "x" * (16 * 1024 * 1024)}))
    data.append(1, 2)
    assert numbers(data) == [1, 2]


# --- what stops a query


def test_damage_is_told_with_path_and_offset(data: DataDirectory) -> None:
    """A damaged segment is an error and never rows silently missing."""
    path = data.append(1, 1)
    offset = path.stat().st_size
    data.append(1, 2)
    data.append(1, 3)
    content = bytearray(path.read_bytes())
    content[offset + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(Corruption) as caught, Lake(data.path, Files()):
        pass
    assert (caught.value.path, caught.value.offset) == (path, offset)


def test_a_torn_segment_that_is_not_the_last_is_damage(data: DataDirectory) -> None:
    """Only the last group ever written may be unfinished."""
    data.append(1, 1)
    data.append_bytes(1, b"{")
    data.append(2, 2)
    with pytest.raises(Corruption, match=r"000000000001\.ndjson"), Lake(data.path, Files()):
        pass


def test_damage_in_a_covered_segment_does_not_matter(data: DataDirectory) -> None:
    """What is safe in a part needs no log."""
    data.append(1, 1)
    data.flush(1, remove=False)
    data.append_bytes(1, b"{")
    data.append(2, 2)
    assert numbers(data) == [1, 2]


def test_a_missing_directory_is_a_clear_error(tmp_path: Path) -> None:
    """A wrong storage.directory is told, not answered with no rows."""
    with pytest.raises(QueryError, match="no such data directory"), Lake(tmp_path / "x", Files()):
        pass


def test_a_directory_that_may_not_be_read_is_a_clear_error(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing permissions are told with the path."""
    path = data.append(1, 1)

    def refuse(_files: Files, path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Files, "read", refuse)
    with pytest.raises(QueryError, match=f"{path}: Permission denied"), Lake(data.path, Files()):
        pass


def test_a_damaged_part_is_a_clear_error(data: DataDirectory) -> None:
    """A part that is no Parquet is told by name."""
    data.publish(1, 1, 1).write_bytes(b"PAR1")
    with pytest.raises(QueryError, match="part-000000000001"), Lake(data.path, Files()):
        pass


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT x FROM events", '"x"'),
        ("SELECT * FROM nothing", "nothing"),
        ("SELECT error('late') FROM range(5000) t(i) WHERE i > 4000", "late"),
        ("", "there is no SQL statement"),
        ("-- only a comment", "there is no SQL statement"),
        ("LOAD httpfs", "httpfs"),
    ],
)
def test_faulty_sql_is_a_clean_error(data: DataDirectory, sql: str, message: str) -> None:
    """A mistake in a query gives DuckDB's message, and the session goes on."""
    with Lake(data.path, Files()) as lake:
        with pytest.raises(QueryError) as caught:
            lake.run(sql).rows()
        assert message in str(caught.value)
        assert caught.value.__cause__ is None
        assert lake.run("SELECT 1").rows() == [(1,)]


def test_an_error_after_the_first_rows_is_a_clean_error_too(data: DataDirectory) -> None:
    """DuckDB streams: what goes wrong late is told as what goes wrong early."""
    sql = (
        "SELECT CASE WHEN i > 500000 THEN error('late') ELSE i::VARCHAR END FROM range(600000) t(i)"
    )
    with Lake(data.path, Files()) as lake, pytest.raises(QueryError, match="late"):
        lake.run(sql).rows()


# --- results


def test_the_last_of_several_statements_gives_the_result(data: DataDirectory) -> None:
    """Settings and tables of earlier statements hold for later ones."""
    data.append(1, 1)
    with Lake(data.path, Files()) as lake:
        result = lake.run("CREATE TABLE t AS FROM events; INSERT INTO t FROM t; FROM t; -- end")
        assert len(result.rows()) == 2


def test_days_and_hours_are_those_of_utc(data: DataDirectory) -> None:
    """A query gives the same answer wherever it is asked."""
    data.append(1, make_row(1, event_time=1_795_046_399_999_999))
    with Lake(data.path, Files()) as lake:
        sql = "SELECT event_time::DATE, hour(event_time), current_setting('TimeZone') FROM events"
        assert lake.run(sql).rows() == [(date(2026, 11, 18), 23, "UTC")]


def test_json_comes_as_json_wherever_it_is(data: DataDirectory) -> None:
    """JSON in lists, structs and maps is told from text."""
    sql = """SELECT '{"a":1}'::JSON, ['1'::JSON, NULL], {'j': '2'::JSON, 't': '2', 'n': NULL::JSON},
        MAP {'k': ['3'::JSON]}, '4', NULL::JSON, array_value('5'::JSON), MAP {[1]: '6'::JSON},
        {'a': 1}, MAP {'a': 1}"""
    with Lake(data.path, Files()) as lake:
        result = lake.run(sql)
        [row] = result.rows()
    raw = msgspec.Raw
    assert row == (
        raw(b'{"a":1}'),
        [raw(b"1"), None],
        {"j": raw(b"2"), "t": "2", "n": None},
        {"k": [raw(b"3")]},
        "4",
        None,
        [raw(b"5")],
        {"key": [[1]], "value": ["6"]},
        {"a": 1},
        {"a": 1},
    )
    assert [column.type for column in result.columns][:2] == ["JSON", "JSON[]"]


def test_large_results_come_in_chunks(data: DataDirectory) -> None:
    """No more than a few thousand rows are held at a time."""
    with Lake(data.path, Files()) as lake:
        sizes = [len(chunk) for chunk in lake.run("FROM range(100000)").chunks()]
    assert sum(sizes) == 100_000
    assert max(sizes) <= query._ROWS_PER_CHUNK


@pytest.mark.parametrize("sql", ["FROM events", "FROM events; -- all\n", "SELECT * FROM events ;;"])
def test_parquet_output_holds_the_result(data: DataDirectory, tmp_path: Path, sql: str) -> None:
    """`write_parquet` gives a file with the rows and types of the query."""
    data.append(1, make_row(1, metadata={"ü;": 1}))
    output = tmp_path / "it's.parquet"
    with Lake(data.path, Files()) as lake:
        lake.write_parquet(f"SET threads = 1; {sql}", output)
        expected = lake.run("FROM events").rows()
        assert lake.run(f"FROM '{tmp_path}/it''s.parquet'").rows() == expected


def test_parquet_output_needs_a_query(data: DataDirectory, tmp_path: Path) -> None:
    """Statements without rows cannot be written."""
    with Lake(data.path, Files()) as lake, pytest.raises(QueryError):
        lake.write_parquet("CREATE TABLE t (a INT)", tmp_path / "x.parquet")


# --- surroundings


@pytest.fixture
def odd_place(tmp_path: Path) -> DataDirectory:
    """A data directory whose path is full of what SQL and patterns treat specially."""
    return DataDirectory(tmp_path / "it's [1]*?" / "site=1")


def test_a_path_may_hold_quotes_and_pattern_characters(odd_place: DataDirectory) -> None:
    """A directory is never mistaken for a pattern or for SQL."""
    odd_place.publish(1, 1, 1)
    odd_place.append(2, 2)
    assert numbers(odd_place) == [1, 2]


def test_a_relative_directory_is_taken_from_where_the_session_began(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later change of the working folder does not matter."""
    data.publish(1, 1, 1)
    monkeypatch.chdir(data.path.parent)
    with Lake(Path("data"), Files()) as lake:
        monkeypatch.chdir("/")
        assert lake.run("SELECT count(*) FROM events").rows() == [(1,)]


def test_nothing_is_loaded_from_elsewhere(data: DataDirectory) -> None:
    """DuckDB neither downloads nor loads extensions, and spills into the scratch folder."""
    with Lake(data.path, Files()) as lake:
        settings = dict(lake.run("SELECT name, value FROM duckdb_settings()").rows())
        assert settings["autoinstall_known_extensions"] in {"0", "false"}
        assert settings["autoload_known_extensions"] in {"0", "false"}
        assert settings["temp_directory"] == str(lake._scratch / "spill")


def test_nothing_is_printed_when_the_process_ends(data: DataDirectory) -> None:
    """DuckDB's bindings complain on stderr when its types outlive it; see `Listing`."""
    data.append(1, 1)
    code = (
        "from pathlib import Path\n"
        "from storage import Files\n"
        "from storage.query import Lake\n"
        f"with Lake(Path({str(data.path)!r}), Files()) as lake:\n"
        "    print(len(lake.run('FROM events').rows()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TZ": "Asia/Tokyo"},
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_sessions_stand_beside_each_other(data: DataDirectory) -> None:
    """Two sessions at once do not share tables or views."""
    data.append(1, 1)
    with Lake(data.path, Files()) as one, Lake(data.path, Files()) as other:
        one.run("CREATE TABLE t (a INT)")
        with pytest.raises(QueryError):
            other.run("FROM t")


def test_a_failed_start_leaves_nothing_behind(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a session cannot begin, its connection is closed and its folder removed."""
    data.append(1, 1)
    folders: list[Path] = []
    scratch = Files.scratch

    def note(files: Files) -> object:
        manager = scratch(files)
        original = manager.__enter__

        def enter() -> Path:
            folders.append(original())
            return folders[-1]

        manager.__enter__ = enter  # type: ignore[method-assign]
        return manager

    def fail(_self: Lake, _logs: object) -> None:
        raise duckdb.OutOfMemoryException("no memory")

    monkeypatch.setattr(Lake, "_define_views", fail)
    monkeypatch.setattr(Files, "scratch", note)
    with pytest.raises(QueryError, match="no memory"), Lake(data.path, Files()):
        pass
    assert all(not folder.exists() for folder in folders)
