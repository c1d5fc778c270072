"""Pictures of every page of the dashboard, to be looked at by people.

    python -m tests.browser.pictures FOLDER

Starts a collector, fills it by `collector demo`, and takes every page in both themes at three
widths into the folder. With `--for-readme` only those that the documents show, into docs/images/.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from tests.browser.judging import THEMES, WIDTHS, Judge, Theme, pages_of
from tests.support.process import CollectorProcess

_IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
_SHOWN: Final[tuple[tuple[str, Theme], ...]] = (
    ("/dashboard", "light"),
    ("/dashboard", "dark"),
    ("/dashboard/pages", "light"),
    ("/dashboard/revenue", "dark"),
    ("/dashboard/install", "light"),
    ("/dashboard/origins?origin=https://www.example.com&site=demo", "light"),
)
_WIDTH: Final = 1_024
_HEIGHT: Final = 720
_BYTES_MAX: Final = 150_000
_QUALITY: Final = 80
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def _demonstration() -> Iterator[tuple[CollectorProcess, Browser]]:
    """A collector with some minutes' worth of a shop, and a browser."""
    executable = next(filter(None, map(shutil.which, _BROWSERS)))
    with (
        tempfile.TemporaryDirectory() as folder,
        CollectorProcess(Path(folder)) as collector,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=executable, args=["--disable-gpu"]) as browser,
    ):
        collector.run("demo", "--url", collector.url, "--seconds", "8", "--rate", "200")
        # A page that is refused, as a browser would send it.
        for host in ("www.example.com", "shop.example.net"):
            headers = {"Origin": f"https://{host}", "Content-Type": "application/json"}
            body = '{"site_id":"demo","event_type":"pageview"}'
            collector.request("POST", "/ct", body=body, headers=headers)
        yield collector, browser


def _name(path: str, theme: Theme, width: int) -> str:
    page = path.partition("?")[0].removeprefix("/dashboard").strip("/") or "overview"
    return f"{page}-{theme}-{width}"


def _all(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with _demonstration() as (collector, browser), Judge(browser, collector) as judge:
        for path in pages_of(collector):
            page = judge.open(path)
            page.eval_on_selector_all("details", "all => all.forEach(one => one.open = false)")
            for theme in THEMES:
                page.emulate_media(color_scheme=theme)
                for width in WIDTHS:
                    page.set_viewport_size({"width": width, "height": 900})
                    file = folder / f"{_name(path, theme, width)}.png"
                    page.screenshot(path=file, full_page=True)


def _for_readme() -> None:
    """One window each, as a PNG, or, where that is too large, as a JPEG."""
    with _demonstration() as (collector, browser), Judge(browser, collector) as judge:
        judge.page.set_viewport_size({"width": _WIDTH, "height": _HEIGHT})
        for path, theme in _SHOWN:
            judge.page.emulate_media(color_scheme=theme)
            page = judge.open(path)
            page.eval_on_selector_all("details", "all => all.forEach(one => one.open = false)")
            name = f"dashboard-{_name(path, theme, _WIDTH).removesuffix(f'-{_WIDTH}')}"
            picture, suffix = page.screenshot(), "png"
            if len(picture) > _BYTES_MAX:
                picture, suffix = page.screenshot(type="jpeg", quality=_QUALITY), "jpg"
            assert len(picture) <= _BYTES_MAX, name
            (_IMAGES / f"{name}.{suffix}").write_bytes(picture)


if __name__ == "__main__":
    if sys.argv[1:] == ["--for-readme"]:
        _for_readme()
    else:
        _all(Path(sys.argv[1]))
