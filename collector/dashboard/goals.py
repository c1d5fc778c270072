"""Goals: how often each was reached, by what share of the visitors, and a funnel towards one.

Completions are rows of `goal_completions`, counted in `goal_days`; a rate is the distinct visitors
among them, of all distinct visitors of the site in the range. Values of different currencies are
never added up.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; what people type is bound

from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit
from collector.dashboard import charts, funnel, pieces
from collector.dashboard.answers import Records, panel, section
from collector.dashboard.charts import Series
from collector.dashboard.frame import Figures, table
from collector.dashboard.html import Child, tag
from collector.dashboard.known import Known
from collector.dashboard.ranges import WITHIN, Scope, picker, scope_of
from collector.panels import Question

PATH: Final = "/dashboard/goals"
_GOALS_MAX: Final = 200

_GOALS: Final = f"""\
WITH reached AS (
    SELECT site_id, goal, currency, amount, visitor, events, date >= $since::DATE AS is_now
    FROM goal_days
    WHERE date BETWEEN $earliest::DATE AND $until::DATE AND ($site = '' OR site_id = $site)
),
sums AS (
    SELECT site_id, goal, list({{'currency': currency, 'value': total}} ORDER BY currency) AS sums
    FROM (
        SELECT site_id, goal, currency, sum(amount) AS total
        FROM reached
        WHERE is_now AND amount IS NOT NULL
        GROUP BY site_id, goal, currency
    )
    GROUP BY site_id, goal
),
everybody AS (
    SELECT site_id, count(DISTINCT visitor) AS visitors
    FROM sightings
    WHERE {WITHIN}
    GROUP BY site_id
)
SELECT
    site_id,
    goal,
    coalesce(sum(events) FILTER (WHERE is_now), 0)::BIGINT AS completions,
    coalesce(sum(events) FILTER (WHERE NOT is_now), 0)::BIGINT AS earlier,
    count(DISTINCT reached.visitor) FILTER (WHERE is_now) AS reached_by,
    coalesce(any_value(everybody.visitors), 0) AS visitors,
    any_value(sums.sums) AS sums
FROM reached
LEFT JOIN sums USING (site_id, goal)
LEFT JOIN everybody USING (site_id)
GROUP BY site_id, goal
ORDER BY completions DESC, site_id, goal
LIMIT {_GOALS_MAX}"""

_BY_DAY: Final = f"""\
SELECT day::DATE AS day, coalesce(sum(events), 0)::BIGINT AS completions
FROM range($since::DATE, $until::DATE + INTERVAL 1 DAY, INTERVAL 1 DAY) AS days(day)
LEFT JOIN (
    SELECT date, events FROM goal_days WHERE {WITHIN} AND goal IS NOT NULL
) AS reached ON reached.date = day::DATE
GROUP BY day
ORDER BY day"""


class Goals:
    """Shows goals and a funnel."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        query = {}
        for place in range(1, funnel.STEPS_MAX + 1):
            query[f"kind{place}"] = pieces.text_member(
                f"what step {place} of the funnel is: {', '.join(funnel.KINDS)}"
            )
            query[f"step{place}"] = pieces.text_member(f"step {place}: a path or a name")
        summary = "Goals and a funnel"
        return [pieces.page_route(PATH, "dashboard_goals", summary, self._show, query)]

    async def _show(self, visit: Visit) -> Response:
        scope = scope_of(visit.query, self._known.today())
        configured = self._configured(scope.site)
        steps = funnel.steps_of(visit.query) or funnel.usual(
            sorted({goal for _, goal in configured})
        )
        questions = [
            Question(_GOALS, scope.values(earliest=str(scope.before.since))),
            Question(_BY_DAY, scope.values()),
        ]
        if steps:
            questions.append(funnel.question(steps, scope))
        goals, days, *found = await self._known.panels.ask(*questions)
        funnels = [panel("Funnel", one, lambda rows: funnel.show(rows, steps)) for one in found]
        return pieces.shown(
            "Goals",
            visit,
            PATH,
            picker(PATH, scope, self._known.sites),
            panel("Completions", goals, lambda rows: _goals(rows, configured, scope)),
            panel("Per day", days, _days),
            funnels or section("Funnel", tag("p", "Choose steps: no goal is configured.")),
            section("Other steps", funnel.form(PATH, scope, steps)),
        )

    def _configured(self, site: str) -> list[tuple[str, str]]:
        """The goals of the settings: site and name."""
        return [
            (one.id, goal)
            for one in self._known.config().sites
            for goal in sorted(one.goals)
            if site in {"", one.id}
        ]


def _goals(rows: Records, configured: Sequence[tuple[str, str]], scope: Scope) -> Child:
    most = max((row["completions"] for row in rows), default=0)
    lines: list[Sequence[Child]] = [
        (
            row["goal"],
            row["site_id"],
            pieces.bar(row["completions"], most),
            row["earlier"],
            pieces.change(row["completions"], row["earlier"]),
            row["reached_by"],
            pieces.share(row["reached_by"], row["visitors"]),
            _sums(row["sums"]),
        )
        for row in rows
    ]
    known = {(row["site_id"], row["goal"]) for row in rows}
    missing = [one for one in configured if one not in known]
    lines += [(goal, site, pieces.bar(0, most), 0, "", 0, "", "") for site, goal in missing]
    names = (
        *("goal", "site", "completions", "before", "change", "visitors", "of all visitors"),
        "value",
    )
    return [
        pieces.rule(
            "Goals of the settings, and all that were reached. Before: the "
            f"{scope.days} days up to {scope.before.until}."
        ),
        table("Goals", names, lines),
    ]


def _sums(sums: Sequence[Mapping[str, Any]] | None) -> Figures:
    """Values by currency; those of goals without a currency have none."""
    known = [one for one in sums or () if one["value"]]
    return Figures(", ".join(pieces.money(one["value"], one["currency"] or "") for one in known))


def _days(rows: Records) -> Child:
    return charts.columns(
        "days",
        "Completions per day",
        [str(row["day"]) for row in rows],
        [Series("completions", [row["completions"] for row in rows])],
    )
