"""Scanova's answers: successes, results of a batch, statuses, errors."""

import pytest

from collector import refusal as kinds
from collector.event import Batch, Event, Verdict
from collector.refusal import Refusal
from tests.support.scanova import (
    ENDPOINTS,
    EVENT_ID,
    answer,
    answer_json,
    browser_event,
    decode,
    request,
    server_event,
)


def test_one_event_accepted() -> None:
    """Success tells the id of the stored row, also one that was made here."""
    for path in ("/ct", "/collect"):
        response = answer(path, browser_event(event_id=EVENT_ID.upper()))
        assert response.status == 200
        assert answer_json(response) == {"event_id": EVENT_ID}
    batch = decode("/server-events", server_event())
    assert isinstance(batch, Batch)
    assert isinstance(batch.items[0], Event)
    batch.items[0].row.event_id = "made-here"
    asked = request("/server-events")
    for verdict in Verdict:
        response = ENDPOINTS["/server-events"].respond(asked, batch, [verdict], None)
        assert response.status == 200
        assert answer_json(response) == {
            "success": True,
            "event_id": "made-here",
            "status": "accepted",
            "message": "Event received",
        }


def test_a_batch_tells_the_fate_of_each() -> None:
    """Accepted, duplicate and rejected are counted apart; one rejection makes `success` false."""
    events = [browser_event(event_id=EVENT_ID), browser_event(event_id=EVENT_ID), browser_event()]
    asked = request("/collect/batch", {"events": events})
    endpoint = ENDPOINTS["/collect/batch"]
    batch = endpoint.decode(asked)
    assert isinstance(batch, Batch)
    nowhere = Refusal(kinds.UNKNOWN_SITE, "site_id not found or inactive")
    batch.items[2] = nowhere
    outcomes = [Verdict.ACCEPTED, Verdict.DUPLICATE, nowhere]
    response = endpoint.respond(asked, batch, outcomes, None)
    assert response.status == 200
    assert answer_json(response) == {
        "success": False,
        "accepted": 1,
        "duplicates": 1,
        "rejected": 1,
        "results": [
            {"index": 0, "event_id": EVENT_ID, "status": "accepted"},
            {"index": 1, "event_id": EVENT_ID, "status": "duplicate"},
            {
                "index": 2,
                "event_id": None,
                "status": "rejected",
                "detail": "site_id not found or inactive",
            },
        ],
    }
    kept = Batch(items=batch.items[:2])
    assert answer_json(endpoint.respond(asked, kept, outcomes[:2], None))["success"] is True


@pytest.mark.parametrize(
    ("kind", "browser", "server"),
    [
        (kinds.MALFORMED_BODY, 400, 400),
        (kinds.MISSING_FIELD, 400, 422),
        (kinds.INVALID_FIELD, 422, 422),
        (kinds.BATCH_SIZE, 422, 422),
        (kinds.FIELD_TOO_LARGE, 422, 422),
        (kinds.FIELD_TOO_DEEP, 422, 422),
        (kinds.RAW_EMAIL, 422, 422),
        (kinds.MISSING_KEY, 401, 401),
        (kinds.UNKNOWN_KEY, 401, 403),
        (kinds.SITE_FORBIDDEN, 403, 403),
        (kinds.UNKNOWN_SITE, 400, 403),
        (kinds.INACTIVE_SITE, 400, 400),
        (kinds.ORIGIN_MISSING, 403, 403),
        (kinds.ORIGIN_REFUSED, 403, 403),
        (kinds.METHOD_NOT_ALLOWED, 405, 405),
        (kinds.BODY_TOO_SLOW, 408, 408),
        (kinds.BODY_TOO_LARGE, 413, 413),
        (kinds.UNSUPPORTED_ENCODING, 415, 415),
        (kinds.RATE_LIMITED, 429, 429),
        (kinds.AUTH_THROTTLED, 429, 429),
        (kinds.INTERNAL_ERROR, 500, 500),
        (kinds.QUEUE_FULL, 503, 503),
        (kinds.STORAGE_UNAVAILABLE, 503, 503),
        (kinds.SHUTTING_DOWN, 503, 503),
    ],
)
def test_statuses(kind: kinds.Kind, browser: int, server: int) -> None:
    """Each reason has its status, and a single endpoint refuses alike at every step."""
    refusal = Refusal(kind, "because", rule="value_error")
    for path, status in (("/ct", browser), ("/server-events", server)):
        asked = request(path)
        response = ENDPOINTS[path].refuse(asked, refusal, None)
        assert status == response.status
        detail = answer_json(response)["detail"]
        if status == 422:
            assert detail == [{"loc": ["body"], "msg": "because", "type": "value_error"}]
        elif status == 405:
            assert detail == "Method Not Allowed"
        else:
            assert detail == "because"
        batch = Batch(items=[refusal])
        assert ENDPOINTS[path].respond(asked, batch, [refusal], None) == response


@pytest.mark.parametrize("kind", [kinds.RATE_LIMITED, kinds.QUEUE_FULL])
@pytest.mark.parametrize(("own", "expected"), [(7, "7"), (0, "1")])
def test_retry_after(kind: kinds.Kind, own: int, expected: bytes) -> None:
    """429 and 503 always say when to come back; other refusals never do."""
    for endpoint in ENDPOINTS.values():
        asked = request(endpoint.path)
        refusal = Refusal(kind, "later", retry_after_s=own)
        assert ("retry-after", expected) in endpoint.refuse(asked, refusal, None).headers
        never = Refusal(kinds.ORIGIN_REFUSED, "no", retry_after_s=5)
        names = [name for name, _ in endpoint.refuse(asked, never, None).headers]
        assert "retry-after" not in names


def test_nothing_sent_comes_back_in_an_error() -> None:
    """No refusal repeats what the client sent."""
    mark = "xyzzy-<script>"
    bodies = [
        b'{"xyzzy-<script>',
        *(browser_event(**{name: mark}) for name in ("event_id", "timestamp", "consent")),
        browser_event(metadata={mark: "a@example.com"}),
        browser_event(device={"screen_width": mark}),
        browser_event(event_type=...) | {mark: mark},
    ]
    for body in bodies:
        response = answer("/ct", body)
        assert response.status in {400, 422}
        assert b"xyzzy" not in response.body
