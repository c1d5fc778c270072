"""HTML as a tree of elements: whatever is put into it as text is shown as text.

Rules that this module keeps:

1. There is no way to put text into a page but `tag`, which escapes it; `Html` is made here only.
2. Names of elements and attributes are of a short list. None of them runs or styles anything:
   scripts and styles are files of our own, which the pages' content security policy asks for, too.
3. An address is a `Link`: a path of ours and members of a query, so no text can be a `javascript:`.
4. Characters that cannot be seen, or that turn the direction of writing, are shown as what they
   are: what is stored must not be able to look like something else.

Must not know any page.
"""

import re
from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias
from urllib.parse import urlencode

_VOID: Final = frozenset({"br", "input", "link", "meta"})
_ELEMENTS: Final = _VOID | frozenset(
    (
        *("a", "body", "button", "caption", "code", "dd", "details", "div", "dl", "dt", "footer"),
        *(
            "form",
            "h1",
            "h2",
            "h3",
            "head",
            "header",
            "html",
            "label",
            "li",
            "main",
            "meter",
            "nav",
        ),
        *("ol", "option", "p", "pre", "progress", "section", "select", "small", "span", "strong"),
        *("summary", "table", "tbody", "td", "th", "thead", "time", "title", "tr", "ul"),
    )
)
_ADDRESSES: Final = frozenset({"action", "href"})
_ATTRIBUTES: Final = _ADDRESSES | frozenset(
    (
        *("aria-current", "aria-describedby", "aria-label", "aria-labelledby", "autocomplete"),
        *(
            "autofocus",
            "charset",
            "class",
            "colspan",
            "content",
            "datetime",
            "enctype",
            "for",
            "hidden",
        ),
        *("id", "inputmode", "lang", "max", "maxlength", "method", "min", "name", "open"),
        *(
            "rel",
            "required",
            "role",
            "scope",
            "selected",
            "spellcheck",
            "tabindex",
            "title",
            "type",
        ),
        "value",
    )
)
# Controls but line feed and tab, what has no width, what turns the direction, halves of pairs.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9_-][A-Za-z0-9_./-]*)?")


class Html:
    """A piece of a page. Made by `tag` and `page`; everybody else only puts pieces together."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


Child: TypeAlias = "Html | str | int | Iterable[Child] | None"


class Link:
    """An address of ours: a path, and members of a query, which are encoded."""

    __slots__ = ("_text",)

    def __init__(self, path: str, **query: str) -> None:
        assert _PATH.fullmatch(path), "a path of ours, which begins with one slash"
        encoded = {name: value.encode("utf-8", "replace") for name, value in query.items()}
        self._text = f"{path}?{urlencode(encoded)}" if query else path

    def __str__(self) -> str:
        return self._text


def tag(
    name: str, /, *children: Child, attributes: dict[str, str | Link | bool] | None = None
) -> Html:
    """An element. Attributes: a text, an address (of `href` and `action`), or whether it is there.

    Children: elements, texts, numbers, lists of these; None is nothing.
    """
    assert name in _ELEMENTS, f"no element of our pages: {name}"
    opening = [name]
    for key, value in (attributes or {}).items():
        assert key in _ATTRIBUTES, f"no attribute of our pages: {key}"
        assert (key in _ADDRESSES) == isinstance(value, Link), f"{key}: an address is a Link"
        if isinstance(value, bool):
            opening += [key] if value else []
        else:
            opening.append(f'{key}="{escape(seen(str(value)))}"')
    inner = _text_of(children)
    if name in _VOID:
        assert not inner, f"{name} holds nothing"
        return Html(f"<{' '.join(opening)}>")
    return Html(f"<{' '.join(opening)}>{inner}</{name}>")


def page(*children: Child, language: str = "en") -> str:
    """A whole document: `children` are its head and body."""
    return f"<!doctype html>{tag('html', *children, attributes={'lang': language})}"


def seen(text: str) -> str:
    r"""`text` with what cannot be seen written as an escape such as `\u202e`."""
    return _UNSEEN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def _text_of(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return str(child)
    if isinstance(child, str | int):
        return escape(seen(str(child)))
    return "".join(_text_of(one) for one in child)
