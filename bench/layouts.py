"""Which layout of joined parts answers best, and what joining costs: `python -m bench.layouts`.

The same rows, as many a day as 100 million in 30 days, are laid out in each way and asked the same
questions. For questions about a month the files of one day are linked in place of all thirty:
as many are opened and read, though from a warmer cache. The table is what
docs/decisions/0011-layout-of-joined-parts.md is based on.
"""
# ruff: noqa: S608  every piece of this SQL is our own text

import contextlib
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import click
import msgspec

from bench.lakedata import Layout, generate, rewrite, slices
from bench.lakequeries import (
    Answer,
    answer,
    choose_subject,
    forget,
    glob_session,
    questions,
    questions_of_all,
    size_of,
)
from bench.lakerows import Shape, site_name
from bench.switches import directory_option
from storage import layout, parquet, partlayout
from storage.layout import Part

_ROWS_PER_DAY: Final = 3_333_333
_DAYS: Final = 1
_MONTH: Final = 30
_IN_ORDER_OF_RECEIPT: Final = Layout(order_by="", row_group_rows=122_880, part_bytes=1 << 40)
_LARGE: Final = 1
_MIDDLE: Final = 10
# Name of the question, rank of the site that it is about.
ASKED: Final = (
    ("day_visitors", _LARGE),
    ("day_visitors", _MIDDLE),
    ("day_pages", _MIDDLE),
    ("all_sites_day", _MIDDLE),
    ("event_anywhere", _MIDDLE),
    ("month_overview", _MIDDLE),
    ("month_visitor", _MIDDLE),
)

VARIANTS: Final[Sequence[tuple[str, Layout]]] = (
    ("as chosen", Layout()),
    *((f"row groups of {rows:,}", Layout(row_group_rows=rows)) for rows in (8192, 30720)),
    *((f"row groups of {rows:,}", Layout(row_group_rows=rows)) for rows in (122_880, 245_760)),
    ("order: event_time", Layout(order_by="event_time")),
    ("order: site_id, event_time", Layout(order_by="site_id, event_time")),
    ("zstd level 1", Layout(level=1)),
    ("zstd level 9", Layout(level=9)),
    ("lz4", Layout(compression="lz4", level=None)),
    ("snappy", Layout(compression="snappy", level=None)),
    ("parts of 128 MB", Layout(part_bytes=128 << 20)),
    ("parts of 64 MB", Layout(part_bytes=64 << 20)),
)
# What a flush leaves, and what is joined in one go.
_SMALL_PARTS: Final = 100
_SMALL_ROWS: Final = 5_000
_TIER_BYTES: Final = 64 << 20
_JOIN_MEMORY_MB: Final = 512
_LOOK_S: Final = 0.05
_Step = TypeVar("_Step")


class Line(msgspec.Struct, frozen=True):
    """One line of the table: a layout, and what was measured of it."""

    name: str
    cells: tuple[str, ...]


HEADER: Final = (
    *("rows per processor second written", "bytes a row"),
    *(f"{name}, site {rank}" for name, rank in ASKED),
)


def _laid_out(base: Path, target: Path, how: Layout) -> list[str]:
    """Lay the rows of `base` out as `how` in `target`; how fast, and how small."""
    shape = _shape()
    began_s = time.process_time()
    rewrite(base, target, shape, how)
    rate = shape.rows / (time.process_time() - began_s)
    forget(target)  # written to the disk, so that nothing is while answers are timed
    cells = [f"{rate / 1000:.0f}k", f"{size_of(target)[1] / shape.rows:.0f}"]
    _link_month(target, shape)
    return cells


def _asked(targets: Sequence[Path], runs: int) -> Iterator[list[list[Answer]]]:
    """Answers per target and question, one run of all at a time.

    In turn, so that a neighbour who comes and goes disturbs all layouts alike.
    """
    month = Shape(rows=_ROWS_PER_DAY * _MONTH, days=_MONTH)
    days = [month.day(number) for number in range(_MONTH)]
    subjects = {
        rank: choose_subject(targets[0], site_name(rank), days) for rank in (_LARGE, _MIDDLE)
    }
    queries = [
        {q.name: q.sql for q in (*questions(subjects[rank]), *questions_of_all(subjects[rank]))}[
            name
        ]
        for name, rank in ASKED
    ]
    for _ in range(runs):
        yield [[answer(glob_session, target, sql, runs=1) for sql in queries] for target in targets]


def _medians(rounds: Sequence[Sequence[Answer]]) -> list[str]:
    """Per question the median of all rounds, by the clock (of all processors)."""
    return [
        f"{statistics.median(a.wall_ms for a in answers):.0f} "
        f"({statistics.median(a.cpu_ms for a in answers):.0f})"
        for answers in zip(*rounds, strict=True)
    ]


def _link_month(target: Path, shape: Shape) -> None:
    """The parts of the days there are, once more under the dates of the other days."""
    events = target / layout.EVENTS
    parts = layout.list_parts(events)
    month = Shape(rows=0, days=_MONTH)
    for number in range(shape.days, _MONTH):
        day, like = month.day(number), month.day(number % shape.days)
        for part in (part for part in parts if part.date == like):
            # As if the day had segments of its own.
            moved = Part(day, part.first + number * 10**6, part.last + number * 10**6)
            (events / moved.name).parent.mkdir(exist_ok=True)
            (events / moved.name).hardlink_to(events / part.name)


# --- what joining costs


