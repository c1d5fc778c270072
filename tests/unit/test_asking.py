"""The process that answers questions: what it is told, what it tells, and that it always ends."""

import io
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.asking import messages
from collector.asking.messages import Answer, Ask, End, Progress, Trouble
from collector.asking.session import AskingFailed, AskingSession
from collector.panel_session import LakeSession
from collector.panels import Found, Question
from storage import Deadline, Files, StorageError, TookTooLong
from tests.support.lake import DataDirectory
from tests.support.process import wait_until

# More than it can do in the life of a test.
_ENDLESS: Final = Question(
    "SELECT count(*) FROM range(1000000000) AS a(x), range(1000000000) AS b(y) WHERE x < y"
)
_TYPES: Final = Question(
    """\
SELECT
    TIMESTAMPTZ '2026-11-27 08:21:35.769668Z' AS a,
    DATE '2026-11-27' AS b,
    INTERVAL '-3 hours 1 microsecond' AS c,
    1.50::DECIMAL(5, 2) AS d,
    [{'currency': 'EUR', 'value': 1.5}, {'currency': NULL, 'value': NULL}] AS e,
    {'since': DATE '2024-01-01', 'spans': [INTERVAL '2 days']} AS f,
    '{"a":[1,"u"]}'::JSON AS g,
    'x'::BLOB AS h,
    TIMESTAMP '2024-01-01 00:00:00.000001' AS i,
    NULL AS j,
    $text AS k,
    9223372036854775807 AS l,
    true AS m,
    '00000000-0000-4000-8000-000000000007'::UUID AS n,
    TIME '23:59:59.000001' AS o""",
    (("text", "it's"),),
)


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A part with two rows, and a log with one."""
    made = DataDirectory(tmp_path / "data")
    made.publish(1, 1, 1, 2)
    made.append(2, 3)
    return made


@pytest.fixture
def session(data: DataDirectory) -> Iterator[AskingSession]:
    """A process over them."""
    made = _session(data, "low")
    yield made
    made.close()


def _session(data: DataDirectory, priority: str) -> AskingSession:
    return AskingSession(data.path, Files(), memory_mb=128, priority=priority)


def _ask(session: AskingSession | LakeSession, question: Question, seconds: float = 60.0) -> Found:
    with Deadline(seconds) as deadline:
        return session.ask(question, deadline, lambda _share: None)


def _process(session: AskingSession) -> int:
    assert session._process is not None
    return session._process.pid


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _answers_on(session: AskingSession, process: int) -> None:
    """The next question is answered by itself, and by the same process."""
    assert _ask(session, Question("SELECT 42")).rows == [(42,)]
    assert _process(session) == process


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, msgspec.Raw) else value


def test_it_answers_as_a_session_of_this_process_does(
    session: AskingSession, data: DataDirectory
) -> None:
    """Columns, values and their types, of every type that a page may be told."""
    here = LakeSession(data.path, Files(), lambda: 0)
    try:
        for question in (Question("SELECT count(*) AS rows FROM events"), _TYPES):
            expected, found = _ask(here, question), _ask(session, question)
            assert found.columns == expected.columns
            [left], [right] = expected.rows, found.rows
            assert [_plain(value) for value in right] == [_plain(value) for value in left]
            assert [type(value) for value in right] == [type(value) for value in left]
    finally:
        here.close()
    assert _ask(session, Question("SELECT count(*) FROM events")).rows == [(3,)]


def test_a_question_that_cannot_be_answered_says_why(session: AskingSession) -> None:
    """And the next one is answered by the same process."""
    with pytest.raises(StorageError, match="nope"):
        _ask(session, Question("SELECT nope FROM events"))
    _answers_on(session, _process(session))


def test_what_nobody_waits_for_is_given_up(session: AskingSession) -> None:
    """When that is said, here as soon as a share is told; the same process answers the next one."""
    _ask(session, Question("SELECT 1"))
    process = _process(session)
    with Deadline(60) as deadline, pytest.raises(TookTooLong, match="given up"):
        session.ask(_ENDLESS, deadline, lambda _share: deadline.end())
    _answers_on(session, process)


def test_two_who_give_up_are_one(session: AskingSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """No one is left to kill the process while it answers the next question."""
    monkeypatch.setattr("collector.asking.session._STOP_S", 4.0)
    _ask(session, Question("SELECT 1"))
    process = _process(session)

    def give_up(_share: float) -> None:
        deadline.end()
        deadline.end()

    with Deadline(60) as deadline, pytest.raises(TookTooLong):
        session.ask(_ENDLESS, deadline, give_up)
    time.sleep(4.5)
    _answers_on(session, process)


def test_a_bug_is_told_as_one(session: AskingSession) -> None:
    """With where it happened; the process answers the next question."""
    with pytest.raises(AskingFailed, match="OverflowError"):
        _ask(session, Question("SELECT 18446744073709551616::HUGEINT"))
    _answers_on(session, _process(session))


def test_what_is_no_message_ends_it(session: AskingSession) -> None:
    """As of a collector that was installed anew meanwhile: nobody waits for what never comes."""
    _ask(session, Question("SELECT 1"))
    process = session._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.write(b"\0\0\0\1?")
    process.stdin.flush()
    wait_until(lambda: process.poll() is not None, timeout_s=20, what="the process has ended")
    assert _ask(session, Question("SELECT 2")).rows == [(2,)]


def test_what_is_over_before_it_begins_is_not_asked(session: AskingSession) -> None:
    """No answer of it is left for the next one."""
    _ask(session, Question("SELECT 1"))
    deadline = Deadline(60)
    deadline.end()
    with pytest.raises(TookTooLong):
        session.ask(_ENDLESS, deadline, lambda _share: None)
    assert _ask(session, Question("SELECT 3")).rows == [(3,)]


def test_the_end_may_be_told_before_the_question(session: AskingSession) -> None:
    """It is told from another thread: the process does not begin then."""
    _ask(session, Question("SELECT 1"))
    process = session._process
    assert process is not None
    assert process.stdin is not None
    assert process.stdout is not None
    messages.send(process.stdin, End(2))
    messages.send(process.stdin, Ask(2, _ENDLESS))
    reply = messages.replied(process.stdout)
    assert isinstance(reply, Trouble)
    assert reply.is_given_up


def test_a_process_that_is_killed_is_told_of_and_started_anew(session: AskingSession) -> None:
    """As the kernel does when memory is short: whoever asks next is answered.

    What it had copied of the log is gone, too.
    """
    _ask(session, Question("SELECT 1"))
    process = _process(session)
    folders = Path(tempfile.gettempdir())
    assert list(folders.glob(f"collector-{process}-*"))
    killer = threading.Timer(0.5, os.kill, (process, signal.SIGKILL))
    killer.start()
    with pytest.raises(StorageError, match="was ended by SIGKILL"):
        _ask(session, _ENDLESS)
    assert not list(folders.glob(f"collector-{process}-*"))
    assert _ask(session, Question("SELECT 4")).rows == [(4,)]
    assert _process(session) != process


def test_one_that_does_not_stop_is_killed(
    session: AskingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold up everything that is asked after it, and the end of the collector."""
    monkeypatch.setattr("collector.asking.session._STOP_S", 0.2)
    _ask(session, Question("SELECT 1"))
    process = _process(session)
    os.kill(process, signal.SIGSTOP)
    with pytest.raises(TookTooLong):
        _ask(session, _ENDLESS, seconds=0.2)
    assert not _is_running(process)
    assert _ask(session, Question("SELECT 5")).rows == [(5,)]


