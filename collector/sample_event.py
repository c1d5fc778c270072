"""One event of a site, sent to this very collector as a page of that site would send it.

It goes the way of every event, admission and limits included, and counts like any; `metadata` says
that it is a test. Must not know who asks for it.
"""

from collections.abc import AsyncIterator, Generator
from typing import Final

import msgspec

from collector.admin_gate import Asker
from collector.config import Site

PATH: Final = "/collect"
EVENT_TYPE: Final = "test_event"
# Of whoever asks: the row shows the browser and the address that the event was asked for by.
_PASSED_ON: Final = ("user-agent", "accept-language", "x-forwarded-for", "forwarded")
_encoder: Final = msgspec.json.Encoder()


class Sample(msgspec.Struct, frozen=True):
    """The head of the request, in the shape that the edge is handed."""

    client: str
    http_version: str
    headers: dict[str, str]
    method: str = "POST"
    path: str = PATH
    query_string: str = ""


class Whole:
    """A body that is there already; `edge` reads it like one that is received."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __call__(self) -> "Whole":
        """All of it."""
        return self

    def __await__(self) -> Generator[None, None, bytes]:
        """Nothing has to be waited for."""
        yield from ()
        return self._data

    def cancel(self) -> None:
        """There is nothing to give up."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Its one piece."""
        yield self._data


def page_of(site: Site) -> str:
    """The address of a page that may send events of the site, "" where none may."""
    for domain in site.allowed_domains:
        host = domain.replace("*.", "www.", 1)
        return f"https://[{host}]/" if ":" in host else f"https://{host}/"
    return ""


def sample(site: Site, event_id: str, asker: Asker) -> tuple[Sample, Whole]:
    """A test event, on behalf of `asker`: head and body of its request."""
    page = page_of(site)
    event = {
        "site_id": site.id,
        "event_type": EVENT_TYPE,
        "event_id": event_id,
        "page_url": page,
        "page_title": "Test event",
        "consent": "granted",
        "metadata": {"test": True, "sent_by": "dashboard"},
    }
    data = _encoder.encode(event)
    passed = {name: asker.headers.get(name) for name in _PASSED_ON}
    headers = {
        **{name: value for name, value in passed.items() if value is not None},
        "origin": page.removesuffix("/"),
        "content-type": "application/json",
        "content-length": str(len(data)),
    }
    return Sample(asker.client, asker.http_version, headers), Whole(data)
