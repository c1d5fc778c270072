"""What pages show of summaries is what the rows say, whichever dates and parts have summaries."""
# ruff: noqa: S608  SQL of this file over rows of this file

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from collector.dashboard import funnel, qrscan_questions, revenue_questions, users
from collector.dashboard.funnel import Step
from collector.dashboard.ranges import Scope
from collector.panel_session import LakeSession
from collector.panels import Question
from storage import Deadline, Files, Lake, Row
from storage.partwork import PartWork
from storage.summaries import folder_of
from tests.support.parts import Parts
from tests.support.rows import make_row

SITES = ("one", "two")
DAYS = tuple(date(2024, 2, 28) + timedelta(days=n) for n in range(4))
# The first date is before the range, but not too long.
SCOPE = Scope("", DAYS[1], DAYS[-1])
DAY_US = 86_400_000_000
SITE_URL = "https://shop.example"
PAGES = (
    "/",
    "/a?utm_source=news+letter&utm_campaign=May%20sale",
    "/b?utm_campaign=lost",
    "/c?scnv=SCAN-1",
    "/d?utm_source=ads&scnv=scan-2",
)
REFERRERS = (None, f"{SITE_URL}/x", "https://Search.example/?q=x", "https://else.example")
# What a row is; page views are as many as all others.
KINDS: tuple[dict[str, Any], ...] = (
    *[{"event_type": "pageview"}] * 8,
    {"event_type": "click"},
    {"event_type": "goal", "event_name": "signup", "conversion_value": 2.5},
    {"event_type": "goal", "event_name": "trial"},
    {"event_type": "identify"},
    {"event_type": "purchase", "conversion_value": 8.0, "conversion_currency": "EUR"},
    {"event_type": "purchase", "conversion_value": 3.0, "metadata": {"status": "failed"}},
    {"protocol": "scanova", "event_name": "purchase", "conversion_value": 4.0},
    {"protocol": "scanova", "event_name": "lead"},
)
ATTRIBUTES: tuple[dict[str, object], ...] = (
    {"email": "a@example.com", "name": "A"},
    {"email": "", "name": "B", "plan": "pro"},
    {"email": None, "plan": None, "phone": "1"},
    {"plan": "x", "size": [1, 2]},
    {},
)


class World(Parts):
    """Random rows of four dates: two parts each, and the log of the last one."""

    def __init__(self, path: Path, seed: int, *, moments: int = 0) -> None:
        """`moments`: events of a date share so many times; 0: each has its own."""
        super().__init__(path)
        self.path = path
        self.work = PartWork(path, self.files, self.folders, summary_bytes_min=1)
        self._chance = random.Random(seed)
        self._moments = moments
        for number, day in enumerate(DAYS):
            for part in (1, 2):
                self.publish(day, 2 * number + part, *self._rows(number, 45))
        self.directory.append(20, *self._rows(len(DAYS) - 1, 20), day=DAYS[-1])

    def _rows(self, day: int, count: int) -> list[Row]:
        return [self._row(day) for _ in range(count)]

    def _row(self, day: int) -> Row:
        chance = self._chance
        start_us = (DAYS[day] - date(1970, 1, 1)) // timedelta(microseconds=1)
        # Some come a day late.
        event_us = start_us + chance.randrange(DAY_US) - DAY_US * (chance.random() < 0.1)
        if self._moments:
            event_us = start_us + event_us % self._moments
        kind = chance.choice(KINDS)
        is_page = kind["event_type"] == "pageview" if "event_type" in kind else False
        row = {
            "event_time": event_us,
            "received_time": start_us + chance.randrange(DAY_US),
            "site_id": chance.choice(SITES),
            "protocol": "zenovay",
            "source": "browser" if is_page else "server",
            "visitor_id": chance.choice(("ada", "bob", "cy", "dee", None)),
            "scan_session_id": chance.choice((None, None, "scan-1", "scan-2", "scan-3")),
            "qr_code_id": chance.choice((None, None, "table-1", "table-2")),
            "consent": chance.choice((*[None] * 8, "granted", "denied")),
            "flags": ("gpc",) if chance.random() < 0.05 else (),
            "page_url": SITE_URL + chance.choice(PAGES) if is_page else None,
            "referrer": chance.choice(REFERRERS) if is_page else None,
            "is_duplicate": int(chance.random() < 0.05),
            **kind,
        }
        if kind.get("event_type") == "identify":
            row |= {"metadata": chance.choice(ATTRIBUTES), "visitor_id": row["visitor_id"] or "eve"}
        return make_row(**row)

    def states(self) -> Iterator[str]:
        """No summaries; those of all parts, of closed dates; some gone again."""
        yield "none"
        self._summarise(is_open=True)
        yield "of all parts"
        self._summarise(is_open=False)
        yield "of closed dates"
        for path in sorted(folder_of(self.path).glob("date=*/*"))[::2]:
            path.unlink()
        yield "some are gone"

    def _summarise(self, *, is_open: bool) -> None:
        for day in DAYS:
            while self.work.summarise(day, is_open=is_open):
                pass

    def ask(self, *questions: Question) -> list[list[dict[str, Any]]]:
        """As a page asks."""
        session = LakeSession(self.path, Files(), lambda: 0)
        try:
            with Deadline(60) as deadline:
                return [
                    session.ask(question, deadline, lambda _share: None).records
                    for question in questions
                ]
        finally:
            session.close()

    def rows(self, sql: str) -> list[dict[str, Any]]:  # type: ignore[override]
        """What plain SQL over the published views says."""
        with Lake(self.path, Files()) as lake:
            result = lake.run(sql)
            names = [column.name for column in result.columns]
            return [dict(zip(names, row, strict=True)) for row in result.rows()]


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """JSON as it is written, so that rows can be compared."""
    return [
        {k: bytes(v).decode() if isinstance(v, msgspec.Raw) else v for k, v in row.items()}
        for row in rows
    ]


