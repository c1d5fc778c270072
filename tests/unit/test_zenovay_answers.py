"""The Zenovay adapter: what it answers."""

import json
import uuid

import pytest

from collector.adapters import zenovay
from collector.adapters.contract import Budget
from collector.event import Batch, Outcome, Verdict
from collector.refusal import (
    AUTH_THROTTLED,
    BODY_TOO_LARGE,
    BODY_TOO_SLOW,
    INACTIVE_SITE,
    INTERNAL_ERROR,
    INVALID_TS,
    MALFORMED_BODY,
    METHOD_NOT_ALLOWED,
    MISSING_KEY,
    MONTH_EXHAUSTED,
    QUEUE_FULL,
    RATE_LIMITED,
    SHUTTING_DOWN,
    SITE_FORBIDDEN,
    STORAGE_UNAVAILABLE,
    UNKNOWN_KEY,
    UNKNOWN_SITE,
    UNSUPPORTED_ENCODING,
    UNSUPPORTED_MEDIA_TYPE,
    Kind,
    Refusal,
)
from tests.support.zenovay import CUSTOM, EVERY_TYPE, GOAL, REQUEST_ID, decode, request

BUDGET = Budget(
    limit=30,
    remaining=29,
    reset_s=1_795_257_002,
    month_used=7,
    month_limit=10_000,
    month_reset_s=1_796_083_200,
    total_used=99,
)


def answer(outcomes: list[Outcome], budget: Budget | None = None) -> dict[str, object]:
    """The body of the answer to these outcomes."""
    response = zenovay.respond(request(), Batch(items=[]), outcomes, budget)
    assert response.status == 200
    return json.loads(response.body)


def test_the_counts_are_disjoint_and_errors_have_their_index():
    """Every event is in one count; every refused one is in `errors` where it stood."""
    refusal = Refusal(INVALID_TS, "ts is missing or beyond ±24h skew tolerance")
    outcomes = [Verdict.ACCEPTED, refusal, Verdict.DUPLICATE, Verdict.ACCEPTED, refusal]
    assert answer(outcomes) == {
        "acceptedCount": 2,
        "dedupedCount": 1,
        "rejectedCount": 2,
        "errors": [
            {"index": 1, "reason": "invalid_ts", "message": refusal.message},
            {"index": 4, "reason": "invalid_ts", "message": refusal.message},
        ],
    }


def test_a_batch_without_refusals_has_no_errors():
    """The vendor's first sample."""
    outcomes = [Verdict.ACCEPTED] * 4 + [Verdict.DUPLICATE]
    expected = {"acceptedCount": 4, "dedupedCount": 1, "rejectedCount": 0, "errors": []}
    assert answer(outcomes) == expected


@pytest.mark.parametrize("kind", [QUEUE_FULL, STORAGE_UNAVAILABLE, INTERNAL_ERROR, SHUTTING_DOWN])
def test_our_own_failure_is_the_reason_that_allows_a_retry(kind):
    """An event we could not store is `internal_error`, the vendor's word for "retry is safe"."""
    (error,) = answer([Refusal(kind, "busy")])["errors"]
    assert error == {"index": 0, "reason": "internal_error", "message": "busy"}


def test_every_answer_tells_the_budget():
    """Rate limit and usage headers, and the request's id, on successes and refusals alike."""
    expected = {
        "content-type": "application/json",
        "x-request-id": REQUEST_ID,
        "x-ratelimit-limit": "30",
        "x-ratelimit-remaining": "29",
        "x-ratelimit-reset": "1795257002",
        "x-usage-monthly": "7",
        "x-usage-limit": "10000",
        "x-usage-reset": "2026-12-01T00:00:00.000Z",
        "x-usage-total": "99",
    }
    response = zenovay.respond(request(), Batch(items=[]), [], BUDGET)
    assert dict(response.headers) == expected
    refused = zenovay.refuse(request(), Refusal(MALFORMED_BODY, "x"), BUDGET)
    assert dict(refused.headers) == expected


def test_limits_that_are_off_are_not_told():
    """Without a limit there is no limit header; without a budget there is none at all."""
    budget = Budget(limit=0, remaining=0, reset_s=0, month_used=7, total_used=99)
    response = zenovay.respond(request(), Batch(items=[]), [], budget)
    names = {name for name, _ in response.headers}
    assert names == {"content-type", "x-request-id", "x-usage-monthly", "x-usage-total"}
    response = zenovay.refuse(request(), Refusal(INTERNAL_ERROR, "x"), None)
    assert {name for name, _ in response.headers} == {"content-type", "x-request-id"}


