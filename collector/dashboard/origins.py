"""The page on origins: which pages were refused and what mends it, and whether one would be.

Each number is what `refused_origins` counted since this process was started, at most a day back:
requests, of a batch each event. Checking an origin sends nothing.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from collector.adapters.contract import Response
from collector.admin import Member, Route, Visit, html
from collector.config import Config
from collector.dashboard.answers import section
from collector.dashboard.frame import notice, number, table, whole_page
from collector.dashboard.html import Child, Html, Link, tag
from collector.dashboard.known import Known
from collector.dashboard.ranges import choice
from collector.origin_advice import Advice, advise, judge
from collector.refused_origins import Place, RefusedOrigins, Seen

ORIGINS: Final = "/dashboard/origins"
_ORIGIN: Final = "origin"
_SITE: Final = "site"
_CHARS_MAX: Final = 1_100
_SHOWN_MAX: Final = 100
_WORDS: Final = {
    "origin_refused": "not among the site's domains",
    "origin_missing": "no origin",
    "unknown_site": "no such site",
    "inactive_site": "site switched off",
    "unknown_app": "no such application",
    "method_not_allowed": "preflight: wrong method",
    "not_found": "preflight: wrong address",
}


class Origins:
    """Shows what was refused, and judges what somebody asks about."""

    def __init__(self, known: Known, refused: RefusedOrigins) -> None:
        self._known = known
        self._refused = refused

    @property
    def routes(self) -> Sequence[Route]:
        """The rows of the table."""
        text = {"type": "string"}
        return (
            Route(
                path=ORIGINS,
                name="dashboard_origins",
                kind="page",
                summary="Which pages are refused for their origin, and what mends it",
                query={
                    _ORIGIN: Member("judge this origin, or host name", text),
                    _SITE: Member("for the site with this id", text),
                },
                answer=self._show,
                answers={200: None},
            ),
        )

    async def _show(self, visit: Visit) -> Response:
        config = self._known.config()
        text = whole_page(
            "Origins",
            visit,
            tag("p", "Browsers may send events only from pages on a site's own domains."),
            _check(config, visit.query.get(_ORIGIN, ""), visit.query.get(_SITE, "")),
            self._list(),
            self._remedies(config),
            path=ORIGINS,
        )
        return html(text)

    def _list(self) -> Html:
        now_us = self._known.now_us()
        seen = self._refused.seen(now_us)
        if not seen:
            return section(
                "Refused pages", tag("p", "None in the last 24 hours, or since the start.")
            )
        rows: list[Sequence[Child]] = [
            (
                one.hour,
                one.day,
                _origin(one.place),
                one.place.asked,
                one.place.path,
                tag("span", _WORDS[one.place.reason], attributes={"class": "words"}),
                _ago(now_us - one.last_us),
            )
            for one in seen[:_SHOWN_MAX]
        ]
        names = ("last hour", "last day", "origin", "asked for", "path", "reason", "last seen")
        return section(
            "Refused pages",
            table("Refused pages", names, rows),
            _note(self._refused.others, len(seen) - _SHOWN_MAX),
        )

    def _remedies(self, config: Config) -> Html | None:
        grouped = _grouped(config, self._refused.seen(self._known.now_us()))
        if not grouped:
            return None
        return section("What mends it", [_remedy(config, *one) for one in grouped.items()])


def _note(others: int, left_out: int) -> Html | None:
    if not others and left_out <= 0:
        return None
    rarer = f"{number(max(left_out, 0))} rarer ones are not shown"
    return tag("p", f"{rarer}, {number(others)} were forgotten to bound the memory.")


def _grouped(config: Config, seen: Sequence[Seen]) -> dict[Advice, list[Place]]:
    """What to do, and about which places, the most frequent first."""
    found: dict[Advice, list[Place]] = {}
    for one in seen[:_SHOWN_MAX]:
        found.setdefault(advise(config, one.place), []).append(one.place)
    return found


def _remedy(config: Config, advice: Advice, places: Sequence[Place]) -> Html:
    whose = list(dict.fromkeys(_origin(place) for place in places))
    shown = ", ".join(whose[:5]) + (f" and {len(whose) - 5} more" if len(whose) > 5 else "")
    return tag("div", tag("h3", shown), advised(config, advice), attributes={"class": "remedy"})


def advised(config: Config, advice: Advice) -> Child:
    """What to do, with the line to copy and where it belongs."""
    if not advice.line:
        return tag("p", advice.text)
    # A second line of the same name would be a fault of the file.
    name = advice.line.partition(" ")[0]
    place = f"under [[sites]] with id {advice.site}, in the place of its line {name}, if any"
    if config.path is None:
        where = f"In config.toml, a copy of config.example.toml, {place}; then start again:"
    else:
        where = f"In {config.path.name}, {place}; it is in force two seconds after the change:"
    return [tag("p", advice.text), tag("p", where), tag("pre", tag("code", advice.line))]


def _check(config: Config, origin: str, site: str) -> Html:
    origin, ids = origin.strip()[:_CHARS_MAX], [one.id for one in config.sites]
    field = tag(
        "input",
        attributes={
            "name": _ORIGIN,
            "type": "text",
            "value": origin,
            "maxlength": str(_CHARS_MAX),
            "spellcheck": "false",
            "autocomplete": "off",
            "required": True,
        },
    )
    asking = tag(
        "form",
        tag("label", tag("span", "Origin, such as https://www.example.com"), field),
        choice("Site", _SITE, {one: one for one in ids}, site),
        tag("button", "Check", attributes={"type": "submit"}),
        attributes={"action": Link(ORIGINS), "class": "picker"},
    )
    return section("Check an origin", asking, _verdict(config, origin, site or next(iter(ids), "")))


def _verdict(config: Config, origin: str, site: str) -> Child:
    if not origin:
        return None
    found = judge(config, origin, site)
    who = found.host or origin
    if found.is_allowed:
        return notice(f"Yes: pages on {who} may send events of site {site}. {found.why}")
    return [
        notice(f"No: pages on {who} may not send events of site {site}. {found.why}", is_bad=True),
        advised(config, found.advice) if found.advice else None,
    ]


def _origin(place: Place) -> str:
    if place.origin is None:
        return "(no origin)"
    return place.origin or "(null)"


def _ago(us: int) -> str:
    """How long ago, in the unit that fits."""
    passed = timedelta(microseconds=max(us, 0))
    for unit, one in (("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if passed >= one:
            return f"{passed // one} {unit} ago"
    return f"{passed // timedelta(seconds=1)} s ago"