WITHIN = f"date BETWEEN '{SCOPE.since}' AND '{SCOPE.until}'"
ANY_PAGE = Step("page", "/")
SIGNUP, TRIAL = Step("goal", "signup"), Step("goal", "trial")
FUNNELS = ((ANY_PAGE, SIGNUP), (SIGNUP, TRIAL, SIGNUP), (ANY_PAGE, TRIAL, SIGNUP), (ANY_PAGE,))


def listed_users(skip: int) -> Question:
    """The users on a page, from one on."""
    return Question(users._LATEST, SCOPE.values(skip=skip), first=(users._WHO,))


# All identify events of a user are looked at, and not the latest of each kind only.
_USERS = f"""
    SELECT u.* EXCLUDE (first_identified),
        (SELECT count(*) FROM identified_users) AS users,
        (SELECT max(event_time) FROM valid_events AS e WHERE e.site_id = u.site_id
            AND e.visitor_id = u.visitor_id AND {WITHIN}) AS last_seen,
        (SELECT count(*) FROM valid_events AS e WHERE e.site_id = u.site_id
            AND e.visitor_id = u.visitor_id AND {WITHIN}) AS events
    FROM identified_users AS u ORDER BY last_identified DESC"""
_WITHHELD = "(coalesce(consent, '') = 'denied' OR list_contains(flags, 'gpc'))"
_SCANS = f"""
    SELECT site_id, scan_session_id, min(qr_code_id) AS code,
        min(event_time) FILTER (source = 'browser') AS began,
        max(event_time) FILTER (source = 'browser') AS ended,
        count(*) FILTER (source = 'browser') AS browser_events,
        count(*) FILTER (source = 'server' AND NOT {_WITHHELD}) AS conversions
    FROM valid_events WHERE {WITHIN} AND scan_session_id IS NOT NULL
    GROUP BY ALL HAVING browser_events > 0 ORDER BY ended DESC"""
_CONVERSIONS = f"""
    SELECT event_time, site_id, scan_session_id, coalesce(event_name, event_type) AS name,
        conversion_value AS value, conversion_currency AS currency, {_WITHHELD} AS is_withheld,
        qr_code_id AS code, first_page_url AS first_page, event_time - first_event_time AS after
    FROM scan_conversions WHERE {WITHIN}
    ORDER BY event_time DESC LIMIT {qrscan_questions.NEWEST_MAX}"""


@pytest.mark.parametrize("seed", range(3))
def test_pages_show_what_the_rows_say(tmp_path: Path, seed: int) -> None:
    """Users, scans, conversions, funnels and attribution, whichever summaries there are."""
    world = World(tmp_path, seed)
    identified = plain(world.rows(_USERS))
    scans, conversions = world.rows(_SCANS), world.rows(_CONVERSIONS)
    led = attributed(world)
    came = [world.ask(funnel._from_rows(steps, SCOPE))[0] for steps in FUNNELS]
    assert min(len(identified), len(scans)) > 4
    assert len(conversions) == qrscan_questions.NEWEST_MAX
    assert any(touch.startswith("QR code") for _, touch, _ in led)
    assert came[0][0]["visitors"] > 3
    for state in world.states():
        questions = (listed_users(0), listed_users(3), *map(funnel_of, FUNNELS))
        first, further, *funnels = world.ask(*questions)
        numbers = [row.pop("visitor") for row in first]
        assert all(numbers), state
        assert plain(first) == identified, state
        assert [row["email"] for row in further] == [row["email"] for row in identified[3:]], state
        assert funnels == came, state
        told = world.ask(
            qrscan_questions.newest(SCOPE),
            qrscan_questions.conversions(SCOPE),
            revenue_questions.attributed(SCOPE, ""),
        )
        assert told[:2] == [scans, conversions], state
        assert {
            (row["place"], row["touch"], row["currency"]): (row["payments"], row["revenue"])
            for row in told[2]
        } == led, state
    world.work.compactor.close()