def _joins(base: Path, target: Path) -> list[Line]:
    """Time to join many small parts, and a few large ones, on one thread in little memory."""
    large_rows = [s.last - s.first for s in slices(_shape(), _TIER_BYTES)][:4]
    lines = []
    for name, sizes in (
        (f"{_SMALL_PARTS} parts of {_SMALL_ROWS:,} rows", [_SMALL_ROWS] * _SMALL_PARTS),
        (f"4 parts of {large_rows[0]:,} rows", large_rows),
    ):
        folder = target / f"join-{len(sizes)}"
        folder.mkdir(parents=True)
        parts = _cut(base, folder, sizes, is_sorted=len(sizes) < _SMALL_PARTS)
        seconds, spilled = _join(parts, folder)
        rate = sum(sizes) / seconds
        mb = sum(path.stat().st_size for path in parts) / 2**20
        lines.append(
            Line(name, (f"{mb:.0f}", f"{seconds:.1f}", f"{rate / 1000:.0f}k", f"{spilled:.0f}"))
        )
    return lines


def _shape() -> Shape:
    return Shape(rows=_ROWS_PER_DAY * _DAYS, days=_DAYS)


def _cut(base: Path, folder: Path, sizes: Sequence[int], *, is_sorted: bool) -> list[Path]:
    """The first rows of `base` as parts of `sizes` rows: as flushed, or as joined before."""
    source = min((base / layout.EVENTS).glob("date=*/*.parquet"))
    options = partlayout.COPY_OPTIONS if is_sorted else "FORMAT parquet, COMPRESSION zstd"
    order = f"ORDER BY {partlayout.ORDER_BY}" if is_sorted else ""
    parts, first = [], 0
    with parquet.connect(threads=2, memory_limit_mb=4000) as connection:
        for number, rows in enumerate(sizes):
            path = folder / f"{number}.parquet"
            connection.execute(
                f"COPY (SELECT * EXCLUDE (file_row_number) FROM read_parquet("
                f"{parquet.quote(source)}, hive_partitioning = false, file_row_number = true) "
                f"WHERE file_row_number >= {first} AND file_row_number < {first + rows} {order}) "
                f"TO {parquet.quote(path)} ({options})"
            )
            parts.append(path)
            first += rows
    return parts


def _join(parts: Sequence[Path], folder: Path) -> tuple[float, float]:
    """Seconds to join `parts`, and the most megabytes that were spilled to the disk at a time."""
    listed = ", ".join(parquet.quote(path) for path in parts)
    spill = folder / "spill"
    with parquet.connect(threads=1, memory_limit_mb=_JOIN_MEMORY_MB) as connection:
        connection.execute(f"SET temp_directory = {parquet.quote(spill)}")
        with _watched(spill) as sizes:
            began_s = time.perf_counter()
            connection.execute(
                f"COPY (FROM read_parquet([{listed}], hive_partitioning = false) "
                f"ORDER BY {partlayout.ORDER_BY}) "
                f"TO {parquet.quote(folder / 'joined')} ({partlayout.COPY_OPTIONS})"
            )
            seconds = time.perf_counter() - began_s
    return seconds, max(sizes) / 2**20


@contextmanager
def _watched(folder: Path) -> Iterator[list[int]]:
    """Bytes in `folder`, again and again."""
    sizes = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_S):
            with contextlib.suppress(FileNotFoundError):  # removed between listing and asking
                sizes.append(sum(path.stat().st_size for path in folder.glob("*")))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sizes
    finally:
        done.set()
        thread.join()


# --- the command


def _shown(steps: Iterable[_Step], length: int, label: str) -> Iterator[_Step]:
    with click.progressbar(steps, length=length, label=label, file=sys.stderr) as bar:
        yield from bar


def _tell_header(corner: str, header: Sequence[str]) -> None:
    click.echo(f"| {corner} | {' | '.join(header)} |\n|{' --- |' * (len(header) + 1)}")


def _tell(line: Line) -> None:
    """A line of a Markdown table."""
    click.echo(f"| {line.name} | {' | '.join(line.cells)} |")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@directory_option("Where files are made, 2 GB of them. Its disk is part of what is measured.")
@click.option("--runs", type=click.IntRange(1, 100), default=5, help="Medians of so many runs.")
@click.option("--only", multiple=True, help="Only variants with this in their name; may repeat.")
def main(directory: Path, runs: int, only: tuple[str, ...]) -> None:
    """Compare layouts of joined parts; prints Markdown: milliseconds (those of all processors)."""
    work = Path(tempfile.mkdtemp(prefix="collector-bench-", dir=directory))
    try:
        base = work / "base"
        made = generate(base, _shape(), _IN_ORDER_OF_RECEIPT, threads=2)
        list(_shown(made, _DAYS, "generating"))
        chosen = [one for one in VARIANTS if not only or any(part in one[0] for part in only)]
        targets = [work / f"layout-{number}" for number in range(len(chosen))]
        sizes = [
            _laid_out(base, target, how)
            for target, (_, how) in _shown(
                zip(targets, chosen, strict=True), len(chosen), "laying out"
            )
        ]
        rounds = list(_shown(_asked(targets, runs), runs, "asking"))
        _tell_header("layout", HEADER)
        for number, (name, _) in enumerate(chosen):
            medians = _medians([answers[number] for answers in rounds])
            _tell(Line(name, (*sizes[number], *medians)))
        click.echo()
        _tell_header("joined", ("MB in", "seconds", "rows/s", "MB spilled"))
        for line in _joins(base, work / "joins"):
            _tell(line)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
