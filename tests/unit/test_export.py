"""`collector export`: what is written reads back as what was stored, whole or not at all."""

# ruff: noqa: S608  every piece of this SQL is our own text

import csv
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from click.testing import CliRunner, Result

from collector.cli import main
from storage import COLUMNS, Files, Lake, Row, export
from storage.export import Selection
from tests.support.lake import DataDirectory
from tests.support.rows import NOW_US, TODAY, make_row

NAMES = ", ".join(column.name for column in COLUMNS)
IDS = Selection(columns=("event_id",))


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory without rows, and a configuration that names it."""
    (tmp_path / "config.toml").write_text('[storage]\ndirectory = "data"\n')
    return DataDirectory(tmp_path / "data")


def ignore(_rows: int, _total: int) -> None:
    """Progress that nobody looks at."""


def command(data: DataDirectory, *words: str) -> Result:
    """What `collector export` does."""
    config = data.path.parent / "config.toml"
    return CliRunner().invoke(main, ["export", "--config", str(config), *words])


def ids(data: bytes) -> list[int]:
    """The numbers of the rows in an exported CSV with the column event_id."""
    header, *lines = data.decode().split("\r\n")[:-1]
    assert header.split(",")[0] == "event_id"
    return [int(line.split(",")[0].replace("-", ""), 16) for line in lines]


def everything(data: DataDirectory) -> list[tuple[Any, ...]]:
    """All rows, with JSON as text, in the order of their ids."""
    with Lake(data.path, Files()) as lake:
        return lake.run(f"SELECT {_as_text()} FROM events ORDER BY event_id").rows()


def _as_text() -> str:
    return ", ".join(f"json({c.name})::VARCHAR" if c.type == "JSON" else c.name for c in COLUMNS)


def read_back(source: str) -> list[tuple[Any, ...]]:
    """All rows of a table expression over exported files."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"SELECT {_as_text()} FROM {source} ORDER BY event_id").fetchall()


TYPES = "{" + ", ".join(f"'{c.name}': '{c.type}'" for c in COLUMNS) + "}"
NASTY = [
    *("", '"', '""', ",", "\r", "\n", "\r\n", "a\r\nb", "'", "=1+1", "-", " a ", "\t", "NULL"),
    *("null", "ü", "日本", "🎉", "\u2028", "\x00", "\x1b[31m", "\\", "\\n", "é" * 5000, "a,b"),
]


def nasty_rows() -> list[Row]:
    """Rows with every text that a format has a rule for, in texts, JSON and lists."""
    rows = [
        make_row(
            number,
            page_title=text,
            city=text or None,
            metadata={"text": text, "deep": [{"n": 1.5}, [], None, True, 12345678901234567890]},
            context={},
            flags=(text, "late") if number % 2 else (),
            conversion_value=[0.1, 1e300, -0.0, 5e-324, 12.0][number % 5],
            screen_width=number,
            is_duplicate=number % 2,
        )
        for number, text in enumerate(NASTY, 1)
    ]
    rows.append(make_row(900))
    rows.append(make_row(901, metadata=msgspec.Raw(b'"a string"'), context=msgspec.Raw(b"[1]")))
    return rows


def test_csv_reads_back_as_the_same_rows(data: DataDirectory, tmp_path: Path) -> None:
    """DuckDB, told the types, finds every value of every column again; empty is not NULL."""
    data.publish(1, 1, *nasty_rows())
    result = command(data, "--output", str(tmp_path / "all.csv"))
    assert result.exit_code == 0, result.output
    # A list is JSON text in a field of CSV.
    types = TYPES.replace("'VARCHAR[]'", "'JSON'")
    source = (
        "(SELECT * REPLACE (from_json(flags, '[\"VARCHAR\"]') AS flags) "
        f"FROM read_csv('{tmp_path}/all.csv', "
        f"header = true, columns = {types}, quote = '\"', escape = '\"', nullstr = '', "
        "allow_quoted_nulls = false, max_line_size = 10000000))"
    )
    assert read_back(source) == everything(data)


