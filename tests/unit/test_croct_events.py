"""The 24 Croct event types: what each needs, what surrounds it, and how faults are told."""

from typing import Any, get_args

import msgspec
import pytest

from collector.adapters import croct
from collector.adapters.croct_events import AnyPayload, ServerBeacon, WebBeacon
from collector.adapters.croct_models import AnyOperation
from collector.adapters.croct_violations import VIOLATIONS_MAX, violations
from collector.event import Batch
from collector.refusal import INVALID_PAYLOAD, Refusal, Violation
from tests.support.croct import beacon, changed, example_payloads, faults, pointer, request

EXAMPLES = example_payloads()
REQUIRED = {
    "pageOpened": {"url"},
    "pageLoaded": {"url", "title", "lastModifiedTime"},
    "tabOpened": {"tabId"},
    "tabUrlChanged": {"tabId", "url"},
    "tabVisibilityChanged": {"tabId", "visibility"},
    "userClicked": {"point"},
    "userScrolled": {"end"},
    "nothingChanged": {"sinceTime"},
    "userSignedUp": {"externalUserId"},
    "userSignedIn": {"externalUserId"},
    "userSignedOut": {"externalUserId"},
    "userProfileChanged": {"patch"},
    "sessionAttributesChanged": {"patch"},
    "productViewed": {"product"},
    "cartViewed": {"cart"},
    "cartModified": {"cart"},
    "checkoutStarted": {"cart"},
    "orderPlaced": {"order"},
    "goalCompleted": {"goalId"},
    "interestShown": {"interests"},
    "postViewed": {"post"},
    "linkOpened": {"link"},
    "eventOccurred": {"name"},
    "leadGenerated": set(),
}
MEMBERS_REQUIRED = {
    ("productViewed", "product"): {"productId", "name", "displayPrice"},
    ("cartModified", "cart"): {"currency", "items", "total", "lastUpdateTime"},
    ("orderPlaced", "order"): {"orderId", "currency", "items", "total"},
    ("orderPlaced", "order", "items", 0): {"index", "product", "quantity", "total"},
    ("postViewed", "post"): {"postId", "title", "publishTime"},
    ("userProfileChanged", "patch"): {"operations"},
    ("userClicked", "point"): {"x", "y"},
    ("userClicked", "surfaceSize"): {"width", "height"},
}
UUID = "123e4567-e89b-12d3-a456-426614174000"


# --- types and their members


def test_there_are_24_types_and_an_example_of_each() -> None:
    """The union, the table of this test and the golden folder know the same types."""
    tags = {struct.__struct_config__.tag for struct in get_args(AnyPayload)}
    assert tags == set(REQUIRED) == set(EXAMPLES)
    assert len(tags) == 24


@pytest.mark.parametrize("kind", REQUIRED)
def test_every_type_is_taken_with_its_required_members_alone(kind: str) -> None:
    """What is optional may be absent."""
    example = EXAMPLES[kind]
    bare = {name: example[name] for name in example if name in {"type", *REQUIRED[kind]}}
    assert faults(bare) == {}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in REQUIRED.items() for name in sorted(names)]
)
def test_required_members_are_missed(kind: str, name: str) -> None:
    """Exactly the missing member is named."""
    assert faults(changed(kind, name)) == {pointer(name): "Missing required member"}


@pytest.mark.parametrize("path", MEMBERS_REQUIRED)
def test_required_members_of_nested_objects_are_missed(path: tuple[Any, ...]) -> None:
    """The same holds inside products, carts, orders, items, posts, patches and points."""
    kind, *steps = path
    for name in MEMBERS_REQUIRED[path]:
        payload = changed(kind, *steps, name)
        assert faults(payload) == {pointer(*steps, name): "Missing required member"}


@pytest.mark.parametrize("kind", REQUIRED)
def test_null_stands_for_an_absent_optional_member(kind: str) -> None:
    """No optional member of a payload may fail an event by being null."""
    struct = {s.__struct_config__.tag: s for s in get_args(AnyPayload)}[kind]
    optional = set(struct.__struct_encode_fields__) - REQUIRED[kind]
    assert faults(EXAMPLES[kind] | dict.fromkeys(optional)) == {}


@pytest.mark.parametrize("kind", REQUIRED)
def test_unknown_members_pass(kind: str) -> None:
    """A member of a later SDK, of any shape, does not fail an event."""
    assert faults(EXAMPLES[kind] | {"addedLater": [{"deep": None}], "another": 1e300}) == {}


