"""What the page Install tells to paste into web pages, pasted and visited in a real Chromium."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
from playwright.sync_api import Browser

from collector.config import Site
from collector.dashboard.snippets import snippets
from tests.browser.browsing import PageServer, Visit
from tests.browser.judging import Judge
from tests.browser.rows import published, wait_for_rows
from tests.support.process import CollectorProcess

pytestmark = [pytest.mark.end_to_end, pytest.mark.browser]

_HERE: Final = Path(__file__).parent


def snippet(collector: CollectorProcess, name: str) -> str:
    """One of those that the page shows, for the example's site."""
    site = msgspec.convert(collector.settings["sites"][0], Site)
    return next(one.text for one in snippets(collector.url, site) if one.name == name)


def test_the_scanova_snippet_sends(
    visit: Visit, pages: PageServer, collector: CollectorProcess
) -> None:
    """In the head of a page of another origin: the visit is a row, so is what the page tracks."""
    tab = visit(collector, "plain.html")
    page = f"<!doctype html><html lang=en><head>{snippet(collector, 'scanova')}</head></html>"
    tab.page.evaluate("page => { document.write(page); document.close(); }", page)
    tab.page.evaluate("scanova('track', 'brewed', {minutes: 4})")
    rows = wait_for_rows(collector, tab, 2)
    assert {row["page_url"] for row in rows} == {f"http://localhost:{pages.port}/plain.html"}
    assert "brewed" in {row["event_type"] for row in rows}
    assert tab.console_errors == []


def test_the_croct_snippet_sends(
    visit: Visit, collector: CollectorProcess, pages: PageServer
) -> None:
    """Bundled as it is, in a page of another origin: the page that was opened is a row."""
    bundle = subprocess.run(
        [
            "node_modules/.bin/esbuild",
            "--bundle",
            "--format=iife",
            "--platform=browser",
            '--define:process.env.NODE_ENV="production"',
        ],
        input=snippet(collector, "croct"),
        cwd=_HERE,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    tab = visit(collector, "plain.html")
    tab.page.add_script_tag(content=bundle)
    rows = wait_for_rows(collector, tab, 1)
    assert rows[0]["protocol"] == "croct"
    assert pages.port


@pytest.fixture
def judge(chromium: Browser, collector: CollectorProcess) -> Iterator[Judge]:
    """The operator's tab."""
    with Judge(chromium, collector) as found:
        yield found


def test_the_button_shows_the_row_it_made(judge: Judge, collector: CollectorProcess) -> None:
    """One press: one event of that site, which the page shows; pressed again, another."""
    page = judge.open("/dashboard/install")
    for count in (1, 2):
        page.click("text=Send a test event")
        page.wait_for_url("**/dashboard/install?site=demo&sent=*")
        assert "Accepted: it is a row." in page.inner_text("main")
        assert collector.query("SELECT count(*) AS n FROM events")[0]["n"] == count
    assert judge.safe() == []
    collector.terminate()
    assert {row["event_type"] for row in published(collector)} == {"test_event"}
