"""Where what is usual is read in a quicker way, it is read the same as in the careful one."""

import re
from typing import Any
from unittest.mock import patch

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.adapters import croct, croct_quick, decoding, scanova_events
from collector.adapters.scanova_metadata import BYTES_MAX, PLAIN, judge
from collector.event import Batch, Event
from collector.refusal import Refusal
from storage import encode
from tests.support import croct as croct_support
from tests.support import scanova as scanova_support

_often = settings(max_examples=500, deadline=None)


def _told(result: Batch | Refusal) -> object:
    """All that is known of a request once it is decoded."""
    if isinstance(result, Refusal):
        return result
    return [
        (encode([item.row]), item.identity, item.departure_us, item.webdriver)
        if isinstance(item, Event)
        else item
        for item in result.items
    ]


# --- beacons

_TAB = '"tabId":"123e4567-e89b-12d3-a456-426614174000"'
_URL = '"url":"https://example.com/a?b=c"'
_PAYLOAD = '"payload":{"type":"nothingChanged","sinceTime":1}'
_CONTEXT_MEMBERS = [
    *(_URL, _TAB, '"timeZone":"Europe/Berlin"', '"type":"web"', '"metadata":{"a":"b","c":""}'),
    *('"url":""', '"url":"x"', '"url":null', '"url":"HTTP://a/é"', '"url":"http://a\\u002fb"'),
    *('"tabId":null', '"tabId":""', _TAB.upper().replace("TABID", "tabId"), _TAB[:-2] + 'g"'),
    *('"timeZone":null', '"timeZone":""', '"timeZone":"a b"', f'"timeZone":"{"z" * 65}"'),
    *('"type":null', '"type":"server"', '"metadata":{}', '"metadata":null', '"metadata":{"1":""}'),
    *('"metadata":{"a":"b","a":"c"}', '"metadata":{"webdriver":"true"}', '"metadata":{"a":"é"}'),
    *(f'"metadata":{{"{"k" * 33}":""}}', '"unknown":1', ' "timeZone" : "UTC" ', '"type" :"web"'),
]
_TIMES = [
    *("1760000100123", "1760000099999", "1760000100000", "1.76e12", "176000010012.3e1", "1e12"),
    *(
        "0",
        "-0",
        "9999999999999",
        "10000000000000",
        "999999999999",
        "1760000100123.0",
        "1.5",
        '"1"',
    ),
]
_PAYLOADS = [
    *(
        _PAYLOAD,
        _PAYLOAD.replace(":1", ":\n 1"),
        _PAYLOAD.replace("1}", '1,"z":[2.50],"a":"\\u00e9"}'),
    ),
    *(_PAYLOAD.replace("1}", '1,"x":"\\ud83d"}'), _PAYLOAD.replace("1}", '1,"x":1e999}')),
    *('"payload":{"type":"nothingChanged"}', '"payload":{}', '"payload":null'),
    '"payload":{"type":"linkOpened","link":"tel:+1 5"}',
]
_fields = st.lists(st.sampled_from(_CONTEXT_MEMBERS[:5]), max_size=3, unique=True).flatmap(
    lambda good: st.lists(st.sampled_from(_CONTEXT_MEMBERS), max_size=2).map(
        lambda more: [_URL, *good, *more]
    )
)


@st.composite
def _beacons(draw: st.DrawFn) -> str:
    context = ",".join(draw(st.permutations(draw(_fields))))
    members = [
        f'"context":{{{context}}}',
        draw(st.sampled_from(_PAYLOADS)),
        f'"originalTime":{draw(st.sampled_from(_TIMES[:2]) | st.sampled_from(_TIMES))}',
        '"departureTime":1760000100456',
    ]
    if draw(st.booleans()):
        members.append(draw(st.sampled_from([*members, _PAYLOADS[0], '"$schema":"x"', '"a":1'])))
    text = "{" + ",".join(draw(st.permutations(members))) + "}"
    return text + draw(st.sampled_from(["", "", "", " ", "\n", "x", "\ufeff"]))


