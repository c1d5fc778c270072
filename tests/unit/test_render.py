"""Results as text: every kind of value in every format, streamed, safe to look at."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector import render
from storage import Files
from storage.query import Lake
from tests.support.lake import DataDirectory


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory without rows."""
    return DataDirectory(tmp_path / "data")


def text(data: DataDirectory, form: render.Format, sql: str) -> str:
    """What a query gives in a format."""
    out = io.BytesIO()
    with Lake(data.path, Files()) as lake:
        render.write(lake.run(sql), form, out)
    return out.getvalue().decode()


# SQL, then the value in JSON, then the text in CSV and table.
VALUES = [
    ("NULL", None, ""),
    ("true", True, "true"),
    ("42", 42, "42"),
    ("170141183460469231731687303715884105727::HUGEINT", 2**127 - 1, str(2**127 - 1)),
    ("1.50::DECIMAL(9,2)", 1.5, "1.50"),
    ("0.1::DOUBLE", 0.1, "0.1"),
    ("'nan'::DOUBLE", None, "nan"),
    ("'-inf'::DOUBLE", None, "-inf"),
    ("'text'", "text", "text"),
    ("''", "", ""),
    ("TIMESTAMPTZ '2026-11-21 10:00:00+02'", "2026-11-21T08:00:00Z", "2026-11-21T08:00:00Z"),
    (
        "TIMESTAMPTZ '2026-11-21 10:00:00.123456Z'",
        "2026-11-21T10:00:00.123456Z",
        "2026-11-21T10:00:00.123456Z",
    ),
    ("TIMESTAMP '2026-11-21 10:00:00'", "2026-11-21T10:00:00", "2026-11-21T10:00:00"),
    ("DATE '2026-11-21'", "2026-11-21", "2026-11-21"),
    ("TIME '10:00:00.5'", "10:00:00.500000", "10:00:00.500000"),
    ("INTERVAL '1 day 90 seconds'", "P1DT90S", "P1DT90S"),
    (
        "'F9AC7DB6-f900-4d8e-8918-c846834195a8'::UUID",
        "f9ac7db6-f900-4d8e-8918-c846834195a8",
        "f9ac7db6-f900-4d8e-8918-c846834195a8",
    ),
    ("'\\x00\\xFF'::BLOB", "AP8=", "AP8="),
    ("""'{"a":[1,{"b":null}]}'::JSON""", {"a": [1, {"b": None}]}, '{"a":[1,{"b":null}]}'),
    ("'null'::JSON", None, "null"),
    ("['a', NULL]", ["a", None], '["a",null]'),
    ("[]::VARCHAR[]", [], "[]"),
    ("{'a': 1, 'b': ['2'::JSON]}", {"a": 1, "b": [2]}, '{"a":1,"b":[2]}'),
    ("MAP {1: '{}'::JSON}", {"1": {}}, '{"1":{}}'),
    ("[DATE '2026-11-21']", ["2026-11-21"], '["2026-11-21"]'),
    ("MAP {true: 1.5::DECIMAL(3,1)}", {"True": 1.5}, '{"True":1.5}'),
]


@pytest.mark.parametrize(("sql", "expected", "_text"), VALUES)
def test_json_keeps_the_kind_of_a_value(
    data: DataDirectory, sql: str, expected: object, _text: str
) -> None:
    """Numbers, JSON and lists are themselves; times are ISO 8601; what JSON lacks is null."""
    [row] = json.loads(text(data, "json", f"SELECT {sql} AS v"))
    assert row == {"v": expected}
    assert type(row["v"]) is type(expected)


@pytest.mark.parametrize(("sql", "_json", "expected"), VALUES)
def test_csv_and_table_write_a_value_alike(
    data: DataDirectory, sql: str, _json: object, expected: str
) -> None:
    """Text formats agree on every value but NULL, which a table names."""
    query = f"SELECT 'x' AS x, {sql} AS v"
    _header, fields = csv.reader(io.StringIO(text(data, "csv", query)))
    assert fields == ["x", expected]
    cell = text(data, "table", query).splitlines()[2].removeprefix("x | ").strip()
    assert cell in ({"NULL", "x |"} if expected == "" else {expected})


