"""How long rows are kept: which dates have run out, for every site or for some.

A row goes with its date (UTC, of receipt): the rows of a date that is more than `days` days before
today. So each row is kept for at least `days` times 24 hours, and at most one day longer. With
at least one day, no row goes while its key may still be asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import msgspec

from storage import parquet
from storage.partwork import Cut, PartWork, Tell, tell_nobody


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
    is_stopping: Callable[[], bool] = lambda: False,
) -> list[Expired]:
    """Remove the rows that are not kept any longer; with `dry_run` only say which.

    Raises `StorageError` or OSError; what was removed before is gone, a repeat does the rest.
    """
    days = past(work, retention, today)
    done = []
    for day, found in work.matching("true", days, limit, tell):
        if is_stopping():
            break
        one = _expire_date(work, retention, today, day, found, limit=limit, dry_run=dry_run)
        if one is not None:
            done.append(one)
    return done


def _expire_date(
    work: PartWork,
    retention: Retention,
    today: date,
    day: date,
    found: Sequence[Cut],
    *,
    limit: int,
    dry_run: bool,
) -> Expired | None:
    age = (today - day).days
    present = {rows.site for cut in found for rows in cut.of}
    over = {site for site in present if 0 < retention.of(site) < age}
    if not over:
        return None
    is_whole = over == present and work.holds_only(day, limit)
    cuts = [
        Cut(cut.part, sum(rows.rows for rows in of), of)
        for cut in found
        if (of := [rows for rows in cut.of if rows.site in over])
    ]
    if not dry_run:
        if is_whole:
            work.retire(day, cuts)
        else:
            named = ", ".join(parquet.quote(site) for site in sorted(over))
            work.cut(day, cuts, f"coalesce(site_id, '') IN ({named})", "expired")
    return Expired(
        date=day,
        rows=sum(cut.rows for cut in cuts),
        parts=len(cuts),
        is_whole=is_whole,
        sites=tuple(sorted(over)),
    )
