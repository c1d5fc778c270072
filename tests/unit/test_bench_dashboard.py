"""The dashboard's measurement loads what there is, waits until it is complete, and tells what was
slowest.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench import dashboard
from bench.dashboard import (
    Load,
    figures_of,
    load,
    paths_there,
    ranges,
    wait_for_summaries,
    watching,
)
from bench.lakedata import Layout, generate
from bench.lakerows import Shape, site_name
from storage import Files, layout
from storage.datefolders import DateFolders
from storage.partwork import PartWork
from storage.summaries import folder_of


@contextmanager
def pages(pending: int) -> Iterator[tuple[int, list[str]]]:
    """A server with one page, which is pending so many times; its port, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            is_there = self.path.startswith("/dashboard/pages")
            self.send_response(200 if is_there else 404)
            self.end_headers()
            if is_there and len(asked) <= pending:
                self.wfile.write(b'<p class="pending">Being counted.</p>')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_page_is_loaded_until_it_is_complete() -> None:
    """Then some times more; only pages that are there are loaded at all."""
    with pages(pending=3) as (port, asked):
        one = load(port, "/dashboard/pages", "7 days", {"days": "7"})
        assert asked == ["/dashboard/pages?days=7"] * (4 + 5)
        assert one.complete_ms > one.first_ms
        assert one.slowest_ms >= max(one.first_ms, one.warm_ms)
        assert paths_there(port) == ["/dashboard/pages"]


def test_a_page_that_is_never_complete_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a figure, and the measurement goes on."""
    monkeypatch.setattr(dashboard, "_COMPLETE_S", 0.2)
    with pages(pending=1_000) as (port, _):
        one = load(port, "/dashboard/pages", "7 days", {"days": "7"})
    assert not one.is_complete
    figures = {figure.name: figure for figure in figures_of("rest", [one])}
    incomplete = figures["dashboard_rest_incomplete"]
    assert (incomplete.value, incomplete.note) == (1, "/dashboard/pages, 7 days")


def test_somebody_looks_at_every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over every range, again and again, until the measurement is over."""
    monkeypatch.setattr(dashboard, "_GLANCE_S", 0.0)
    with pages(pending=0) as (port, asked):
        with watching(port, 100) as taken:
            while len(taken) < 10:
                threading.Event().wait(0.005)
        looked = [path for path in asked if path.startswith("/dashboard/pages?days")]
        assert len(set(looked)) == len(ranges(100))
        assert len(taken) >= 10


def test_the_slowest_is_named() -> None:
    """A figure says which page over which range was the worst."""
    loads = [
        Load("/a", "7 days", 1.0, 20.0, 1.0, 20.0),
        Load("/b", "a year", 3.0, 10.0, 2.0, 10.0),
        Load("/c", "7 days", 2.0, 15.0, 1.5, 15.0),
    ]
    figures = {figure.name: figure for figure in figures_of("rest", loads)}
    assert figures["dashboard_rest_first_p50_ms"].value == 2.0
    assert figures["dashboard_rest_first_max_ms"].note == "/b, a year"
    assert figures["dashboard_rest_complete_max_ms"].value == 20.0
    assert figures["dashboard_rest_complete_max_ms"].note == "/a, 7 days"
    assert site_name(5) in {query.get("site") for query in ranges(100).values()}


def test_it_waits_for_every_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the parts that are to have one; it gives up when they do not come."""
    shape = Shape(rows=20_000, days=2, sites=10)
    assert sum(generate(tmp_path, shape, Layout(), threads=1)) == shape.rows
    (tmp_path / layout.TEMPORARY).mkdir()
    monkeypatch.setattr(dashboard, "_SUMMARIES_S", 0.0)
    with pytest.raises(Exception, match="2 summaries are missing"):
        wait_for_summaries(tmp_path)
    files = Files()
    work = PartWork(tmp_path, files, DateFolders(tmp_path, files, lambda: 0.0))
    for day in work.dates():
        work.summarise(day, is_open=True)
    work.compactor.close()
    assert len(layout.list_parts(folder_of(tmp_path))) == 2
    wait_for_summaries(tmp_path)
