"""What consent, GPC and the salt of the day leave of an event."""

import hashlib

import msgspec
import pytest

from collector.event import Row
from collector.privacy import AddressHasher, apply, gpc_sent

PAGE = {"page_url": "u", "page_title": "t", "referrer": "r", "city": "c"}
USER = {"user_id": "u", "external_id": "x", "email_hash": "e", "phone_hash": "p"}
SALT = b"s" * 32


def _row(consent: str | None = None) -> Row:
    return Row(
        event_id="1",
        consent=consent,
        visitor_id="v",
        country_code="DE",
        metadata={"a": "b"},
        context={"tab_id": "1", "metadata": {"a": "b"}, "unknown": {"x": 1}},
        flags=("late",),
        **PAGE,
        **USER,
    )


def _kept(row: Row, members: dict[str, str]) -> set[str]:
    return {name for name in members if getattr(row, name) is not None}


@pytest.mark.parametrize("consent", [None, "granted", "opt-in", "opt-out", "unknown", "Denied", ""])
def test_other_values_of_consent_take_nothing(consent):
    """Only `denied` and `pending` strip; Zenovay's three values are not touched."""
    row = _row(consent)

    apply(row, gpc=False, honour_gpc=True)

    assert row == _row(consent)


@pytest.mark.parametrize("consent", ["denied", "pending"])
def test_page_and_metadata_need_consent(consent):
    """Page, title, referrer, city and metadata are gone, NULL in the table."""
    row = _row(consent)

    apply(row, gpc=False, honour_gpc=False)

    assert _kept(row, PAGE) == set()
    assert row.metadata is None
    assert row.context == {"tab_id": "1"}
    assert (row.visitor_id, row.country_code, row.consent) == ("v", "DE", consent)
    assert row.flags == ("late",)


def test_pending_keeps_and_denied_takes_who_it_was():
    """User identifiers go with `denied` only."""
    pending, denied = _row("pending"), _row("denied")

    apply(pending, gpc=False, honour_gpc=False)
    apply(denied, gpc=False, honour_gpc=False)

    assert _kept(pending, USER) == set(USER)
    assert _kept(denied, USER) == set()


def test_gpc_is_flagged():
    """Without `honour_gpc` the signal is a remark, nothing more."""
    row = _row("granted")

    apply(row, gpc=True, honour_gpc=False)

    assert row.flags == ("late", "gpc")
    assert _kept(row, PAGE | USER) == set(PAGE | USER)


@pytest.mark.parametrize("consent", [None, "granted", "pending"])
def test_honoured_gpc_is_a_denial(consent):
    """The signal outweighs what the page said, and what the page said stays on record."""
    row = _row(consent)

    apply(row, gpc=True, honour_gpc=True)

    assert _kept(row, PAGE | USER) == set()
    assert row.metadata is None
    assert row.consent == consent
    assert row.flags == ("late", "gpc")


def test_applying_twice_is_harmless():
    """Whoever fills in a city later may apply the rules again."""
    row = _row("denied")

    apply(row, gpc=True, honour_gpc=True)
    row.city = "c"
    apply(row, gpc=True, honour_gpc=True)

    assert row.city is None
    assert row.flags == ("late", "gpc")


def test_a_context_shared_by_a_batch_is_not_changed_for_others():
    """Consent is each event's own."""
    shared: dict[str, object] = {"metadata": {"a": "b"}, "zone": "z"}
    row = Row(event_id="1", consent="denied", context=shared)

    apply(row, gpc=False, honour_gpc=False)

    assert row.context == {"zone": "z"}
    assert shared == {"metadata": {"a": "b"}, "zone": "z"}


@pytest.mark.parametrize(
    ("context", "kept"),
    [
        (b'{"metadata":{"a":"b"},"zone":"z"}', b'{"zone":"z"}'),
        (b'{"\\u006detadata":1,"zone":[1, 2]}', b'{"zone":[1, 2]}'),
        (b'{"metadata":1,"metadata":2}', None),
        (b'{"zone":"z"}', b'{"zone":"z"}'),
        (b"[1]", None),
        (b"{broken", None),
        (b"", None),
    ],
)
def test_a_raw_context_is_cleaned_too(context, kept):
    """Text that was never decoded hides no metadata; what cannot be read is not kept."""
    row = Row(event_id="1", consent="pending", context=msgspec.Raw(context))

    apply(row, gpc=False, honour_gpc=False)

    assert (None if row.context is None else bytes(row.context)) == kept


def test_an_empty_context_becomes_null():
    """Nothing left is nothing."""
    row = Row(event_id="1", consent="pending", context={"metadata": {}})

    apply(row, gpc=False, honour_gpc=False)

    assert row.context is None


@pytest.mark.parametrize(
    ("value", "is_sent"), [("1", True), ("0", False), ("", False), ("true", False)]
)
def test_gpc_is_exactly_one(value, is_sent):
    """The draft knows one value."""
    assert gpc_sent({"sec-gpc": value}) is is_sent
    assert not gpc_sent({})


def test_an_address_becomes_a_salted_digest():
    """SHA-256 of salt and address, hex."""
    expected = hashlib.sha256(SALT + b"203.0.113.7").hexdigest()

    assert AddressHasher().hash("203.0.113.7", SALT) == expected


@pytest.mark.parametrize("address", [None, ""])
def test_no_address_is_unknown(address):
    """The sentinel of the vendor's page."""
    assert AddressHasher().hash(address, SALT) == "unknown"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
    ],
)
def test_spellings_of_an_address_are_one(one, other):
    """A dual-stack socket and a proxy tell the same visitor."""
    hasher = AddressHasher()

    assert hasher.hash(one, SALT) == hasher.hash(other, SALT)


def test_what_is_no_address_is_hashed_as_it_is():
    """A back end may send anything; it is hidden all the same."""
    hasher = AddressHasher()
    for text in ("not an address", "1.2.3.4:80", "\ud800", "x" * 10_000):
        expected = hashlib.sha256(SALT + text.encode("utf-8", "surrogatepass")).hexdigest()
        assert hasher.hash(text, SALT) == expected


def test_days_and_salts_differ():
    """Equal addresses on two days differ, in whatever order the days are asked."""
    hasher = AddressHasher()
    today, tomorrow = b"a" * 32, b"b" * 32

    first = hasher.hash("203.0.113.7", today)
    second = hasher.hash("203.0.113.7", tomorrow)
    again = hasher.hash("203.0.113.7", today)

    assert first == again != second
    assert hasher.hash("203.0.113.7", tomorrow) == second


def test_a_hasher_keeps_no_address():
    """Nothing that a memory dump of the hasher would show names the client."""
    hasher = AddressHasher()

    hasher.hash("203.0.113.7", SALT)

    assert "203.0.113.7" not in repr(vars(hasher))