def test_csv_is_read_alike_by_another_reader(data: DataDirectory, tmp_path: Path) -> None:
    """Python's reader finds the texts, one record per row, and CRLF between records."""
    data.publish(1, 1, *nasty_rows())
    command(data, "--output", str(tmp_path / "all.csv"), "--columns", "page_title,screen_width")
    with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as file:
        header, *records = csv.reader(file, strict=True)
    assert header == ["page_title", "screen_width"]
    found = {int(width): title for title, width in records if width}
    assert found == dict(enumerate(NASTY, 1))
    assert (tmp_path / "all.csv").read_bytes().startswith(b"page_title,screen_width\r\n")


def test_json_lines_read_back_as_the_same_rows(data: DataDirectory, tmp_path: Path) -> None:
    """One object per line; JSON columns and flags are JSON, not text with JSON in it."""
    data.publish(1, 1, *nasty_rows())
    result = command(data, "--format", "jsonl", "--output", str(tmp_path / "all.jsonl"))
    assert result.exit_code == 0, result.output
    source = f"read_json('{tmp_path}/all.jsonl', format = 'newline_delimited', columns = {TYPES})"
    assert read_back(source) == everything(data)
    decoder = msgspec.json.Decoder(dict[str, Any])
    lines = (tmp_path / "all.jsonl").read_bytes().split(b"\n")[:-1]
    objects = [decoder.decode(line) for line in lines]
    assert all(list(one) == [column.name for column in COLUMNS] for one in objects)
    first = next(one for one in objects if one["screen_width"] == 2)
    assert first["metadata"]["deep"] == [{"n": 1.5}, [], None, True, 12345678901234567890]
    assert first["flags"] == []
    assert first["event_time"] == "2026-11-18T11:06:40.000000Z"
    assert {one["page_title"] for one in objects} >= set(NASTY)


def test_parquet_keeps_types(data: DataDirectory, tmp_path: Path) -> None:
    """The columns of the file are those of the published ones, in name, order and type."""
    path = data.publish(1, 1, *nasty_rows())
    output = tmp_path / "all.parquet"
    assert command(data, "--format", "parquet", "--output", str(output)).exit_code == 0
    assert read_back(f"'{output}'") == everything(data)
    with duckdb.connect() as connection:
        described = [
            connection.execute(
                f"DESCRIBE FROM read_parquet('{one}', hive_partitioning = false)"
            ).fetchall()
            for one in (output, path)
        ]
    assert described[0] == described[1]


def test_what_is_no_number_in_json_is_null(data: DataDirectory) -> None:
    """Infinity would make a line that no JSON reader takes."""
    data.publish(1, 1, 1)
    with Lake(data.path, Files()) as lake:
        lake.run(
            "CREATE OR REPLACE VIEW events AS SELECT 'inf'::DOUBLE AS conversion_value, "
            "DATE '2026-11-18' AS date"
        ).rows()
        output = data.path.parent / "x.jsonl"
        selection = Selection(columns=("conversion_value",))
        export.to_file(lake, Files(), selection, "jsonl", output, ignore)
    assert output.read_text() == '{"conversion_value":null}\n'


# --- which rows


def test_each_site_is_exported_by_itself(data: DataDirectory) -> None:
    """200 sites: each export has that site's rows, together they have all, none twice."""
    rows = [make_row(n, site_id=f"site '{n % 200}'") for n in range(1, 601)]
    data.publish(1, 1, *rows[:400])
    data.append(2, *rows[400:])
    found: list[int] = []
    with Lake(data.path, Files()) as lake:
        for site in range(200):
            output = data.path.parent / "site.csv"
            selection = Selection(sites=(f"site '{site}'",), columns=("event_id",))
            assert export.to_file(lake, Files(), selection, "csv", output, ignore) == 3
            numbers = ids(output.read_bytes())
            assert {number % 200 for number in numbers} == {site}
            found += numbers
    assert sorted(found) == list(range(1, 601))


def test_several_sites_in_one_go(data: DataDirectory) -> None:
    """`--site` may be repeated."""
    data.publish(1, 1, *(make_row(n, site_id=f"s{n}") for n in (1, 2, 3)))
    result = command(data, "--site", "s1", "--site", "s3", "--columns", "event_id")
    assert sorted(ids(result.stdout_bytes)) == [1, 3]


