"""Sessions and the throttle of wrong tokens: bounded, in time and in number, whatever is tried."""

from hypothesis import given
from hypothesis import strategies as st

from collector.admin_sessions import Sessions
from collector.admin_throttle import FailedLogins

SECOND = 1_000_000
LIFE_MS = 60_000
START = 1_000 * SECOND
ADDRESS = "203.0.113.9"


def test_a_session_lasts_so_long_and_no_longer():
    """It is open until its life is over, to the microsecond; nothing prolongs it."""
    sessions = Sessions(LIFE_MS)
    name = sessions.open(START)
    end = START + LIFE_MS * 1_000
    assert sessions.is_open(name, START)
    assert sessions.is_open(name, end - 1)
    assert not sessions.is_open(name, end)


def test_a_session_that_was_closed_is_gone():
    """Logging out ends this session and no other; a second time does nothing."""
    sessions = Sessions(LIFE_MS)
    mine, other = sessions.open(START), sessions.open(START)
    sessions.close(mine)
    sessions.close(mine)
    assert not sessions.is_open(mine, START)
    assert sessions.is_open(other, START)


def test_ids_are_kept_by_their_digests_only():
    """Nothing that is kept of a session would let anybody in."""
    sessions = Sessions(LIFE_MS)
    name = sessions.open(START)
    assert name not in str(vars(sessions))
    assert len(name) >= 43, "256 bits"
    assert name not in {sessions.open(START) for _ in range(50)}


@given(st.lists(st.integers(0, 30), max_size=200))
def test_sessions_are_bounded(pauses_s: list[int]) -> None:
    """However often somebody logs in, so many are kept; the newest is always open."""
    sessions = Sessions(LIFE_MS)
    now_us = START
    for pause_s in pauses_s:
        now_us += pause_s * SECOND
        name = sessions.open(now_us)
        assert sessions.is_open(name, now_us)
        assert len(sessions) <= 64


@given(st.text(max_size=80))
def test_no_text_is_a_session(text: str) -> None:
    """What was not given out is no session, whatever characters it is made of."""
    sessions = Sessions(LIFE_MS)
    sessions.open(START)
    assert not sessions.is_open(text, START)
    sessions.close(text)
    assert len(sessions) == 1


@given(st.text(max_size=80))
def test_what_a_form_brings_along_fits_one_session_only(text: str) -> None:
    """The proof of one session, or of none, is not that of another; no text is by chance."""
    sessions = Sessions(LIFE_MS)
    one, other = sessions.open(START), sessions.open(START)
    assert sessions.is_csrf(one, sessions.csrf(one))
    for wrong in (sessions.csrf(other), sessions.csrf(""), text):
        assert not sessions.is_csrf(one, wrong)
    assert sessions.is_csrf("", sessions.csrf(""))
    assert Sessions(LIFE_MS).csrf("") != sessions.csrf("")


def test_failures_of_one_address_are_throttled():
    """After so many wrong tokens the address waits, as long as it is told; others do not."""
    failures = FailedLogins(10, 100)
    for _ in range(10):
        assert failures.wait_s(ADDRESS, START) == 0
        failures.failed(ADDRESS, START)
    wait_s = failures.wait_s(ADDRESS, START)
    assert wait_s == 6
    assert failures.wait_s("203.0.113.10", START) == 0
    assert failures.wait_s(ADDRESS, START + wait_s * SECOND) == 0


def test_many_addresses_are_throttled_together():
    """Whoever has many addresses gets ten times as many tries as with one."""
    failures = FailedLogins(10, 1_000)
    tried = 0
    while not failures.wait_s(f"203.0.{tried // 250}.{tried % 250}", START):
        failures.failed(f"203.0.{tried // 250}.{tried % 250}", START)
        tried += 1
    assert tried == 100


@given(
    st.lists(st.tuples(st.sampled_from(["192.0.2.1", "2001:db8::1", "", "x"]), st.integers(0, 5)))
)
def test_no_more_failures_than_the_rate(tries: list[tuple[str, int]]) -> None:
    """Whoever waits as told never gets more than the burst and what has come back meanwhile."""
    failures = FailedLogins(6, 100)
    now_us, passed = START, dict.fromkeys(("192.0.2.1", "2001:db8::1", "", "x"), 0)
    for address, pause_s in tries:
        now_us += pause_s * SECOND
        if not failures.wait_s(address, now_us):
            failures.failed(address, now_us)
            passed[address] += 1
    minutes = (now_us - START) / 60 / SECOND
    assert passed["192.0.2.1"] <= 6 + 6 * minutes
    # What is no address shares a bucket.
    assert passed[""] + passed["x"] <= 6 + 6 * minutes


def test_zero_switches_the_throttle_off():
    """As for every limit."""
    failures = FailedLogins(0, 100)
    for _ in range(1_000):
        failures.failed(ADDRESS, START)
    assert failures.wait_s(ADDRESS, START) == 0
