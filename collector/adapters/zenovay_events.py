"""One item of a Zenovay batch: its shape on the wire, and the order in which it is judged.

The order is a promise (docs/PROTOCOLS.md): shape and type, consent, ts, idempotency key, visitor
id, session id, props. The goal and the look-up of duplicates come later, when the site is known. An
item is judged alone: nothing that is wrong with it may touch its neighbours.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from collector.adapters import zenovay_props as props
from collector.event import Event, Row
from collector.refusal import (
    CONSENT_OPTED_OUT,
    INVALID_EVENT_TYPE,
    INVALID_IDEMPOTENCY_KEY,
    INVALID_PAYMENT_PROVIDER,
    INVALID_PROPS,
    INVALID_SESSION_ID,
    INVALID_TS,
    INVALID_VISITOR_ID,
    Refusal,
)

TS_TOLERANCE_MS: Final = 86_400_000  # the vendor's 24 h, inclusive
IDEMPOTENCY_KEY_CHARS_MAX: Final = 128  # the vendor's
ID_CHARS_MAX: Final = 256  # ours, for ids that need not be UUIDs: no session id is longer

_IS_UUID: Final = re.compile(
    "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
).fullmatch
# What UUIDs in lower case become when each of their digits becomes 0: for a whole batch a tenth of
# what the expression costs, and nearly all ids are of this kind.
_DIGITS_TO_0: Final = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_CANONICAL: Final = b"00000000-0000-0000-0000-000000000000"
_CANONICAL_LINE: Final = _CANONICAL + b"\n"

# Any other value of `consent` that is no opt-out is stored as "unknown".
_STORED_AS_SENT: Final = (None, "opt-in", "unknown")

_NULL: Final = msgspec.Raw(b"null")


class Item(msgspec.Struct, rename="camel", gc=False):
    """One event as sent. Decoding it fails only if a member is of a wrong type.

    Absent members and null mean the same. `judge` refuses every default that stands for a missing
    member, so that `read_item` can leave a member out or set it to "" to have it refused.
    """

    type: str = ""
    ts: int | float | None = None
    props: msgspec.Raw = _NULL
    visitor_id: str | None = None
    session_id: str | None = None
    idempotency_key: str | None = None
    consent: str | None = None


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """What `serverContext` says of the visitor; it holds for every event of the batch."""

    address: str | None = None
    user_agent: str | None = None
    language: str | None = None


class _Type(msgspec.Struct, frozen=True, kw_only=True):
    """What one event type requires, and who reads its props."""

    name: str
    reader: props.PropsReader[Any]
    needs_visitor: bool = False
    needs_session: bool = False
    needs_uuids: bool = False


_TYPES: Final = {
    kind.name: kind
    for kind in (
        _Type(
            name="pageview",
            reader=props.PAGEVIEW,
            needs_visitor=True,
            needs_session=True,
            needs_uuids=True,
        ),
        _Type(name="event", reader=props.CUSTOM),
        _Type(name="identify", reader=props.IDENTIFY, needs_visitor=True),
        _Type(name="goal", reader=props.GOAL, needs_visitor=True, needs_session=True),
        _Type(name="purchase", reader=props.PURCHASE),
    )
}


_NOT_AN_OBJECT: Final = Refusal(INVALID_EVENT_TYPE, "the event is not an object")
_BAD_TYPE: Final = Refusal(
    INVALID_EVENT_TYPE, "type must be one of pageview, event, identify, goal, purchase"
)
_OPTED_OUT: Final = Refusal(CONSENT_OPTED_OUT, "consent is opt-out")
_BAD_TS: Final = Refusal(INVALID_TS, "ts is missing or beyond ±24h skew tolerance")
_FRACTIONAL_TS: Final = Refusal(INVALID_TS, "ts must be a whole number of milliseconds")
_BAD_KEY: Final = Refusal(
    INVALID_IDEMPOTENCY_KEY, "idempotencyKey must be a string of 1 to 128 characters"
)
_NO_VISITOR: Final = Refusal(INVALID_VISITOR_ID, "visitorId is required for this type")
_BAD_VISITOR: Final = Refusal(
    INVALID_VISITOR_ID, "visitorId must be a string of 1 to 256 characters"
)
_NOT_UUID_VISITOR: Final = Refusal(INVALID_VISITOR_ID, "visitorId must be a UUID for a pageview")
_NO_SESSION: Final = Refusal(INVALID_SESSION_ID, "sessionId is required for this type")
_BAD_SESSION: Final = Refusal(
    INVALID_SESSION_ID, "sessionId must be a string of 1 to 256 characters"
)
_NOT_UUID_SESSION: Final = Refusal(INVALID_SESSION_ID, "sessionId must be a UUID for a pageview")


# For `/openapi.json`: what an item must be to be stored, and why it may not be.
ITEM_RULES: Final[Mapping[str, Mapping[str, Any]]] = {
    "Item.type": {"enum": list(_TYPES)},
    "Item.ts": {"type": "integer", "description": "milliseconds since 1970"},
    "Item.props": {"type": "object"},
    "Item.idempotencyKey": {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": IDEMPOTENCY_KEY_CHARS_MAX,
    },
    "Item.visitorId": {"type": ["string", "null"], "minLength": 1, "maxLength": ID_CHARS_MAX},
    "Item.sessionId": {"type": ["string", "null"], "minLength": 1, "maxLength": ID_CHARS_MAX},
}
ITEM_REFUSALS: Final = (
    CONSENT_OPTED_OUT,
    INVALID_EVENT_TYPE,
    INVALID_IDEMPOTENCY_KEY,
    INVALID_PAYMENT_PROVIDER,
    INVALID_PROPS,
    INVALID_SESSION_ID,
    INVALID_TS,
    INVALID_VISITOR_ID,
)


# Of a type, the rows of items that are sound as yet, and the props that are still to be read.
_Group = tuple[_Type, list[Row], list[msgspec.Raw]]


def judge(items: Sequence[Item], now_ms: int, sender: Sender) -> list[Event | Refusal]:
    """Turn `items`, received at `now_ms`, into events, or say of each the first thing wrong.

    Props of one type are read together, because that costs half of reading them one by one. The
    items are changed: see `_settle`.
    """
    groups: dict[str, _Group] = {}
    verdicts = _judge_but_props(items, groups, now_ms, sender)
    for kind, rows, raws in groups.values():
        refused = kind.reader.fill(rows, raws) if rows else None
        if refused:
            _replace(verdicts, refused)
    return verdicts


def _judge_but_props(
    items: Sequence[Item], groups: dict[str, _Group], now_ms: int, sender: Sender
) -> list[Event | Refusal]:
    """Judge each item without its props, and put what is sound into its group.

    What is as it nearly always is passes one condition; anything else is looked at with care.
    """
    earliest, latest = now_ms - TS_TOLERANCE_MS, now_ms + TS_TOLERANCE_MS
    address, user_agent, language = sender.address, sender.user_agent, sender.language
    are_canonical = _are_canonical(items)
    verdicts: list[Event | Refusal] = []
    for item in items:
        name = item.type
        group = groups.get(name)
        if group is None:
            if name not in _TYPES:
                verdicts.append(_BAD_TYPE)
                continue
            group = groups[name] = (_TYPES[name], [], [])
        kind, rows, raws = group
        ts, key = item.ts, item.idempotency_key
        visitor_id, session_id = item.visitor_id, item.session_id
        if (
            item.consent not in _STORED_AS_SENT
            or type(ts) is not int
            or not earliest <= ts <= latest
            or (key is not None and not 0 < len(key) <= IDEMPOTENCY_KEY_CHARS_MAX)
            or (kind.needs_visitor if visitor_id is None else not are_canonical)
            or (kind.needs_session if session_id is None else not are_canonical)
        ):
            settled = _settle(item, kind, now_ms)
            if isinstance(settled, Refusal):
                verdicts.append(settled)
                continue
            ts, visitor_id, session_id = settled, item.visitor_id, item.session_id
        row = Row(
            event_id="",
            event_time=ts * 1_000,
            protocol="zenovay",
            source="server",
            event_type=name,
            visitor_id=visitor_id,
            session_id=session_id,
            user_agent=user_agent,
            language=language,
            consent=item.consent,
            metadata=item.props,
            idempotency_key=key,
        )
        rows.append(row)
        raws.append(item.props)
        identity = None if key is None else key.encode()
        verdicts.append(Event(row=row, identity=identity, client_address=address))
    return verdicts


def _are_canonical(items: Sequence[Item]) -> bool:
    """Whether all ids in `items` are UUIDs in lower case, as rows have them."""
    ids = [item.visitor_id for item in items] + [item.session_id for item in items]
    sent = [text for text in ids if text is not None]
    # A line feed within an id is one too many.
    lines = "\n".join([*sent, ""]).encode()
    return lines.translate(_DIGITS_TO_0) == _CANONICAL_LINE * len(sent)


def _replace(verdicts: list[Event | Refusal], refused: Sequence[tuple[Row, Refusal]]) -> None:
    """Put refusals where the events of certain rows stand."""
    refusals = {id(row): refusal for row, refusal in refused}
    for place, verdict in enumerate(verdicts):
        if isinstance(verdict, Event) and id(verdict.row) in refusals:
            verdicts[place] = refusals[id(verdict.row)]


def _settle(item: Item, kind: _Type, now_ms: int) -> int | Refusal:
    """Check all but the props in the order promised; `ts` as an integer, or what is wrong.

    Writes into `item` what the row is to say instead of what was sent.
    """
    consent = item.consent
    if consent not in _STORED_AS_SENT:
        if consent == "opt-out":
            return _OPTED_OUT
        item.consent = "unknown"
    ts = item.ts
    if ts is None or not -TS_TOLERANCE_MS <= ts - now_ms <= TS_TOLERANCE_MS:
        return _BAD_TS
    if isinstance(ts, float):
        if not ts.is_integer():
            return _FRACTIONAL_TS
        ts = int(ts)
    key = item.idempotency_key
    if key is not None and not 0 < len(key) <= IDEMPOTENCY_KEY_CHARS_MAX:
        return _BAD_KEY
    if item.visitor_id is not None:
        item.visitor_id = _canonical(item.visitor_id, must_be_uuid=kind.needs_uuids)
        if item.visitor_id is None:
            return _NOT_UUID_VISITOR if kind.needs_uuids else _BAD_VISITOR
    elif kind.needs_visitor:
        return _NO_VISITOR
    if item.session_id is not None:
        item.session_id = _canonical(item.session_id, must_be_uuid=kind.needs_uuids)
        if item.session_id is None:
            return _NOT_UUID_SESSION if kind.needs_uuids else _BAD_SESSION
    elif kind.needs_session:
        return _NO_SESSION
    return ts


def _canonical(text: str, *, must_be_uuid: bool) -> str | None:
    """`text` as an id, a UUID in lower case; None when it cannot be one.

    Lower case for every type, not only where a UUID is required: else a visitor's page views and
    its identification would not meet.
    """
    if text.encode().translate(_DIGITS_TO_0) == _CANONICAL:
        return text
    if len(text) == 36 and _IS_UUID(text):
        return text.lower()
    if must_be_uuid or not 0 < len(text) <= ID_CHARS_MAX:
        return None
    return text


_item_decoder: Final = msgspec.json.Decoder(Item)
_members_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text_decoder: Final[msgspec.json.Decoder[str | None]] = msgspec.json.Decoder(str | None)
_ts_decoder: Final[msgspec.json.Decoder[int | float | None]] = msgspec.json.Decoder(
    int | float | None
)


def read_item(raw: msgspec.Raw) -> Item | Refusal:
    """Decode one item whose batch did not decode as a whole; `raw` is a well-formed JSON value.

    A member of a wrong type becomes a value that `judge` refuses when its turn comes.
    """
    try:
        return _item_decoder.decode(raw)
    except msgspec.ValidationError:
        pass
    try:
        members = _members_decoder.decode(raw)
    except msgspec.ValidationError:
        return _NOT_AN_OBJECT
    return Item(
        type=_read_text(members, "type", "") or "",
        ts=_read_ts(members),
        props=members.get("props", _NULL),
        visitor_id=_read_text(members, "visitorId", ""),
        session_id=_read_text(members, "sessionId", ""),
        idempotency_key=_read_text(members, "idempotencyKey", ""),
        consent=_read_text(members, "consent", "unknown"),
    )


def _read_text(members: dict[str, msgspec.Raw], name: str, otherwise: str) -> str | None:
    """The member as text, None when it is absent or null, `otherwise` when it is no text."""
    try:
        return _text_decoder.decode(members.get(name, _NULL))
    except msgspec.ValidationError:
        return otherwise


def _read_ts(members: dict[str, msgspec.Raw]) -> int | float | None:
    try:
        return _ts_decoder.decode(members.get("ts", _NULL))
    except msgspec.ValidationError:
        return None
