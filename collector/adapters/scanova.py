"""The Scanova protocol: browser and server events, one by one and in batches of up to 100.

Owns the heads, the envelope of a batch and the endpoints. `scanova_readers` reads one event,
`scanova_events` and `scanova_metadata` judge it, `scanova_answers` answers. A body is taken for
JSON whatever its Content-Type says, because `sendBeacon` calls it text. Must not know which sites,
keys or budgets exist.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from collector.adapters import decoding, scanova_answers, scanova_described
from collector.adapters.contract import (
    BodyShape,
    Decode,
    Endpoint,
    Head,
    Request,
    Respond,
)
from collector.adapters.scanova_described import EVENTS_MAX
from collector.adapters.scanova_events import Sender
from collector.adapters.scanova_faults import NOT_AN_OBJECT, missing
from collector.adapters.scanova_metadata import holds_address
from collector.adapters.scanova_readers import BROWSER, SERVER, Reader
from collector.event import Batch, Event
from collector.refusal import (
    BATCH_SIZE,
    FIELD_TOO_DEEP,
    INVALID_FIELD,
    MALFORMED_BODY,
    MISSING_KEY,
    ORIGIN_MISSING,
    Refusal,
    Violation,
)

# --- what must not be kept


def _holds_address(body: bytes) -> bool:
    """The same in any spelling: what is refused was not looked through as what is stored is."""
    return holds_address(body) or holds_address(decoding.revealed(body).encode())


# --- the head

_BEARER: Final = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_NO_ORIGIN: Final = Refusal(
    ORIGIN_MISSING, "Neither Origin nor Referer tells where the request comes from"
)
_NO_KEY: Final = Refusal(MISSING_KEY, "An API key is required in the header X-API-Key")


def read_browser_head(request: Request) -> Head | Refusal:
    """Browsers show no credentials; only that they say where they come from is asked here."""
    if "origin" in request.headers or "referer" in request.headers:
        return Head()
    return _NO_ORIGIN


def read_server_head(request: Request) -> Head | Refusal:
    """Find the API key; `Authorization: Bearer` counts only where there is no `X-API-Key`."""
    if "x-api-key" in request.headers:
        text = request.headers.get("x-api-key", "").strip()
    else:
        match = _BEARER.fullmatch(request.headers.get("authorization", "").strip())
        text = match[1] if match else ""
    return Head(key=text) if text else _NO_KEY


# --- the body

_BAD_LIST: Final = Refusal(
    INVALID_FIELD,
    "value is not a valid list",
    path=("body", "events"),
    rule="type_error.list",
)
_NO_ITEMS: Final = Refusal(
    BATCH_SIZE,
    "ensure this value has at least 1 items",
    path=("body", "events"),
    rule="value_error.list.min_items",
)
_TOO_MANY: Final = Refusal(
    BATCH_SIZE,
    f"ensure this value has at most {EVENTS_MAX} items",
    path=("body", "events"),
    rule="value_error.list.max_items",
)
_NESTED_TOO_DEEPLY: Final = Refusal(FIELD_TOO_DEEP, "is nested too deeply", rule="value_error")
_NO_LIST: Final = msgspec.structs.replace(missing("events"), path=("body", "events"))
_NULL: Final = msgspec.Raw(b"null")
_ABSENT: Final = msgspec.Raw(b"")


def _array_of(item: Any, absent: object) -> type[msgspec.Struct]:
    """A struct that is read from an array, with one member more than a batch may have.

    Unlike a list it never grows: what else the array holds is skipped and not built, or a body of a
    few megabytes could make a million objects.
    """
    members = [(f"item_{index}", item, absent) for index in range(EVENTS_MAX + 1)]
    return msgspec.defstruct("Items", members, array_like=True)


class _Body(msgspec.Struct):
    events: msgspec.Raw = _NULL


_raw_body: Final = msgspec.json.Decoder(_Body)
_raws: Final = msgspec.json.Decoder(_array_of(msgspec.Raw, _ABSENT))


class BodyReader:
    """Reads the bodies of one source, browsers or servers."""

    def __init__(self, reader: Reader[Any]) -> None:
        self._reader = reader
        items = _array_of(reader.shape | UnsetType, UNSET)
        batch = msgspec.defstruct("Body", [("events", items | UnsetType, UNSET)])
        self._batch: msgspec.json.Decoder[Any] = msgspec.json.Decoder(batch)

    def read_event(self, request: Request) -> Batch | Refusal:
        """Read a body that is one event."""
        try:
            event = self._reader.read(request.body, Sender(request.headers))
        except decoding.Malformed as error:
            return _malformed(error)
        if isinstance(event, Event):
            return Batch(items=[event])
        return msgspec.structs.replace(event, path=("body", *event.path))

    def read_batch(self, request: Request) -> Batch | Refusal:
        """Read a body whose member `events` is a list of them.

        The good case is one typed decode. Only where that fails is the body taken apart, so that
        whatever is wrong with one event costs that event only.
        """
        try:
            body = request.body
            decoding.check_encoding(body)
            sender = Sender(request.headers)
            try:
                typed = decoding.decode(self._batch, body)
            except msgspec.ValidationError:
                return self._take_apart(body, sender)
        except decoding.Malformed as error:
            return _malformed(error)
        if typed.events is UNSET:
            return _NO_LIST
        sent = [item for item in msgspec.structs.astuple(typed.events) if item is not UNSET]
        if not 0 < len(sent) <= EVENTS_MAX:
            return _TOO_MANY if sent else _NO_ITEMS
        judge = self._reader.judge
        return _batch([judge(item, sender) for item in sent])

    def _take_apart(self, body: bytes, sender: Sender) -> Batch | Refusal:
        """Read a body event by event, to say what is wrong with it or with which of them."""
        try:
            events = bytes(decoding.decode(_raw_body, body).events)
        except msgspec.ValidationError:
            decoding.check(body)
            return msgspec.structs.replace(NOT_AN_OBJECT, path=("body",))
        if events == b"null":
            return _NO_LIST
        try:
            raws = decoding.decode(_raws, events)
        except msgspec.ValidationError:
            return _BAD_LIST
        sent = [bytes(raw) for raw in msgspec.structs.astuple(raws) if raw is not _ABSENT]
        if not 0 < len(sent) <= EVENTS_MAX:
            return _TOO_MANY if sent else _NO_ITEMS
        return _batch([self._read_item(item, sender) for item in sent])

    def _read_item(self, item: bytes, sender: Sender) -> Event | Refusal:
        try:
            return self._reader.read(item, sender)
        except decoding.Malformed:
            # Only depth is left: this runs a few frames nearer to the limit than the whole body.
            return _NESTED_TOO_DEEPLY


def _malformed(error: decoding.Malformed) -> Refusal:
    return Refusal(MALFORMED_BODY, f"The body is not valid JSON: {error}")


def _batch(items: list[Event | Refusal]) -> Batch:
    """A batch of `items`, whose refusals still speak of each event as if it were the body."""
    for index, item in enumerate(items):
        if isinstance(item, Refusal):
            items[index] = msgspec.structs.replace(
                item,
                path=("body", "events", index, *item.path),
                violations=tuple(
                    Violation(violation.reason, f"/events/{index}{violation.path}")
                    for violation in item.violations
                ),
            )
    return Batch(items=items)


# --- the endpoints

_BROWSER_BODIES: Final = BodyReader(BROWSER)
_SERVER_BODIES: Final = BodyReader(SERVER)


# Wherever it stands, an address in plain text must not be kept, nor what withholds consent.
_EVENT: Final = BodyShape(
    site="site_id",
    identity="event_id",
    consents=frozenset({"granted"}),
    is_forbidden=_holds_address,
)
_BATCH: Final = msgspec.structs.replace(_EVENT, items="events")


def _browser_endpoint(path: str, name: str, decode: Decode, respond: Respond) -> Endpoint:
    return Endpoint(
        path=path,
        name=name,
        protocol="scanova",
        source="browser",
        credentials="origin",
        limit="browser",
        limit_at="head",
        stores_duplicates=True,
        refusals_vary=False,
        read_head=read_browser_head,
        shape=_BATCH if path.endswith("/batch") else _EVENT,
        decode=decode,
        respond=respond,
        refuse=scanova_answers.BROWSER.refuse,
        described=(
            scanova_described.BROWSER_BATCH
            if path.endswith("/batch")
            else scanova_described.BROWSER_EVENT
        ),
    )


def _server_endpoint(path: str, name: str, decode: Decode, respond: Respond) -> Endpoint:
    return Endpoint(
        path=path,
        name=name,
        protocol="scanova",
        source="server",
        credentials="key",
        limit="server",
        limit_at="head",
        stores_duplicates=True,
        refusals_vary=False,
        read_head=read_server_head,
        shape=_BATCH if path.endswith("/batch") else _EVENT,
        decode=decode,
        respond=respond,
        refuse=scanova_answers.SERVER.refuse,
        described=(
            scanova_described.SERVER_BATCH
            if path.endswith("/batch")
            else scanova_described.SERVER_EVENT
        ),
    )


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    _browser_endpoint(
        "/ct", "scanova_ct", _BROWSER_BODIES.read_event, scanova_answers.BROWSER.respond_event
    ),
    _browser_endpoint(
        "/collect",
        "scanova_collect",
        _BROWSER_BODIES.read_event,
        scanova_answers.BROWSER.respond_event,
    ),
    _browser_endpoint(
        "/collect/batch",
        "scanova_collect_batch",
        _BROWSER_BODIES.read_batch,
        scanova_answers.BROWSER.respond_batch,
    ),
    _server_endpoint(
        "/server-events",
        "scanova_server_events",
        _SERVER_BODIES.read_event,
        scanova_answers.SERVER.respond_event,
    ),
    _server_endpoint(
        "/server-events/batch",
        "scanova_server_events_batch",
        _SERVER_BODIES.read_batch,
        scanova_answers.SERVER.respond_batch,
    ),
)
