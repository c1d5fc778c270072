"""Tables of pages: what is a number ends at the right, below its heading."""

from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from collector.dashboard import pieces, realtime
from collector.dashboard.frame import Figures, size, table
from collector.dashboard.html import Child, Html, tag
from tests.support.panelpages import Shown

THIN = "\N{NARROW NO-BREAK SPACE}"


class _Cells(HTMLParser):
    """Of every cell, whether it ends at the right; headings first."""

    def __init__(self, text: Html) -> None:
        super().__init__()
        self.found: list[bool] = []
        self.feed(str(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        if tag in {"th", "td"}:
            self.found.append(dict(attrs).get("class") == "number")


def test_numbers_and_amounts_end_at_the_right() -> None:
    """With their headings, from whatever row on; a text does not, though it may look like one."""
    rows: list[Sequence[Child]] = [
        ("1 234.50", 5, pieces.money(1234.5), pieces.share(1, 2), "", tag("strong", "x")),
        ("2", "no limit", pieces.money(None), pieces.share(0, 0), Figures("1 KiB"), None),
    ]
    shown = table("T", ("a", "b", "c", "d", "e", "f"), rows)
    assert _Cells(shown).found == [False, True, True, True, True, False] * 3
    assert Shown(str(shown)).rows("T")[0][:4] == ["1 234.50", "5", f"1{THIN}234.50", "50.0 %"]


def test_a_table_without_rows_has_its_headings() -> None:
    """And says that there are none."""
    shown = table("T", ("a", "b"), [])
    assert Shown(str(shown)).tables["T"] == [["a", "b"], ["none"]]
    assert _Cells(shown).found == [False] * 3


def test_an_amount_is_told_in_full() -> None:
    """Thousands apart, two places, its currency; what has none says so."""
    assert pieces.money(1_234_567.891, "EUR") == f"1{THIN}234{THIN}567.89 EUR"
    assert pieces.money(-3.0) == "-3.00"
    assert pieces.money(3.0, None) == "3.00 (no currency)"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1_023, f"1{THIN}023 bytes"),
        (1_536, "1.5 KiB"),
        (2**20, "1.0 MiB"),
        (1_100 * 2**40, f"1{THIN}100.0 TiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    """In the unit that fits."""
    assert size(count) == text


def test_every_site_counts_for_the_sums_of_real_time() -> None:
    """Also those beyond the ones that are listed, which is said."""
    rows = [
        {"site_id": f"s{n}", "active": 1, "visitors": 2, "page_views": 3, "events": 4}
        for n in range(150)
    ]
    shown = Shown(str(tag("div", realtime._sites(rows))))
    assert len(shown.rows("By site")) == 100
    assert next(iter(shown.tables)).endswith(", the first 100")
    assert shown.text.split()[:6] == ["150", "visitors", "in", "the", "last", "5"]
    assert "600 events in 30 minutes" in " ".join(shown.text.split())
