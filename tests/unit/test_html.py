"""HTML as a tree: what is put in as text comes out as text, in every place where text can be."""

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.dashboard.html import Here, Html, Link, page, script, seen, tag
from tests.house.source import ROOT

NASTY = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from([*"<>&\"'`=/\\ \n\t\0", "<script>", "</pre>", "-->", "]]>", "{{", "&#x3c;"])
    ).map("".join),
)


class Reader(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
        """One element."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Some text."""
        self.text += data


@given(NASTY)
def test_text_stays_text(text: str) -> None:
    """Whatever it holds: no element, no end of one, no comment."""
    found = Reader(str(tag("p", text, [text, None, (tag("span", text),)])))
    assert found.tags == ["p", "span"]
    assert found.text == seen(text) * 3


@given(NASTY)
def test_values_stay_values(text: str) -> None:
    """No value ends its attribute or begins another."""
    found = Reader(str(tag("input", attributes={"value": text, "name": "n"})))
    assert found.tags == ["input"]
    assert found.attributes == [("value", seen(text)), ("name", "n")]


@given(NASTY)
def test_addresses_are_ours(text: str) -> None:
    """A text can only be a member of a query: it leads nowhere else."""
    link = str(Link("/dashboard", id=text))
    assert link.startswith("/dashboard?id=")
    assert not set(link) & set("<>\"' \n\t\\")


@pytest.mark.parametrize(
    "path",
    ["javascript:alert(1)", "//evil.example", "https://evil.example", "x", "", "/a b", "/\\x"],
)
def test_no_other_address_can_be_made(path: str) -> None:
    """Neither a scheme nor a host can stand where a path is wanted."""
    with pytest.raises(AssertionError):
        Link(path)
    with pytest.raises(AssertionError):
        tag("a", "x", attributes={"href": path})


@pytest.mark.parametrize(
    "name",
    ["script", "style", "iframe", "foreignObject", "use", "image", "animate", "object", "P", ""],
)
def test_no_element_that_runs_or_styles(name: str) -> None:
    """Elements are of a list."""
    with pytest.raises(AssertionError):
        tag(name)


@pytest.mark.parametrize(
    "name", ["onclick", "style", "srcdoc", "formaction", "x y", "src", "fill", "width"]
)
def test_no_attribute_that_runs_or_styles(name: str) -> None:
    """Attributes are of a list."""
    with pytest.raises(AssertionError):
        tag("p", attributes={name: "x"})


def test_drawings_are_made_of_shapes() -> None:
    """A shape has its place, and a text in it stays text; it leads nowhere and looks as it likes
    nowhere but in the style sheet.
    """
    shape = tag("rect", tag("title", "<b>"), attributes={"x": "1", "class": "s1"})
    assert str(tag("svg", shape)) == (
        '<svg><rect x="1" class="s1"><title>&lt;b&gt;</title></rect></svg>'
    )
    for name in ("style", "fill", "href", "onload", "transform"):
        with pytest.raises(AssertionError):
            tag("rect", attributes={name: "x"})


def test_what_runs_is_a_file_of_ours() -> None:
    """A script is named by a path of ours and holds nothing."""
    assert str(script(Link("/dashboard/live.js"))) == (
        '<script src="/dashboard/live.js" defer></script>'
    )
    assert str(Here("main")) == "#main"
    with pytest.raises(AssertionError):
        Here('x" onclick="')


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a\\u202eb"),
        ("\x00\x1b[31m\r", "\\u0000\\u001b[31m\\u000d"),
        ("\ud83d", "\\ud83d"),
        ("\u200bx\ufeff", "\\u200bx\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("a\nb\tc \N{HAMBURGER} é", "a\nb\tc \N{HAMBURGER} é"),
    ],
)
def test_what_cannot_be_seen_is_shown(text: str, shown: str) -> None:
    """Controls, marks of direction and halves of characters are told as what they are."""
    assert seen(text) == shown
    page(tag("p", text)).encode()


def test_html_is_made_in_one_place() -> None:
    """No other module makes a piece of a page from a text, nor writes a tag.

    What is to be pasted into pages of others has tags, and is text here.
    """
    assert isinstance(tag("p"), Html)
    for path in ROOT.glob("collector/**/*.py"):
        if path.name != "html.py":
            text = path.read_text(encoding="utf-8")
            assert "Html(" not in text, path
            assert "</" not in text or path.name == "snippets.py", path