def test_what_is_counted_needs_no_rows() -> None:
    """Goals after any page, and attribution; a funnel through a page or an event does."""
    assert not any(funnel_of(steps).reads_rows for steps in FUNNELS)
    assert not revenue_questions.attributed(SCOPE, "").reads_rows
    for more in (ANY_PAGE, Step("event", "x")):
        assert funnel_of((SIGNUP, more)).reads_rows
    assert funnel_of((Step("page", "/a"), SIGNUP)).reads_rows


def funnel_of(steps: Sequence[Step]) -> Question:
    """As the page asks."""
    return funnel.question(steps, SCOPE)


# --- attribution, by a rule that is written down a second time


def attributed(world: World) -> Mapping[tuple[str, str, str | None], tuple[int, float]]:
    """Payments and revenue by place, touch and currency."""
    earliest = SCOPE.since - timedelta(days=revenue_questions.LOOK_BACK_DAYS)
    wide = f"date BETWEEN '{earliest}' AND '{SCOPE.until}'"
    withheld = f"{_WITHHELD} AS withheld"
    pages = world.rows(f"SELECT *, {withheld} FROM page_views WHERE {wide} ORDER BY event_time")
    paid = world.rows(
        f"SELECT *, {withheld} FROM payment_events WHERE {WITHIN} AND status = 'succeeded'"
    )
    opened = world.rows(
        f"SELECT *, {withheld} FROM valid_events WHERE {wide} AND source = 'browser' "
        "AND scan_session_id IS NOT NULL AND visitor_id IS NOT NULL ORDER BY event_time DESC"
    )
    visitors = {
        (e["site_id"], e["scan_session_id"]): e["visitor_id"] for e in opened if not e["withheld"]
    }
    for one in paid:
        one["buyer"] = one["visitor_id"] or visitors.get((one["site_id"], one["scan_session_id"]))
    buyers = {(one["site_id"], one["buyer"]) for one in paid if not one["withheld"]}
    touches = touches_of(
        [p for p in pages if not p["withheld"] and (p["site_id"], p["visitor_id"]) in buyers]
    )
    counts: Counter[tuple[str, str, str | None]] = Counter()
    sums: Counter[tuple[str, str, str | None]] = Counter()
    for one in paid:
        led = [
            touch
            for time, touch in touches.get((one["site_id"], one["buyer"]), [])
            if time <= one["event_time"]
        ] or ["direct"]
        if one["withheld"]:
            led = ["consent withheld"]
        elif one["buyer"] is None:
            led = ["no visitor known"]
        for place, touch in (("first", led[0]), ("last", led[-1])):
            counts[place, touch, one["currency"]] += 1
            sums[place, touch, one["currency"]] += one["amount"]
    return {key: (count, sums[key]) for key, count in counts.items()}


def touches_of(pages: list[dict[str, Any]]) -> dict[tuple[str, str], list[tuple[Any, str]]]:
    """Times and touches of each site and visitor, in order; `pages` are in order, too."""
    codes: dict[tuple[str, str], str] = {}
    scans = []
    for page in pages:
        named = parse_qs(urlsplit(page["page_url"]).query).get("scnv")
        scan = (page["scan_session_id"] or (named or [None])[0] or "").lower()
        scans.append((named, scan))
        if scan and page["qr_code_id"]:
            key = page["site_id"], scan
            codes[key] = min(codes.get(key, page["qr_code_id"]), page["qr_code_id"])
    found: dict[tuple[str, str], list[tuple[Any, str]]] = {}
    begun = set()
    for page, (named, scan) in zip(pages, scans, strict=True):
        query = parse_qs(urlsplit(page["page_url"]).query)
        host = urlsplit(page["referrer"] or "").netloc.lower()
        visit = page["site_id"], page["visitor_id"], scan
        touch = ""
        if named or (scan and visit not in begun):
            touch = f"QR code {codes.get((page['site_id'], scan), '(unknown)')}"
        elif "utm_source" in query:
            touch = " / ".join(["utm " + query["utm_source"][0], *query.get("utm_campaign", [])])
        elif host and host != urlsplit(SITE_URL).netloc:
            touch = host
        begun.add(visit)
        if touch:
            found.setdefault(visit[:2], []).append((page["event_time"], touch))
    return found


def test_what_shares_a_moment_is_told_alike(tmp_path: Path) -> None:
    """Whichever summaries there are, where many events have the same time; also payments."""
    world = World(tmp_path, 9, moments=5)
    before: list[Any] = []
    for state in world.states():
        answers = world.ask(
            revenue_questions.attributed(SCOPE, ""),
            qrscan_questions.newest(SCOPE),
            qrscan_questions.conversions(SCOPE),
            funnel_of((ANY_PAGE, SIGNUP, TRIAL)),
        )
        before = before or answers
        assert answers == before, state
    world.work.compactor.close()
