"""The Croct adapter: what it takes from a request, and what it answers."""

from datetime import datetime
from typing import Any

import msgspec
import pytest

from collector import refusal as refusals
from collector.adapters import croct, croct_answers
from collector.adapters.contract import Head
from collector.event import Batch, Event, Verdict
from collector.refusal import Kind, Refusal, Violation
from storage import encode
from tests.support.croct import (
    APP_ID,
    CLIENT_ID,
    NOW_MS,
    beacon,
    exchanges,
    golden_request,
    problem,
    refusal,
    request,
)

ACCEPTED = {name: e for name, e in exchanges().items() if e["status"] == 204}


def read(body: Any = None, **headers: str | None) -> Event:
    """The event of a good request."""
    batch = croct.decode(request(body, **headers))
    assert isinstance(batch, Batch), batch
    (event,) = batch.items
    assert isinstance(event, Event)
    return event


def line(event: Event) -> dict[str, Any]:
    """The row as it will stand in the log."""
    text = encode([event.row])
    assert text.count(b"\n") == 1
    columns: dict[str, Any] = msgspec.json.decode(text)
    return columns


# --- golden exchanges, as far as an adapter answers for them


@pytest.mark.parametrize("name", ACCEPTED)
def test_golden_beacons_become_the_rows_they_promise(name: str) -> None:
    """Each accepted golden request passes the head and the body and fills the columns told."""
    sent = golden_request(ACCEPTED[name])
    assert isinstance(croct.read_head(sent), Head)
    batch = croct.decode(sent)
    assert isinstance(batch, Batch), batch
    (event,) = batch.items
    assert isinstance(event, Event)
    columns = line(event)
    for row in ACCEPTED[name]["rows"]:
        for column, promised in row.items():
            found, expected = columns.get(column), promised
            if column == "site_id" or (column == "user_id" and "x-token" in sent.headers):
                continue  # filled in by whoever knows the site and verifies the token
            if column == "event_time":
                found = columns["event_time"] / 1e6
                expected = datetime.fromisoformat(promised).timestamp()
            assert found == expected, column
    answer = croct_answers.respond(sent, batch, [Verdict.ACCEPTED], None)
    assert (answer.status, answer.body, answer.headers) == (204, b"", [])


# --- the head


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"x_app_id": None}, refusals.MISSING_APP_ID),
        ({"x_app_id": " "}, refusals.MISSING_APP_ID),
        ({"x_app_id": "demo"}, refusals.INVALID_APP_ID),
        ({"x_app_id": APP_ID.replace("-", "")}, refusals.INVALID_APP_ID),
        ({"x_app_id": APP_ID + "\n0"}, refusals.INVALID_APP_ID),
        ({"x_client_id": None}, refusals.MISSING_CLIENT_ID),
        ({"x_client_id": "", "x_token": ""}, refusals.MISSING_CLIENT_ID),
        ({"x_client_id": "1"}, refusals.INVALID_CLIENT_ID),
        ({"x_client_id": "1", "x_token": "a.b."}, refusals.INVALID_CLIENT_ID),
        ({"x_client_id": CLIENT_ID + "0"}, refusals.INVALID_CLIENT_ID),
        ({"x_client_id": "g" * 32}, refusals.INVALID_CLIENT_ID),
        ({"x_client_id": "٣" * 32}, refusals.INVALID_CLIENT_ID),
    ],
)
def test_bad_heads_are_refused(headers: dict[str, str | None], kind: Kind) -> None:
    """Each fault of the head has its own reason."""
    answer = croct.read_head(request(**headers))
    assert isinstance(answer, Refusal)
    assert answer.kind == kind


def test_ids_of_the_head_are_brought_into_one_form() -> None:
    """Case and dashes of ids do not matter: the application dashed, the client without."""
    dashed = "ABCDEF01-2345-6789-ABCD-EF0123456789"
    head = croct.read_head(request(x_app_id=APP_ID.upper(), x_client_id=dashed, x_token=" a.b. "))
    assert head == Head(app_id=APP_ID, client_id="abcdef0123456789abcdef0123456789", token="a.b.")


