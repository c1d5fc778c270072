"""What a page is about: one site or all of them, and a range of dates.

Read from the query of the page's address, so that a page can be sent to somebody else. Dates are
those of receipt, in UTC, like the folders'. Wrong members are taken for absent ones: a page is
shown, not refused.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final

import msgspec

from collector.dashboard.html import Child, Html, Link, tag
from collector.panels import bound

SITE: Final = "site"
DAYS: Final = "days"
# What can be chosen, in days up to today; the first is taken without a choice.
SPANS: Final[Mapping[str, str]] = {
    "7": "7 days",
    "1": "today",
    "2": "2 days",
    "30": "30 days",
    "90": "90 days",
    "365": "a year",
}
# To be put into a WHERE of `events` or of any view that has both columns.
WITHIN: Final = "date BETWEEN $since::DATE AND $until::DATE AND ($site = '' OR site_id = $site)"

Values = tuple[tuple[str, str | int | float | None], ...]


class Scope(msgspec.Struct, frozen=True):
    """`site`: an id, "" for all. `since` and `until` are dates, both belong to it."""

    site: str
    since: date
    until: date

    @property
    def days(self) -> int:
        """How many dates."""
        return (self.until - self.since).days + 1

    @property
    def before(self) -> "Scope":
        """As many days that end where this begins: what it is compared with."""
        days = timedelta(days=self.days)
        return Scope(self.site, self.since - days, self.until - days)

    def values(self, **more: str | float | None) -> Values:
        """What a question binds: `$site`, `$since`, `$until`, and `more`."""
        own = {"site": self.site, "since": str(self.since), "until": str(self.until)}
        return bound({**own, **more})

    @property
    def query(self) -> dict[str, str]:
        """The members of a query that lead here again."""
        return {SITE: self.site, DAYS: str(self.days)}


def scope_of(query: Mapping[str, str], today: date) -> Scope:
    """What the address of a page asks for. A site is taken as it is: none may have events."""
    text = query.get(DAYS, "")
    days = int(text if text in SPANS else next(iter(SPANS)))
    return Scope(query.get(SITE, "")[:256], today - timedelta(days=days - 1), today)


def picker(path: str, scope: Scope, sites: Sequence[str], *more: Child) -> Html:
    """A form that loads the page at `path` for another site or range; `more`: further fields."""
    known = [scope.site] if scope.site and scope.site not in sites else []
    choices = {"": "all sites", **{site: site for site in (*known, *sites)}}
    return tag(
        "form",
        choice("Site", SITE, choices, scope.site),
        choice("Range", DAYS, SPANS, str(scope.days)),
        more,
        tag("button", "Show", attributes={"type": "submit"}),
        attributes={"action": Link(path), "class": "picker"},
    )


def choice(label: str, name: str, options: Mapping[str, str], chosen: str) -> Html:
    """A labelled list to choose from: texts by value."""
    return tag(
        "label",
        tag("span", label),
        tag(
            "select",
            [
                tag("option", text, attributes={"value": value, "selected": value == chosen})
                for value, text in options.items()
            ],
            attributes={"name": name},
        ),
    )