@pytest.mark.parametrize("kind", ["cartAbandoned", "testGroupAssigned", "", "PageOpened"])
def test_unknown_types_are_refused(kind: str) -> None:
    """What only the server makes, what is gone and what never was."""
    assert faults({"type": kind, "url": "https://a.example"}) == {
        "/payload/type": "Not a known type"
    }


def test_the_type_must_be_there_and_a_string() -> None:
    """Without a type there is nothing to judge a payload by."""
    assert faults({"name": "x"}) == {"/payload/type": "Missing required member"}
    for kind in (None, 1, [], {}):
        assert faults({"type": kind}) == {"/payload/type": "Not a known type"}


# --- patches


def test_every_operation_is_known() -> None:
    """The example of a profile change shows all nine operations."""
    tags = {struct.__struct_config__.tag for struct in get_args(AnyOperation)}
    shown = {o["type"] for o in EXAMPLES["userProfileChanged"]["patch"]["operations"]}
    assert tags == shown
    assert len(tags) == 9


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        ("set", (None, 1, "x", [[]], {"a": {}}), (...,)),
        ("add", (None, [1]), (...,)),
        ("combine", ("x",), (...,)),
        ("remove", (False,), (...,)),
        ("merge", ([], {}, {"a": {"b": [1]}}), (..., None, 1, "x")),
        ("increment", (1, -1.5), (..., None, "1", True, [])),
        ("decrement", (1, 0.5), (..., None, "1", False, {})),
        ("clear", (..., 1), ()),
        ("unset", (..., 1), ()),
    ],
)
def test_operations_take_values_of_their_kind(
    kind: str, taken: tuple[Any, ...], refused: tuple[Any, ...]
) -> None:
    """Collections are merged, numbers are added; what needs no value is not asked for one."""

    def patched(value: Any) -> dict[str, str]:
        operation = {"type": kind, "path": "a", "value": value}
        if value is ...:
            del operation["value"]
        return faults({"type": "sessionAttributesChanged", "patch": {"operations": [operation]}})

    for value in taken:
        assert patched(value) == {}, value
    for value in refused:
        assert set(patched(value)) == {"/payload/patch/operations/0/value"}, value


def test_unknown_operations_are_refused() -> None:
    """An operation that is not known cannot be replayed later."""
    patch = {"operations": [{"type": "clear", "path": "a"}, {"type": "move", "path": "a"}]}
    assert faults({"type": "sessionAttributesChanged", "patch": patch}) == {
        "/payload/patch/operations/1/type": "Not a known type"
    }


# --- envelope and context


@pytest.mark.parametrize("name", ["originalTime", "departureTime"])
def test_times_are_whole_milliseconds_of_four_digit_years(name: str) -> None:
    """Nothing gets in that a date in Python or Parquet could not hold."""
    for value in (0, 1.7e12, 253_402_300_799_999):
        assert faults(**{name: value}) == {}
    for bad in (-1, 253_402_300_800_000, 0.5, "1760000000000", None, True, 10**30):
        assert set(faults(**{name: bad})) == {f"/{name}"}, bad


def test_an_integral_float_is_the_same_time() -> None:
    """1.7e12 and 1700000000000 are one moment and one event."""
    times = b'"originalTime":%b,"departureTime":%b'
    head = b'{"context":{"type":"server"},"payload":{"type":"leadGenerated"},'
    spellings = (b"1700000000000", b"1.7e12", b"1700000000000.0")
    batches = [croct.decode(request(head + times % (t, t) + b"}")) for t in spellings]
    events = [batch.items[0] for batch in batches if isinstance(batch, Batch)]
    assert len({event.identity for event in events if not isinstance(event, Refusal)}) == 1


def test_web_contexts_need_a_url_and_their_forms() -> None:
    """`type` may be left out; a tab is a UUID; a time zone looks like one."""
    url = {"url": "https://example.com/"}
    for good in (
        {"type": "web"},
        {"type": None},
        {"tabId": UUID.upper()},
        {"timeZone": "America/Argentina/Buenos_Aires"},
        {"timeZone": "Etc/GMT+5"},
        {"timeZone": "UTC"},
        {"metadata": {}},
    ):
        assert faults(context=url | good) == {}, good
    assert faults(context={"type": "web"}) == {"/context/url": "Missing required member"}
    for name, bad in (
        ("type", "mobile"),
        ("type", 1),
        ("tabId", "1"),
        ("timeZone", ""),
        ("timeZone", "not a zone"),
        ("timeZone", "x" * 65),
        ("url", "about:blank"),
        ("url", None),
        ("metadata", []),
    ):
        assert set(faults(context=url | {name: bad})) == {f"/context/{name}"}, bad


