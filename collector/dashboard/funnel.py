"""A funnel: how many visitors came how far, step by step, in this order.

A visitor reaches the first step with the first event that is one; every further step with the
first event that is one at the time of the step before or later. All within the range, by visitor
id and site, over `valid_events` or what is counted of them. Must not know the page that shows it.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; what people type is bound

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from collector.dashboard import pieces
from collector.dashboard.answers import Records
from collector.dashboard.frame import table
from collector.dashboard.html import Child, Html, Link, tag
from collector.dashboard.ranges import WITHIN, Scope, choice
from collector.panels import Question
from storage import views

# A page's address begins with a path; an event or a goal has exactly this name.
KINDS: Final[Mapping[str, str]] = {
    "page": "page whose path begins with",
    "event": "event named",
    "goal": "goal named",
}
# With two members each, and site, range and names, as many as a query may have.
STEPS_MAX: Final = 5

_PATH_OF: Final = (
    "coalesce(nullif(regexp_extract(page_url, '^[a-z+.-]+://[^/?#]*([^?#]*)', 1), ''), '/')"
)
# Where a text occurs at all is found quickly; its place is looked at only there.
_IS: Final[Mapping[str, str]] = {
    "page": f"(({views.IS_PAGE_VIEW}) AND page_url IS NOT NULL AND ($step = '/' OR "
    f"(contains(page_url, $step) AND starts_with({_PATH_OF}, $step))))",
    "event": "(coalesce(event_name, event_type) = $step)",
    "goal": f"(({views.IS_GOAL}) AND event_name = $step)",
}


class Step(msgspec.Struct, frozen=True):
    """`kind` is one of `KINDS`; `text` a path or a name."""

    kind: str
    text: str

    @property
    def title(self) -> str:
        """The step in words."""
        return f"{KINDS[self.kind]} {self.text}"


_ANY_PAGE: Final = Step("page", "/")
# Each visitor of the range who saw a page.
_CAME: Final = f"""(
    SELECT DISTINCT site_id, visitor
    FROM sightings
    WHERE {WITHIN} AND first_view IS NOT NULL
)"""


def steps_of(query: Mapping[str, str]) -> list[Step]:
    """The steps that the address of a page asks for; those without a text are none."""
    found = []
    for place in range(1, STEPS_MAX + 1):
        kind = query.get(f"kind{place}", "")
        text = query.get(f"step{place}", "").strip()[: pieces.TEXT_CHARS_MAX]
        if text:
            found.append(Step(kind if kind in KINDS else "page", text))
    return found


def usual(goals: Sequence[str]) -> list[Step]:
    """Without a choice: from any page to the first goal; no steps where there is none."""
    return [_ANY_PAGE, Step("goal", goals[0])] if goals else []


def form(path: str, scope: Scope, steps: Sequence[Step]) -> Html:
    """A form that loads the page at `path` with other steps: those that are, and empty fields."""
    empty = Step("event" if steps else "page", "")
    padded = [*steps, *[empty] * STEPS_MAX][:STEPS_MAX]
    fields = [
        tag(
            "div",
            choice(f"Step {place}", f"kind{place}", KINDS, step.kind),
            pieces.text_field(f"Path or name of step {place}", f"step{place}", step.text),
            attributes={"class": "step"},
        )
        for place, step in enumerate(padded, 1)
    ]
    return tag(
        "form",
        [pieces.hidden(name, value) for name, value in scope.query.items()],
        fields,
        tag("button", "Show funnel", attributes={"type": "submit"}),
        attributes={"action": Link(path), "class": "picker"},
    )


def question(steps: Sequence[Step], scope: Scope) -> Question:
    """A row per step: its number, visitors, and how long half of them took from the step before."""
    # Any page at first, and goals, are counted already.
    first, *others = steps
    if all(step.kind == "goal" for step in (others if first == _ANY_PAGE else steps)):
        return _from_counted(steps, scope)
    return _from_rows(steps, scope)


def _from_counted(steps: Sequence[Step], scope: Scope) -> Question:
    """Of visitors who reached a goal it is looked when they came; the others are only counted."""
    goals = {
        place: f"{WITHIN} AND goal = $step{place} AND visitor IS NOT NULL"
        for place, step in enumerate(steps, 1)
        if step.kind == "goal"
    }
    parts, counts = [], {}
    if 1 in goals:
        parts.append(f"""\