def test_a_token_stands_in_for_a_client_id() -> None:
    """With a token no client id is needed, and the row then has no visitor."""
    head = croct.read_head(request(x_client_id=None, x_token="a.b."))
    assert head == Head(app_id=APP_ID, token="a.b.")
    assert read(x_client_id=None, x_token="a.b.").row.visitor_id is None


# --- the body


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/json ;x"]
)
def test_json_by_its_content_type_is_read(content_type: str) -> None:
    """Case and parameters of the content type do not matter."""
    assert read(content_type=content_type).row.event_type == "nothingChanged"


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/jsonp", "application/x-www-form-urlencoded"],
)
def test_other_content_types_are_an_invalid_payload(content_type: str | None) -> None:
    """Whatever else the content type says is a 400 of the validation family."""
    why = refusal(content_type=content_type)
    assert why.kind == refusals.UNSUPPORTED_MEDIA_TYPE
    document = problem(croct_answers.refuse(request(), why, None))
    assert document["status"] == 400
    assert document["type"] == "https://croct.help/api/event-tracking/invalid-payload"
    assert document["violations"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"\xff",
        b'{"a": NaN}',
        b'{"payload":{"type":"tabOpened","x":"\xff"}}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    """Syntax, encoding and depth are told apart from a broken schema, and are a 400 too."""
    sent = request(body=b"x")
    sent.body = body
    why = croct.decode(sent)
    assert isinstance(why, Refusal)
    assert why.kind == refusals.MALFORMED_BODY
    document = problem(croct_answers.refuse(sent, why, None))
    assert document["status"] == 400
    assert document["violations"] == [{"reason": document["detail"]}]


def test_columns_come_from_where_they_should() -> None:
    """Every column a beacon can fill, with the headers, and everything else in the context."""
    event = read(
        beacon(
            {"type": "pageOpened", "url": "https://example.com/p", "referrer": "https://a.example"},
            {
                "type": "web",
                "url": "https://example.com/c",
                "tabId": "123E4567-E89B-12D3-A456-426614174000",
                "timeZone": "America/New_York",
                "metadata": {"sdkVersion": "0.22.1"},
            },
        ),
        user_agent="Mozilla/5.0",
        accept_language="pt-BR,pt;q=0.9",
        x_client_library="Croct SDK JS v0.22.1",
    )
    assert line(event) == {
        "event_id": "",
        "event_time": (NOW_MS - 1_000) * 1_000,
        "protocol": "croct",
        "source": "browser",
        "event_type": "pageOpened",
        "visitor_id": CLIENT_ID,
        "page_url": "https://example.com/c",
        "referrer": "https://a.example",
        "user_agent": "Mozilla/5.0",
        "language": "pt-BR",
        "metadata": {
            "type": "pageOpened",
            "url": "https://example.com/p",
            "referrer": "https://a.example",
        },
        "context": {
            "original_time": NOW_MS - 1_000,
            "departure_time": NOW_MS,
            "received_time": NOW_MS,
            "tab_id": "123e4567-e89b-12d3-a456-426614174000",
            "time_zone": "America/New_York",
            "metadata": {"sdkVersion": "0.22.1"},
            "library": "Croct SDK JS v0.22.1",
        },
    }
    assert event.departure_us == NOW_MS * 1_000


def test_the_payload_is_kept_as_it_was_sent() -> None:
    """Unknown members, spelling of numbers and order survive; only line breaks become spaces."""
    payload = b'{"x":1.50,\n"type":"linkOpened","link":"x:y","y":{"b":1e2,"a":"\\u00e9"}}'
    body = msgspec.json.encode(beacon(msgspec.Raw(payload)))
    row = read(body).row
    assert isinstance(row.metadata, msgspec.Raw)
    assert bytes(row.metadata) == payload.replace(b"\n", b" ")


def test_unknown_members_of_envelope_and_context_are_kept_apart() -> None:
    """What a newer SDK adds outside the payload is found in the context under `unknown`."""
    context = {"url": "https://example.com/", "screen": {"width": 1}}
    event = read(beacon(context=context, eventId=7, **{"$schema": "x"}))
    assert line(event)["context"]["unknown"] == {"eventId": 7, "screen": {"width": 1}}


def test_a_server_context_needs_no_page() -> None:
    """A back end has neither page nor tab; what it says of them is an unknown member."""
    event = read(beacon(context={"type": "server", "url": 5, "metadata": {"job": "nightly"}}))
    assert event.row.source == "server"
    assert event.row.page_url is None
    context = line(event)["context"]
    assert context["metadata"] == {"job": "nightly"}
    assert context["unknown"] == {"url": 5}
    assert refusal(beacon(context={"type": "server", "metadata": []})).violations == (
        Violation("Expected object or null, got array", "/context/metadata"),
    )


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("en", "en"),
        (" de-CH ; q=0.5 , en", "de-CH"),
        ("*", None),
        ("", None),
        ("a" * 36, None),
        ("<script>", None),
    ],
)
def test_language_is_the_first_one_preferred(header: str, language: str | None) -> None:
    """Only what looks like a language tag is kept."""
    assert read(accept_language=header).row.language == language


