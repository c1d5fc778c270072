"""A real Chromium, a server of pages, and tabs that visit them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

from tests.browser.browsing import (
    AGENT,
    BUNDLES,
    FLAGS,
    PAGES,
    PageServer,
    Tab,
    Visit,
    executable,
    unavailable,
)
from tests.browser.shop import Shop
from tests.support.process import CollectorProcess


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser for all tests of this folder."""
    path = executable()
    # Playwright's loop counts as running in this thread until it is closed, hence no wider scope.
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            unavailable(f"{path} does not start: {error}")
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
    user_agent = AGENT.format(chromium.version.partition(".")[0])

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


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector that the tests of a file share; each looks at its own pages only."""
    with CollectorProcess(tmp_path_factory.mktemp("tracking")) as process:
        yield process


@pytest.fixture
def shop(chromium: Browser, tracking: CollectorProcess) -> Iterator[Shop]:
    """Pages that include the script of `tracking`."""
    with Shop(chromium, tracking) as pages:
        yield pages
