"""The record of refused origins: what it counts, for how long, and that it stays small."""

import sys
from typing import Final

from collector.refusal import MALFORMED_BODY, ORIGIN_MISSING, ORIGIN_REFUSED, RATE_LIMITED
from collector.refused_origins import NOT_FOUND, PLACES_MAX, Place, RefusedOrigins

HOUR_US: Final = 3_600_000_000
NOW_US: Final = 1_800_000_000_000_000
_PREFLIGHT: Final = {"origin": "https://x.example", "access-control-request-method": "POST"}


def refuse(record: RefusedOrigins, origin: str | None, now_us: int = NOW_US) -> None:
    """One request of a page is refused."""
    record.note(ORIGIN_REFUSED, "/ct", origin, asked="demo", now_us=now_us)


def test_requests_are_counted_by_hour_and_day() -> None:
    """Each place by itself; the most frequent of the last hour first."""
    record = RefusedOrigins()
    for _ in range(3):
        refuse(record, "old.example", NOW_US - 2 * HOUR_US)
    refuse(record, "new.example")
    record.note(ORIGIN_MISSING, "/ct", None, now_us=NOW_US - 30 * HOUR_US)
    new, old = record.seen(NOW_US)
    assert (new.place.origin, new.hour, new.day) == ("new.example", 1, 1)
    assert (old.place.origin, old.hour, old.day) == ("old.example", 0, 3)
    assert old.place == Place("origin_refused", "/ct", "old.example", "demo")
    assert record.seen(NOW_US + 25 * HOUR_US) == []


def test_other_refusals_are_not_its_business() -> None:
    """A limit or a broken body says nothing of where a page comes from."""
    record = RefusedOrigins()
    for kind in (RATE_LIMITED, MALFORMED_BODY):
        record.note(kind, "/ct", "x.example", now_us=NOW_US)
    assert record.seen(NOW_US) == []


def test_preflights_that_end_there_are_noted() -> None:
    """A path that is not there, a method that is not allowed; none that is, nor plain OPTIONS."""
    record = RefusedOrigins()
    record.note_preflight("/wrong", _PREFLIGHT, "", NOW_US)
    record.note_preflight("/ct", _PREFLIGHT, "POST, OPTIONS", NOW_US)
    put = _PREFLIGHT | {"access-control-request-method": "PUT"}
    record.note_preflight("/ct", put, "POST, OPTIONS", NOW_US)
    record.note_preflight("/elsewhere", {"origin": "https://x.example"}, "", NOW_US)
    found = {(one.place.reason, one.place.path, one.place.origin) for one in record.seen(NOW_US)}
    assert found == {
        (NOT_FOUND, "/wrong", "x.example"),
        ("method_not_allowed", "/ct", "x.example"),
    }


def test_a_flood_of_origins_takes_no_more_memory() -> None:
    """Places and what is kept of each are bounded, whatever is sent, and however long it is."""
    record = RefusedOrigins()
    for number in range(20 * PLACES_MAX):
        now_us = NOW_US + number * 60_000_000
        record.note(ORIGIN_REFUSED, "/ct", f"{number}.example", asked="x" * 10_000, now_us=now_us)
        record.note_preflight("/" + "y" * 10_000, _PREFLIGHT, "", now_us)
    assert len(record._places) == len(record._order) == PLACES_MAX
    assert record.others > 18 * PLACES_MAX

    # What is forgotten a day later had been left out of what is shown anyway.
    before, now_us = record.others, now_us + 2 * 86_400_000_000
    for number in range(PLACES_MAX):
        record.note(ORIGIN_REFUSED, "/ct", f"{number}.later.example", now_us=now_us)
    assert record.others == before
    names = [text for place in record._places for text in (place.asked, place.path)]
    assert max(map(len, names)) <= 128
    assert max(len(counts.slots) for counts in record._places.values()) <= 144
    assert sum(map(sys.getsizeof, names)) < 1_000_000


def test_a_flood_does_not_push_out_what_comes_again() -> None:
    """A page that is refused every now and then stays, with its count."""
    record = RefusedOrigins()
    for number in range(20 * PLACES_MAX):
        if number % PLACES_MAX < 2:
            refuse(record, "shop.example")
        refuse(record, f"{number}.flood.example")
    first = record.seen(NOW_US)[0]
    assert (first.place.origin, first.hour) == ("shop.example", 40)


def test_a_clock_that_is_set_back_hides_nothing_for_long() -> None:
    """Counts of times to come are forgotten with the next one."""
    record = RefusedOrigins()
    refuse(record, "x.example", NOW_US + 100 * HOUR_US)
    refuse(record, "x.example", NOW_US)
    [found] = record.seen(NOW_US)
    assert found.day == 1