def test_kept_headers_are_bounded_and_always_text() -> None:
    """A header of any length or characters cannot bloat or break a row."""
    event = read(user_agent="\xe9" * 5_000, x_client_library="\xff")
    assert event.row.user_agent == "\xe9" * 1_024
    assert line(event)["context"]["library"] == "\xff"


def test_a_lone_surrogate_does_not_cost_the_event() -> None:
    """Half an emoji is read as U+FFFD, in columns and in the payload kept."""
    body = msgspec.json.encode(beacon()).replace(
        b'"sinceTime":1', b'"sinceTime":1,"t":"\\ud83d","u":"\\ud83d\\ude00"'
    )
    assert line(read(body))["metadata"]["t"] == "\ufffd"


# --- identity


def test_identity_leaves_out_what_a_retry_changes() -> None:
    """Departure, order of members, white space and case of ids make no new event."""
    tab = "123e4567-e89b-12d3-a456-426614174000"
    payload = {"type": "eventOccurred", "name": "a", "details": {"x": 1, "y": 2}}
    context = {"url": "https://example.com/", "tabId": tab}
    first = read(beacon(payload, context)).identity
    turned = {"details": {"y": 2, "x": 1}, "name": "a", "type": "eventOccurred"}
    other = {"tabId": tab.upper(), "url": "https://example.com/moved"}
    again = beacon(turned, other, departureTime=NOW_MS + 60_000)
    body = msgspec.json.format(msgspec.json.encode(again), indent=2)
    assert read(body, x_app_id=APP_ID.upper(), x_client_id=CLIENT_ID.upper()).identity == first


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (beacon({"type": "nothingChanged", "sinceTime": 2}), {}),
        (beacon({"type": "nothingChanged", "sinceTime": 1, "more": None}), {}),
        (beacon(originalTime=NOW_MS - 1_001), {}),
        (beacon(context={"url": "https://example.com/", "tabId": APP_ID}), {}),
        (beacon(), {"x_client_id": "0" * 32}),
        (beacon(), {"x_client_id": None, "x_token": "a.b."}),
        (beacon(), {"x_client_id": None, "x_token": "a.c."}),
        (beacon(), {"x_app_id": "0" * 8 + APP_ID[8:]}),
    ],
)
def test_identity_tells_different_events_apart(
    body: dict[str, Any], headers: dict[str, str | None]
) -> None:
    """Payload, time, tab, client (or token) and application each make another event."""
    assert read(body, **headers).identity != read().identity


def test_with_a_client_id_the_token_does_not_tell_events_apart() -> None:
    """A token renewed between two attempts does not make a second event."""
    assert read(x_token="a.b.").identity == read().identity
