"""What of refused bytes counts as holding a person: long values anywhere, short ones as values."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.asidesearch import Search

HELD = [
    b'{"user":"42"}',
    b'{"user":42}',
    b'{"user":{"ids":[1, 42]}}',
    b'{"user":"\\u0034\\u0032"}',
    b"42",
    b' "42" ',
    b'{"user":"42", cut of',
    b'{"user": 42, cut of',
    b'{"user":"\\u00342", cut of',
    b"user=42&site=demo",
    b"a=b&user=42",
    b'\xff{"user":"42"}',
    b'"{\\"user\\":\\"42\\"}" and more',
]
NOT_HELD = [
    b'{"time":1142000}',
    b'{"price":42.5}',
    b'{"price":4.2}',
    b'{"url":"https://example.com/42"}',
    b'{"text":"it is 42"}',
    b'{"42":"a name and no value"}',
    b'{"user":true}',
    b'{"text":"it is 42", cut of',
    b'{"time":1142, cut of',
    b"user=142&site=demo",
    b"",
]


@pytest.mark.parametrize("data", HELD)
def test_a_short_value_is_found_as_a_whole_value(data: bytes) -> None:
    """As a string or a number of JSON, or between separators in what is no JSON."""
    assert Search(["42"]).finds([data])
    assert Search(["42"]).finds([None, data.decode("latin-1")])


@pytest.mark.parametrize("data", NOT_HELD)
def test_a_short_value_is_not_found_within_others(data: bytes) -> None:
    """An erasure of user 42 leaves events that have 42 in a time, a price or a text."""
    assert not Search(["42"]).finds([data])


def test_one_character_is_a_value_too() -> None:
    """It is looked for like every short value; an empty text is nobody."""
    assert Search(["x"]).finds([b'{"user":"X"}'])
    assert not Search(["x"]).finds([b'{"text":"six"}'])
    assert not Search([""])
    assert Search(["", "x"])


@given(st.text(min_size=1, max_size=7), st.text(min_size=1), st.text(min_size=1))
def test_a_short_text_is_found_where_it_is_a_json_string(text: str, before: str, name: str) -> None:
    """Whatever its characters and however escaped, and not because a longer one begins with it."""
    search = Search([text])
    assert search.finds([msgspec.json.encode({name: [before, text]})])
    assert search.finds([text])
    longer = f"{text}-{before}"
    if longer.lower() != text.lower():
        assert not search.finds([msgspec.json.encode({"name": longer})])


def test_a_file_of_an_earlier_version_is_of_one_site() -> None:
    """Its body is looked into as text and in base64; of another site it is somebody else's."""
    text = msgspec.json.encode({"site": "demo", "body": '{"user":"42"}', "time": 1})
    coded = base64.b64encode(b'\xff{"user":"visitor-one"}').decode()
    binary = msgspec.json.encode({"site": "demo", "body_base64": coded})
    search = Search(["42", "visitor-one"])
    for data in (text, binary):
        assert search.finds_in_remains(data, "demo")
        assert not search.finds_in_remains(data, "elsewhere")
        assert not Search(["43", "visitor-two"]).finds_in_remains(data, "demo")


def test_a_damaged_file_that_cannot_be_searched_counts() -> None:
    """Nobody can tell what is in compressed bytes; what is plain is searched."""
    assert Search(["visitor-one"]).finds_in_remains(b"PAR1\x28\xb5\x2f\xfd...", "demo")
    assert Search(["visitor-one"]).finds_in_remains(b"PAR1 visitor-one", "demo")
    assert not Search(["visitor-one"]).finds_in_remains(b"PAR1" + bytes(100), "demo")
