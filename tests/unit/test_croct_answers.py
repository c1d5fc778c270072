"""What Croct's clients are answered: problems the SDK understands, silence, client ids."""

import inspect

import pytest

from collector import refusal as refusals
from collector.adapters import croct, croct_answers
from collector.adapters.contract import Endpoint, PlainEndpoint
from collector.event import Batch, Verdict
from collector.refusal import Kind, Refusal
from tests.support.croct import (
    CLIENT_ID,
    beacon,
    exchanges,
    golden_request,
    problem,
    refusal,
    request,
)

FRESH = "0123456789abcdef0123456789abcdef"
REFUSED_HERE = (
    "refused_body",
    "refused_content_type",
    "refused_empty_app_id",
    "refused_every",
    "refused_invalid",
    "refused_malformed",
    "refused_missing",
    "refused_unknown_type",
)


@pytest.mark.parametrize(
    "name", [name for name in exchanges("refused_") if name.startswith(REFUSED_HERE)]
)
def test_golden_refusals_of_the_adapter_are_answered_as_promised(name: str) -> None:
    """What the adapter itself refuses gets the problem document of its golden exchange."""
    exchange = exchanges("refused_")[name]
    sent = golden_request(exchange)
    head = croct.read_head(sent)
    why = head if isinstance(head, Refusal) else croct.decode(sent)
    assert isinstance(why, Refusal)
    answer = croct_answers.refuse(sent, why, None)
    document, expected = problem(answer), exchange["body"]
    assert answer.status == exchange["status"]
    for found in (document, *document.get("violations", ())):
        assert found.pop("detail", "x")
    expected.pop("detail")
    for found, wanted in zip(
        document.get("violations", ()), expected.get("violations", ()), strict=True
    ):
        if wanted["reason"] == "<any>":
            wanted["reason"] = found["reason"]
    assert document == expected


# --- answers


def all_kinds() -> list[Kind]:
    """Every reason there is."""
    return [kind for _, kind in inspect.getmembers(refusals, lambda x: isinstance(x, Kind))]


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.code)
def test_every_refusal_has_an_answer_the_sdk_understands(kind: Kind) -> None:
    """Policy is silent; all else is a problem whose `status` is the status of HTTP."""
    answer = croct_answers.refuse(request(), Refusal(kind, "why"), None)
    if kind.outcome == "dropped" or kind == refusals.QUARANTINED:
        assert answer.body == b""
        assert answer.status == (202 if kind == refusals.SUSPENDED else 204)
        return
    document = problem(answer)
    assert document["type"].startswith("https://croct.help/api/")
    assert document["title"]
    assert document["detail"] == "why"
    assert document["instance"] == "/client/web/track"
    assert "violations" not in document
    # The SDK tries again what is 408, 429 or 5xx: that must be exactly what may succeed later.
    assert (answer.status in {408, 429} or answer.status >= 500) is kind.retriable
    assert ("retry-after" in dict(answer.headers)) is (answer.status in {429, 503})


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [
        (refusals.UNKNOWN_APP, 401, "authentication/unknown-application"),
        (refusals.INACTIVE_SITE, 401, "authentication/inactive-application"),
        (refusals.ORIGIN_REFUSED, 403, "authentication/forbidden-origin"),
        (refusals.INVALID_TOKEN, 401, "authentication/invalid-token"),
        (refusals.UNSIGNED_TOKEN, 401, "authentication/unsigned-token"),
        (refusals.BODY_TOO_LARGE, 413, "payload-too-large"),
        (refusals.METHOD_NOT_ALLOWED, 405, "method-not-allowed"),
        (refusals.RATE_LIMITED, 429, "rate-limit-exceeded"),
        (refusals.QUEUE_FULL, 503, "service-unavailable"),
    ],
    ids=lambda value: value.code if isinstance(value, Kind) else "",
)
def test_refusals_of_others_keep_their_family(kind: Kind, status: int, name: str) -> None:
    """Reasons found outside the adapter get the vendor's types, or their kin."""
    document = problem(croct_answers.refuse(request(), Refusal(kind, "why"), None))
    assert (document["status"], document["type"]) == (status, f"https://croct.help/api/{name}")


