"""Revenue: by currency, day, provider and plan; refunds; and what led visitors to pay.

What each number is stands in `revenue_questions`. One order that two senders report is two
payments here: whoever has several chooses one of them.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit
from collector.dashboard import pieces, revenue_questions
from collector.dashboard.answers import Records, panel
from collector.dashboard.frame import table
from collector.dashboard.html import Child, tag
from collector.dashboard.known import Known
from collector.dashboard.pieces import PAID, REFUNDED, change, currency_name, money, share
from collector.dashboard.ranges import Scope, choice, picker, scope_of
from collector.dashboard.revenue_questions import LOOK_BACK_DAYS, ROWS_MAX

PATH: Final = "/dashboard/revenue"
_PROTOCOLS: Final = {
    "": "every sender",
    "zenovay": "Zenovay",
    "scanova": "Scanova",
    "croct": "Croct",
}
_PARTS: Final = {
    "provider": "Payment provider",
    "plan": "Plan",
    "status": "Status",
    "sender": "Sender",
}
_PLACES: Final = {"first": "First touch", "last": "Last touch"}


class Revenue:
    """Shows payments."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        senders = ", ".join(name for name in _PROTOCOLS if name)
        query = {"by": pieces.text_member(f"payments of one protocol only: {senders}")}
        summary = "Revenue, refunds and attribution"
        return [pieces.page_route(PATH, "dashboard_revenue", summary, self._show, query)]

    async def _show(self, visit: Visit) -> Response:
        scope = scope_of(visit.query, self._known.today())
        by = pieces.chosen(visit, "by", _PROTOCOLS)
        days, kinds, touches = await self._known.panels.ask(
            revenue_questions.daily(scope, by),
            revenue_questions.kinds(scope, by),
            revenue_questions.attributed(scope, by),
        )
        return pieces.shown(
            "Revenue",
            visit,
            PATH,
            picker(PATH, scope, self._known.sites, choice("Reported by", "by", _PROTOCOLS, by)),
            panel(
                "Revenue by currency",
                days,
                lambda rows: [_totals(rows, scope), _days(rows, scope)],
            ),
            panel("By provider and plan", kinds, _kinds),
            panel("What led to payments", touches, _touches),
        )


def _totals(rows: Records, scope: Scope) -> Child:
    if not rows:
        return tag("p", "No payments in this range.")
    sums: dict[str, dict[str, float]] = {}
    for row in rows:
        one = sums.setdefault(currency_name(row["currency"]), {})
        place = "" if row["day"] >= scope.since else "before_"
        for name in ("payments", "revenue", "refunds", "refunded", "all_payments"):
            one[place + name] = one.get(place + name, 0) + row[name]
    lines = [
        (
            currency,
            money(one.get("revenue", 0)),
            int(one.get("payments", 0)),
            money(one.get("before_revenue", 0)),
            change(one.get("revenue", 0), one.get("before_revenue", 0)),
            money(one.get("refunded", 0)),
            int(one.get("refunds", 0)),
            int(one.get("all_payments", 0) - one.get("payments", 0) - one.get("refunds", 0)),
        )
        for currency, one in sorted(sums.items())
    ]
    names = (
        *("currency", "revenue", "payments", "revenue before", "change", "refunded", "refunds"),
        "other",
    )
    return [
        pieces.rule(
            f"Revenue: payments with status {_either(PAID)}. Refunds: {_either(REFUNDED)}; they "
            "are not taken off. Other: any other status, such as an order that was placed. "
            "Currencies are never added up. An order that two senders report counts twice: "
            f"choose one. Before: the {scope.days} days up to {scope.before.until}."
        ),
        table("Revenue by currency", names, lines),
    ]


def _either(statuses: Sequence[str]) -> str:
    return f"{', '.join(statuses[:-1])} or {statuses[-1]}"


def _days(rows: Records, scope: Scope) -> Child:
    """Days with payments, newest first."""
    within = [row for row in rows if row["day"] >= scope.since]
    most: dict[str | None, float] = {}
    for row in within:
        most[row["currency"]] = max(most.get(row["currency"], 0), row["revenue"])
    lines = [
        (
            _day(row["day"]),
            currency_name(row["currency"]),
            _bar(row, most[row["currency"]]),
            row["payments"],
            money(row["refunded"]) if row["refunds"] else "",
        )
        for row in within
    ]
    names = ("day", "currency", "revenue", "payments", "refunded")
    return table("Revenue per day", names, lines)


def _day(value: date) -> Child:
    return pieces.day(value)


def _bar(row: Mapping[str, Any], most: float) -> Child:
    text = money(row["revenue"])
    bar = pieces.meter(row["revenue"], most, text)
    return tag("span", text, " ", bar, attributes={"class": "bar"})


def _kinds(rows: Records) -> Child:
    if not rows:
        return tag("p", "No payments in this range.")
    return [
        _kind(title, [row for row in rows if row["part"] == part]) for part, title in _PARTS.items()
    ]


def _kind(title: str, rows: Sequence[Mapping[str, Any]]) -> Child:
    lines = [
        (
            row["value"] or "(none)",
            currency_name(row["currency"]),
            money(row["revenue"] or 0),
            row["payments"],
            row["all_payments"],
            money(row["amount"] or 0),
        )
        for row in rows
    ]
    names = (title.lower(), "currency", "revenue", "paid", "of any status", "amount of any status")
    return table(f"{title}, at most {ROWS_MAX}", names, lines)


def _touches(rows: Records) -> Child:
    if not rows:
        return tag("p", "Nothing was paid in this range.")
    return [
        pieces.rule(
            "Touches are page views of the same visitor up to the payment, at most "
            f"{LOOK_BACK_DAYS} days before the range: the first one of a QR scan, or one whose "
            "address names the scan, counts for the QR code, else one with utm_source for it and "
            "its utm_campaign, else one that came from another host for that host. Any other page "
            "view is a step within the site. First touch: the earliest one; last touch: the "
            "latest; direct: none. A payment without a visitor is of the visitor of its QR scan; "
            "without consent it is not attributed."
        ),
        [
            _touch(title, [row for row in rows if row["place"] == place])
            for place, title in _PLACES.items()
        ],
    ]


def _touch(title: str, rows: Sequence[Mapping[str, Any]]) -> Child:
    lines = [
        (
            row["touch"],
            currency_name(row["currency"]),
            money(row["revenue"] or 0),
            share(row["revenue"] or 0, row["whole"] or 0),
            row["payments"],
        )
        for row in rows
    ]
    names = ("source", "currency", "revenue", "of that currency", "payments")
    return table(f"{title}, at most {ROWS_MAX}", names, lines)
