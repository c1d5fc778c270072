"""The query measurements measure what they say: rows like ours, laid out as joined parts are."""
# ruff: noqa: S608  every piece of this SQL is our own text

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from bench.figures import Figure
from bench.lakedata import Layout, generate, slices
from bench.lakequeries import (
    answer,
    choose_subject,
    glob_session,
    lake_session,
    questions,
    questions_of_all,
    size_of,
)
from bench.lakerows import Shape, rows_sql, site_name
from bench.query import measure, over_budget, sites_asked
from storage import COLUMNS, layout, partlayout

SHAPE = Shape(rows=30_000, days=3, sites=20)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data directory of three days."""
    path = tmp_path_factory.mktemp("lake")
    assert sum(generate(path, SHAPE, Layout(part_bytes=1 << 20), threads=2)) == SHAPE.rows
    return path


def test_generated_rows_are_those_of_the_product(directory: Path) -> None:
    """Every column with its type, each of them filled somewhere; every row once."""
    with glob_session(directory) as run:
        described = run("DESCRIBE events")
        assert [row[:2] for row in described] == [
            *((column.name, _shown(column.type)) for column in COLUMNS),
            ("date", "DATE"),
        ]
        counted = run(f"SELECT {', '.join(f'count({c.name})' for c in COLUMNS)} FROM events")
        assert min(counted[0]) > 0
        rows = run("SELECT count(*), count(DISTINCT event_id), count(DISTINCT site_id) FROM events")
        assert rows == [(SHAPE.rows, SHAPE.rows, SHAPE.sites)]
        outside = run("SELECT count(*) FROM events WHERE received_time::DATE <> date")
        assert outside == [(0,)]
        twice = run(
            "SELECT count(*) FROM (SELECT json_valid(metadata) AS m, "
            "json_valid(context) AS c FROM events) WHERE NOT m OR NOT c"
        )
        assert twice == [(0,)]


def _shown(kind: str) -> str:
    return "TIMESTAMP WITH TIME ZONE" if kind == "TIMESTAMPTZ" else kind


def test_sites_differ_in_size(directory: Path) -> None:
    """The first has about as many times the rows of the n-th as n says."""
    with glob_session(directory) as run:
        rows = dict(run("SELECT site_id, count(*) FROM events GROUP BY site_id"))
    assert 3 < rows[site_name(1)] / rows[site_name(5)] < 7


def test_the_seed_decides_the_rows() -> None:
    """The same rows for the same seed, others for another."""
    with duckdb.connect() as connection:
        found = [
            connection.execute(
                f"SELECT sum(hash(made)) FROM ({rows_sql(shape, 1, 0, 2_000)}) AS made"
            ).fetchall()
            for shape in (SHAPE, SHAPE, Shape(rows=30_000, days=3, sites=20, seed=2))
        ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("part_bytes", [1 << 20, 3 << 20, 1 << 40])
def test_parts_hold_every_row_once_and_have_names_of_their_own(part_bytes: int) -> None:
    """Slices of a day follow each other without gap, and no part covers another."""
    found = slices(SHAPE, part_bytes)
    for day in range(SHAPE.days):
        mine = [one for one in found if one.day == day]
        assert [one.first for one in mine] == [0, *(one.last for one in mine[:-1])]
        assert mine[-1].last == SHAPE.rows_of(day)
        assert {one.part.date for one in mine} == {SHAPE.day(day)}
    parts = [one.part for one in found]
    assert layout.live_parts(parts) == sorted(parts)


def test_every_question_has_an_answer(directory: Path) -> None:
    """In both kinds of session; they agree, and find something."""
    days = [SHAPE.day(number) for number in range(SHAPE.days)]
    subject = choose_subject(directory, site_name(1), days)
    for question in (*questions(subject), *questions_of_all(subject)):
        with lake_session(directory) as lake, glob_session(directory) as plain:
            found = lake(question.sql)
            assert found
            assert _texts(found) == _texts(plain(question.sql))
    taken = answer(glob_session, directory, "SELECT count(*) FROM events", runs=3, cold=True)
    assert min(taken.wall_ms, taken.cpu_ms) > 0
    assert size_of(directory)[0] == len(slices(SHAPE, 1 << 20))


def _texts(rows: list[tuple[Any, ...]]) -> list[list[str]]:
    """Rows in an order of their own; JSON is bytes in one kind of session, text in the other."""
    return sorted(
        [bytes(v).decode() if isinstance(v, msgspec.Raw) else str(v) for v in row] for row in rows
    )


def test_figures_have_names_of_their_own(directory: Path) -> None:
    """Each figure once; every answer that has a budget is among them."""
    figures = [figure for found in measure(directory, SHAPE, 1) for figure in found]
    names = [figure.name for figure in figures]
    assert len(set(names)) == len(names)
    slow = [Figure(name, 1e9, "ms") for name in names]
    assert len(over_budget(slow)) == 12
    assert over_budget([Figure(name, 1.0, "ms") for name in names]) == []


def test_the_average_site_is_one() -> None:
    """The site called average has about the hundredth part of a hundred sites' rows."""
    shape = Shape(rows=100_000_000)
    ranks = sites_asked(shape)
    assert ranks["largest"] == 1
    assert shape.weights[ranks["average"] - 1] == pytest.approx(0.01, rel=0.05)
    assert sum(shape.weights) == pytest.approx(1)
    assert sum(map(shape.rows_of, range(shape.days))) == shape.rows
    assert shape.day(29) - shape.day(0) == timedelta(days=29)
    assert shape.day(0) == date(2026, 10, 1)


def test_the_options_of_the_product_are_what_is_measured(directory: Path, tmp_path: Path) -> None:
    """The default layout is the chosen one, and files written with it are as they say."""
    assert f"{Layout().options}" == partlayout.COPY_OPTIONS
    path = tmp_path / "part.parquet"
    rows = partlayout.ROW_GROUP_ROWS + 10_000
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (FROM range({rows}) AS rows(i) ORDER BY i DESC) "
            f"TO '{path}' ({partlayout.COPY_OPTIONS})"
        )
        groups = connection.execute(
            "SELECT row_group_num_rows, any_value(compression), min(stats_min::BIGINT) "
            f"FROM parquet_metadata('{path}') GROUP BY row_group_id, row_group_num_rows ORDER BY 1"
        ).fetchall()
    assert groups == [(10_000, "ZSTD", 0), (partlayout.ROW_GROUP_ROWS, "ZSTD", 10_000)]
    with glob_session(directory) as run:
        unsorted = run(
            "SELECT count(*) FROM (SELECT site_id < lag(site_id) OVER (ORDER BY file_row_number) "
            "AS wrong FROM read_parquet("
            f"'{next((directory / 'events').glob('*/*.parquet'))}', file_row_number = true)) "
            "WHERE wrong"
        )
    assert unsorted == [(0,)]