def test_closed_means_ended(session: AskingSession) -> None:
    """Nothing is held while nobody asks; the next question starts a process."""
    _ask(session, Question("SELECT 1"))
    process = _process(session)
    session.close()
    assert not _is_running(process)
    assert _ask(session, Question("SELECT count(*) FROM events")).rows == [(3,)]


def test_it_ends_when_nobody_is_left_to_ask(session: AskingSession) -> None:
    """A collector that was killed leaves nothing behind that goes on counting."""
    _ask(session, Question("SELECT 1"))
    process = session._process
    assert process is not None
    assert process.stdin is not None
    messages.send(process.stdin, Ask(2, _ENDLESS))
    time.sleep(0.3)
    process.stdin.close()
    wait_until(lambda: process.poll() is not None, timeout_s=20, what="the process has ended")


@pytest.mark.parametrize(
    ("priority", "policy", "nice"), [("idle", os.SCHED_IDLE, 19), ("low", os.SCHED_OTHER, 10)]
)
def test_it_gives_way(data: DataDirectory, priority: str, policy: int, nice: int) -> None:
    """It takes of the memory what nobody else wants, of the processor that, or a little in any
    case, as its user wishes; a service's signal is not for it.
    """
    session = _session(data, priority)
    try:
        _ask(session, Question("SELECT 1"))
        process = _process(session)
        assert os.sched_getscheduler(process) == policy
        assert os.getpriority(os.PRIO_PROCESS, process) == nice
        assert int(Path(f"/proc/{process}/oom_score_adj").read_text()) == 500
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(process, number)
        _answers_on(session, process)
    finally:
        session.close()


