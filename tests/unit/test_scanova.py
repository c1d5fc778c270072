"""Scanova at its endpoints: heads, golden exchanges, bodies, batches."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from collector import refusal as kinds
from collector.adapters.contract import Head
from collector.event import Batch, Event, Row
from collector.refusal import Refusal
from tests.support import scanova as support
from tests.support.headers import Unreadable
from tests.support.scanova import (
    BATCH,
    ENDPOINTS,
    SINGLE,
    answer,
    answer_json,
    browser_event,
    decode,
    event,
    exchanges,
    golden_request,
    request,
    server_event,
)

SOURCES = ("browser", "server")
MISSING = {"msg": "field required", "type": "value_error.missing"}


# --- the table


def test_five_endpoints_are_served() -> None:
    """Every path of the vendor's is there, with its credentials, limit and names."""
    expected = {
        "/ct": ("scanova_ct", "browser", "origin", "browser"),
        "/collect": ("scanova_collect", "browser", "origin", "browser"),
        "/collect/batch": ("scanova_collect_batch", "browser", "origin", "browser"),
        "/server-events": ("scanova_server_events", "server", "key", "server"),
        "/server-events/batch": ("scanova_server_events_batch", "server", "key", "server"),
    }
    assert expected == {
        path: (row.name, row.source, row.credentials, row.limit) for path, row in ENDPOINTS.items()
    }
    for row in ENDPOINTS.values():
        assert row.protocol == "scanova"
        assert row.method == "POST"
        assert row.limit_at == "head"
        assert row.stores_duplicates


# --- the head


@pytest.mark.parametrize("headers", [{"origin": "null"}, {"referer": "https://a.example/x"}])
def test_a_browser_says_where_it_comes_from(headers: dict[str, str]) -> None:
    """Origin or Referer will do; whether its host is allowed is not asked here."""
    assert ENDPOINTS["/ct"].read_head(request("/ct", **headers)) == Head()


@pytest.mark.parametrize("path", ["/ct", "/collect", "/collect/batch"])
def test_a_browser_without_origin_and_referer_is_refused(path: str) -> None:
    """A request from nowhere is refused as a whole, with 403."""
    refusal = ENDPOINTS[path].read_head(request(path))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is kinds.ORIGIN_MISSING
    assert ENDPOINTS[path].refuse(request(path), refusal, None).status == 403


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"x_api_key": "zv_a"}, "zv_a"),
        ({"x_api_key": " zv_a "}, "zv_a"),
        ({"authorization": "Bearer zv_b"}, "zv_b"),
        ({"authorization": "bearer  zv_b "}, "zv_b"),
        ({"x_api_key": "zv_a", "authorization": "Bearer zv_b"}, "zv_a"),
        ({"x_api_key": "\xff"}, "\xff"),
    ],
)
def test_the_key_is_found(headers: dict[str, str], key: str) -> None:
    """X-API-Key holds the key; a bearer token serves only where it is absent."""
    head = ENDPOINTS["/server-events"].read_head(request("/server-events", **headers))
    assert head == Head(key=key)


def test_a_key_that_cannot_be_read_is_not_absent() -> None:
    """A bearer token does not serve beside an X-API-Key without a value."""
    asked = request("/server-events")
    asked.headers = Unreadable({"x-api-key"}, {"authorization": "Bearer zv_b"})
    assert isinstance(ENDPOINTS["/server-events"].read_head(asked), Refusal)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_api_key": ""},
        {"x_api_key": "  "},
        {"x_api_key": "", "authorization": "Bearer zv_b"},
        {"authorization": "Basic zv_b"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer a b"},
    ],
)
@pytest.mark.parametrize("path", ["/server-events", "/server-events/batch"])
def test_no_key_is_401(path: str, headers: dict[str, str]) -> None:
    """An absent or empty key is refused with 401, and the answer says how to authenticate."""
    refusal = ENDPOINTS[path].read_head(request(path, **headers))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is kinds.MISSING_KEY
    response = ENDPOINTS[path].refuse(request(path), refusal, None)
    assert response.status == 401
    assert ("www-authenticate", "Bearer") in response.headers


# --- golden exchanges

