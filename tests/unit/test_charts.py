"""Charts: what is drawn is what is told, in words and in the table behind it."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from collector.dashboard import charts
from collector.dashboard.charts import Series
from collector.dashboard.html import Html
from tests.support.panelpages import Shown

VALUES = st.lists(st.integers(0, 1_000_000), min_size=1, max_size=40)


class Shapes(HTMLParser):
    """The shapes of a drawing, with their attributes."""

    def __init__(self, text: Html) -> None:
        super().__init__()
        self.found: dict[str, list[dict[str, str | None]]] = {}
        self.feed(str(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        self.found.setdefault(tag, []).append(dict(attrs))


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=40))
def test_columns_are_as_high_as_their_values(pairs: list[tuple[int, int]]) -> None:
    """In proportion, stacked from the ground up, none above the top."""
    series = [Series("a", [one for one, _ in pairs]), Series("b", [two for _, two in pairs])]
    axis = [f"p{n}" for n in range(len(pairs))]
    figure = charts.columns("c", "Title", axis, series)
    rects = Shapes(figure).found["rect"]
    most = max(sum(pair) for pair in pairs) or 1
    for place, pair in enumerate(pairs):
        ground = 100.0
        for index, value in enumerate(pair):
            rect = rects[2 * place + index]
            height = float(rect["height"] or 0)
            assert abs(height - 100 * value / most) < 0.01
            assert abs(float(rect["y"] or 0) + height - ground) < 0.02
            ground -= height
    rows = Shown(str(figure)).rows("Title")
    told = [tuple(int(cell.replace("\u202f", "")) for cell in row[1:]) for row in rows]
    assert told == pairs


@given(VALUES, VALUES)
def test_an_area_has_its_points(now: list[int], before: list[int]) -> None:
    """One for each place, also of what it is compared with; a single place is drawn as columns."""
    count = min(len(now), len(before))
    series = [Series("now", now[:count]), Series("before", before[:count])]
    found = Shapes(charts.area("a", "T", [str(n) for n in range(count)], *series)).found
    if count == 1:
        assert [rect["class"] for rect in found["rect"]] == ["s1", "s2"], "as in the legend"
        return
    most = max(*now[:count], *before[:count]) or 1
    for line, one in zip(found["polyline"], series, strict=True):
        points = [point.split(",") for point in (line["points"] or "").split()]
        heights = [100 - float(y) for _, y in points]
        assert [abs(h - 100 * v / most) < 0.01 for h, v in zip(heights, one.values, strict=True)]
        assert len({x for x, _ in points}) == count


def test_what_is_drawn_is_told_in_words() -> None:
    """Whoever does not see it hears the ends, the sums and the highest; names stay text."""
    text = str(charts.columns("c", "<b>", ["<i>", "Tue"], [Series("<u>", [1, 1_234])]))
    assert "From &lt;i&gt; to Tue. &lt;u&gt;: 1\u202f235 in all, most at Tue, 1\u202f234." in text
    assert "<b>" not in text
    assert "<u>" not in text
    assert 'role="img"' in text
    assert 'aria-labelledby="c-title c-words"' in text


def test_nothing_at_all_can_be_drawn() -> None:
    """Noughts, and no places: no division by them."""
    assert "0" in str(charts.columns("c", "T", ["a"], [Series("s", [0])]))
    assert "Nothing is known." in str(charts.columns("c", "T", [], [Series("s", [])]))
    assert "Nothing is known." in str(charts.area("c", "T", [], Series("s", [])))
    assert 'width="0.00"' in str(charts.bar(0, 0))