_plain_values: Final = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.timedeltas()
    | st.decimals(allow_nan=False)
)
_values: Final = st.recursive(
    _plain_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.lists(_values, min_size=2, max_size=2), max_size=3))
def test_rows_keep_their_values(rows: list[list[Any]]) -> None:
    """Whatever they hold."""
    found = Found(("a", "b"), [tuple(row) for row in rows], 1, 0.5, lacks_newest=True)
    told = [messages.answer(found), Progress(0.25), Trouble("why", is_given_up=True)]
    stream = io.BytesIO()
    for message in told:
        messages.send(stream, message)
    stream.seek(0)
    assert [messages.replied(stream) for _ in told] == [Answer(found), *told[1:]]
    with pytest.raises(EOFError):
        messages.replied(stream)


@pytest.mark.parametrize(
    "value",
    [
        date(2026, 2, 28),
        datetime(2026, 2, 28, 1, 2, 3, 4, tzinfo=UTC),
        datetime(2026, 2, 28, 1, 2, 3, 4),  # noqa: DTZ001  as a TIMESTAMP comes
        timedelta(days=-3, microseconds=1),
        Decimal("1.50"),
    ],
)
def test_a_value_keeps_its_type(value: object) -> None:
    """No date becomes a text on the way."""
    stream = io.BytesIO()
    messages.send(stream, messages.answer(Found(("a",), [(value,)], 1, 0.5)))
    stream.seek(0)
    reply = messages.replied(stream)
    assert isinstance(reply, Answer)
    [(told,)] = reply.found.rows
    assert told == value
    assert type(told) is type(value)


def test_a_value_of_another_type_is_an_error() -> None:
    """Rather than a text that looks like it."""
    with pytest.raises(TypeError, match="complex"):
        messages.answer(Found(("a",), [(1j,)], 1, 0.5))


def test_questions_are_read_as_they_were_asked() -> None:
    """With their values."""
    question = Question("SELECT $a, $b", (("a", "x"), ("b", 1.5), ("c", None), ("d", 7)))
    stream = io.BytesIO()
    for message in (Ask(3, question), End(3)):
        messages.send(stream, message)
    stream.seek(0)
    assert [messages.said(stream), messages.said(stream)] == [Ask(3, question), End(3)]
    with pytest.raises(EOFError):
        messages.said(io.BytesIO(b"\0\0\0\7{"))
