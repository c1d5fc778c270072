"""Every page of the dashboard in a real browser, over what the demonstration and intruders sent.

A new page is looked at by itself, because the navigation lists it; its numbers want a row in
`expected`.
"""

import re
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser

from collector.admin import OVERVIEW
from tests.browser.expected import FIGURES, TABLES, Figure, Table
from tests.browser.judging import THEMES, WIDTHS, Judge, pages_of, shape
from tests.browser.test_dashboard import KEY_HEADERS, REQUESTS, leaves, send, with_text
from tests.support.process import CollectorProcess, wait_until

pytestmark = [pytest.mark.end_to_end, pytest.mark.browser]

NASTY: Final = "<script>hacked=1</script><img src=x onerror=hacked=1>"
SHORT: Final = "<img src=x onerror=hacked=1>"
_DEMO: Final = ("--seconds", "4", "--rate", "80")
# Pages that lead from one to the next without end.
_LINKS_MAX: Final = 4


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector with some seconds of a shop, and markup in every member of every body."""
    with CollectorProcess(tmp_path_factory.mktemp("pages")) as collector:
        done = collector.run("demo", "--url", collector.url, *_DEMO)
        assert done.returncode == 0, done.stderr
        stored = 0
        for path, headers, body in REQUESTS:
            for place in leaves(body):
                stored += any(
                    send(collector, path, headers, with_text(body, place, text))
                    for text in (NASTY, SHORT)
                )
            send(collector, path, headers | {"User-Agent": NASTY, "Origin": NASTY}, body)
        assert stored > 40
        # Something repeated, something refused: pages tell of these, too.
        event = {"site_id": "demo", "event_name": "paid", "event_id": "new"}
        for _ in range(2):
            send(collector, "/server-events", KEY_HEADERS, event)
        wait_until(
            lambda: b"collector_unflushed_rows 0\n" in collector.request("GET", "/metrics").body,
            timeout_s=20,
            what="all rows are in files",
        )
        yield collector


def test_nothing_breaks_nobody_is_kept_out(filled: CollectorProcess, chromium: Browser) -> None:
    """Each page and each kind of page it leads to: no fault, no markup that was sent, no violation
    of WCAG in either theme, nothing wider than the window.
    """
    own = pages_of(filled)
    assert len(own) >= 4
    waiting = {shape(path): path for path in reversed(own)}
    done: set[str] = set()
    found: list[str] = []
    with Judge(chromium, filled, color_scheme="light") as judge:
        while waiting and len(done) < len(own) + _LINKS_MAX:
            kind, path = waiting.popitem()
            done.add(kind)
            judge.open(path)
            faults = judge.safe()
            # Behind those of the navigation, which are there already.
            more = {kind: at for kind, at in judge.links().items() if kind not in done}
            waiting = {**{kind: at for kind, at in more.items() if kind not in waiting}, **waiting}
            # What a page leads to is made of the same pieces: its colours are looked at once.
            for theme in THEMES if path in own else THEMES[:1]:
                faults += judge.inaccessible(theme)
            faults += [f"{width} px: wider" for width in WIDTHS if judge.wider(width)]
            found += [f"{path}: {one}" for one in faults]
            judge.faults.clear()
    assert not found, "\n".join(found)


def test_the_keyboard_reaches_everything(filled: CollectorProcess, chromium: Browser) -> None:
    """Every link, button and field of every page, and one sees where one is."""
    found = []
    with Judge(chromium, filled) as judge:
        for path in pages_of(filled):
            judge.open(path)
            # What is around every page is the same on all of them.
            for within in ("main",) if path != OVERVIEW else ("header", "main"):
                found += [f"{path}: {one}" for one in judge.unreachable(within)]
    assert not found, "\n".join(found)


def test_pages_work_without_scripts(filled: CollectorProcess, chromium: Browser) -> None:
    """The same headings and tables are there, once the answers are known."""
    with (
        Judge(chromium, filled) as judge,
        Judge(chromium, filled, java_script_enabled=False) as old,
    ):
        for path in pages_of(filled):
            names = judge.open(path).locator("h1, h2, caption").all_text_contents()
            old.page.goto(filled.url + path)
            old.settle(reloads=True)
            assert old.page.locator("h1, h2, caption").all_text_contents() == names, path


@pytest.mark.parametrize("wanted", FIGURES, ids=lambda one: f"{one.path} {one.selector}")
def test_a_figure_is_that_of_sql(
    wanted: Figure, filled: CollectorProcess, chromium: Browser
) -> None:
    """Over the files, by plain DuckDB."""
    [row] = filled.published(wanted.sql)
    with Judge(chromium, filled) as judge:
        text = judge.open(wanted.path).locator(wanted.selector).inner_text()
        assert int(re.sub(r"\D", "", text)) == next(iter(row.values()))


@pytest.mark.parametrize("wanted", TABLES, ids=lambda one: f"{one.path} {one.caption}")
def test_a_table_is_that_of_sql(wanted: Table, filled: CollectorProcess, chromium: Browser) -> None:
    """By `collector query`, whose views are the published ones."""
    rows = filled.query(wanted.sql)
    with Judge(chromium, filled) as judge:
        page = judge.open(wanted.path)
        caption = page.locator("caption", has_text=re.compile(f"^{re.escape(wanted.caption)}"))
        table = page.locator("table", has=caption).first
        lines = [
            [cell.inner_text().strip() for cell in line.locator("th, td").all()]
            for line in table.locator("tbody tr").all()
        ]
    shown = sorted([_plain(line[column]) for column in wanted.columns] for line in lines)
    assert shown == sorted([_plain(str(value)) for value in row.values()] for row in rows)
    assert shown


def _plain(text: str) -> str:
    """A cell without the spaces that part thousands."""
    return text.replace("\N{NARROW NO-BREAK SPACE}", "")
