"""Pages of the dashboard over a data directory, without a server: a query in, text and tables out.

Questions are asked at once and on this thread. On a busy machine that takes longer than a page
waits, so that it is loaded again, as a browser does.
"""

import asyncio
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Protocol, cast

from collector.admin import Route, Visit
from collector.admin_api import Api
from collector.admin_gate import Asker
from collector.asking import messages
from collector.config import Config
from collector.dashboard.answers import PENDING
from collector.dashboard.known import Known, Watch
from collector.panel_session import LakeSession
from collector.panels import Found, Panels, Question
from storage import Deadline, Files

# More than a page has questions.
_LOADS_MAX = 20


class Shown(HTMLParser):
    """What a browser would make of a page: `tables` by caption, headings first; links; text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.elements: set[str] = set()
        self.values: dict[str, str] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self._table: list[list[str]] = []
        self._caption = ""
        self._within = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        named = dict(attrs)
        self.elements.add(tag)
        if tag == "a":
            self.links.append(named.get("href") or "")
        elif tag == "script":
            self.scripts.append(named.get("src") or "")
        elif tag == "input":
            self.values[named.get("name") or ""] = named.get("value") or ""
        elif tag == "table":
            self._table, self._caption = [], ""
        elif tag == "tr":
            self._table.append([])
        elif tag in {"td", "th"}:
            self._table[-1].append("")
        if tag in {"caption", "td", "th"}:
            self._within = tag

    def handle_endtag(self, tag: str) -> None:
        """The end of an element."""
        if tag == "table":
            self.tables[self._caption] = self._table
        if tag == self._within:
            self._within = ""

    def handle_data(self, data: str) -> None:
        """Some text."""
        self.text += f"{data} " if not self._within else data
        if self._within == "caption":
            self._caption += data
        elif self._within:
            self._table[-1][-1] += data

    def rows(self, caption: str) -> list[list[str]]:
        """The rows of the table with a caption that begins so, without its headings."""
        [found] = [table for name, table in self.tables.items() if name.startswith(caption)]
        rows = [[cell.strip() for cell in row] for row in found[1:]]
        return [] if rows == [["none"]] else rows


class _Told(LakeSession):
    """A session whose answers come as they do from the process that answers questions."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, Files(), lambda: 0)

    def ask(
        self, question: Question, deadline: Deadline, progress: Callable[[float], None], /
    ) -> Found:
        """See LakeSession."""
        stream = io.BytesIO()
        messages.send(stream, messages.answer(super().ask(question, deadline, progress)))
        stream.seek(0)
        reply = messages.replied(stream)
        assert isinstance(reply, messages.Answer)
        return reply.found


class Owner(Protocol):
    """A page of the dashboard."""

    @property
    def routes(self) -> Sequence[Route]:
        """The rows of the table."""


def load(
    page: Callable[[Known], Owner],
    directory: Path,
    config: Config,
    today: date,
    query: Mapping[str, str],
) -> Shown:
    """A page over the files in `directory`, as somebody who was let in sees it."""
    session = _Told(directory)

    def run(ask: Callable[[], Any]) -> "asyncio.Future[Any]":
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(ask())
        return done

    async def play() -> bytes:
        known = Known(
            cast("Api", None),
            Panels(session, run=run, now_us=lambda: 0),
            cast("Watch", None),
            config=lambda: config,
            now_us=lambda: 0,
            today=lambda: today,
        )
        [route] = page(known).routes
        for _ in range(_LOADS_MAX):
            response = await route.answer(_visit(query))
            assert response.status == 200
            if f'class="{PENDING}"'.encode() not in response.body:
                break
        return bytes(response.body)

    try:
        return Shown(asyncio.run(play()).decode())
    finally:
        session.close()


def _visit(query: Mapping[str, str]) -> Visit:
    return Visit(
        by="loopback",
        session="",
        query=query,
        form={},
        csrf="",
        asker=cast("Asker", None),
        cookie=lambda _: "",
    )
