"""How numbered events are sent: what each endpoint wants, and what its answer says.

Pure. An event's number is in its identity and in `visitor_id`, behind the tag of the run, so that
the same number is always the same event to the collector.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

TAG_CHARS: Final = 8
SITE: Final = "proof"
TRACKING_CODE: Final = "ZV_proof"
APP_ID: Final = "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a"
DOMAIN: Final = "localhost"

_BROWSER: Final = {
    "Origin": f"http://{DOMAIN}",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept-Language": "en",
    "Content-Type": "application/json",
}
# An identity: the tag, then the number as eight hex digits at the end, in the form of a UUID.
_ID: Final = "{tag}-0000-4000-8000-0000%(number)08x"

Verdict = Literal["stored", "later", "refused"]


class Answer(msgspec.Struct, frozen=True):
    """What an answer says of all events of its request.

    `repeats`: how many of them were called repeats, None where the protocol does not tell.
    """

    verdict: Verdict
    repeats: int | None = None


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint: a request carries `events` of them, from a browser or with the key.

    `event`: JSON of one with %-places for its number, the time and padding; `frame`: what stands
    around them. `stores_repeats`: a repeat is a row of its own, marked.
    """

    name: str
    path: str
    event: str
    frame: tuple[bytes, bytes] = (b"", b"")
    events: int = 1
    is_browser: bool = False
    has_client_id: bool = False
    stores_repeats: bool = False


class Request(msgspec.Struct, frozen=True):
    """One request, the same bytes whenever it is sent: `count` events from number `first` on."""

    channel: Channel
    first: int
    count: int
    headers: Mapping[str, str]
    body: bytes


_SCANOVA_ID: Final = f'"site_id":"{SITE}","event_id":"{_ID}","visitor_id":"{_ID}"'
_SCANOVA_BROWSER: Final = (
    f'{{{_SCANOVA_ID},"event_type":"page_view","page_url":"http://{DOMAIN}/proof",'
    '"metadata":{"pad":"%(pad)s"}}'
)
_SCANOVA_SERVER: Final = (
    f'{{{_SCANOVA_ID},"event_name":"purchase","scan_session_id":"{_ID}",'
    '"properties":{"pad":"%(pad)s"}}'
)
_ZENOVAY: Final = (
    f'{{"type":"event","ts":%(now_ms)d,"visitorId":"{_ID}","idempotencyKey":"{_ID}",'
    '"props":{"name":"proof","pad":"%(pad)s"}}'
)
_CROCT: Final = (
    f'{{"context":{{"url":"http://{DOMAIN}/proof","tabId":"{_ID}"}},'
    '"payload":{"type":"eventOccurred","name":"proof"},'
    '"originalTime":%(now_ms)d,"departureTime":%(now_ms)d}'
)
_LIST: Final = (b'{"events":[', b"]}")

CHANNELS: Final = (
    Channel(
        name="zenovay",
        path="/api/v1/events",
        event=_ZENOVAY,
        events=1_000,
        frame=(b'{"trackingCode":"%b","events":[' % TRACKING_CODE.encode(), b"]}"),
    ),
    Channel(
        name="scanova batch",
        path="/collect/batch",
        event=_SCANOVA_BROWSER,
        events=100,
        frame=_LIST,
        is_browser=True,
        stores_repeats=True,
    ),
    Channel(
        name="scanova server batch",
        path="/server-events/batch",
        event=_SCANOVA_SERVER,
        events=100,
        frame=_LIST,
        stores_repeats=True,
    ),
    Channel(
        name="scanova",
        path="/ct",
        event=_SCANOVA_BROWSER,
        is_browser=True,
        stores_repeats=True,
    ),
    Channel(
        name="scanova server", path="/server-events", event=_SCANOVA_SERVER, stores_repeats=True
    ),
    Channel(
        name="croct",
        path="/client/web/track",
        event=_CROCT,
        is_browser=True,
        has_client_id=True,
    ),
)


class Maker:
    """Makes requests of one run. `tag`: eight hex digits; `key`: the text of an API key."""

    def __init__(self, tag: str, key: str) -> None:
        self._id = _ID.format(tag=tag)
        self._events = {
            channel.name: channel.event.replace("{tag}", tag).encode() for channel in CHANNELS
        }
        self._keyed = {"X-API-Key": key, "Content-Type": "application/json"}

    def identity(self, number: int) -> str:
        """The id of an event, as it was sent and is stored."""
        return self._id % {"number": number}

    def make(
        self, channel: Channel, first: int, count: int, now_ms: int, pad_chars: int
    ) -> Request:
        """The request with events `first` and up, each with so many characters of padding."""
        template = self._events[channel.name]
        pad = b"x" * pad_chars
        start, end = channel.frame
        events = b",".join(
            [
                template % {b"number": number, b"now_ms": now_ms, b"pad": pad}
                for number in range(first, first + count)
            ]
        )
        headers = dict(_BROWSER if channel.is_browser else self._keyed)
        if channel.has_client_id:
            headers["X-App-Id"] = APP_ID
            headers["X-Client-Id"] = self.identity(first)
        return Request(channel, first, count, headers, start + events + end)


class _ScanovaCounts(msgspec.Struct):
    accepted: int
    duplicates: int


class _ZenovayCounts(msgspec.Struct, rename="camel"):
    accepted_count: int
    deduped_count: int


_scanova_counts: Final = msgspec.json.Decoder(_ScanovaCounts)
_zenovay_counts: Final = msgspec.json.Decoder(_ZenovayCounts)


def read_answer(request: Request, status: int, body: bytes) -> Answer:
    """What the collector promises by an answer; a success that leaves an event out is "refused"."""
    if status == 503:
        return Answer("later")
    channel = request.channel
    if status != (204 if channel.has_client_id else 200):
        return Answer("refused")
    if channel.events == 1:
        return Answer("stored")
    try:
        if channel.stores_repeats:
            found = _scanova_counts.decode(body)
            accepted, repeats = found.accepted, found.duplicates
        else:
            counts = _zenovay_counts.decode(body)
            accepted, repeats = counts.accepted_count, counts.deduped_count
    except msgspec.DecodeError:
        return Answer("refused")
    if accepted + repeats != request.count:
        return Answer("refused")
    return Answer("stored", repeats)
