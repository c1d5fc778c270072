"""Small pieces that the pages about events share: figures, times, shares, fields, links.

Must not know a page, nor ask anything. What is NULL in the files is shown as nothing at all, never
as a nought.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec

from collector.adapters.contract import Response
from collector.admin import Answer, Member, Route, Visit, html
from collector.dashboard import charts
from collector.dashboard.frame import Figures, number, whole_page
from collector.dashboard.html import Child, Html, Link, tag
from collector.dashboard.ranges import DAYS, SITE, SPANS, Scope

VISITOR: Final = "/dashboard/visitor"
# What is typed into a field or stands in an address; longer texts are cut.
TEXT_CHARS_MAX: Final = 256
_JSON_CHARS_MAX: Final = 2_000
_MEMBERS: Final[Mapping[str, Member]] = {
    SITE: Member("id of a site; all sites without it", {"type": "string"}),
    # Any text is taken: a page is shown, not refused.
    DAYS: Member(f"days up to today (UTC): {', '.join(SPANS)}", {"type": "string"}),
}
# Of statuses that senders give to a payment, those that mean money received, or given back.
PAID: Final = ("succeeded", "paid", "completed")
REFUNDED: Final = ("refunded", "partially_refunded", "refund")


def page_route(
    path: str, name: str, summary: str, answer: Answer, query: Mapping[str, Member]
) -> Route:
    """The row of a page about a site and a range; `query`: its further members."""
    return Route(
        path=path,
        name=name,
        kind="page",
        summary=summary,
        query={**_MEMBERS, **query},
        answer=answer,
        answers={200: None},
    )


def text_member(meaning: str) -> Member:
    """A member of a query that is any text."""
    return Member(meaning, {"type": "string"})


def shown(title: str, visit: Visit, path: str, *children: Child) -> Response:
    """A page of the list."""
    return html(whole_page(title, visit, *children, path=path))


def asked_text(visit: Visit, name: str) -> str:
    """A member of the query, without blanks around it, as far as it is looked at."""
    return visit.query.get(name, "").strip()[:TEXT_CHARS_MAX]


def asked_number(visit: Visit, name: str, *, at_most: int) -> int:
    """A whole number from 0 on; 0 for what is none or too much."""
    text = visit.query.get(name, "")
    value = int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0
    return value if value <= at_most else 0


def chosen(visit: Visit, name: str, options: Mapping[str, Any]) -> str:
    """A member of the query that must be one of `options`; else the first of them."""
    value = visit.query.get(name, "")
    return value if value in options else next(iter(options))


def text_field(label: str, name: str, value: str) -> Html:
    """A labelled field for a text."""
    attributes: dict[str, str | Link | bool] = {
        "name": name,
        "type": "text",
        "value": value,
        "maxlength": str(TEXT_CHARS_MAX),
        "spellcheck": "false",
        "autocomplete": "off",
    }
    return tag("label", tag("span", label), tag("input", attributes=attributes))


def hidden(name: str, value: str) -> Html:
    """A member that a form brings along."""
    return tag("input", attributes={"type": "hidden", "name": name, "value": value})


# --- figures


def money(amount: float | None, currency: str | None = "") -> Figures:
    """An amount with two places, and its currency; "" for None."""
    if amount is None:
        return Figures("")
    figures = number(amount, 2)
    return Figures(f"{figures} {currency_name(currency)}" if currency != "" else figures)


def currency_name(currency: str | None) -> str:
    """A currency as it was sent; NULL is said to be none."""
    return currency or "(no currency)"


def share(part: float, whole: float) -> Figures:
    """A part of a whole in per cent; "" of nothing."""
    return Figures(f"{100 * part / whole:.1f} %" if whole else "")


def change(now: float, before: float) -> Figures:
    """How much more than before, in per cent; "new" where there was nothing."""
    if not before:
        return Figures("new" if now else "")
    text = f"{100 * (now - before) / before:+.0f} %"
    # What rounds to nothing has no sign.
    return Figures("0 %" if text in {"+0 %", "-0 %"} else text.replace("-", "\N{MINUS SIGN}"))


def bar(value: float, most: float, text: str = "") -> Html:
    """A cell with a number, or with `text` for it, and a bar as long as it is of `most`."""
    return tag("span", text or number(value), charts.bar(value, most), attributes={"class": "bar"})


def trend(values: Sequence[int]) -> Html:
    """A cell with a line over time; decoration, for the numbers are told where it leads."""
    most, last = max(values, default=0) or 1, max(1, len(values) - 1)
    # A single value is a level line.
    places = [*enumerate(values)] if len(values) > 1 else [(0, *values), (1, *values)]
    points = " ".join(f"{100 * at / last:.1f},{19 - 18 * value / most:.1f}" for at, value in places)
    line = tag("polyline", attributes={"class": "line", "points": points})
    attributes: dict[str, str | Link | bool] = {
        "class": "bar-drawn",
        "viewBox": "0 0 100 20",
        "preserveAspectRatio": "none",
        "aria-hidden": "true",
        "focusable": "false",
    }
    return tag("svg", line, attributes=attributes)


# --- times


def moment(time: datetime | None) -> Child:
    """A time in UTC, to the second."""
    if time is None:
        return None
    stamp = f"{time:%Y-%m-%dT%H:%M:%SZ}"
    return tag("time", f"{time:%Y-%m-%d %H:%M:%S}", attributes={"datetime": stamp})


def day(value: date) -> Html:
    """A date."""
    return tag("time", str(value), attributes={"datetime": str(value)})


def length(span: timedelta | None) -> Figures:
    """How long, in the two units that fit; "" for None."""
    if span is None:
        return Figures("")
    seconds = int(abs(span.total_seconds()))
    sign = "\N{MINUS SIGN}" if span < timedelta() else ""
    for unit, smaller, size in (("d", "h", 86_400), ("h", "min", 3_600), ("min", "s", 60)):
        if seconds >= size:
            rest = seconds % size // (size // 24 if unit == "d" else size // 60)
            return Figures(f"{sign}{seconds // size} {unit} {rest} {smaller}")
    return Figures(f"{sign}{seconds} s")


# --- texts and links


def plain_json(value: Any) -> str:
    """JSON as it was kept; "" for NULL."""
    if value is None:
        return ""
    return bytes(value).decode("utf-8", "replace") if isinstance(value, msgspec.Raw) else str(value)


def json_text(value: Any) -> Child:
    """JSON as it was kept, cut where it is long; nothing for NULL."""
    if value is None:
        return None
    text = plain_json(value)
    cut = "" if len(text) <= _JSON_CHARS_MAX else " ..."
    return tag("pre", text[:_JSON_CHARS_MAX] + cut)


def page_of(address: str | None) -> str:
    """The address of a page without what stands behind `?` or `#`."""
    return (address or "").partition("#")[0].partition("?")[0]


def link(text: Child, path: str, query: Mapping[str, str]) -> Html:
    """A link to a page of ours."""
    return tag("a", text, attributes={"href": Link(path, **query)})


def timeline_link(kind: str, key: str | None, site: str, scope: Scope, text: Child = None) -> Child:
    """A link to the timeline of a visitor, user, session or scan; nothing for NULL."""
    if not key:
        return None
    return link(text or key, VISITOR, {**scope.query, SITE: site, "kind": kind, "id": key})


def rule(text: str) -> Html:
    """What a number is, in a sentence below a heading."""
    return tag("p", text, attributes={"class": "rule"})
