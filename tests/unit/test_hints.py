"""Client hints: structured fields, read as their standard asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import hints
from collector.hints import BRAND_FAMILIES, PLATFORM_FAMILIES, Hints, parse, read


def brand(text: str) -> str | None:
    """The brand in a list."""
    return parse(text, "", "").brand


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('"Not_A Brand";v="8", "Chromium";v="120", "Google Chrome";v="120"', None),
        ('"Microsoft Edge";v="131", "Chromium";v="131", "Not_A Brand";v="24"', "Edge"),
        ('"Chromium";v="128", "Not;A=Brand";v="24", "Brave";v="128"', "Brave"),
        ('"(Not(A:Brand";v="99.0.0.0", "Opera";v="9"', "Opera"),
        ('" Not A;Brand";v="99","Brave";v="1"', "Brave"),
        ('"Not)A;Brand";v="8", "YaBrowser";v="25.8", "Yowser";v="2.5"', "Yandex Browser"),
        ('"Brave"', "Brave"),
        ('"bRAVE";v=1;x;y=?1;z=token', "Brave"),
        ('  "Brave" \t,\t "x"  ', "Brave"),
    ],
)
def test_brands_are_found_beside_grease(text, family):
    """In any order, with any parameters, and nothing that a browser made up."""
    assert brand(text) == family


@pytest.mark.parametrize(
    "text",
    [
        *('"Brave",', "Brave", '"Brave" "x"', '"Brave', 'Brave"', '"Brave";V="1"', "'Brave'"),
        *('"Brave";v="', '("Brave")', '"Brave";v=,"x"', '"Br\\ave"', '"Brave\x7f"', "", ","),
        ", ".join(['"Brave"'] * 17),
    ],
)
def test_a_list_that_breaks_the_syntax_is_ignored(text):
    """As a whole: structured fields are not guessed at."""
    assert brand(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("?1", True), ("?0", False), (" ?0;a=1 ", False), ("1", None), ("?2", None), ("?1 ?0", None)],
)
def test_mobile_is_a_truth_value(text, value):
    """`?1` and `?0`, and nothing else."""
    assert parse("", text, "").mobile is value


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('"Windows"', "Windows"),
        ('"macOS"', "Mac OS X"),
        ('"Chrome OS"', "Chrome OS"),
        ('"Unknown"', None),
        ("Windows", None),
        ('"Win\\"dows"', None),
    ],
)
def test_platforms_have_the_names_of_agents(text, family):
    """So that a row's system is called the same, wherever it comes from."""
    assert parse("", "", text).platform == family


@given(st.text(max_size=600), st.text(max_size=20), st.text(max_size=40))
def test_any_texts_are_fields(brands, mobile, platform):
    """Nothing raises, and nothing is found that is not in the tables."""
    hints = parse(brands, mobile, platform)
    assert hints.brand in {None, *BRAND_FAMILIES.values()}
    assert hints.platform in {None, *PLATFORM_FAMILIES.values()}


@given(st.lists(st.text(st.characters(codec="ascii", exclude_categories=("C",))), max_size=8))
def test_every_list_of_strings_is_read_to_its_end(names):
    """Written as the standard says, the last brand is found whatever stands before it."""
    quoted = [name.replace("\\", "\\\\").replace('"', '\\"') for name in names if len(name) < 40]
    text = ", ".join(f'"{name}";v="1"' for name in [*quoted, "Brave"])
    known = [name.lower() for name in names if name.lower() in BRAND_FAMILIES]
    assert brand(text) == BRAND_FAMILIES[[*known, "brave"][0]]


def test_no_field_gives_no_hints():
    """Then the agent alone is the key of what is remembered."""
    assert read({"user-agent": "x"}) is None
    assert read({"sec-ch-ua-mobile": "?1"}) == Hints(mobile=True)
    assert read({"sec-ch-ua-platform": "no"}) == Hints()
    assert read({"sec-ch-ua": ""}) is None


def test_long_fields_are_neither_read_nor_remembered():
    """Else what is remembered would be as large as a client likes."""
    remembered = hints._parse_cached.cache_info().currsize
    long = '"Brave", "' + "x" * 1_024 + '"'
    assert read({"sec-ch-ua": long}) is None
    assert read({"sec-ch-ua": '"Brave"', "sec-ch-ua-mobile": "?1" + " " * 1_024}) is None
    assert hints._parse_cached.cache_info().currsize == remembered
