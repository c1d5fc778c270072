"""A visitor's side of the browser tests: the server of the pages, and one tab of a real Chromium.

Owns what a test may see of a tab: what the SDK tracked, what was requested, what went wrong. Must
not know what the collector makes of it.
"""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol, Self
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Response

from tests.support.process import CollectorProcess

PAGES: Final = Path(__file__).parent / "pages"
BUNDLES: Final = Path(__file__).parent / "node_modules" / ".bundle"
APP_ID: Final = "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a"
TRACK: Final = "/client/web/track"
CID: Final = "/client/web/cid"

# No look-ups in the background: they would fail on a closed network, and take time.
FLAGS: Final = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Without a display Chromium says "HeadlessChrome", which visitors' browsers do not.
AGENT: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/{}.0.0.0 Safari/537.36"
)

_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_TYPES: Final = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}
_POLL_MS: Final = 100


def unavailable(reason: str) -> NoReturn:
    """Skip on a user's machine; fail in CI, where nothing may be missing."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def executable() -> str:
    """Where Chromium is; without one the test is skipped."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    return found or unavailable("no Chromium found; tests/browser/setup tells why")


class PageServer:
    """Serves `pages/` and the bundles on a free loopback port; another origin than the collector.

    `collector_url` is what `/settings.js` tells the pages, `cache_control` goes with every file.
    Use it as a context manager.
    """

    def __init__(self) -> None:
        self.collector_url = ""
        self.cache_control = "no-store"
        server = self

        class Handler(BaseHTTPRequestHandler):
            """One request for a file."""

            def do_GET(self) -> None:
                """Answer with the file of that name."""
                path = urlsplit(self.path).path
                body = server.file(path)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Type", server.media(path))
                self.send_header("Cache-Control", server.cache_control)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def media(self, path: str) -> str:
        """The type of the file at `path`."""
        return _TYPES.get(Path(path).suffix, "text/plain")

    def file(self, path: str) -> bytes | None:
        """The body for `path`, None if there is none."""
        if path == "/settings.js":
            settings = {"collector": self.collector_url, "appId": APP_ID}
            return f"window.settings = {json.dumps(settings)};".encode()
        # Scripts are served as bundles: the modules in `pages/` import from npm packages.
        file = (BUNDLES if path.endswith(".js") else PAGES) / path[1:]
        return file.read_bytes() if file.is_file() else None


class Tab:
    """One tab of a browser with an empty profile.

    `console_errors`, `failures` and `answers` grow while Playwright's loop runs, that is, while a
    method of this class or of `page` waits for the browser.
    """

    def __init__(self, context: BrowserContext, *, collector_port: int) -> None:
        self.console_errors: list[str] = []
        self.failures: list[str] = []
        self._responses: list[Response] = []
        self._collector_port = collector_port
        self.page: Page = context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        self.page.on("requestfailed", self._on_failure)
        self.page.on("response", self._on_response)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.console_errors.append(message.text)

    def _on_failure(self, request: Request) -> None:
        self.failures.append(f"{request.method} {request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if urlsplit(response.url).port == self._collector_port:
            self._responses.append(response)

    @property
    def answers(self) -> list[tuple[str, str, int]]:
        """Method, path and status of what the collector answered, in order."""
        return [
            (response.request.method, urlsplit(response.url).path, response.status)
            for response in self._responses
        ]

    def client_ids_given(self) -> list[str]:
        """The client ids that the collector answered with since the page was loaded, in order."""
        return [
            response.text()
            for response in self._responses
            if urlsplit(response.url).path == CID and response.ok
        ]

    def problems(self) -> list[dict[str, Any]]:
        """The bodies of answers to beacons that were errors."""
        return [
            response.json()
            for response in self._responses
            if urlsplit(response.url).path == TRACK and not response.ok
        ]

    def beacons(self) -> list[dict[str, Any]]:
        """The bodies of all beacons that were answered, in order."""
        return [
            json.loads(response.request.post_data or "")
            for response in self._responses
            if urlsplit(response.url).path == TRACK and response.request.method == "POST"
        ]

    def click(self, *selectors: str) -> None:
        """Real mouse clicks, one after the other."""
        for selector in selectors:
            self.page.click(selector)

    def tracked(self) -> list[dict[str, Any]]:
        """What the SDK says it tracked in this tab, over all page loads: type, time (ms), user."""
        text = self.page.evaluate("sessionStorage.getItem('test.tracked') ?? '[]'")
        events: list[dict[str, Any]] = json.loads(text)
        return events

    def client_id(self) -> str:
        """The client id that the SDK keeps."""
        text: str = self.page.evaluate("localStorage.getItem('croct.cid')")
        return text

    def fetch(self, url: str, options: dict[str, Any]) -> dict[str, Any]:
        """`fetch` by the page: `status`, `headers` and `body` as the page may read them.

        Raises if the browser hides the answer from the page, as it does without CORS headers.
        """
        answer: dict[str, Any] = self.page.evaluate(
            """async ([url, options]) => {
                const answer = await fetch(url, options);
                const headers = Object.fromEntries(answer.headers);
                return {status: answer.status, headers, body: await answer.text()};
            }""",
            [url, options],
        )
        return answer

    def wait_until(self, condition: Callable[[], object], *, what: str, timeout_s: float) -> None:
        """Poll until `condition` holds, while the page goes on. Raises TimeoutError with `what`."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"after {timeout_s} s still not: {what}")
            self.page.wait_for_timeout(_POLL_MS)


class Visit(Protocol):
    """How a test opens a page; the fixture `visit` is one."""

    def __call__(self, collector: CollectorProcess, page: str, host: str = "localhost") -> Tab:
        """Open `page` in a new profile, from `host`; its SDK is pointed at `collector`."""
