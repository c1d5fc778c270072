"""What every page has: head, navigation, and the small pieces that pages are put together from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from collector.admin import CSRF, LOGOUT, OVERVIEW, Visit
from collector.dashboard.html import Child, Here, Html, Link, page, script, tag

STYLE: Final = "/dashboard/style.css"
ICON: Final = "/dashboard/icon.svg"
LIVE: Final = "/dashboard/live.js"
# Where people can go: groups of paths and names. The next page is a row here, and one in `site`.
PAGES: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "Now": ((OVERVIEW, "Overview"), ("/dashboard/live", "Real time")),
    "Visits": (
        ("/dashboard/pages", "Pages"),
        ("/dashboard/referrers", "Referrers"),
        ("/dashboard/devices", "Devices"),
        ("/dashboard/countries", "Countries"),
        ("/dashboard/visitor", "Visitor"),
    ),
    "Events": (
        ("/dashboard/events", "Custom events"),
        ("/dashboard/users", "Users"),
        ("/dashboard/goals", "Goals"),
        ("/dashboard/revenue", "Revenue"),
        ("/dashboard/scans", "QR scans"),
        ("/dashboard/reconciliation", "Reconciliation"),
    ),
    "Collector": (
        ("/dashboard/install", "Install"),
        ("/dashboard/origins", "Origins"),
        ("/dashboard/receipt", "Receipt"),
        ("/dashboard/keys", "API keys"),
        ("/dashboard/lake", "Lake"),
    ),
}


def whole_page(
    title: str, visit: Visit, *children: Child, path: str = "", refresh_s: int = 0
) -> str:
    """A document: the frame around `children`; `path` is the page's own, if it is one of the list.

    `refresh_s`: how often those who run scripts see the page anew; 0: only while it has panels
    that are being counted. Who has a session is offered to end it.
    """
    head = tag(
        "head",
        tag("meta", attributes={"charset": "utf-8"}),
        tag("meta", attributes={"name": "viewport", "content": "width=device-width"}),
        tag("meta", attributes={"name": "color-scheme", "content": "light dark"}),
        tag("title", f"{title} - collector"),
        tag("link", attributes={"rel": "icon", "href": Link(ICON)}),
        tag("link", attributes={"rel": "stylesheet", "href": Link(STYLE)}),
        script(Link(LIVE)),
    )
    main: dict[str, str | Link | bool] = {"id": "main", "tabindex": "-1"}
    if refresh_s:
        main["data-refresh"] = str(refresh_s)
    body = tag(
        "body",
        tag("a", "Skip to the page", attributes={"class": "skip", "href": Here("main")}),
        tag(
            "header",
            tag("strong", "collector"),
            _navigation(path) if visit.by is not None else None,
            _log_out(visit),
        ),
        tag("main", tag("h1", title), children, attributes=main),
    )
    return page(head, body)


def _navigation(path: str) -> Html:
    """All pages, by group. Beside the page where there is room, else behind one button."""
    names = {target: name for pages in PAGES.values() for target, name in pages}
    groups = [
        tag(
            "li",
            tag("span", group),
            tag(
                "ul",
                [
                    tag("li", tag("a", name, attributes=_link(target, is_here=target == path)))
                    for target, name in pages
                ],
            ),
        )
        for group, pages in PAGES.items()
    ]
    summary = tag("summary", "Pages", tag("span", names.get(path, "")))
    menu = tag("details", summary, tag("ul", groups), attributes={"class": "menu"})
    return tag("nav", menu, attributes={"aria-label": "Pages"})


def _link(target: str, *, is_here: bool) -> dict[str, str | Link | bool]:
    here: dict[str, str | Link | bool] = {"aria-current": "page"} if is_here else {}
    return {"href": Link(target), **here}


def _log_out(visit: Visit) -> Html | None:
    if visit.by != "session":
        return None
    return form(visit, LOGOUT, tag("button", "Log out", attributes={"type": "submit"}))


def form(visit: Visit, path: str, *children: Child) -> Html:
    """A form that changes something: it brings along what only a page of ours was given."""
    token = tag("input", attributes={"type": "hidden", "name": CSRF, "value": visit.csrf})
    return tag("form", token, children, attributes={"method": "post", "action": Link(path)})


class Figures(str):
    """A number that is told as a text, such as an amount: it ends at the right, as numbers do."""

    __slots__ = ()


def table(caption: str, names: Sequence[str], rows: Iterable[Sequence[Child]]) -> Html:
    """A table. Wide ones scroll by themselves, also by keyboard; numbers are best put first.

    A column with a number in it ends at the right, its heading above them.
    """
    known = list(rows)
    columns: Iterable[Sequence[Child]] = zip(*known, strict=True) if known else [()] * len(names)
    numbers = [any(isinstance(value, int | Figures) for value in column) for column in columns]
    head = [
        tag("th", name, attributes={"scope": "col", **_ends(is_number=is_number)})
        for name, is_number in zip(names, numbers, strict=True)
    ]
    lines = [
        tag("tr", [_cell(value, is_number=one) for value, one in zip(row, numbers, strict=True)])
        for row in known
    ]
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


def _cell(value: Child, *, is_number: bool) -> Html:
    text = number(value) if isinstance(value, int) else value
    return tag("td", text, attributes=_ends(is_number=is_number))


def _ends(*, is_number: bool) -> dict[str, str]:
    return {"class": "number"} if is_number else {}


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
            places = 0 if unit == "bytes" else 1
            return f"{number(value, places)} {unit}"
        value /= 1024
    return f"{number(value, 1)} TiB"


def number(value: float, places: int = 0) -> str:
    """A number with its thousands apart; what is behind these places is left out."""
    return f"{value:,.{places}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
