"""Pages that stay open become fresher by themselves, and disturb nobody: live.js in a browser."""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route

from collector.admin import OVERVIEW
from collector.admin_stream import PATH as STREAM
from collector.dashboard.eventlist import RECEIPT
from tests.browser.test_dashboard import KEY_HEADERS, scanova_server, send
from tests.support.process import CollectorProcess

pytestmark = [pytest.mark.end_to_end, pytest.mark.browser]

_LOOK_MS: Final = 100
# Longer than a page that waits for an answer lets pass between two looks, at first.
_WHILE_MS: Final = 3_000
_LENGTHS: Final = frozenset({"content-length", "content-encoding", "transfer-encoding"})
_ACCEPTED: Final = "[data-live='sum-accepted']"
_WAITING: Final = '<p class="pending" id="waiting">Being counted.</p></main>'
_MARK: Final = "document.querySelector('main').isOld = true"
_IS_MARKED: Final = "document.querySelector('main').isOld === true"
_HIDE: Final = """is_hidden => {
    Object.defineProperty(document, 'hidden', {get: () => is_hidden, configurable: true});
    document.dispatchEvent(new Event('visibilitychange'));
}"""
# Of the first series: heights of the columns, what points at them, and the table behind them.
_CHART: Final = """() => {
    const plot = document.querySelector("[data-live='per-minute']");
    const columns = [...plot.querySelectorAll('rect.s1')];
    const cells = plot.parentElement.querySelectorAll('tbody td:nth-child(2)');
    const sum = numbers => numbers.reduce((one, other) => one + other, 0);
    return [
        sum(columns.map(one => Number(one.getAttribute('height')))),
        sum(columns.map(one => Number(/: ([0-9]+) accepted$/.exec(one.textContent)[1]))),
        sum([...cells].map(one => Number(one.textContent))),
    ];
}"""


class Opened:
    """A page of a collector, and the paths that it asked for. Use it as a context manager."""

    def __init__(self, browser: Browser, collector: CollectorProcess) -> None:
        self.is_waiting = False
        self.asked: list[str] = []
        self._url = collector.url
        self._context = browser.new_context()
        self.page: Page = self._context.new_page()
        self.page.on("request", lambda request: self.asked.append(urlsplit(request.url).path))

    def __enter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it, whatever it is being told at that moment."""
        self.page.unroute_all(behavior="ignoreErrors")
        self._context.close()

    def open(self, path: str) -> Page:
        """Go there; as long as `is_waiting`, the page says that something is being counted."""
        self.page.route(lambda url: urlsplit(url).path == path, self._answer)
        self.page.goto(self._url + path)
        return self.page

    def _answer(self, route: Route) -> None:
        got = route.fetch()
        fields = {name: value for name, value in got.headers.items() if name not in _LENGTHS}
        text = got.text().replace("</main>", _WAITING) if self.is_waiting else got.text()
        route.fulfill(status=got.status, headers=fields, body=text)

    @property
    def accepted(self) -> int:
        """What the overview says was accepted."""
        return int(self.page.locator(_ACCEPTED).inner_text())

    def is_marked(self) -> bool:
        """Whether the page is still that which was marked."""
        return bool(self.page.evaluate(_IS_MARKED))

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Poll until `condition` holds, while the page goes on."""
        deadline_s = time.monotonic() + 40
        while not condition():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"still not: {what}")
            self.page.wait_for_timeout(_LOOK_MS)


def _send(collector: CollectorProcess) -> None:
    assert send(collector, "/server-events", KEY_HEADERS, scanova_server())


def test_the_stream_brings_numbers_up_to_date(
    tracking: CollectorProcess, chromium: Browser
) -> None:
    """Texts, the chart, what points at its columns and the table behind it: all say the same, and
    the page is not loaded again.
    """
    with Opened(chromium, tracking) as one:
        one.open(OVERVIEW)
        one.wait_for(lambda: not one.page.locator("main .pending").count(), "everything is told")
        loads = one.asked.count(OVERVIEW)
        one.page.evaluate(_MARK)
        wanted = one.accepted + 3
        for _ in range(3):
            _send(tracking)
        one.wait_for(lambda: one.accepted == wanted, "the sum has grown")
        one.wait_for(lambda: one.page.evaluate(_CHART)[2] == wanted, "the chart has grown")
        height, pointed, _ = one.page.evaluate(_CHART)
        assert height > 0
        assert pointed == wanted
        assert one.is_marked()
        assert one.asked.count(OVERVIEW) == loads


