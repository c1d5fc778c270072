"""How long rows are kept: which dates have run out, for every site or for some.

A row goes with its date (UTC, of receipt): the rows of a date that is more than `days` days before
today. So each row is kept for at least `days` times 24 hours, and at most one day longer. With
at least one day, no row goes while its key may still be asked for.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from storage import parquet
from storage.partwork import PartWork, Tell, on_each, tell_nobody


class Retention(msgspec.Struct, frozen=True):
    """Days, 0 for ever: for all sites, and for those that have a rule of their own."""

    days: int = 0
    sites: Mapping[str, int] = {}

    @property
    def shortest(self) -> int:
        """The fewest days of all rules that ever end, 0 when none does."""
        return min((days for days in (self.days, *self.sites.values()) if days), default=0)

    def of(self, site: str) -> int:
        """The days of one site."""
        return self.sites.get(site, self.days)


class Expired(msgspec.Struct, frozen=True):
    """What retention took from one date, or would take."""

    date: date
    rows: int
    parts: int
    is_whole: bool
    sites: tuple[str, ...]


def past(work: PartWork, retention: Retention, today: date) -> list[date]:
    """The dates that hold rows which may be kept no longer, by one rule at least."""
    shortest = retention.shortest
    return [day for day in work.dates() if 0 < shortest < (today - day).days]


def expire(
    work: PartWork,
    retention: Retention,
    today: date,
    limit: int,
    *,
    dry_run: bool = False,
    tell: Tell = tell_nobody,
) -> tuple[list[Expired], dict[date, str]]:
    """Remove the rows that are not kept any longer; with `dry_run` only say which.

    Returns what was done, and why dates could not be worked on; a repeat does the rest. Raises
    `Interrupted`.
    """
    expiry = _Expiry(work, retention, today, limit, dry_run=dry_run)
    return on_each(past(work, retention, today), expiry.of_date, tell)


class _Expiry:
    """One pass over the dates."""

    def __init__(
        self, work: PartWork, retention: Retention, today: date, limit: int, *, dry_run: bool
    ) -> None:
        self._work = work
        self._retention = retention
        self._today = today
        self._limit = limit
        self._is_dry_run = dry_run

    def of_date(self, day: date) -> Expired | None:
        """Remove what is due of `day`; None when nothing is."""
        condition = self._condition((self._today - day).days)
        parts = self._work.parts(day, self._limit)
        cuts = self._work.matching(condition, day, self._limit)
        rows = sum(cut.rows for cut in cuts)
        is_whole = rows == self._work.rows(parts)
        if not cuts and not is_whole:
            return None
        if not self._is_dry_run and not (is_whole and self._work.retire(day, cuts, parts)):
            is_whole = False
            if not cuts:
                return None
            self._work.cut(day, cuts, condition, "expired")
        sites = sorted({one.site for cut in cuts for one in cut.of})
        return Expired(day, rows, len(parts) if is_whole else len(cuts), is_whole, tuple(sites))

    def _condition(self, age: int) -> str:
        """What is true, in SQL, for rows of a date so many days old that are kept no longer."""
        sites = self._retention.sites
        over = [site for site, days in sites.items() if 0 < days < age]
        kept = [site for site in sites if site not in over]
        if 0 < self._retention.days < age:
            return f"site_id IS NULL OR site_id NOT IN ({_listed(kept)})" if kept else "true"
        return f"site_id IN ({_listed(over)})" if over else "false"


def _listed(sites: Sequence[str]) -> str:
    return ", ".join(parquet.quote(site) for site in sorted(sites))
