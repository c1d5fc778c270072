"""Web pages that include the collector's script, and their visitors.

Owns what tests of the script share: pages made by a test, what left the browser, the rows of it.
Must not know how the script works.
"""

import json
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Request

from tests.browser.browsing import AGENT, PageServer, Tab
from tests.support.process import CollectorProcess

SCAN: Final = "7ad26d4f-3181-4ef8-b6ca-b8f59499dd43"
EVERYTHING: Final = {
    "autoPageview": True,
    "autoClicks": True,
    "autoForms": True,
    "autoScroll": True,
}
# As docs/SNIPPET.md has it.
STUB: Final = (
    "window.scanova=window.scanova||function(){(scanova.q=scanova.q||[]).push(arguments)};"
)

_EVENTS: Final = """
    SELECT * FROM events WHERE page_url LIKE $$%%%s/%s/%%$$ ORDER BY event_time, received_time
"""


class Visitor(Tab):
    """A tab that remembers what it sent to the collector, answered or not."""

    def __init__(self, context: BrowserContext, *, collector_port: int) -> None:
        self.requests: list[Request] = []
        self._port = collector_port
        super().__init__(context, collector_port=collector_port)
        self.page.on("request", self._on_request)

    def _on_request(self, request: Request) -> None:
        if urlsplit(request.url).port == self._port and request.method != "GET":
            self.requests.append(request)

    @property
    def sent(self) -> list[list[dict[str, Any]]]:
        """The events of each request, in order."""
        bodies = [json.loads(request.post_data or "") for request in self.requests]
        return [body.get("events", [body]) for body in bodies]

    @property
    def ids(self) -> list[str]:
        """The ids of the events of every request, as often as they were sent."""
        return [event["event_id"] for events in self.sent for event in events]

    def call(self, *arguments: object) -> None:
        """Call `scanova` as the page would."""
        self.page.evaluate("given => scanova(...given)", list(arguments))

    def storage(self) -> dict[str, Any]:
        """What lies in the browser for the page: cookies, and both storages."""
        kept: dict[str, Any] = self.page.evaluate(
            "({cookie: document.cookie, local: {...localStorage}, tab: {...sessionStorage}})"
        )
        return kept


class Shop(PageServer):
    """A site whose pages the tests make; each test has a folder of its own."""

    def __init__(self, browser: Browser, collector: CollectorProcess) -> None:
        super().__init__()
        self._browser = browser
        self._collector = collector
        self._made: dict[str, str] = {}
        self._contexts: list[BrowserContext] = []

    def __enter__(self) -> Self:
        """Open."""
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send the visitors home, and close."""
        for context in self._contexts:
            context.close()
        super().__exit__(kind, error, trace)

    def file(self, path: str) -> bytes | None:
        """A page that was made."""
        page = self._made.get(path)
        return super().file(path) if page is None else page.encode()

    def media(self, path: str) -> str:
        """What was made is HTML, whatever it is called."""
        return super().media("page.html" if path in self._made else path)

    def make(self, *paths: str, head: str = "", body: str = "", **options: object) -> None:
        """Have a page at each of `paths`, which calls `init` with `options` and is high.

        `head` and `body` are HTML; `head` stands behind the call and in front of the script.
        """
        given = json.dumps(options)
        self.write(
            *paths,
            head=(
                f"<script>{STUB}scanova('init', 'demo', {given});</script>{head}"
                f'<script async src="{self._collector.url}/s.js"></script>'
            ),
            body=body,
        )

    def write(self, *paths: str, head: str, body: str = "") -> None:
        """Have a page with this HTML at each of `paths`."""
        for path in paths:
            self._made[path] = (
                '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Shop</title>'
                f'<link rel="icon" href="data:,">{head}</head>'
                f'<body style="min-height: 4000px">{body}</body></html>'
            )

    def url(self, path: str) -> str:
        """The address of a page."""
        return f"http://localhost:{self.port}{path}"

    def visitor(self, context: BrowserContext | None = None) -> Visitor:
        """Somebody with a browser, by default a new one."""
        if context is None:
            version = self._browser.version.partition(".")[0]
            context = self._browser.new_context(locale="de-DE", user_agent=AGENT.format(version))
        self._contexts.append(context)
        return Visitor(context, collector_port=self._collector.port)

    def visit(self, path: str) -> Visitor:
        """Somebody new on this page, whose script has run."""
        visitor = self.visitor()
        self.go(visitor, path)
        return visitor

    def go(self, visitor: Visitor, path: str) -> None:
        """Load a page; returns when its script has run."""
        visitor.page.goto(self.url(path))
        # An expression that is a function would be called.
        visitor.page.wait_for_function("() => Boolean(window.__scnv)")

    def rows(self, folder: str) -> list[dict[str, Any]]:
        """The published rows of pages in `folder`, in order of their time."""
        rows = self._collector.published(_EVENTS % (f":{self.port}", folder))
        for row in rows:
            row["metadata"] = json.loads(row["metadata"] or "null")
        return rows

    def wait_for(self, visitor: Visitor, folder: str, count: int) -> list[dict[str, Any]]:
        """The rows of `folder` as soon as there are `count`, while the page lives."""
        rows: list[dict[str, Any]] = []

        def have_come() -> bool:
            # Publishing takes longer than looking, which costs more.
            visitor.page.wait_for_timeout(200)
            rows[:] = self.rows(folder)
            return len(rows) >= count

        visitor.wait_until(have_come, timeout_s=30, what=f"{count} rows of {folder} are published")
        return rows