# Columns that are known only once an event has passed the pipeline.
_BY_THE_PIPELINE = {"key_id", "is_duplicate", "dedup_key"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REFUSED_HERE = ("refused_422_", "refused_400_missing", "refused_400_malformed", "refused_400_ev")


def _agrees(expected: Any, found: Any) -> bool:
    if expected in ("<any>", "<uuid>"):
        return True
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(
            _agrees(expected[name], found[name]) for name in expected
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(_agrees, expected, found))
    return bool(expected == found)


@pytest.mark.parametrize("name", [name for name in exchanges() if name.startswith(_REFUSED_HERE)])
def test_golden_refusal(name: str) -> None:
    """What is refused by its content alone gets the status and the body that are written down."""
    exchange = exchanges()[name]
    asked = golden_request(exchange)
    refusal = ENDPOINTS[asked.path].decode(asked)
    assert isinstance(refusal, Refusal)
    response = ENDPOINTS[asked.path].refuse(asked, refusal, None)
    assert exchange["status"] == response.status
    assert _agrees(exchange["body"], answer_json(response))


@pytest.mark.parametrize("name", [name for name, e in exchanges().items() if e["rows"]])
def test_golden_rows(name: str) -> None:
    """What the vendor's pages show fills the columns that are written down."""
    exchange = exchanges()[name]
    asked = golden_request(exchange)
    batch = ENDPOINTS[asked.path].decode(asked)
    assert isinstance(batch, Batch)
    rows = [item.row for item in batch.items if isinstance(item, Event)]
    if name.startswith("batch_"):
        rows = rows[: len(exchange["rows"])]  # the others are for an unknown site
    for expected, row in zip(exchange["rows"], rows, strict=True):
        is_consented = row.consent in (None, "granted")
        for column in expected.keys() - _BY_THE_PIPELINE:
            if column == "event_time":
                time = datetime.fromisoformat(expected[column])
                assert time == _EPOCH + timedelta(microseconds=row.event_time)
            elif is_consented or expected[column] is not None:
                assert _agrees(expected[column], _column(row, column)), column


def _column(row: Row, name: str) -> Any:
    value = getattr(row, name)
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    return value


@pytest.mark.parametrize(
    "name", [name for name, e in exchanges().items() if name.startswith("example") and e["rows"]]
)
def test_golden_answer(name: str) -> None:
    """An event that was stored is answered as the vendor's pages show it."""
    exchange = exchanges()[name]
    asked = golden_request(exchange)
    batch = ENDPOINTS[asked.path].decode(asked)
    assert isinstance(batch, Batch)
    response = ENDPOINTS[asked.path].respond(asked, batch, support.outcomes_of(batch), None)
    assert exchange["status"] == response.status
    assert _agrees(exchange["body"], answer_json(response))


# --- bodies


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("path", [SINGLE, BATCH])
@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b"{}x", b"nonsense", b'{"a":"\xff"}', b'{"a":"\n"}', b"[" * 100_000, b"[1"],
)
def test_malformed_json(source: str, path: dict[str, str], body: bytes) -> None:
    """What is not JSON gets 400 and a text, whatever the endpoint."""
    refusal = decode(path[source], body)
    assert isinstance(refusal, Refusal)
    assert refusal.kind is kinds.MALFORMED_BODY
    response = answer(path[source], body)
    assert response.status == 400
    assert isinstance(answer_json(response)["detail"], str)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("path", [SINGLE, BATCH])
