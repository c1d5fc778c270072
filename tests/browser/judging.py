"""What is asked of any page of the dashboard in a browser, whatever it shows.

Owns how a page is looked at: faults in the console, requests that failed, accessibility by
axe-core, width, keyboard. Must not know what a page is about.
"""

from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from playwright.sync_api import Browser, Page, Response

from collector.dashboard.frame import PAGES
from tests.browser.browsing import unavailable
from tests.support.process import CollectorProcess

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
WIDTHS: Final = (390, 1_024, 1_600)
_AXE: Final = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
_TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_SETTLE_TRIES: Final = 150
_POLL_MS: Final = 200
_WATCH: Final = """
    window.violations = [];
    document.addEventListener('securitypolicyviolation',
        event => window.violations.push(event.violatedDirective + ' ' + event.blockedURI));
"""
# Scripts and styles are files of ours; whatever else runs, frames or leads away, somebody sent.
_STRANGE: Final = """() => [
    ...[...document.querySelectorAll('style, img, iframe, object, embed, base, script:not([src])')]
        .map(one => one.localName),
    ...[...document.querySelectorAll('*')].flatMap(one => [...one.attributes]
        .filter(a => /^(on|style$)/.test(a.name) || (/^(href|action|src)$/.test(a.name) &&
            !/^(\\/dashboard|#|\\?)/.test(a.value)))
        .map(a => one.localName + ' ' + a.name + '=' + a.value))]"""
_CONTROLS: Final = """[...document.querySelector(within).querySelectorAll(
        'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')]
    .filter(one => one.checkVisibility({visibilityProperty: true}) && !one.disabled)"""
_COUNT_FOCUS: Final = f"""within => {{
    window.controls = {_CONTROLS};
    window.reached = new Set();
    window.unseen = [];
    document.addEventListener('focusin', event => {{
        window.reached.add(event.target);
        const style = getComputedStyle(event.target);
        if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) === 0) {{
            window.unseen.push(event.target.outerHTML.slice(0, 120));
        }}
    }});
    const start = document.querySelector(within);
    start.tabIndex = -1;
    start.focus();
    window.reached.clear();
    window.unseen = [];
    return window.controls.length;
}}"""
_MISSED: Final = """() => [window.controls
    .filter(one => !window.reached.has(one) && one.isConnected)
    .map(one => one.outerHTML.slice(0, 120)), window.unseen]"""


class Judge:
    """One tab, and all that must not happen in it. Use it as a context manager."""

    def __init__(self, browser: Browser, collector: CollectorProcess, **options: Any) -> None:
        self._url = collector.url
        self.context = browser.new_context(reduced_motion="reduce", **options)
        self.context.add_init_script(_WATCH)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self.page.on("response", self._on_response)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.context.close()

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status} for {response.url}")

    def open(self, path: str) -> Page:
        """Go to a page, and wait until every question of it is answered."""
        self.page.goto(self._url + path)
        self.settle()
        self.page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        return self.page

    def settle(self, *, reloads: bool = False) -> None:
        """Wait until every question is answered; `reloads`: by loading the page again."""
        # Looked at again and again: the policy of the pages lets no text be run, not ours either.
        for _ in range(_SETTLE_TRIES):
            if not self.page.locator("main .pending").count():
                return
            self.page.wait_for_timeout(_POLL_MS)
            if reloads:
                self.page.reload()
        raise TimeoutError(f"still being counted: {self.page.url}")

    def safe(self) -> list[str]:
        """What ran, was blocked, failed, or is no part of a page of ours."""
        violations: list[str] = self.page.evaluate("violations")
        strange: list[str] = self.page.evaluate(_STRANGE)
        hacked = self.page.evaluate("typeof hacked") != "undefined"
        return [*self.faults, *violations, *strange, *(["a script ran"] if hacked else [])]

    def inaccessible(self, theme: Theme) -> list[str]:
        """What axe-core finds against WCAG 2.2 A and AA; in the second theme, of colours only."""
        if not _AXE.exists():
            unavailable("axe-core is not installed; run tests/browser/setup")
        self.page.emulate_media(color_scheme=theme)
        only = {"type": "tag", "values": _TAGS}
        if theme != THEMES[0]:
            only = {"type": "rule", "values": ["color-contrast"]}
        if self.page.evaluate("typeof axe") == "undefined":
            self.page.evaluate(_AXE.read_text(encoding="utf-8"))
        run = "only => axe.run(document, {runOnly: only, resultTypes: ['violations']})"
        found = self.page.evaluate(run, only)
        return [
            f"{theme}: {one['id']}: {node['target']} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"][:3]
        ]

    def wider(self, width: int) -> int:
        """By how many pixels the page is wider than the window; then it scrolls sideways."""
        self.page.set_viewport_size({"width": width, "height": 900})
        found: int = self.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        return max(found, 0)

    def unreachable(self, within: str) -> list[str]:
        """Controls that the Tab key does not come to, and those that do not show that it has."""
        count: int = self.page.evaluate(_COUNT_FOCUS, within)
        for _ in range(count + 3):
            self.page.keyboard.press("Tab")
        missed, unseen = self.page.evaluate(_MISSED)
        return [*(f"not reached: {one}" for one in missed), *(f"not seen: {one}" for one in unseen)]

    def links(self) -> dict[str, str]:
        """One link of each kind in the page's own part: by path and names of members."""
        hrefs: list[str] = self.page.eval_on_selector_all(
            "main a[href^='/dashboard']", "all => all.map(one => one.getAttribute('href'))"
        )
        return {shape(href): href for href in reversed(hrefs)}


def shape(href: str) -> str:
    """What is alike in links to pages that differ in their data only."""
    parts = urlsplit(href)
    names = sorted({name for name, value in parse_qsl(parts.query) if value})
    return f"{parts.path}?{'&'.join(names)}"


def pages_of(collector: CollectorProcess) -> list[str]:
    """The pages of the navigation that are there."""
    paths = [path for group in PAGES.values() for path, _ in group]
    return [path for path in paths if collector.request("GET", path).status == 200]
