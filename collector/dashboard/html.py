"""HTML as a tree of elements: whatever is put into it as text is shown as text.

Rules that this module keeps:

1. There is no way to put text into a page but `tag`, which escapes it; `Html` is made here only.
2. Names of elements and attributes are of short lists. None of them runs or styles anything:
   scripts and styles are files of our own, which the pages' content security policy asks for, too;
   `script` names one, and nothing else does. Drawings are made of shapes: nothing in them links,
   loads, moves or holds anything else.
3. An address is a `Link`: a path of ours and members of a query, or a place on the same page. No
   text can be a `javascript:`.
4. Characters that cannot be seen, or that turn the direction of writing, are shown as what they
   are: what is stored must not be able to look like something else.

Must not know any page.
"""

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Final, TypeAlias
from urllib.parse import urlencode


def _names(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_VOID: Final = frozenset({"br", "input", "link", "meta"})
_TEXTS: Final = _names(
    "a abbr body button caption code dd details div dl dt figcaption figure footer form h1 h2 h3",
    "head header html label li main meter nav ol option p pre progress section select small span",
    "strong summary table tbody td th thead time title tr ul",
)
# Of drawings: shapes, and what they are in words. Nothing that links, moves, loads or holds HTML.
_SHAPES: Final = _names("svg g rect line polyline polygon circle desc")
_ELEMENTS: Final = _VOID | _TEXTS | _SHAPES
_ADDRESSES: Final = frozenset({"action", "href"})
_ATTRIBUTES: Final = _ADDRESSES | _names(
    "aria-current aria-describedby aria-hidden aria-label aria-labelledby aria-live autocomplete",
    "autofocus charset class colspan content data-live data-refresh data-stream datetime",
    "enctype for hidden id inputmode lang max maxlength method min name open rel required role",
    "scope selected spellcheck tabindex title type value",
)
_PLACES: Final = _names(
    "viewBox preserveAspectRatio focusable x y x1 x2 y1 y2 cx cy r width height points"
)
# Controls but line feed and tab, what has no width, what turns the direction, halves of pairs.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")
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


class Here(Link):
    """A place on the page itself, by its id."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        assert _NAME.fullmatch(name), "an id of ours"
        self._text = f"#{name}"


def tag(
    name: str, /, *children: Child, attributes: Mapping[str, str | Link | bool] | None = None
) -> Html:
    """An element. Attributes: a text, an address (of `href` and `action`), or whether it is there.

    Children: elements, texts, numbers, lists of these; None is nothing.
    """
    assert name in _ELEMENTS, f"no element of our pages: {name}"
    opening = [name]
    for key, value in (attributes or {}).items():
        known = _PLACES if name in _SHAPES and key in _PLACES else _ATTRIBUTES
        assert key in known, f"no attribute of our pages: {key}"
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


def script(file: Link) -> Html:
    """What runs on a page: a file of ours, after the page was read. There is no other way to it."""
    return Html(f'<script src="{escape(str(file))}" defer></script>')


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