def us(text: str) -> int:
    """Microseconds since the epoch."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


MOMENTS = {
    1: "2028-02-28T23:59:59.999999+00:00",
    2: "2028-02-29T00:00:00+00:00",
    3: "2028-02-29T23:59:59.999999+00:00",
    4: "2028-03-01T00:00:00+00:00",
}


@pytest.mark.parametrize("by", ["event", "received"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--from", "2028-02-29", "--to", "2028-03-01"], [2, 3]),
        (["--from", "2028-02-29"], [2, 3, 4]),
        (["--to", "2028-02-29"], [1]),
        (["--from", "2028-02-29T23:59:59.999999Z", "--to", "2028-03-01T00:00:00.000001Z"], [3, 4]),
        (["--from", "2028-02-29T01:00:00+01:00", "--to", "2028-02-29T01:00:00.000001+01:00"], [2]),
    ],
)
def test_times_are_half_open(
    data: DataDirectory, by: str, words: list[str], expected: list[int]
) -> None:
    """The beginning belongs to it, the end does not; dates are midnights in UTC; leap days too."""
    other = {"event": "received_time", "received": "event_time"}[by]
    mine = {"event": "event_time", "received": "received_time"}[by]
    rows = [make_row(n, **{mine: us(text), other: 0}) for n, text in MOMENTS.items()]
    data.publish(1, 1, *rows, day=date(2028, 2, 29))
    result = command(data, "--by", by, *words, "--columns", "event_id")
    assert sorted(ids(result.stdout_bytes)) == expected


def test_dates_of_files_are_those_of_receipt(data: DataDirectory, tmp_path: Path) -> None:
    """A row that happened a day before it arrived is in the file of the day of its receipt."""
    data.publish(1, 1, make_row(1, event_time=NOW_US - 86_400_000_000))
    data.append(2, 2, day=date(2026, 11, 19))
    folder = tmp_path / "out"
    assert command(data, "--output-directory", str(folder)).exit_code == 0
    assert {path.name: ids(path.read_bytes()) for path in folder.iterdir()} == {
        "events-2026-11-18.csv": [1],
        "events-2026-11-19.csv": [2],
    }


def test_repeats_and_fraud_can_be_left_out(data: DataDirectory) -> None:
    """All rows unless told otherwise: nothing is left out in silence."""
    data.publish(1, 1, make_row(1), make_row(2, is_duplicate=1), make_row(3, is_fraud=1))
    assert sorted(ids(command(data, "--columns", "event_id").stdout_bytes)) == [1, 2, 3]
    assert ids(command(data, "--columns", "event_id", "--valid-only").stdout_bytes) == [1]


def test_columns_are_written_in_the_order_asked(data: DataDirectory) -> None:
    """`date`, which is no column of the files, can be asked for."""
    data.publish(1, 1, 7)
    result = command(data, "--columns", "date, site_id,event_id")
    assert result.stdout_bytes == (
        b"date,site_id,event_id\r\n2026-11-18,demo,00000000-0000-0000-0000-000000000007\r\n"
    )


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Pacific/Apia"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_no_zone_changes_what_is_written(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, zone: str, form: str
) -> None:
    """In the hour that comes twice, in any zone of the machine or session: UTC, byte for byte."""
    hour = 3_600_000_000
    twice = us("2026-10-25T00:30:00+00:00")
    data.publish(1, 1, *(make_row(n, event_time=twice + n * hour) for n in range(1, 4)))
    written = []
    for name in ("UTC", zone):
        monkeypatch.setenv("TZ", name)
        time.tzset()
        output = data.path.parent / f"x.{form}"
        with Lake(data.path, Files()) as lake:
            lake.run(f"SET TimeZone = '{name}'").rows()
            export.to_file(lake, Files(), Selection(), form, output, ignore)  # type: ignore[arg-type]
        shown = command(data, "--from", "2026-10-25T02:30:00", "--columns", "event_id").stdout_bytes
        written.append((output.read_bytes(), sorted(ids(shown))))
    monkeypatch.undo()
    time.tzset()
    assert written[0] == written[1]
    assert written[0][1] == [2, 3]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_no_rows_make_a_whole_file(data: DataDirectory, tmp_path: Path, form: str) -> None:
    """A header, nothing, or a Parquet file with all columns."""
    data.publish(1, 1, 1)
    output = tmp_path / "none"
    result = command(data, "--site", "other", "--format", form, "--output", str(output))
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (0, "0 rows")
    if form == "parquet":
        assert read_back(f"read_parquet('{output}')") == []
    else:
        expected = NAMES.replace(", ", ",") + "\r\n" if form == "csv" else ""
        assert output.read_bytes().decode() == expected


def test_no_event_yet(data: DataDirectory, tmp_path: Path) -> None:
    """A collector that never took an event exports no row, and no file per date."""
    assert ids(command(data, "--columns", "event_id").stdout_bytes) == []
    assert command(data, "--output-directory", str(tmp_path / "out")).exit_code == 0
    assert list((tmp_path / "out").iterdir()) == []


# --- beside a collector


def test_parts_joined_between_two_dates_lose_and_double_nothing(data: DataDirectory) -> None:
    """Joined and flushed while it is written: each row of every date once."""
    yesterday = date(2026, 11, 17)
    data.publish(1, 1, 1, day=yesterday)
    data.publish(2, 2, 2, day=yesterday)
    data.publish(3, 3, 3)
    data.append(4, 4)

    def change(rows: int, _total: int) -> None:
        if rows == 2 and data.segment(4).exists():
            data.flush(4)
            data.join(3, 4)
            data.join(1, 2, yesterday)

    output = data.path.parent / "out"
    with Lake(data.path, Files()) as lake:
        assert export.to_folder(lake, Files(), IDS, "csv", output, change) == 4
    found = [ids(path.read_bytes()) for path in sorted(output.iterdir())]
    assert [sorted(one) for one in found] == [[1, 2], [3, 4]]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_parts_joined_before_they_were_read_are_read_joined(
    data: DataDirectory, tmp_path: Path, form: str
) -> None:
    """The files a session knew are gone: it writes the same rows from those that hold them now."""
    data.publish(1, 1, 1)
    data.publish(2, 2, 2)
    with Lake(data.path, Files()) as lake:
        data.join(1, 2)
        output = tmp_path / "x"
        assert export.to_file(lake, Files(), IDS, form, output, ignore) == 2  # type: ignore[arg-type]


def test_flushes_all_the_time_are_not_noticed(data: DataDirectory, tmp_path: Path) -> None:
    """Twenty exports beside flushing and joining: never a row less than acknowledged before."""
    data.append(1, 1)
    over = threading.Event()
    known = [1]

    def keep_busy() -> None:
        number = 1
        while not over.is_set():
            data.append(number + 1, number + 1)
            known[0] = number + 1
            data.flush(number)
            if number % 10 == 0:
                data.join(1, number)
            number += 1

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        for _ in range(20):
            before = known[0]
            result = command(data, "--output", str(tmp_path / "x.csv"), "--columns", "event_id")
            assert result.exit_code == 0, result.output
            found = sorted(ids((tmp_path / "x.csv").read_bytes()))
            assert found == list(range(1, len(found) + 1))
            assert len(found) >= before
    finally:
        over.set()
        thread.join()
    assert known[0] > 20


# --- whole or not at all


def leftovers(folder: Path) -> list[str]:
    """What is in `folder` besides what a test put there."""
    return sorted(
        path.name for path in folder.iterdir() if path.name not in {"config.toml", "data"}
    )


def test_damage_is_told_and_nothing_is_written(data: DataDirectory, tmp_path: Path) -> None:
    """A damaged log ends the export; a file of that name from before stays as it was."""
    data.append(1, 1)
    data.append_bytes(1, b"garbage\n")
    data.append(1, 2)
    (tmp_path / "x.csv").write_text("from before")
    result = command(data, "--output", str(tmp_path / "x.csv"))
    assert result.exit_code == 1
    assert "000000000001.ndjson" in result.stderr
    assert leftovers(tmp_path) == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "from before"


def test_a_part_that_cannot_be_read_is_told(data: DataDirectory, tmp_path: Path) -> None:
    """One that is no Parquet any more ends the export with its name, and leaves no file."""
    data.publish(1, 1, 1).write_bytes(b"PAR1 no more")
    result = command(data, "--output-directory", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "part-000000000001-000000000001.parquet" in result.stderr
    assert leftovers(tmp_path) == []


class FullDisk(Files):
    """Has no room left when the output is to be made lasting."""

    def hand_over(self, temporary: Path, final: Path) -> None:
        """See Files."""
        assert temporary.exists()
        raise OSError(28, "No space left on device", str(final))


@pytest.mark.parametrize("write", [export.to_file, export.to_folder])
def test_what_cannot_be_finished_is_removed(
    data: DataDirectory, tmp_path: Path, write: Callable[..., int]
) -> None:
    """An error at the very end leaves neither output nor anything beside it."""
    data.publish(1, 1, 1)
    with Lake(data.path, Files()) as lake, pytest.raises(OSError, match="No space left"):
        write(lake, FullDisk(), IDS, "csv", tmp_path / "x", ignore)
    assert leftovers(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from storage import Files, Lake, export
class Killed(Files):
    def hand_over(self, temporary, final):
        os.kill(os.getpid(), signal.SIGKILL)
data, output = map(Path, sys.argv[1:])
with Lake(data, Files()) as lake:
    export.to_folder(lake, Killed(), export.Selection(), "csv", output, lambda *_: None)
"""


