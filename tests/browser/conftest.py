"""A real Chromium, a server of pages, and tabs that visit them."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

from tests.browser.browsing import BUNDLES, PAGES, PageServer, Tab, Visit, unavailable
from tests.support.process import CollectorProcess

_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No look-ups in the background: they would fail on a closed network, and take time.
_FLAGS: Final = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser for all tests of this folder."""
    executable = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if executable is None:
        unavailable("no Chromium found; tests/browser/setup tells why")
    # Playwright's loop counts as running in this thread until it is closed, hence no wider scope.
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        except Error as error:
            unavailable(f"{executable} does not start: {error}")
        with browser:
            yield browser


@pytest.fixture
def pages() -> Iterator[PageServer]:
    """The pages, on another origin than any collector."""
    for name in ("sdk.js", "plug.js"):
        bundle = BUNDLES / name
        if not bundle.exists() or bundle.stat().st_mtime < (PAGES / name).stat().st_mtime:
            unavailable(f"the bundle {name} is missing or outdated; run tests/browser/setup")
    with PageServer() as server:
        yield server


@pytest.fixture
def visit(chromium: Browser, pages: PageServer) -> Iterator[Visit]:
    """Opens pages; each in a profile of its own, German and in Berlin."""
    contexts = []
    # Without a display Chromium says "HeadlessChrome", which visitors' browsers do not.
    version = chromium.version.partition(".")[0]
    user_agent = (
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        f"Chrome/{version}.0.0.0 Safari/537.36"
    )

    def open_page(collector: CollectorProcess, page: str, host: str = "localhost") -> Tab:
        context = chromium.new_context(
            locale="de-DE", timezone_id="Europe/Berlin", user_agent=user_agent
        )
        contexts.append(context)
        pages.collector_url = collector.url
        tab = Tab(context, collector_port=collector.port)
        tab.page.goto(f"http://{host}:{pages.port}/{page}")
        return tab

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    """A running collector with the example's site and no limits."""
    with CollectorProcess(tmp_path) as process:
        yield process