def test_what_was_opened_and_focused_stays(tracking: CollectorProcess, chromium: Browser) -> None:
    """When what was being counted is known, the page is replaced under whoever reads it."""
    _send(tracking)
    with Opened(chromium, tracking) as one:
        one.is_waiting = True
        page = one.open(OVERVIEW)
        one.wait_for(page.locator(".events details").count, "the newest events are there")
        name = page.evaluate(
            """() => {
                const event = document.querySelector('.events details');
                event.open = true;
                document.querySelector('.chart details').open = true;
                event.querySelector('summary').focus();
                document.querySelector('main').isOld = true;
                return event.id;
            }"""
        )
        one.is_waiting = False
        one.wait_for(lambda: not page.locator("main .pending").count(), "it is known")
        assert not one.is_marked(), "another main is in the place of the old one"
        found = page.evaluate(
            """name => [
                document.getElementById(name).open,
                document.querySelector('.chart details').open,
                document.activeElement.localName,
                document.activeElement.parentElement.id,
            ]""",
            name,
        )
        assert found == [True, True, "summary", name]


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("document.querySelector('#look-up').focus()", "document.activeElement.blur()"),
        (
            "getSelection().selectAllChildren(document.querySelector('main label'))",
            "getSelection().removeAllRanges()",
        ),
    ],
    ids=["typing", "marking"],
)
def test_who_types_or_marks_is_waited_for(
    begin: str, end: str, tracking: CollectorProcess, chromium: Browser
) -> None:
    """Nothing is taken from under the hand; it goes on afterwards."""
    with Opened(chromium, tracking) as one:
        one.is_waiting = True
        page = one.open(RECEIPT)
        page.evaluate(begin)
        # A page that was asked for before may still arrive, and is not taken.
        page.wait_for_timeout(_LOOK_MS)
        page.evaluate(_MARK)
        page.wait_for_timeout(_WHILE_MS)
        assert one.is_marked()
        page.evaluate(end)
        one.wait_for(lambda: not one.is_marked(), "it is replaced")


def test_nothing_is_fetched_while_the_page_is_hidden(
    tracking: CollectorProcess, chromium: Browser
) -> None:
    """Neither the page nor the stream; when it is seen again, both go on."""
    with Opened(chromium, tracking) as one:
        one.is_waiting = True
        page = one.open(OVERVIEW)
        one.wait_for(lambda: one.asked.count(OVERVIEW) > 1, "it is looked at again")
        page.evaluate(_HIDE, True)
        page.wait_for_timeout(_WHILE_MS)  # what was under way arrives
        asked, accepted = len(one.asked), one.accepted
        _send(tracking)
        page.wait_for_timeout(_WHILE_MS)
        assert one.asked[asked:] == []
        assert one.accepted == accepted
        page.evaluate(_HIDE, False)
        one.wait_for(lambda: one.accepted == accepted + 1, "it is up to date")
        one.wait_for(lambda: {OVERVIEW, STREAM} <= {*one.asked[asked:]}, "both go on")


def test_a_stream_that_was_refused_is_asked_for_again(
    tracking: CollectorProcess, chromium: Browser
) -> None:
    """Too many pages listen: this one is loaded again now and then, and listens when it may."""
    refusals = [503]

    def answer(route: Route) -> None:
        if refusals:
            route.fulfill(status=refusals.pop(), body="{}", content_type="application/json")
        else:
            route.continue_()

    with Opened(chromium, tracking) as one:
        one.page.route(lambda url: urlsplit(url).path == STREAM, answer)
        one.open(OVERVIEW)
        one.wait_for(lambda: one.asked.count(STREAM) > 1, "it listens")
        accepted = one.accepted
        _send(tracking)
        one.wait_for(lambda: one.accepted == accepted + 1, "it is told")


def test_a_collector_that_is_gone_is_told(tmp_path: Path, chromium: Browser) -> None:
    """Nobody takes the last numbers for those of now; the note goes when it answers again."""
    with CollectorProcess(tmp_path) as collector, Opened(chromium, collector) as one:
        page = one.open(OVERVIEW)
        one.wait_for(lambda: STREAM in one.asked, "it listens")
        one.wait_for(lambda: not page.locator("main .pending").count(), "everything is told")
        page.wait_for_timeout(_WHILE_MS)
        assert "Not up to date" not in page.inner_text("main")
        collector.kill()
        one.wait_for(lambda: "Not up to date" in page.inner_text("main"), "it is told")
        collector.start()
        one.wait_for(lambda: "Not up to date" not in page.inner_text("main"), "it is well")
