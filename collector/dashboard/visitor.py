"""One visitor, user, session or QR scan: who it is, and visit by visit what happened.

Every number is of the chosen range of dates and of the events that `visitor_questions` puts
together: valid ones, of all protocols. A visit is as long as no pause is longer than half an hour;
its length is the time from its first to its last event, its pages are rows of `page_views`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit
from collector.dashboard import pieces, visitor_questions
from collector.dashboard.answers import Records, answer, panel, section
from collector.dashboard.frame import number, pairs
from collector.dashboard.html import Child, Html, tag
from collector.dashboard.known import Known
from collector.dashboard.pieces import VISITOR, moment, money, timeline_link
from collector.dashboard.ranges import Scope, choice, picker, scope_of
from collector.dashboard.visitor_questions import EVENTS_MAX, KINDS
from collector.panels import Pending

RECEIPT: Final = "/dashboard/receipt"
_FACTS: Final[Mapping[str, str]] = {
    "page_url": "page",
    "page_title": "title",
    "referrer": "came from",
    "qr_code_id": "QR code",
    "payment_provider": "provider",
    "plan_name": "plan",
    "provider_event_id": "provider's id",
    "visitor_id": "visitor",
    "session_id": "session",
    "scan_session_id": "scan session",
    "owner": "user",
    "device_type": "device",
    "browser_family": "browser",
    "os_family": "system",
    "country_code": "country",
    "city": "city",
    "consent": "consent",
}
_ATTRIBUTES: Final = ("email", "name", "customer_id", "phone", "company")


class Visitor:
    """Shows the timeline of one person."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        query = {
            "kind": pieces.text_member("what `id` is: " + ", ".join(KINDS)),
            "id": pieces.text_member("whose timeline"),
            "before": pieces.text_member("further back than this event: its time and id"),
        }
        summary = "Visits of one visitor, user, session or QR scan"
        return [pieces.page_route(VISITOR, "dashboard_visitor", summary, self._show, query)]

    async def _show(self, visit: Visit) -> Response:
        scope = scope_of(visit.query, self._known.today())
        kind = pieces.chosen(visit, "kind", KINDS)
        key = pieces.asked_text(visit, "id")
        before = _cursor(visit.query.get("before", ""))
        form = picker(
            VISITOR,
            scope,
            self._known.sites,
            choice("What it is", "kind", KINDS, kind),
            pieces.text_field("Id", "id", key),
        )
        if not key:
            return pieces.shown("Visitor", visit, VISITOR, form, _advice())
        found, named = await self._known.panels.ask(
            visitor_questions.timeline(kind, key, scope, before),
            visitor_questions.attributes(kind, key, scope),
        )
        return pieces.shown(
            "Visitor",
            visit,
            VISITOR,
            form,
            panel("Who", found, lambda rows: _profile(rows, scope)),
            panel("Identified as", named, _identified),
            section(
                "Visits",
                "Counted with the above."
                if isinstance(found, Pending)
                else answer(found, lambda rows: _visits(rows, scope, kind, key)),
            ),
        )


def _advice() -> Html:
    text = (
        "Enter the id of a visitor, a user, a session or a QR scan. Lists of users, events, "
        "payments and scans lead here, too."
    )
    return tag("p", text)


def _cursor(text: str) -> tuple[int, str]:
    """Time and id of the event to go on from; (0, "") for what is none."""
    time, _, event = text.partition(".")
    is_time = time.isascii() and time.isdecimal() and len(time) <= 18
    return (int(time), event[:36]) if is_time else (0, "")


# --- who


def _profile(rows: Records, scope: Scope) -> Child:
    if not rows:
        return tag("p", "No events in this range.")
    profile = rows[0]["profile"]
    site = rows[0]["site_id"]
    texts: dict[str, Child] = {
        "first seen": moment(profile["first_seen"]),
        "last seen": moment(profile["last_seen"]),
        "visits": number(profile["visits"]),
        "pages seen": number(profile["page_views"]),
        "events": number(profile["events"]),
        "came first from": profile["first_referrer"] or "no page elsewhere",
        "came last from": profile["last_referrer"] or "no page elsewhere",
        "last device": ", ".join(
            profile[name]
            for name in ("device_type", "browser_family", "os_family", "city", "country_code")
            if profile[name]
        ),
        "visitors": _listed("visitor", profile["visitor_ids"], site, scope),
        "users": _listed("user", profile["owners"], site, scope),
        "QR scans": _listed("scan", profile["scan_session_ids"], site, scope),
        "payments": ", ".join(
            f"{number(one['payments'])} {one['status']}: {money(one['amount'], one['currency'])}"
            for one in profile["purchases"] or ()
        ),
    }
    withheld = profile["withheld"]
    return [
        pairs({name: text for name, text in texts.items() if text}),
        pieces.rule(
            f"{number(withheld)} of these events withhold consent: they are found by their own "
            "visitor or session id only, and belong to no user."
        )
        if withheld
        else None,
    ]


