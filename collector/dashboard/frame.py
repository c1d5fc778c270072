"""What every page has: head, navigation, and the small pieces that pages are put together from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from collector.admin import CSRF, LOGOUT, OVERVIEW, Visit
from collector.dashboard.html import Child, Html, Link, page, tag

STYLE: Final = "/dashboard/style.css"
ICON: Final = "/dashboard/icon.svg"
# Where people can go; the next page is a row here.
_PAGES: Final = ((OVERVIEW, "Overview"),)


def whole_page(title: str, visit: Visit, *children: Child, path: str = "") -> str:
    """A document: the frame around `children`; `path` is the page's own, if it is one of the list.

    Who has a session is offered to end it.
    """
    head = tag(
        "head",
        tag("meta", attributes={"charset": "utf-8"}),
        tag("meta", attributes={"name": "viewport", "content": "width=device-width"}),
        tag("meta", attributes={"name": "color-scheme", "content": "light dark"}),
        tag("title", f"{title} - collector"),
        tag("link", attributes={"rel": "icon", "href": Link(ICON)}),
        tag("link", attributes={"rel": "stylesheet", "href": Link(STYLE)}),
    )
    links = [
        tag(
            "li",
            tag(
                "a",
                name,
                attributes={
                    "href": Link(target),
                    **({"aria-current": "page"} if target == path else {}),
                },
            ),
        )
        for target, name in _PAGES
        if visit.by is not None
    ]
    body = tag(
        "body",
        tag(
            "header",
            tag("strong", "collector"),
            tag("nav", tag("ul", links), attributes={"aria-label": "Pages"}) if links else None,
            _log_out(visit),
        ),
        tag("main", tag("h1", title), children),
    )
    return page(head, body)


def _log_out(visit: Visit) -> Html | None:
    if visit.by != "session":
        return None
    return form(visit, LOGOUT, tag("button", "Log out", attributes={"type": "submit"}))


def form(visit: Visit, path: str, *children: Child) -> Html:
    """A form that changes something: it brings along what only a page of ours was given."""
    token = tag("input", attributes={"type": "hidden", "name": CSRF, "value": visit.csrf})
    return tag("form", token, children, attributes={"method": "post", "action": Link(path)})


def table(caption: str, names: Sequence[str], rows: Iterable[Sequence[str | int]]) -> Html:
    """A table. Wide ones scroll by themselves, also by keyboard; numbers are best put first."""
    head = [tag("th", name, attributes={"scope": "col"}) for name in names]
    lines = [tag("tr", [_cell(value) for value in row]) for row in rows]
    found = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", head)),
        tag("tbody", lines or tag("tr", tag("td", "none", attributes={"colspan": str(len(head))}))),
    )
    attributes: dict[str, str | Link | bool] = {
        "class": "wide",
        "role": "region",
        "aria-label": caption,
        "tabindex": "0",
    }
    return tag("div", found, attributes=attributes)


def _cell(value: str | int) -> Html:
    if isinstance(value, int):
        return tag("td", number(value), attributes={"class": "number"})
    return tag("td", value)


def pairs(values: Mapping[str, Child]) -> Html:
    """Names and values, one below the other."""
    return tag("dl", [[tag("dt", name), tag("dd", value)] for name, value in values.items()])


def notice(text: str, *, is_bad: bool = False) -> Html:
    """A sentence that wants to be seen, and is read out when it appears."""
    return tag("p", text, attributes={"class": "bad" if is_bad else "note", "role": "status"})


def size(value: float) -> str:
    """A number of bytes, in the unit that fits."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def number(value: float) -> str:
    """A number with its thousands apart; fractions are left out."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
