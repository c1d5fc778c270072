"""Whatever is sent to Scanova's endpoints: an answer in its dialect, and no wrong row."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.adapters.scanova_events import time_us
from collector.adapters.scanova_metadata import BYTES_MAX, DEPTH_MAX, judge
from collector.event import Batch, Event
from collector.refusal import FIELD_TOO_DEEP, RAW_EMAIL, Refusal
from storage import encode
from tests.support.scanova import (
    BATCH,
    ENDPOINTS,
    EVENT_ID,
    SCAN_SESSION_ID,
    SINGLE,
    answer,
    answer_json,
    decode,
    outcomes_of,
    request,
)

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3)
    ),
    max_leaves=8,
)
_objects = st.dictionaries(st.text(max_size=4), _json, max_size=4)
_uuids = st.uuids().map(str) | st.just(EVENT_ID.upper())
_good: dict[str, st.SearchStrategy[Any]] = {
    "site_id": st.just("demo"),
    "event_type": st.just("click"),
    "event_name": st.just("lead"),
    "event_id": _uuids,
    "scan_session_id": _uuids,
    "web_session_id": _uuids,
    "visitor_id": _uuids,
    "event_time": st.just("2026-05-13T10:00:00Z"),
    "timestamp": st.just("2026-05-13T10:00:00Z"),
    "consent": st.sampled_from(["granted", "denied", "pending"]),
    "page_url": st.text(max_size=8),
    "device": st.just({"screen_width": 5, "language": "en"}),
    "metadata": _objects,
    "properties": _objects,
    "conversion_value": st.just({"amount": 1, "currency": "USD"}),
    "user_identifiers": st.just({"external_id": "u"}),
}
_required = {
    "site_id": "demo",
    "event_type": "click",
    "event_name": "lead",
    "scan_session_id": SCAN_SESSION_ID,
}
_good_events = st.fixed_dictionaries({}, optional=_good).map(lambda members: _required | members)
# Good members, anything in their place, anything at all.
_any_events = (
    _good_events
    | st.fixed_dictionaries({}, optional={n: good | _json for n, good in _good.items()})
    | st.tuples(_good_events, st.sampled_from(sorted(_good)), _json).map(
        lambda parts: {**parts[0], parts[1]: parts[2]}
    )
    | _json
)
_sources = st.sampled_from(["browser", "server"])
_paths = st.sampled_from(sorted(ENDPOINTS))
_STATUSES = {200, 400, 422}


def _check_answer(path: str, body: Any) -> None:
    response = answer(path, body)
    assert response.status in _STATUSES
    document = answer_json(response)
    if response.status == 200:
        assert "event_id" in document or "results" in document
        return
    assert list(document) == ["detail"]
    assert isinstance(document["detail"], list if response.status == 422 else str)
    if response.status == 422:
        for fault in document["detail"]:
            assert list(fault) == ["loc", "msg", "type"]
            assert fault["loc"][0] == "body"
            assert fault["msg"]
            assert fault["type"]


@given(_paths, st.binary(max_size=64) | st.text(max_size=32).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_bytes_get_an_answer(path: str, body: bytes) -> None:
    """No body, JSON or not, is an exception."""
    _check_answer(path, body)
    _check_answer(path, b'{"events":[' + body + b"]}")


@given(_paths, _any_events)
@settings(max_examples=200, deadline=None)
def test_any_json_gets_an_answer(path: str, body: Any) -> None:
    """No JSON, of whatever shape, is an exception, and every answer is in the dialect."""
    _check_answer(path, body)
    _check_answer(path, {"events": body})
    _check_answer(path, {"events": [body]})


@given(_sources, st.lists(_any_events, min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_an_event_fares_alike_alone_and_in_company(source: str, events: list[Any]) -> None:
    """Each event of a batch becomes the same row, or the same refusal, as it does alone."""
    batch = decode(BATCH[source], {"events": events})
    assert isinstance(batch, Batch)
    for index, (sent, item) in enumerate(zip(events, batch.items, strict=True)):
        alone = decode(SINGLE[source], sent)
        if isinstance(alone, Refusal):
            assert isinstance(item, Refusal)
            assert (alone.kind, alone.message, alone.rule) == (item.kind, item.message, item.rule)
            assert item.path == ("body", "events", index, *alone.path[1:])
        else:
            (single,) = alone.items
            assert isinstance(single, Event)
            assert isinstance(item, Event)
            assert encode([single.row]) == encode([item.row])
            assert single.identity == item.identity


@given(_sources, _good_events, st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_a_good_event_is_one_line_and_keeps_its_metadata(
    source: str, event: dict[str, Any], indent: int
) -> None:
    """However it is laid out, an accepted event makes one line that holds what was sent."""
    batch = decode(SINGLE[source], json.dumps(event, indent=indent).encode())
    assert isinstance(batch, Batch)
    (item,) = batch.items
    assert isinstance(item, Event)
    lines = encode([item.row])
    assert lines.endswith(b"\n")
    assert lines.count(b"\n") == 1
    line = msgspec.json.decode(lines)
    name = "metadata" if source == "browser" else "properties"
    assert event.get(name) == line.get("metadata")
    assert event.get("event_id", "").lower() == line["event_id"]
    assert event.get("consent") == line.get("consent")


@given(_sources, st.lists(_any_events, min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_the_counts_of_a_batch_add_up(source: str, events: list[Any]) -> None:
    """Accepted, duplicates and rejected are all there is, and every event has its result."""
    asked = request(BATCH[source], {"events": events})
    endpoint = ENDPOINTS[asked.path]
    batch = endpoint.decode(asked)
    assert isinstance(batch, Batch)
    document = answer_json(endpoint.respond(asked, batch, outcomes_of(batch), None))
    assert [result["index"] for result in document["results"]] == list(range(len(events)))
    statuses = [result["status"] for result in document["results"]]
    assert document["accepted"] == statuses.count("accepted")
    assert document["rejected"] == statuses.count("rejected")
    assert document["duplicates"] == 0
    assert document["success"] is ("rejected" not in statuses)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


_brackets = st.text(st.sampled_from('[]{}"\\,:a'), max_size=6)
_deep = st.recursive(
    st.none() | _brackets,
    lambda children: (
        st.lists(children, max_size=2) | st.dictionaries(_brackets, children, max_size=2)
    ),
    max_leaves=16,
)


@given(st.dictionaries(_brackets, _deep, max_size=3), st.booleans())
@settings(max_examples=200, deadline=None)
def test_depth_is_that_of_a_walk(value: dict[str, Any], is_spaced: bool) -> None:
    """An object is refused for its depth exactly when a walk through it goes too deep."""
    sent = json.dumps(value, indent=1 if is_spaced else None).encode()
    judged = judge(sent, is_depth_limited=True)
    if _depth(value) > DEPTH_MAX:
        assert isinstance(judged, Refusal)
        assert judged.kind is FIELD_TOO_DEEP
    else:
        assert judged == sent


@given(st.text(max_size=40), st.integers(0, 3 * BYTES_MAX), st.booleans())
@settings(max_examples=200, deadline=None)
def test_size_is_that_of_compact_json(text: str, repeats: int, is_ascii: bool) -> None:
    """An object is refused for its size exactly when its compact UTF-8 is too large, and what is
    stored is never larger.
    """
    value = {"t": text.replace("@", "") * (repeats // max(1, len(text)))}
    compact = msgspec.json.encode(value)
    judged = judge(json.dumps(value, ensure_ascii=is_ascii).encode(), is_depth_limited=True)
    if len(compact) > BYTES_MAX:
        assert isinstance(judged, Refusal)
    else:
        assert isinstance(judged, bytes)
        assert len(judged) <= BYTES_MAX
        assert msgspec.json.decode(judged) == value


_labels = st.text(st.sampled_from("abz019-é"), min_size=1, max_size=5).map(lambda t: f"a{t}z")
_addresses = st.builds(
    lambda local, labels, last: f"{local}@{'.'.join(labels)}.{last}",
    st.text(st.sampled_from("abzé019_+-"), min_size=1, max_size=6),
    st.lists(_labels, min_size=1, max_size=3),
    st.sampled_from(["com", "de", "museum", "рф"]),
)


def _escaped(text: str, chosen: list[bool]) -> str:
    units = [
        f"\\u{ord(character):04x}" if chosen[index % len(chosen)] else character
        for index, character in enumerate(text)
    ]
    return "".join(units)


@given(
    _addresses,
    st.text(st.sampled_from(' ,.<(:/\n"\\é'), max_size=4),
    st.lists(st.booleans(), min_size=1, max_size=7),
    st.sampled_from(['{"a":"%s"}', '{"%s":1}', '{"a":[{"b":["@","%s"]}]}']),
)
@settings(max_examples=200, deadline=None)
def test_every_address_is_found(address: str, before: str, chosen: list[bool], form: str) -> None:
    """Whatever stands around it, wherever it stands, however it is escaped."""
    around = json.dumps(before, ensure_ascii=False)[1:-1]
    sent = form % (around + _escaped(address, chosen) + around)
    judged = judge(sent.encode(), is_depth_limited=True)
    assert isinstance(judged, Refusal)
    assert judged.kind is RAW_EMAIL


@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)),  # noqa: DTZ001  given a zone below
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
    st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"]),
)
@settings(max_examples=200, deadline=None)
def test_times_are_exact(moment: datetime, offset_min: int, precision: str) -> None:
    """A time written in any zone is the same microsecond."""
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    text = zoned.isoformat(timespec=precision)
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    expected = since // timedelta(microseconds=1)
    assert time_us(text) == (expected or 1)
    if offset_min == 0:
        assert time_us(text.replace("+00:00", "Z")) == (expected or 1)


@given(st.text(max_size=30) | st.from_regex(r"\A[0-9TZ:.+\- ]{8,32}\Z"))
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_the_clock(text: str) -> None:
    """Whatever is written for a time, it is a time of the years 1 to 9999 or none."""
    us = time_us(text)
    assert us is None or -62_135_596_800_000_000 <= us <= 253_402_300_799_999_999