def test_a_kill_leaves_nothing_that_looks_finished(data: DataDirectory, tmp_path: Path) -> None:
    """After kill -9 there is no output, at most a hidden folder that says it is partial."""
    data.publish(1, 1, 1)
    command_line = [sys.executable, "-c", KILLED, str(data.path), str(tmp_path / "out")]
    done = subprocess.run(command_line, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    (left,) = leftovers(tmp_path)
    assert left.startswith(".out-")
    assert left.endswith(".partial")
    assert command(data, "--output-directory", str(tmp_path / "out")).exit_code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--format", "parquet"], "needs --output"),
        (["--format", "parquet", "--output", "-"], "needs --output"),
        (["--output", "x", "--output-directory", "y"], "exclude each other"),
        (["--columns", "event_id,nope"], "no such column: 'nope'"),
        (["--columns", ""], "no such column: ''"),
        (["--columns", "city,city"], "named twice"),
        (["--from", "yesterday"], "no ISO 8601 date or time"),
        (["--from", "2027-02-29"], "no ISO 8601 date or time"),
        (["--from", "2026-11-18", "--to", "2026-11-18"], "no time lies"),
        (["--output", "data/events/x.parquet"], "lies in the data directory"),
        (["--output", "config.toml/x.csv"], "config.toml/x.csv"),
        (["--output", "missing/x.csv"], "missing"),
        (["--output", "/dev/null"], "is no file"),
        (["--output-directory", "."], "no empty folder"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    """One clear line, an exit code, and nothing written."""
    monkeypatch.chdir(data.path.parent)
    data.publish(1, 1, 1)
    result = command(data, *words)
    assert result.exit_code in {1, 2}
    assert told in result.stderr
    assert "Traceback" not in result.output
    assert leftovers(data.path.parent) == []


def test_an_older_file_is_replaced_through_its_link(data: DataDirectory, tmp_path: Path) -> None:
    """A link stays one; the file that it points to is the one that is replaced."""
    data.publish(1, 1, 1)
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert command(data, "--output", str(tmp_path / "link.csv")).exit_code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("event_id,")


def test_an_empty_folder_is_used(data: DataDirectory, tmp_path: Path) -> None:
    """A folder made for the purpose is as good as none."""
    data.publish(1, 1, 1)
    (tmp_path / "out").mkdir()
    assert command(data, "--output-directory", str(tmp_path / "out")).exit_code == 0
    assert leftovers(tmp_path / "out") == ["events-2026-11-18.csv"]


def test_progress_only_grows_and_ends_at_the_end(data: DataDirectory, tmp_path: Path) -> None:
    """Rows written so far, of how many, date by date."""
    for number in range(1, 4):
        data.publish(
            number, number, *range(number * 10, number * 10 + 5), day=date(2026, 11, number)
        )
    told: list[tuple[int, int]] = []
    with Lake(data.path, Files()) as lake:
        export.to_folder(lake, Files(), IDS, "csv", tmp_path / "x", lambda *seen: told.append(seen))
    assert {total for _, total in told} == {15}
    assert told == sorted(told)
    assert told[-1] == (15, 15)


def test_standard_output_holds_rows_and_nothing_else(data: DataDirectory) -> None:
    """The count goes to standard error; a header stands once, however many dates there are."""
    data.publish(1, 1, 1, day=date(2026, 11, 17))
    data.publish(2, 2, 2, day=TODAY)
    result = command(data, "--columns", "event_id", "--output", "-")
    assert ids(result.stdout_bytes) == [1, 2]
    assert result.stderr == "2 rows\n"
    lines = command(data, "--columns", "date", "--format", "jsonl").stdout
    assert lines == '{"date":"2026-11-17"}\n{"date":"2026-11-18"}\n'
