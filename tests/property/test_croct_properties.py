"""What holds for every request that can reach the Croct adapter, and every token."""

import base64
import copy
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.adapters import croct, croct_answers
from collector.adapters.croct_events import ServerBeacon, WebBeacon
from collector.adapters.croct_violations import VIOLATIONS_MAX, violations
from collector.config import PublicKey
from collector.event import Batch, Event
from collector.refusal import (
    INVALID_PAYLOAD,
    INVALID_TOKEN,
    MALFORMED_BODY,
    UNSUPPORTED_MEDIA_TYPE,
    Refusal,
)
from collector.tokens import Token, TokenVerifier
from storage import encode
from tests.support.croct import APP_ID, NOW_MS, beacon, example_payloads, request

FRESH = "0123456789abcdef0123456789abcdef"
EXAMPLES = list(example_payloads().values())
CANARY = "<canary>"

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
contexts = st.sampled_from(
    (
        {"url": "https://example.com/"},
        {"url": "https://example.com/", "type": "web", "tabId": APP_ID, "timeZone": "UTC"},
        {"url": "https://example.com/", "metadata": {"a": "b"}},
        {"type": "server"},
    )
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside `node`, itself not."""
    children = node.items() if isinstance(node, dict) else enumerate(node)
    found = []
    for step, child in children:
        found.append((*path, step))
        if isinstance(child, dict | list):
            found += places(child, (*path, step))
    return found


@st.composite
def beacons(draw: st.DrawFn) -> dict[str, Any]:
    """A beacon that is good."""
    payload = copy.deepcopy(draw(st.sampled_from(EXAMPLES)))
    context = copy.deepcopy(draw(contexts))
    times = {"originalTime": draw(st.integers(0, NOW_MS * 2)), "departureTime": NOW_MS}
    return beacon(payload, context, **times)


@st.composite
def nearly_beacons(draw: st.DrawFn) -> dict[str, Any]:
    """A good beacon in which up to three values were replaced, taken out or added."""
    document = draw(beacons())
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(document)))
        node: Any = document
        for step in way:
            node = node[step]
        change = draw(st.sampled_from(("replace", "remove", "add")))
        if change == "replace":
            node[last] = draw(values)
        elif change == "remove":
            del node[last]
        elif isinstance(node, dict):
            node[draw(texts)] = draw(values)
        if not document:
            break
    return document


def check_answer(body: bytes) -> Batch | Refusal:
    """What must hold of any body: a storable event or a told reason, and an answer to it."""
    sent = request(b"{}")
    sent.body = body
    result = croct.decode(sent)
    if isinstance(result, Refusal):
        assert result.kind in {INVALID_PAYLOAD, MALFORMED_BODY}
        assert 1 <= len(result.violations) <= VIOLATIONS_MAX
        answer = croct_answers.refuse(sent, result, None)
        assert answer.status == msgspec.json.decode(answer.body)["status"] == 400
        return result
    (event,) = result.items
    assert isinstance(event, Event)
    line = encode([event.row])
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    columns = msgspec.json.decode(line)
    assert columns["metadata"]["type"] == columns["event_type"]
    assert 0 <= columns.get("event_time", 0) <= 253_402_300_799_999_000
    return result


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise(body: bytes) -> None:
    """Whatever the body, there is an event or a reason."""
    check_answer(body)


@settings(max_examples=200, deadline=None)
@given(values)
def test_no_json_raises(document: Any) -> None:
    """Nor does any JSON, as a whole, as a context or as a payload."""
    for body in (document, beacon(document or 0), beacon(context=document or 0)):
        check_answer(msgspec.json.encode(body))


@settings(max_examples=300, deadline=None)
@given(nearly_beacons(), st.integers(0, 3))
def test_faults_are_found_exactly_where_the_decode_fails(document: Any, indent: int) -> None:
    """The walk that words the faults and the typed decode that finds them never disagree."""
    body = msgspec.json.encode(document)
    result = check_answer(msgspec.json.format(body, indent=indent))
    context = document.get("context")
    is_server = isinstance(context, dict) and context.get("type") == "server"
    found = violations(msgspec.json.decode(body), ServerBeacon if is_server else WebBeacon)
    assert bool(found) is isinstance(result, Refusal)
    if isinstance(result, Refusal):
        assert result.violations == found
        known = {"".join(f"/{step}" for step in path) for path in places(document)} | {""}
        for violation in found:
            parent = violation.path.rpartition("/")[0]
            assert violation.path in known or parent in known


@settings(max_examples=200, deadline=None)
@given(beacons(), st.randoms(use_true_random=False), st.integers(0, 4))
def test_a_retry_is_the_same_event(document: Any, random: Any, indent: int) -> None:
    """Shuffled members, white space and another departure leave the identity alone."""

    def shuffled(node: Any) -> Any:
        if isinstance(node, list):
            return [shuffled(item) for item in node]
        if not isinstance(node, dict):
            return node
        names = list(node)
        random.shuffle(names)
        return {name: shuffled(node[name]) for name in names}

    again = shuffled(document) | {"departureTime": NOW_MS + 3_000}
    body = msgspec.json.format(msgspec.json.encode(again), indent=indent)
    first, second = croct.decode(request(document)), croct.decode(request(body))
    assert isinstance(first, Batch)
    assert isinstance(second, Batch)
    assert isinstance(first.items[0], Event)
    assert isinstance(second.items[0], Event)
    assert first.items[0].identity == second.items[0].identity


@settings(max_examples=200, deadline=None)
@given(beacons(), beacons())
def test_different_events_have_different_identities(one: Any, other: Any) -> None:
    """Equal identity means equal payload, time and tab."""
    results = [croct.decode(request(document)) for document in (one, other)]
    events = [result.items[0] for result in results if isinstance(result, Batch)]
    first, second = (event for event in events if isinstance(event, Event))
    is_same = (
        one["payload"] == other["payload"]
        and one["originalTime"] == other["originalTime"]
        and one["context"].get("tabId") == other["context"].get("tabId")
    )
    assert (first.identity == second.identity) is is_same


@settings(max_examples=200, deadline=None)
@given(beacons(), st.data())
def test_what_was_sent_is_what_is_kept(document: Any, data: st.DataObject) -> None:
    """The payload with whatever else it holds is stored unchanged."""
    document["payload"]["addedLater"] = data.draw(values)
    result = check_answer(msgspec.json.encode(document))
    assert isinstance(result, Batch)
    assert isinstance(result.items[0], Event)
    stored = msgspec.json.decode(encode([result.items[0].row]))["metadata"]
    assert stored == msgspec.json.decode(msgspec.json.encode(document["payload"]))


@settings(max_examples=200, deadline=None)
@given(beacons(), st.data())
def test_no_answer_repeats_what_was_sent(document: Any, data: st.DataObject) -> None:
    """Wherever a text or a key is put, the refusal does not say it again."""
    *way, last = data.draw(st.sampled_from(places(document)))
    node = document
    for step in way:
        node = node[step]
    node[last] = data.draw(st.sampled_from((CANARY, {CANARY: CANARY}, [CANARY])))
    result = croct.decode(request(document))
    if isinstance(result, Refusal):
        assert CANARY.encode() not in croct_answers.refuse(request(), result, None).body


@pytest.mark.parametrize("brackets", [(b"[", b"1", b"]"), (b'{"a":', b"1", b"}")])
def test_no_depth_raises(brackets: tuple[bytes, bytes, bytes]) -> None:
    """Around the deepest nesting that can be read, each depth is taken whole or refused."""
    start, middle, end = brackets
    patched = (
        b'"payload":{"type":"sessionAttributesChanged","patch":{"operations":[%b]}},'
        b'"context":{"type":"server"}'
    )
    outcomes = set()
    for depth in [*range(890, 1_000), 10_000]:
        deep = start * depth + middle + end * depth
        for member in (
            b'"payload":{"type":"leadGenerated","x":%b},"context":{"type":"server"}',
            b'"payload":{"type":"leadGenerated"},"context":{"type":"server","x":%b}',
            b'"payload":{"type":"leadGenerated","value":%b},"context":{"type":"server"}',
            patched % b'{"type":"set","path":"a","value":%b}',
            patched % b'{"type":"merge","path":"","value":%b}',
        ):
            body = b'{"originalTime":1,"departureTime":1,' + member % deep + b"}"
            outcomes.add(type(check_answer(body)))
    assert Batch in outcomes


header_texts = st.text(max_size=60)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ("x-app-id", "x-client-id", "x-token", "content-type", "user-agent",
             "accept-language", "x-client-library")
        ),
        header_texts,
    )
)  # fmt: skip
def test_no_headers_raise(headers: dict[str, str]) -> None:
    """Any text in any header gives a head or a reason, and never break a row."""
    sent = request()
    sent.headers |= headers
    croct.read_head(sent)
    result = croct.decode(sent)
    if isinstance(result, Refusal):
        assert result.kind == UNSUPPORTED_MEDIA_TYPE
        return
    (event,) = result.items
    assert isinstance(event, Event)
    assert encode([event.row]).count(b"\n") == 1


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.uuids().map(lambda value: f"cid={value}"))
def test_client_ids_are_echoed_or_fresh(query: str) -> None:
    """The body is a valid id that was in the query, or the fresh one; nothing raises."""
    body = croct_answers.answer_client_id(request(query=query), FRESH).body
    assert body == FRESH.encode() or body == query.removeprefix("cid=").encode(
        "utf-8", "surrogatepass"
    )


# --- tokens

_key = ec.generate_private_key(ec.SECP256R1())
_pem = _key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
_verifier = TokenVerifier((PublicKey(pem=_pem),), require_signed=False)
_signed = jwt.encode({"iat": 1, "sub": "a"}, _key, algorithm="ES256", headers={"appId": APP_ID})


def verdict(token: str) -> Token | Refusal:
    """What is made of a token an hour after the epoch."""
    return _verifier.verify(token, app_id=APP_ID, at_us=3_600_000_000)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_changed_token_is_believed(data: st.DataObject) -> None:
    """One character of a signed token changed, left out or added anywhere, and it is bad."""
    place = data.draw(st.integers(0, len(_signed) - 1))
    other = data.draw(st.characters(max_codepoint=255) | st.sampled_from("AaZz09-_."))
    rest = data.draw(st.sampled_from((_signed[place:], _signed[place + 1 :])))
    insert = data.draw(st.sampled_from((other, "")))
    token = _signed[:place] + insert + rest
    result = verdict(token)
    if token == _signed:
        assert result == Token(subject="a", is_signed=True)
    else:
        assert isinstance(result, Refusal)
        assert result.kind == INVALID_TOKEN


@settings(max_examples=200, deadline=None)
@given(values, values, st.binary(max_size=8))
def test_no_token_raises(header: Any, claims: Any, signature: bytes) -> None:
    """Any JSON in any part gives a verdict."""
    parts = (msgspec.json.encode(header), msgspec.json.encode(claims), signature)
    token = ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts)
    assert isinstance(verdict(token), Token | Refusal)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_no_text_is_a_token_by_accident(text: str) -> None:
    """Text without a header and claims is never believed."""
    assert isinstance(verdict(text), Refusal)
