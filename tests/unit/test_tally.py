"""What one request brought, and what became of it: counted apart."""

from collector.book import Book, read_day
from collector.metrics import Metrics
from collector.tally import UNKNOWN_SITE, Counts

_NOW_US = 1_795_000_000_000_000


def test_an_event_that_nobody_accounts_for_shows() -> None:
    """In the book as received and not decided, in the metrics as what to be woken up for."""
    metrics, book = Metrics(), Book(lambda _day: None)
    tally = Counts(book, metrics).open("scanova", _NOW_US)
    tally.receive([None, None, None])
    tally.repeat(UNKNOWN_SITE)
    tally.is_answered = True
    tally.close()
    assert b"\ncollector_unaccounted_events_total 2\n" in metrics.render({})
    [day] = book.dump()[0].values()
    [[entry]] = read_day(day).hours.values()
    assert (entry.received, entry.decided) == (3, 1)


def test_what_is_decided_twice_shows_as_well() -> None:
    """A counter only grows: too many are as wrong as too few."""
    metrics = Metrics()
    tally = Counts(Book(lambda _day: None), metrics).open("scanova", _NOW_US)
    tally.receive([None])
    tally.repeat(UNKNOWN_SITE)
    tally.repeat(UNKNOWN_SITE)
    tally.is_answered = True
    tally.close()
    assert metrics.unaccounted == 1
