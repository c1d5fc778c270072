"""What is on the disk, and for how long there is room."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from collector import orders
from collector.admin_lookups import Stock
from collector.dashboard.lake import forecast
from storage import Deadline, TookTooLong, stock
from storage.stock import Heap
from tests.support.lake import DataDirectory
from tests.support.rows import TODAY


def measured(data: DataDirectory) -> stock.Stock:
    """What is found there."""
    with Deadline(60) as deadline:
        return stock.measure(data.path, deadline)


def test_files_are_counted_by_kind_and_date(tmp_path: Path) -> None:
    """Live parts by date; a covered part, strange names and missing folders do not count."""
    data = DataDirectory(tmp_path / "data")
    assert measured(data) == stock.Stock({}, Heap(), Heap(), Heap(), Heap())
    yesterday = TODAY - timedelta(days=1)
    sizes = [data.publish(n, n, n, day=yesterday).stat().st_size for n in (1, 2)]
    whole = data.publish(3, 4, 3, 4).stat().st_size
    data.publish(3, 3, 3)
    log = data.append(9, 9).stat().st_size
    (data.events / "date=x").mkdir()
    (data.events / f"date={TODAY}" / "notes.txt").write_bytes(b"x")
    folder = data.path / "quarantine" / "site"
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(b"12345")
    found = measured(data)
    assert found.dates == {yesterday: Heap(2, sum(sizes)), TODAY: Heap(1, whole)}
    assert found.segments == Heap(1, log)
    assert found.quarantine == Heap(1, 5)
    assert found.parts == Heap(3, sum(sizes) + whole)


def test_a_look_is_given_up_in_time(tmp_path: Path) -> None:
    """However many folders there are."""
    data = DataDirectory(tmp_path / "data")
    data.publish(1, 1, 1)
    with Deadline(60) as deadline:
        deadline.end()
        with pytest.raises(TookTooLong):
            stock.measure(data.path, deadline)


def kept(**days: int) -> Stock:
    """So many bytes, by how many days ago."""
    dates: dict[date, Heap] = {
        TODAY - timedelta(days=int(back[1:])): Heap(1, size) for back, size in days.items()
    }
    return Stock(stock.Stock(dates, Heap(), Heap(), Heap(), Heap()), [])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (kept(), "not known: there is no whole day of events yet"),
        (kept(d0=100), "not known: there is no whole day of events yet"),
        (kept(d0=9_999, d1=100, d2=300, d8=77_777), "about 50 days, at 200 bytes a day"),
        (kept(d1=1), "more than ten years, at 1 bytes a day"),
    ],
)
def test_room_is_told_by_the_last_whole_days(found: Stock, words: str) -> None:
    """Today and what is longer ago than a week do not count."""
    assert forecast(found, 10_000, TODAY) == words


def test_orders_under_way_are_told(tmp_path: Path) -> None:
    """With how far they are; what is no order is left to whoever carries it out."""
    assert orders.under_way(tmp_path / "none") == []
    encode = orders._encoder.encode
    (tmp_path / "b.order.json").write_bytes(encode(orders.Order("compact", {}, 2)))
    (tmp_path / "a.order.json").write_bytes(encode(orders.Order("erase", {}, 3)))
    (tmp_path / "a.progress.json").write_bytes(encode(orders.Progress(1, 4, "dates")))
    (tmp_path / "c.order.json").write_bytes(b"{")
    found = orders.under_way(tmp_path)
    assert [one.order.command for one in found] == ["compact", "erase"]
    assert [one.progress for one in found] == [None, orders.Progress(1, 4, "dates")]