def _beacon(context: str, more: str = "") -> str:
    times = '"originalTime":1760000100123,"departureTime":1760000100456'
    return f'{{"context":{{{context}}},{_PAYLOAD},{times}{more}}}'


@_often
@given(_beacons())
@example(_beacon('"url":""'))
@example(_beacon('"url":"x",' + _URL))
@example(_beacon(_URL, ',"context":{"url":"https://a/"}'))
@example(_beacon(_URL, "," + _PAYLOAD))
@example(_beacon('"url":""', ',"context":{"url":"https://a/"}').replace("1760000100123", "1e12"))
def test_a_beacon_read_quickly_is_the_same(text: str) -> None:
    """Row, identity and refusal do not depend on the way, also where members are repeated."""
    sent = croct_support.request(text.encode())
    found = _told(croct.decode(sent))
    with patch.object(croct_quick, "read", lambda _body: None):
        assert found == _told(croct.decode(sent))


def test_the_usual_beacon_is_read_quickly() -> None:
    """As the SDK writes it, each of its event types."""
    for payload in croct_support.example_payloads().values():
        context = {"url": "https://example.com/", "tabId": croct_support.APP_ID, "timeZone": "UTC"}
        metadata = {"sdkVersion": "0.22.1"}
        body = croct_support.beacon(payload, {**context, "metadata": metadata})
        assert croct_quick.read(msgspec.json.encode(body)) is not None


# --- Scanova

_id = scanova_support.EVENT_ID
_ids = st.none() | st.sampled_from(
    [_id, _id.upper(), _id[:-1], _id + "0", _id + "\n", "\n" + _id, "", _id.replace("-", "0"), "é"]
) | st.uuids().map(str)  # fmt: skip


@_often
@given(_ids, _ids, _ids, _ids)
def test_ids_looked_at_together_are_the_same(
    event: str | None, scan: str | None, web: str | None, visitor: str | None
) -> None:
    """Four at once are taken or refused as each by itself."""
    members: dict[str, Any] = {"event_id": event, "scan_session_id": scan}
    body = scanova_support.browser_event(**members, web_session_id=web, visitor_id=visitor)
    found = _told(scanova_support.decode("/ct", body))
    with patch.object(scanova_events, "_FOUR_UUIDS", b""):
        assert found == _told(scanova_support.decode("/ct", body))


@_often
@given(
    st.datetimes().map(lambda time: time.isoformat(timespec="milliseconds") + "Z")
    | st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}[.,][0-9]{3}[Zz]\Z")
    | st.text("0123456789-+:.,TZtz ", min_size=24, max_size=24)
)
@example("1970-01-01T00:00:00.000Z")
@example("1970-01-01T00:00:00.001Z")
@example("0001-01-01T00:00:00.000Z")
@example("9999-12-31T23:59:59.999Z")
@example("2026-05-13T101112.12345Z")
@example("2026-05-13T10:11+01.123Z")
def test_times_of_javascript_are_the_same(text: str) -> None:
    """What is remembered of a second changes no time and reads none that is none."""
    read = scanova_events._time_us(text)
    assert scanova_events.time_us(text) == (read if read is None else read or 1)


_pieces = st.sampled_from(["{", "}", "[", "]", "@", "a@b.co", "\\", "\n", "\r", " ", '"', "é", "x"])


@_often
@given(
    st.lists(_pieces, max_size=12).map(lambda pieces: "{" + "".join(pieces) + "}")
    | st.integers(BYTES_MAX - 12, BYTES_MAX + 2).map(
        lambda size: '{"a":"' + "x" * (size - 8) + '"}'
    )
    | st.lists(st.integers(2_040, 2_050), max_size=6).map(
        lambda sizes: "{" + "[".join("x" * size for size in sizes) + "}"
    )
)
def test_plain_metadata_would_be_kept_as_it_is(text: str) -> None:
    """What is recognised at one look is what the careful way keeps byte for byte."""
    sent = text.encode()
    if PLAIN.fullmatch(sent):
        assert judge(sent, is_depth_limited=True) == sent
        assert judge(sent, is_depth_limited=False) == sent
        assert decoding.without_breaks(sent) == sent
        assert not re.search(rb"[@\\\n\r]", sent)
