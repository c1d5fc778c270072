"""Lake: what is on the disk, by date of receipt, and how long there is room.

Parts and sizes are those of the folders at this moment. Rows are counted from the files and the
log, repeats and marked rows included. The forecast divides the free bytes by what the parts of the
last 7 whole days took on average; what other programs take is not foreseen.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit, html
from collector.admin_api import Trouble
from collector.admin_lookups import Stock
from collector.admin_state import State
from collector.dashboard import charts, pieces
from collector.dashboard.answers import PENDING, answer, section
from collector.dashboard.charts import Series
from collector.dashboard.frame import Figures, notice, number, pairs, size, table, whole_page
from collector.dashboard.html import Child, Html, tag
from collector.dashboard.known import Known
from collector.orders import UnderWay
from collector.panels import Found, Question, Told, bound

PATH: Final = "/dashboard/lake"
# What is not older is listed date by date.
_DATES_MAX: Final = 400
_CHART_DAYS: Final = 60
_FORECAST_DAYS: Final = 7
# Below it a chart in MiB would show noughts.
_MIB_FROM: Final = 10 * 2**20

_ROWS: Final = """\
SELECT date, sum(events)::BIGINT AS rows
FROM counts
WHERE date >= $since::DATE
GROUP BY date"""


class LakePage:
    """Shows the data directory."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        return (
            Route(
                path=PATH,
                name="dashboard_lake",
                kind="page",
                summary="Files, sizes and rows by date",
                answer=self._show,
                answers={200: None},
            ),
        )

    async def _show(self, visit: Visit) -> Response:
        today = self._known.today()
        state = self._known.api.state()
        since = str(today - timedelta(days=_DATES_MAX))
        [rows], stock = await asyncio.gather(
            self._known.panels.ask(Question(_ROWS, bound({"since": since}))),
            self._known.watch.stock.told(),
        )
        if stock is None:
            parts: Child = tag("p", "Files are being counted.", attributes={"class": PENDING})
        elif isinstance(stock, Trouble):
            parts = notice(stock.why, is_bad=True)
        else:
            parts = [
                section("On the disk", _disk(stock, state, today)),
                section("By date", _dates(stock, rows, today)),
                section("Under way", _orders(stock.orders)),
            ]
        return html(whole_page("Lake", visit, parts, path=PATH))


def _disk(stock: Stock, state: State, today: date) -> Child:
    files, numbers = stock.files, state.numbers
    kinds: Mapping[str, tuple[int, int, str]] = {
        "files of events": (files.parts.files, files.parts.bytes, "what readers read"),
        "log": (
            files.segments.files,
            files.segments.bytes,
            f"{number(numbers['unflushed_rows'])} rows that are in no file yet",
        ),
        "key index": (
            files.keys.files,
            files.keys.bytes,
            (
                f"{number(numbers['keys'])} events remembered, "
                f"{size(numbers['key_filter_bytes'])} of memory"
            ),
        ),
        "quarantine": (
            files.quarantine.files,
            files.quarantine.bytes,
            f"{size(numbers['quarantine_bytes'])} of refused events",
        ),
        "summaries": (
            files.summaries.files,
            files.summaries.bytes,
            "what these pages count from; made again when they are gone",
        ),
    }
    lines: list[Sequence[Child]] = [
        (name, count, Figures(size(taken)), note) for name, (count, taken, note) in kinds.items()
    ]
    return [
        table("Files of the data directory", ("", "files", "size", ""), lines),
        pairs(
            {
                "free on the disk": size(numbers["disk_free_bytes"]),
                "room for": forecast(stock, numbers["disk_free_bytes"], today),
            }
        ),
    ]


def forecast(stock: Stock, free_bytes: float, today: date) -> str:
    """For how many days there is room at the rate of the last whole days, in words."""
    days = [
        heap.bytes
        for day, heap in stock.files.dates.items()
        if today - timedelta(days=_FORECAST_DAYS) <= day < today
    ]
    if not days:
        return "not known: there is no whole day of events yet"
    per_day = sum(days) / len(days)
    left = free_bytes / per_day if per_day else float("inf")
    if left > 3_650:
        return f"more than ten years, at {size(per_day)} a day"
    return f"about {number(left)} days, at {size(per_day)} a day"


def _dates(stock: Stock, told: Told, today: date) -> Child:
    rows: dict[date, int] = {}
    if isinstance(told, Found):
        rows = {row["date"]: row["rows"] for row in told.records}
    dates = stock.files.dates
    # A date whose rows are all in the log has no folder yet.
    known = sorted({*dates, *rows}, reverse=True)[:_DATES_MAX]
    lines: list[Sequence[Child]] = []
    for day in known:
        heap = dates.get(day)
        count = rows.get(day)
        parts, taken = (heap.files, heap.bytes) if heap is not None else (0, 0)
        each = Figures(number(taken / count) if count and taken else "")
        bytes_taken = Figures(size(taken))
        lines.append((pieces.day(day), parts, bytes_taken, _count(count, told), each))
    axis = [today - timedelta(days=n) for n in reversed(range(_CHART_DAYS))]
    sizes = [dates[day].bytes if day in dates else 0 for day in axis]
    unit, factor = ("MiB", 2**20) if max(sizes) > _MIB_FROM else ("KiB", 2**10)
    chart = charts.columns(
        "lake-sizes",
        f"Size of the files by date of receipt, {unit}, last {_CHART_DAYS} days",
        [str(day) for day in axis],
        [Series(unit, [one / factor for one in sizes])],
    )
    return [
        chart,
        # Says that rows are still being counted, or as of when they are.
        answer(told, lambda _: None),
        table("Files by date", ("date", "files", "size", "rows", "bytes a row"), lines),
    ]


def _count(count: int | None, told: Told) -> Child:
    if count is None:
        return 0 if isinstance(told, Found) else "\N{HORIZONTAL ELLIPSIS}"
    return count


def _orders(orders: Sequence[UnderWay]) -> Html | None:
    lines: list[Sequence[Child]] = [
        (
            one.order.command,
            pieces.moment(datetime.fromtimestamp(one.order.given_us / 1e6, UTC)),
            f"{one.progress.done}/{one.progress.total} {one.progress.word}"
            if one.progress is not None
            else "waits",
        )
        for one in orders
    ]
    return table(
        "What commands asked for, and how far it is", ("command", "since (UTC)", "done"), lines
    )