REFUSED = [
    (MALFORMED_BODY, 400, "VALIDATION_ERROR"),
    (MISSING_KEY, 401, "UNAUTHORIZED"),
    (UNKNOWN_KEY, 401, "UNAUTHORIZED"),
    (SITE_FORBIDDEN, 403, "FORBIDDEN"),
    (INACTIVE_SITE, 403, "FORBIDDEN"),
    (UNKNOWN_SITE, 404, "NOT_FOUND"),
    (METHOD_NOT_ALLOWED, 405, "METHOD_NOT_ALLOWED"),
    (BODY_TOO_SLOW, 408, "REQUEST_TIMEOUT"),
    (BODY_TOO_LARGE, 413, "PAYLOAD_TOO_LARGE"),
    (UNSUPPORTED_ENCODING, 415, "UNSUPPORTED_MEDIA_TYPE"),
    (UNSUPPORTED_MEDIA_TYPE, 415, "UNSUPPORTED_MEDIA_TYPE"),
    (RATE_LIMITED, 429, "RATE_LIMIT_EXCEEDED"),
    (AUTH_THROTTLED, 429, "RATE_LIMIT_EXCEEDED"),
    (MONTH_EXHAUSTED, 429, "MONTHLY_LIMIT_EXCEEDED"),
    (INTERNAL_ERROR, 500, "INTERNAL_ERROR"),
    (QUEUE_FULL, 503, "SERVICE_UNAVAILABLE"),
    (STORAGE_UNAVAILABLE, 503, "SERVICE_UNAVAILABLE"),
    (SHUTTING_DOWN, 503, "SERVICE_UNAVAILABLE"),
    (Kind("teapot", 418), 418, "GENERIC_ERROR"),
]


@pytest.mark.parametrize(("kind", "status", "code"), REFUSED)
def test_a_refusal_has_the_envelope_of_the_vendor(kind, status, code):
    """Status, code, message and the time of receipt, for everything that can go wrong."""
    response = zenovay.refuse(request(), Refusal(kind, "Told to the client"), None)
    assert response.status == status
    body = json.loads(response.body)
    body["error"].pop("retry_after", None)
    assert body == {
        "success": False,
        "error": {
            "code": code,
            "message": "Told to the client",
            "timestamp": "2026-11-21T10:30:00.123Z",
        },
    }
    headers = dict(response.headers)
    assert str(uuid.UUID(headers["x-request-id"])) == REQUEST_ID
    assert ("retry-after" in headers) == (status in (429, 503))
    assert headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


def test_a_429_tells_when_to_come_back_in_header_and_body():
    """The refusal's wait, else a second; a 503 has the header only."""
    for refusal, budget, wait in [
        (Refusal(RATE_LIMITED, "x", retry_after_s=6), BUDGET, 6),
        (Refusal(RATE_LIMITED, "x"), BUDGET, 1),
        (Refusal(AUTH_THROTTLED, "x"), None, 1),
    ]:
        response = zenovay.refuse(request(), refusal, budget)
        assert dict(response.headers)["retry-after"] == str(wait)
        assert json.loads(response.body)["error"]["retry_after"] == wait
    response = zenovay.refuse(request(), Refusal(QUEUE_FULL, "x", retry_after_s=5), None)
    assert dict(response.headers)["retry-after"] == "5"
    assert "retry_after" not in json.loads(response.body)["error"]


def test_no_message_echoes_what_the_client_sent():
    """No value of a body comes back: neither markup nor personal data can be reflected."""
    mark = "<script>jane@example.com"
    bodies = [
        mark.encode(),
        {mark: 1},
        {"trackingCode": "ZV_demo", "events": mark},
        {"trackingCode": "ZV_demo", "events": [CUSTOM], "serverContext": mark},
    ]
    for body in bodies:
        refusal = zenovay.decode(request(body))
        assert isinstance(refusal, Refusal)
        assert b"jane" not in zenovay.refuse(request(), refusal, None).body
    events = [{**event, name: mark} for event in EVERY_TYPE for name in (*GOAL, "consent")]
    events += [
        {**event, "props": {**event["props"], name: mark}}
        for event in EVERY_TYPE
        for name in ("name", "value", "amount", "currency", "payment_provider")
    ]
    outcomes = [
        item if isinstance(item, Refusal) else Verdict.ACCEPTED for item in decode(*events).items
    ]
    body = json.dumps(answer(outcomes))
    assert "invalid_props" in body
    assert "jane" not in body


def test_the_endpoint_asks_for_what_the_vendor_describes():
    """Key and limit before the body, repeats not stored, an id for every request."""
    (endpoint,) = zenovay.ENDPOINTS
    assert (endpoint.method, endpoint.path) == ("POST", "/api/v1/events")
    assert (endpoint.protocol, endpoint.source) == ("zenovay", "server")
    assert (endpoint.credentials, endpoint.limit, endpoint.limit_at) == ("key", "tier", "head")
    assert (endpoint.stores_duplicates, endpoint.wants_request_id) == (False, True)