def test_retry_after_is_told_by_the_refusal() -> None:
    """The refusal's own time, else a second."""
    for seconds, expected in ((30, "30"), (0, "1")):
        why = Refusal(refusals.RATE_LIMITED, "why", retry_after_s=seconds)
        assert dict(croct_answers.refuse(request(), why, None).headers)["retry-after"] == expected


def test_a_suspended_application_tells_its_reason_in_a_header() -> None:
    """202, no body, and the reason where the vendor's page puts it."""
    why = Refusal(refusals.SUSPENDED, "bot_personalization_blocked")
    answer = croct_answers.refuse(request(), why, None)
    assert (answer.status, answer.body) == (202, b"")
    assert answer.headers == [("x-suspension-reason", "bot_personalization_blocked")]


def test_duplicates_look_like_new_events_and_refusals_do_not() -> None:
    """A repeat is 204; an outcome that is a refusal is answered as one."""
    batch = Batch(items=[])
    assert croct_answers.respond(request(), batch, [Verdict.DUPLICATE], None).status == 204
    why = Refusal(refusals.STORAGE_UNAVAILABLE, "disk full", retry_after_s=5)
    assert croct_answers.respond(request(), batch, [why], None).status == 503


def test_answers_never_repeat_what_was_sent() -> None:
    """Neither values nor odd keys of a bad beacon come back in the answer."""
    canary = "<b>canary</b>"
    bad = {
        "type": "orderPlaced",
        "order": {"status": canary, "taxes": {canary: canary}, "currency": canary},
    }
    body = beacon(bad, {"type": canary, "url": canary, "metadata": {canary: canary}}, **{canary: 1})
    answer = croct_answers.refuse(request(), refusal(body), None)
    assert answer.status == 400
    assert b"canary" not in answer.body
    unknown_type = croct_answers.refuse(request(), refusal(beacon({"type": canary})), None)
    assert b"canary" not in unknown_type.body


# --- client id


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", FRESH),
        ("cid=" + CLIENT_ID, CLIENT_ID),
        ("a=b&cid=" + CLIENT_ID.upper(), CLIENT_ID.upper()),
        ("cid=ABCDEF01-2345-0789-abcd-ef0123456789&x", "ABCDEF01-2345-0789-abcd-ef0123456789"),
        ("cid=ABCDEF01%2D2345-0789-abcd-ef0123456789", "ABCDEF01-2345-0789-abcd-ef0123456789"),
        ("cid=", FRESH),
        ("cid", FRESH),
        ("cid=" + CLIENT_ID + "%0a", FRESH),
        ("cid=nonsense&cid=" + CLIENT_ID, FRESH),
        ("xcid=" + CLIENT_ID, FRESH),
        ("\xff&cid=\xff", FRESH),
        ("\ufffd&cid=\ufffd", FRESH),
    ],
)
def test_client_id_is_confirmed_or_made(query: str, expected: str) -> None:
    """A valid id comes back as sent, anything else gets a fresh one; the body is the id alone."""
    answer = croct_answers.answer_client_id(request(query=query), FRESH)
    assert (answer.status, answer.body) == (200, expected.encode())
    assert dict(answer.headers) == {"content-type": "text/plain", "cache-control": "no-store"}


def test_client_id_is_refused_without_an_id() -> None:
    """An untrusted origin gets a problem and no id."""
    answer = croct_answers.refuse(request(), Refusal(refusals.ORIGIN_REFUSED, "why"), None)
    assert problem(answer)["type"] == "https://croct.help/api/authentication/forbidden-origin"


def test_the_endpoints_are_in_the_order_the_sdk_needs() -> None:
    """Beacons are throttled only when valid, are at most 64 KiB, and repeats are not stored."""
    track, client_id = croct.ENDPOINTS
    assert isinstance(track, Endpoint)
    assert (track.method, track.path) == ("POST", "/client/web/track")
    assert (track.limit_at, track.limit) == ("decoded", "application")
    assert (track.credentials, track.stores_duplicates) == ("app", False)
    assert track.body_bytes_max == 65_536
    assert isinstance(client_id, PlainEndpoint)
    assert (client_id.method, client_id.path) == ("GET", "/client/web/cid")
    assert client_id.allows_credentials
