"""Scanova at its endpoints: heads, bodies, batches, answers."""

from typing import Any

import msgspec
import pytest

from collector import refusal as kinds
from collector.adapters.contract import Budget, Head
from collector.event import Batch, Event, Row, Verdict
from collector.refusal import Refusal
from tests.support import scanova as support
from tests.support.scanova import (
    BATCH,
    ENDPOINTS,
    EVENT_ID,
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
    assert (b"www-authenticate", b"Bearer") in response.headers


# --- golden exchanges

_BY_THE_PIPELINE = {"event_id", "key_id", "is_duplicate", "dedup_key"}


def _agrees(expected: Any, found: Any) -> bool:
    if expected == "<any>":
        return True
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(
            _agrees(expected[name], found[name]) for name in expected
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(_agrees, expected, found))
    return bool(expected == found)


def _decided_here(exchange: dict[str, Any]) -> bool:
    sent = exchange["request"]
    return sent["method"] == "POST" and exchange["status"] in {200, 400, 422}


def _is_known_site(exchange: dict[str, Any]) -> bool:
    return '"nobody"' not in str(exchange).replace("'", '"') and "'other'" not in str(exchange)


@pytest.mark.parametrize(
    "name", [name for name, e in exchanges().items() if _decided_here(e) and _is_known_site(e)]
)
def test_golden_exchange(name: str) -> None:
    """What the vendor's pages show is read and answered as they show it."""
    exchange = exchanges()[name]
    asked = golden_request(exchange)
    endpoint = ENDPOINTS[asked.path]
    batch = endpoint.decode(asked)
    if isinstance(batch, Refusal):
        response = endpoint.refuse(asked, batch, None)
        assert exchange["rows"] == []
    else:
        rows = [item.row for item in batch.items if isinstance(item, Event)]
        assert len(exchange["rows"]) == len(rows)
        for expected, row in zip(exchange["rows"], rows, strict=True):
            _check_row(expected, row)
        ids = iter(result["event_id"] for result in exchange["body"].get("results", [{**exchange["body"]}]))
        for item in batch.items:
            claimed = next(ids)
            if isinstance(item, Event) and not item.row.event_id:
                assert claimed == "<uuid>"
                item.row.event_id = "<uuid>"
        outcomes = support.outcomes_of(batch)
        seen: set[str] = set()
        for index, item in enumerate(batch.items):
            if isinstance(item, Event) and item.identity is not None:
                if item.row.event_id in seen:
                    outcomes[index] = Verdict.DUPLICATE
                seen.add(item.row.event_id)
        response = endpoint.respond(asked, batch, outcomes, None)
    assert exchange["status"] == response.status
    assert _agrees(exchange["body"], answer_json(response))