step_1 AS (
    SELECT site_id, visitor, min(event_time) AS at, NULL::INTERVAL AS took
    FROM goal_days
    WHERE {goals[1]}
    GROUP BY site_id, visitor
)""")
    else:
        counts[1] = f"SELECT 1 AS step, count(*) AS visitors, NULL::INTERVAL AS took FROM {_CAME}"
        parts.append(f"""\
step_1 AS (
    SELECT site_id, visitor, min(first_view) AS at
    FROM sightings SEMI JOIN (
        SELECT site_id, visitor FROM goal_days WHERE {goals.get(2, "false")}
    ) USING (site_id, visitor)
    WHERE {WITHIN} AND first_view IS NOT NULL
    GROUP BY site_id, visitor
)""")
    parts += [
        f"""\
step_{place} AS (
    SELECT site_id, visitor, min(event_time) AS at, min(event_time) - before.at AS took
    FROM step_{place - 1} AS before JOIN goal_days USING (site_id, visitor)
    WHERE {goal} AND event_time >= before.at
    GROUP BY site_id, visitor, before.at
)"""
        for place, goal in goals.items()
        if place > 1
    ]
    counts |= {place: _count(place) for place in goals}
    texts = {f"step{place}": steps[place - 1].text for place in goals}
    return _stated(parts, counts.values(), scope, texts)


def _count(place: int) -> str:
    return (
        f"SELECT {place} AS step, count(*) AS visitors, quantile_disc(took, 0.5) AS took "
        f"FROM step_{place}"
    )


def _stated(
    parts: Iterable[str], counts: Iterable[str], scope: Scope, texts: Mapping[str, str]
) -> Question:
    joined, told = ",\n".join(parts), "\nUNION ALL\n".join(counts)
    return Question(f"WITH {joined}\n{told}\nORDER BY step", scope.values(**texts))


def _from_rows(steps: Sequence[Step], scope: Scope) -> Question:
    is_step = {
        place: _IS[step.kind].replace("$step", f"$step{place}")
        for place, step in enumerate(steps, 1)
    }
    flags = ",\n        ".join(f"{sql} AS is_{place}" for place, sql in is_step.items())
    # Not kept between the steps: they may be most events of a year. Each step reads what it needs.
    parts = [
        f"""\
hits AS NOT MATERIALIZED (
    SELECT hash(site_id, visitor_id) AS visitor, event_time,
        {flags}
    FROM valid_events
    WHERE {WITHIN} AND visitor_id IS NOT NULL
),
step_1 AS (
    SELECT visitor, min(event_time) AS at, NULL::INTERVAL AS took
    FROM hits
    WHERE is_1
    GROUP BY visitor
)"""
    ]
    parts += [
        f"""\
step_{place} AS (
    SELECT visitor, min(event_time) AS at, min(event_time) - before.at AS took
    FROM step_{place - 1} AS before JOIN hits USING (visitor)
    WHERE is_{place} AND event_time >= before.at
    GROUP BY visitor, before.at
)"""
        for place in range(2, len(steps) + 1)
    ]
    texts = {f"step{place}": step.text for place, step in enumerate(steps, 1)}
    return _stated(parts, map(_count, is_step), scope, texts)


def show(rows: Records, steps: Sequence[Step]) -> Child:
    """The funnel as a table with bars: how many, of the first step, lost since the step before."""
    first = rows[0]["visitors"]
    before = first
    lines = []
    for row, step in zip(rows, steps, strict=True):
        visitors = row["visitors"]
        lines.append(
            (
                f"{row['step']}. {step.title}",
                pieces.bar(visitors, first),
                pieces.share(visitors, first),
                f"{before - visitors} ({pieces.share(before - visitors, before)})"
                if before > visitors
                else "",
                pieces.length(row["took"]),
            )
        )
        before = visitors
    names = ("step", "visitors", "of the first", "lost since the step before", "half within")
    return [
        pieces.rule(
            "By visitor id. A step counts at the time of the step before or later, within the "
            "range; one event may be two steps."
        ),
        table("Visitors who came so far", names, lines),
    ]