def _listed(kind: str, keys: Sequence[str] | None, site: str, scope: Scope) -> Child:
    return [[timeline_link(kind, key, site, scope), " "] for key in keys or ()]


def _identified(rows: Records) -> Child:
    if not rows:
        return tag("p", "Nobody was identified by this.")
    return [
        pairs(
            {
                "visitor": row["visitor_id"],
                **{name.replace("_", " "): row[name] for name in _ATTRIBUTES if row[name]},
                "further": pieces.json_text(row["attributes"]),
                "identified": [moment(row["first_identified"]), ", last ", _last(row)],
            }
        )
        for row in rows
    ]


def _last(row: Mapping[str, Any]) -> Child:
    return moment(row["last_identified"])


# --- visits


def _visits(rows: Records, scope: Scope, kind: str, key: str) -> Child:
    """Visits, newest first, in each its events, newest first."""
    listed = rows[:EVENTS_MAX]
    groups = groupby(_together(listed), lambda row: (row["site_id"], row["visit"]))
    further: Child = None
    if len(rows) > EVENTS_MAX:
        last = listed[-1]
        query = {
            **scope.query,
            "kind": kind,
            "id": key,
            "before": f"{last['time_us']}.{last['event_id']}",
        }
        further = tag("p", pieces.link("Further back", VISITOR, query))
    return [
        pieces.rule(
            "A visit ends with a pause of more than half an hour. Newest first, at most "
            f"{EVENTS_MAX} events on a page, times in UTC."
        ),
        [_visit(list(events)) for _, events in groups],
        further,
    ]


def _together(rows: Records) -> Iterator[Mapping[str, Any]]:
    """The rows of each visit one after the other, in the order of the visits' newest events."""
    places: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        places.setdefault((row["site_id"], row["visit"]), []).append(row)
    for one in places.values():
        yield from one


def _visit(rows: Records) -> Html:
    first = rows[0]
    texts: dict[str, Child] = {
        "entry": first["visit_entry"],
        "came from": first["visit_referrer"],
        "length": pieces.length(first["visit_ended"] - first["visit_started"]),
        "pages seen": number(first["visit_pages"]),
        "events": number(first["visit_events"]),
        "sessions": ", ".join(first["visit_sessions"] or ()),
    }
    if len(rows) < first["visit_events"]:
        texts["shown here"] = number(len(rows))
    return tag(
        "div",
        tag("h3", moment(first["visit_started"]), f", {first['site_id']}"),
        pairs({name: text for name, text in texts.items() if text}),
        tag("ol", map(_event, rows), attributes={"class": "events"}),
        attributes={"class": "visit"},
    )


def _event(row: Mapping[str, Any]) -> Html:
    names = (row["event_type"], row["event_name"])
    paid = row["amount"] is not None
    summary = tag(
        "summary",
        moment(row["event_time"]),
        " ",
        tag("strong", " ".join(name for name in names if name) or "event"),
        " ",
        tag("span", _path(row)),
        tag("span", f" {money(row['amount'], row['currency'])} {row['status']}") if paid else None,
        tag("span", " no consent", attributes={"class": "mark"}) if row["is_withheld"] else None,
    )
    facts: dict[str, Child] = {
        "sent by": f"{row['protocol']}, {row['source']}",
        **{text: row[name] for name, text in _FACTS.items()},
        "value": None if paid else money(row["conversion_value"], row["conversion_currency"] or ""),
        "flags": ", ".join(row["flags"] or ()),
        "data": pieces.json_text(row["metadata"]),
        "id": pieces.link(str(row["event_id"]), RECEIPT, {"id": str(row["event_id"])}),
    }
    return tag("li", tag("details", summary, pairs({name: v for name, v in facts.items() if v})))


def _path(row: Mapping[str, Any]) -> str:
    """The page of an event without its host, and without what differs for everybody."""
    address = pieces.page_of(row["page_url"])
    _, _, rest = address.partition("://")
    return "/" + rest.partition("/")[2] if rest else address
