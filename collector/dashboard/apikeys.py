"""API keys: which there are, and what back ends sent with each.

"Accepted" counts valid rows that carry the key's name, of sites that the key reaches by the present
configuration, received within the last 24 hours and the last 7 times 24 hours. Usage is told from
memory: what the limits count, refused requests excluded. Names only: no key is known here, and no
digest of one is shown.

A key is looked for in the rows of 8 dates: its column is small, and parts tell which keys they
hold.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; names are bound

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit, html
from collector.config import Config, Key
from collector.dashboard import charts, pieces
from collector.dashboard.answers import Records, panel, section
from collector.dashboard.frame import notice, number, pairs, table, whole_page
from collector.dashboard.html import Child, Html, tag
from collector.dashboard.known import Known
from collector.panels import Question, bound

PATH: Final = "/dashboard/keys"
_KEY: Final = "key"
_RECENT: Final = 20
_TYPES_MAX: Final = 20
_SITES_MAX: Final = 1_000
_HOUR_US: Final = 3_600_000_000
# Questions within these seconds are one, so that a page that is loaded again has its answer.
_STEP_US: Final = 60_000_000

# Ids of sites, a line each: no id holds the end of a line.
_OF_KEY: Final = """\
    date BETWEEN $first_day::DATE AND $last_day::DATE
    AND received_time >= make_timestamptz($week_us)
    AND key_id = $key
    AND site_id IN (SELECT unnest(string_split($sites, chr(10))))"""

_TYPES: Final = f"""\
SELECT
    protocol,
    event_type,
    event_name,
    count(*) FILTER (WHERE received_time >= make_timestamptz($day_us)) AS day,
    count(*) AS week,
    (sum(count(*) FILTER (WHERE received_time >= make_timestamptz($day_us))) OVER ())::BIGINT
        AS all_day,
    (sum(count(*)) OVER ())::BIGINT AS all_week
FROM valid_events
WHERE
{_OF_KEY}
GROUP BY protocol, event_type, event_name
ORDER BY week DESC, protocol, event_type, event_name
LIMIT {_TYPES_MAX}"""

_NEWEST: Final = f"""\
SELECT received_time, site_id, protocol, event_type, event_name, event_id, visitor_id,
    conversion_value, conversion_currency
FROM valid_events
WHERE
{_OF_KEY}
ORDER BY received_time DESC, event_id
LIMIT {_RECENT}"""


class ApiKeys:
    """Shows all keys, or one."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        return (
            Route(
                path=PATH,
                name="dashboard_keys",
                kind="page",
                summary="API keys, what was sent with them, and their limits",
                query={_KEY: pieces.text_member("name of a key; all keys without it")},
                answer=self._show,
                answers={200: None},
            ),
        )

    async def _show(self, visit: Visit) -> Response:
        config = self._known.config()
        wanted = visit.query.get(_KEY, "")
        key = next((key for key in config.keys if key.name == wanted), None)
        if key is not None:
            parts = await self._one(key, config)
        else:
            missing = notice("There is no key of that name.", is_bad=True) if wanted else None
            parts = [missing, _list(config)]
        title = f"API key {key.name}" if key is not None else "API keys"
        return html(whole_page(title, visit, parts, path=PATH))

    async def _one(self, key: Key, config: Config) -> Child:
        now_us = self._known.now_us() // _STEP_US * _STEP_US
        sites = reached(key, config)
        week: dict[str, str | int | float | None] = {
            "key": key.name,
            "sites": "\n".join(sites[:_SITES_MAX]),
            "week_us": now_us - 7 * 24 * _HOUR_US,
            "first_day": str(_time(now_us - 7 * 24 * _HOUR_US).date()),
            "last_day": str(_time(now_us + _STEP_US).date()),
        }
        types, newest = await self._known.panels.ask(
            Question(_TYPES, bound({**week, "day_us": now_us - 24 * _HOUR_US})),
            Question(_NEWEST, bound(week)),
        )
        return [
            tag("p", pieces.link("All keys", PATH, {})),
            section("Scope", pairs({**_scope(key), "sites": ", ".join(sites) or "none"})),
            section("Usage", self._usage(key, config)),
            panel("Accepted", types, _types),
            panel("Most recent events", newest, _newest),
        ]

    def _usage(self, key: Key, config: Config) -> Child:
        """Against the limits of the tier, which are Zenovay's; Scanova's are the same for all."""
        budget = self._known.watch.budget(key)
        used = budget.limit - budget.remaining
        rows: list[Sequence[Child]] = [
            (
                "requests at once (of a minute's allowance)",
                used,
                charts.bar(used, budget.limit),
                budget.limit or "no limit",
                _at(budget.reset_s),
            ),
            (
                "requests this month",
                budget.month_used,
                charts.bar(budget.month_used, budget.month_limit),
                budget.month_limit or "no limit",
                _at(budget.month_reset_s),
            ),
        ]
        limit = config.limits.server_requests_per_minute
        more = f"{number(limit)} requests a minute" if limit else "not limited"
        return [
            table(
                f"Zenovay's limits, tier {key.tier}",
                ("", "used", "", "limit", "as new at (UTC)"),
                rows,
            ),
            pieces.rule(
                f"{number(budget.total_used)} requests were ever counted. Scanova's endpoints have "
                f"a limit of their own, the same for every key: {more}."
            ),
        ]