@pytest.mark.parametrize("body", [b"[]", b"5", b"null", b'"text"', b"true"])
def test_a_body_that_is_no_object(source: str, path: dict[str, str], body: bytes) -> None:
    """JSON of another shape gets 422, in the array form."""
    expected = {"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}
    response = answer(path[source], body)
    assert response.status == 422
    assert answer_json(response) == {"detail": [expected]}


def test_missing_members() -> None:
    """All that is missing is told at once, to browsers with 400, to servers with 422."""
    response = answer("/ct", {})
    assert response.status == 400
    assert answer_json(response) == {"detail": "missing required fields: site_id, event_type"}
    response = answer("/server-events", {})
    assert response.status == 422
    names = ("site_id", "event_name", "scan_session_id")
    expected = [{"loc": ["body", name], **MISSING} for name in names]
    assert answer_json(response) == {"detail": expected}


def test_a_refusal_names_the_member_at_fault() -> None:
    """`path` leads from the body to the member, also for those who only log or count it."""
    assert support.refusal_of("browser", event_id="x").path == ("body", "event_id")
    missing = support.refusal_of("server", event_name=None)
    assert missing.path == ("body", "event_name")
    assert missing.kind is kinds.MISSING_FIELD
    batch = decode("/collect/batch", {"events": [browser_event(), browser_event(event_id="x")]})
    assert isinstance(batch, Batch)
    assert isinstance(batch.items[1], Refusal)
    assert batch.items[1].path == ("body", "events", 1, "event_id")


# --- batches


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("count", [1, 100])
def test_a_batch_of_up_to_100(source: str, count: int) -> None:
    """Every event of a batch is read, in the order sent."""
    sent = [event(source, consent="granted", site_id=f"site-{n}") for n in range(count)]
    batch = decode(BATCH[source], {"events": sent})
    assert isinstance(batch, Batch)
    rows = [item.row for item in batch.items if isinstance(item, Event)]
    assert [item["site_id"] for item in sent] == [row.site_id for row in rows]
    assert {row.source for row in rows} == {source}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("is_bad", [False, True])
@pytest.mark.parametrize("count", [0, 101, 5_000])
def test_a_batch_of_another_size(source: str, count: int, *, is_bad: bool) -> None:
    """An empty batch and one beyond 100 are refused whole, whatever is in it."""
    sent: list[Any] = [event(source)] * count
    if is_bad and sent:
        sent[0] = 5
    refusal = decode(BATCH[source], {"events": sent})
    assert isinstance(refusal, Refusal)
    assert refusal.kind is kinds.BATCH_SIZE
    response = answer(BATCH[source], {"events": sent})
    assert response.status == 422
    (fault,) = answer_json(response)["detail"]
    assert fault["loc"] == ["body", "events"]
    assert fault["type"] == f"value_error.list.{'max' if count else 'min'}_items"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("events", [{}, "x", 5, True, {"0": {}}])
def test_events_that_are_no_list(source: str, events: Any) -> None:
    """`events` of another type gets 422."""
    expected = {
        "loc": ["body", "events"],
        "msg": "value is not a valid list",
        "type": "type_error.list",
    }
    response = answer(BATCH[source], {"events": events})
    assert response.status == 422
    assert answer_json(response) == {"detail": [expected]}


@pytest.mark.parametrize("body", [{}, {"events": None}, {"event": []}])
def test_events_absent(body: Any) -> None:
    """A batch without `events` gets 400 on the browsers' endpoint, 422 on the servers'."""
    response = answer("/collect/batch", body)
    assert response.status == 400
    assert answer_json(response) == {"detail": "missing required field: events"}
    response = answer("/server-events/batch", body)
    assert response.status == 422
    assert answer_json(response) == {"detail": [{"loc": ["body", "events"], **MISSING}]}


BAD_ITEMS: dict[str, Any] = {
    "number": 5,
    "null": None,
    "list": [],
    "nothing": {},
    "type": {"site_id": 5},
    "device": browser_event(device=5),
    "identifiers": server_event(user_identifiers="x"),
    "uuid": server_event(scan_session_id="x"),
    "metadata": browser_event(metadata={"a": "a@example.com"}),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("bad", BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
def test_a_bad_item_spares_its_neighbours(source: str, bad: Any) -> None:
    """Whatever is wrong with one event of a batch, the others are accepted."""
    good = event(source)
    batch = decode(BATCH[source], {"events": [good, {**good, "consent": "no"}, bad, good]})
    assert isinstance(batch, Batch)
    assert isinstance(batch.items[0], Event)
    assert isinstance(batch.items[1], Refusal)
    assert isinstance(batch.items[3], Event)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("bad", BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
def test_an_item_is_refused_as_it_would_be_alone(source: str, bad: Any) -> None:
    """The `detail` of a batch's item is the one of the single endpoint, with a longer `loc`."""
    alone = answer(SINGLE[source], bad)
    results = answer_json(answer(BATCH[source], {"events": [event(source), bad]}))["results"]
    if alone.status == 200:
        assert results[1]["status"] == "accepted"
        return
    detail = answer_json(alone)["detail"]
    if isinstance(detail, list):
        for fault in detail:
            fault["loc"][1:1] = ["events", 1]
    assert results[1] == {"index": 1, "event_id": None, "status": "rejected", "detail": detail}


def test_depth_never_breaks_a_batch() -> None:
    """However deep an item is nested, near the interpreter's limit too, there is an answer."""
    kinds_met = set()
    for depth in (*range(800, 1_000), 100_000):
        nested = b'{"a":' * depth + b"1" + b"}" * depth
        body = b'{"events":[{"site_id":5},{"site_id":5,"metadata":' + nested + b"}]}"
        batch = decode("/collect/batch", body)
        refusal = batch.items[1] if isinstance(batch, Batch) else batch
        assert isinstance(refusal, Refusal)
        kinds_met.add(refusal.kind.code)
    assert kinds_met >= {"missing_field", "malformed_body"}
    if sys.version_info < (3, 12):
        # Frames of Python count too: there are depths that only the body as a whole allows.
        assert "field_too_deep" in kinds_met