def test_json_is_one_array_whatever_the_number_of_rows(data: DataDirectory) -> None:
    """No rows, one row, and more rows than fit a chunk are all arrays of objects."""
    for count in (0, 1, 5000):
        rows = json.loads(text(data, "json", f"FROM range({count}) t(i)"))
        assert rows == [{"i": i} for i in range(count)]


def test_json_members_of_one_name_are_told_apart(data: DataDirectory) -> None:
    """No column is lost because another one has its name."""
    shown = text(data, "json", "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a")
    assert json.loads(shown) == [{"a": 1, "a_1": 2, "a_1_1": 3, "a_2": 4}]


def test_csv_quotes_as_rfc_4180_says(data: DataDirectory) -> None:
    """Commas, quotes and line breaks survive, and the header is always there."""
    value = 'a,"b"\r\nc\n;ü'
    shown = text(data, "csv", 'SELECT \'a,"b"\r\nc\n;ü\' AS "x,y", NULL AS n')
    assert shown == '"x,y",n\r\n"a,""b""\r\nc\n;ü",\r\n'
    assert list(csv.reader(io.StringIO(shown, newline=""))) == [["x,y", "n"], [value, ""]]
    assert text(data, "csv", "SELECT 1 AS a WHERE false") == "a\r\n"


def test_a_table_is_aligned(data: DataDirectory) -> None:
    """Text to the left, numbers to the right, wide characters counted as two places."""
    sql = "FROM (VALUES ('a', 1), ('日本', 1000), ('e\u0301', NULL)) t(name, number)"
    assert text(data, "table", sql).splitlines() == [
        "name | number",
        "-----+-------",
        "a    |      1",
        "日本 |   1000",
        "e\u0301    |   NULL",
        "(3 rows)",
    ]


@pytest.mark.parametrize(("count", "footer"), [(0, "(0 rows)"), (1, "(1 row)"), (2, "(2 rows)")])
def test_a_table_says_how_many_rows_it_has(data: DataDirectory, count: int, footer: str) -> None:
    """The last line counts."""
    shown = text(data, "table", f"FROM range({count}) t(i)")
    assert shown.splitlines()[-1] == footer
    assert len(shown.splitlines()) == count + 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9bx", "\\x9bx"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b", "a\\u2028b"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("\u00a0", "\u00a0"),
    ],
)
def test_a_table_obeys_nothing_a_client_sent(data: DataDirectory, value: str, shown: str) -> None:
    """Escape sequences, line breaks and reordering marks are shown, not executed."""
    lines = text(data, "table", f"SELECT '{value}' AS v, 'end' AS \"n\x1b\"").split("\n")
    assert lines[2] == f"{shown} | end"
    assert lines[0].endswith("| n\\x1b")
    assert len(lines) == 5


class Endless:
    """A result without end."""

    def __init__(self) -> None:
        self.columns = ()
        self.taken = 0

    def chunks(self) -> Iterator[list[tuple[Any, ...]]]:
        """More and more."""
        while True:
            self.taken += 1
            yield [()]


class Full(io.BytesIO):
    """Takes a few writes."""

    def write(self, data: Any) -> int:
        """Fail when there is too much."""
        if self.tell() > 100:
            raise BrokenPipeError
        return super().write(data)


@pytest.mark.parametrize("form", render.FORMATS)
def test_rows_are_written_as_they_come(form: render.Format) -> None:
    """A large result needs no memory for all of it."""
    result = Endless()
    with pytest.raises(BrokenPipeError):
        render.write(result, form, Full())
    assert 2 < result.taken < 200


def test_later_wider_values_stick_out_and_are_whole(data: DataDirectory) -> None:
    """Widths are measured over the first rows only; nothing is ever cut."""
    sql = (
        "SELECT CASE i WHEN 4999 THEN 'wide value' ELSE 'x' END AS v, 1 AS n FROM range(5000) t(i)"
    )
    lines = text(data, "table", sql).splitlines()
    assert lines[2] == "x | 1"
    assert lines[-2] == "wide value | 1"