def reached(key: Key, config: Config) -> list[str]:
    """Ids of the sites that a key reaches."""
    if key.scope == "full_access":
        return [site.id for site in config.sites if key.team and site.team == key.team]
    return [site.id for site in config.sites if site.id == key.site]


def _scope(key: Key) -> dict[str, Child]:
    reaches = f"team {key.team}" if key.scope == "full_access" else f"site {key.site}"
    return {"scope": f"{key.scope}: {reaches}", "tier": key.tier}


def _list(config: Config) -> Html:
    rows: list[Sequence[Child]] = [
        (
            pieces.link(key.name, PATH, {_KEY: key.name}),
            key.team,
            key.site,
            key.scope,
            key.tier,
            len(reached(key, config)),
        )
        for key in config.keys
    ]
    return section(
        "Keys of the configuration",
        table("API keys", ("name", "team", "site", "scope", "tier", "sites reached"), rows),
        pieces.rule("A key itself is known to its holder only; the collector keeps a digest."),
    )


def _types(rows: Records) -> Child:
    day, week = (rows[0]["all_day"], rows[0]["all_week"]) if rows else (0, 0)
    most = max((row["week"] for row in rows), default=0)
    tiles = [
        tag("li", tag("strong", number(count)), tag("span", text))
        for count, text in ((day, "in the last 24 hours"), (week, "in the last 7 days"))
    ]
    lines: list[Sequence[Child]] = [
        (
            row["protocol"],
            " ".join(filter(None, (row["event_type"], row["event_name"]))),
            row["day"],
            row["week"],
            charts.bar(row["week"], most),
        )
        for row in rows
    ]
    return [
        tag("ul", tiles, attributes={"class": "tiles", "aria-label": "Accepted"}),
        table("Top event types", ("protocol", "event", "24 hours", "7 days", ""), lines),
    ]


def _newest(rows: Records) -> Child:
    lines: list[Sequence[Child]] = [
        (
            pieces.moment(row["received_time"]),
            row["site_id"],
            row["protocol"],
            " ".join(filter(None, (row["event_type"], row["event_name"]))),
            row["visitor_id"] or "",
            pieces.money(row["conversion_value"], row["conversion_currency"]),
            pieces.link("receipt", "/dashboard/receipt", {"id": str(row["event_id"])}),
        )
        for row in rows
    ]
    names = ("received (UTC)", "site", "protocol", "event", "visitor", "value", "")
    return table(f"The {_RECENT} most recent events of 7 days", names, lines)


def _time(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us / 1e6, UTC)


def _at(time_s: int) -> Child:
    return pieces.moment(datetime.fromtimestamp(time_s, UTC)) if time_s else ""