def test_metadata_is_as_wide_as_the_sdk_makes_it() -> None:
    """Eight entries, keys of 32, texts of 300; in both contexts."""
    for context in ({"url": "https://example.com/"}, {"type": "server"}):

        def told(metadata: Any, context: dict[str, Any] = context) -> set[str]:
            return set(faults(context=context | {"metadata": metadata}))

        assert told({f"{'k' * 31}{i}": "v" * 300 for i in range(8)}) == set()
        assert told({f"k{i}": "" for i in range(9)}) == {"/context/metadata"}
        assert told({"k" * 33: ""}) == {"/context/metadata"}
        assert told({"1k": ""}) == {"/context/metadata"}
        assert told({"k": "v" * 301}) == {"/context/metadata/k"}
        assert told({"k": 1}) == {"/context/metadata/k"}
        assert told({"k": None}) == {"/context/metadata/k"}


def test_parts_of_the_wrong_shape_are_named() -> None:
    """An envelope without its objects is told which."""
    body = beacon()
    for name in ("context", "payload", "originalTime", "departureTime"):
        rest = {key: value for key, value in body.items() if key != name}
        answer = croct.decode(request(rest))
        assert isinstance(answer, Refusal)
        assert answer.violations == (Violation("Missing required member", f"/{name}"),)
        for bad in (None, [], "x", False):
            answer = croct.decode(request(body | {name: bad}))
            assert isinstance(answer, Refusal)
            assert [violation.path for violation in answer.violations] == [f"/{name}"]
    for whole in (b"[]", b"1", b"null", b'"x"'):
        answer = croct.decode(request(whole))
        assert isinstance(answer, Refusal)
        assert [violation.path for violation in answer.violations] == [""]


def test_numbers_that_no_float_holds_are_a_violation() -> None:
    """Even where nothing is typed, a number beyond all bounds is refused and not stored."""
    for number in (b"1e999", b"1" * 5_000):
        for member in (b'{"type":"leadGenerated","x":%b}', b'{"type":"leadGenerated","value":%b}'):
            body = b'{"payload":%b,"context":{"type":"server"},"originalTime":1,"departureTime":1}'
            answer = croct.decode(request(body % (member % number)))
            assert isinstance(answer, Refusal)
            assert answer.kind == INVALID_PAYLOAD
            assert len(answer.violations) == 1
            assert "out of range" in answer.violations[0].reason


# --- how violations are told


def test_all_violations_are_told_in_order() -> None:
    """Members come in the order of the schema, parents before their siblings' children."""
    item = EXAMPLES["orderPlaced"]["order"]["items"][0]
    order = EXAMPLES["orderPlaced"]["order"] | {
        "orderId": 5,
        "total": "x",
        "items": [item | {"quantity": 0}, item, item | {"total": None}],
    }
    found = faults({"type": "orderPlaced", "order": order}, {"url": 1}, originalTime="x")
    assert list(found) == [
        "/originalTime",
        "/context/url",
        "/payload/order/orderId",
        "/payload/order/items/0/quantity",
        "/payload/order/items/2/total",
        "/payload/order/total",
    ]
    assert found["/payload/order/items/2/total"] == "Expected number, got null"
    assert found["/payload/order/orderId"] == "Expected string, got integer"


def test_an_answer_does_not_grow_with_the_faults() -> None:
    """A cart of bad items is told of the first ones only."""
    payload = changed("cartModified", "cart", "items", to=[{}] * 2_000)
    assert len(faults(payload)) == VIOLATIONS_MAX


def test_good_documents_have_no_violations() -> None:
    """The walk that tells faults finds none where the typed decode finds none."""
    for payload in EXAMPLES.values():
        assert violations(beacon(payload), WebBeacon) == ()
        assert violations(beacon(payload, {"type": "server"}), ServerBeacon) == ()


def test_reasons_speak_json() -> None:
    """No name of a Python type, no pattern and no quoting reaches a client."""
    bad: list[Any] = [5, "x", None, True, [], {}, 1.5, ["x"], {"x": 1}]
    for payload in EXAMPLES.values():
        for name in payload:
            for value in bad:
                document = beacon(msgspec.json.decode(msgspec.json.encode(payload)))
                document["payload"][name] = value
                for violation in violations(document, WebBeacon):
                    words = set(violation.reason.replace("`", " ").split())
                    assert not {"str", "int", "float", "bool", "NoneType", "regex"} & words
