"""Removing a person: which rows are meant, and taking them out of every part.

What is meant is one site's rows of a visitor, a user, or a hash of an e-mail address, as of now:
the caller has everything flushed that was acknowledged before. Rows that come later are new ones.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Final, Literal

import msgspec

from storage import layout, parquet
from storage.partwork import PartWork, Tell, on_each, raise_for, tell_nobody

Who = Literal["visitor", "user", "email_hash"]
# Where each kind of name stands.
COLUMNS: Final[dict[Who, tuple[str, ...]]] = {
    "visitor": ("visitor_id",),
    "user": ("user_id", "external_id"),
    "email_hash": ("email_hash",),
}


_encoder: Final = msgspec.json.Encoder()


class Person(msgspec.Struct, frozen=True):
    """Whose rows: `site`, and the person by one kind of name.

    `linked`: also all other rows of every visitor that one of these rows names, such as what a user
    did before logging in. `until_us`: if given, rows that say they were received later are left.
    """

    site: str
    who: Who
    value: str
    linked: bool = False
    until_us: int = 0


class PartErased(msgspec.Struct, frozen=True):
    """One file that held rows of the person: its path below the events folder, and how many."""

    part: str
    rows: int


class Erased(msgspec.Struct, frozen=True):
    """What was removed, or would be: files and rows; `condition` is the SQL that tells the rows.

    `torn`: names of remains of the log that were removed whole. `visitors`: those that were linked
    to the person.
    """

    condition: str
    rows: int
    files: list[PartErased]
    torn: list[str]
    visitors: list[str] = []

    def plus(self, other: "Erased") -> "Erased":
        """Both together."""
        return Erased(
            self.condition,
            self.rows + other.rows,
            self.files + other.files,
            self.torn + other.torn,
            sorted({*self.visitors, *other.visitors}),
        )


def spellings(value: str) -> list[str]:
    """The ways in which one identifier may have been stored: as given, lower, without hyphens.

    Adapters keep UUIDs in lower case, with hyphens or without, as the protocol has it.
    """
    plain = value.replace("-", "").lower()
    found = [value, value.lower(), plain]
    if len(plain) == 32 and all(digit in "0123456789abcdef" for digit in plain):
        at = (0, 8, 12, 16, 20, 32)
        found.append("-".join(plain[a:b] for a, b in pairwise(at)))
    return sorted(set(found))


def condition(person: Person, visitors: Sequence[str] = ()) -> str:
    """An SQL expression over the columns of `events` that is true for the person's rows."""
    names = _listed([person.value] if person.who == "user" else spellings(person.value))
    tests = [f"{column} IN ({names})" for column in COLUMNS[person.who]]
    if visitors:
        tests.append(f"visitor_id IN ({_listed(visitors)})")
    until = f" AND received_time <= {_moment(person.until_us)}" if person.until_us else ""
    return f"site_id = {parquet.quote(person.site)} AND ({' OR '.join(tests)}){until}"


def erase(
    work: PartWork,
    person: Person,
    limit: int,
    *,
    dry_run: bool = False,
    tell: Tell = tell_nobody,
) -> Erased:
    """Take the person's rows out of all parts up to segment `limit`; with `dry_run` only count.

    All dates that can be worked on are; then `CompactionFailed` is raised if one could not, and a
    repeat does the rest. Raises `Interrupted` at once.
    """
    days = work.dates()
    meant, visitors = condition(person), []
    failures: dict[date, str] = {}
    if person.linked:
        find = partial(_visitors, work, meant, limit)
        found, failures = on_each(days, find)
        visitors = sorted(set().union(*found))
        meant = condition(person, visitors)

    def of_date(day: date) -> list[PartErased]:
        cuts = work.matching(meant, day, limit)
        if cuts and not dry_run:
            work.cut(day, cuts, meant, "erased")
        return [PartErased(cut.part.name, cut.rows) for cut in cuts]

    done, failed = on_each(days, of_date, tell)
    torn = _erase_torn(work, [person.value, *visitors], dry_run=dry_run)
    work.files.clear_scratch()
    raise_for(failures | failed)
    files = [one for some in done for one in some]
    return Erased(meant, sum(one.rows for one in files), files, torn, visitors)


def _visitors(work: PartWork, meant: str, limit: int, day: date) -> set[str]:
    return set(work.compactor.values(work.parts(day, limit), "visitor_id", meant))


def _erase_torn(work: PartWork, values: Sequence[str], *, dry_run: bool) -> list[str]:
    """Remove what recovery kept aside of the log, where it names the person; returns the names.

    Those bytes were never acknowledged, or are damaged: they cannot be told apart row by row.
    """
    needles = [json_text(one) for value in values for one in spellings(value)]
    found = []
    for path in sorted((work.directory / layout.WAL).glob("torn-*")):
        data = work.files.read(path)
        if any(needle in data for needle in needles):
            found.append(path.name)
            if not dry_run:
                work.files.remove(path)
    if not dry_run:
        # A crash must not bring them back, nor what an earlier try removed that failed here.
        work.files.sync_folder(work.directory / layout.WAL)
    return found


def json_text(value: str) -> bytes:
    """`value` as it stands between the quotes of a JSON string."""
    return _encoder.encode(value)[1:-1]


def _moment(time_us: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    return f"TIMESTAMPTZ '{at:%Y-%m-%d %H:%M:%S.%f}+00'"


def _listed(values: Sequence[str]) -> str:
    return ", ".join(parquet.quote(value) for value in values)
