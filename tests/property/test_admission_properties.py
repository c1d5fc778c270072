"""Whatever comes in whatever order: nobody is refused for nothing, and work stays bounded."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint
from collector.admission import Admission, Passage
from collector.config import Overload
from collector.loadlimit import LIMIT_MAX, LIMIT_MIN, LoadLimit
from collector.pace import Pace
from collector.refusal import Refusal

_ENDPOINTS = [one for one in ENDPOINTS if isinstance(one, Endpoint)]
_SIZES = st.sampled_from([0, 1, 700, 5_000, 340_000, 4_194_304])


class Machine(RuleBasedStateMachine):
    """Requests come, arrive, are answered or given up, and time goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.admission = Admission(
            Overload(), _ENDPOINTS, Pace(0, lambda: self.now_s), lambda: self.now_s
        )
        self.waiting: list[Passage] = []
        self.working: list[tuple[Passage, int]] = []

    @rule(endpoint=st.sampled_from(_ENDPOINTS), size=_SIZES, count=st.integers(1, 200))
    def come(self, endpoint: Endpoint, size: int, count: int) -> None:
        """Some are refused, never the first where nothing is under way."""
        for _ in range(count):
            was_idle = self.admission.load == 0
            found = self.admission.ask(endpoint, {}, size)
            if isinstance(found, Refusal):
                assert not was_idle
                if endpoint.source == "server":
                    # What goes last is refused only where what goes first would be.
                    browser = next(one for one in _ENDPOINTS if one.source == "browser")
                    same = self.admission.ask(browser, {}, size)
                    assert isinstance(same, Refusal)
                return
            self.waiting.append(found)

    @precondition(lambda self: self.waiting)
    @rule(size=_SIZES, at=st.integers(0, 1 << 30))
    def arrive(self, size: int, at: int) -> None:
        """A body is there, of whatever size."""
        passage = self.waiting.pop(at % len(self.waiting))
        passage.arrive(size)
        self.working.append((passage, 1 + size // 1_024))

    @precondition(lambda self: self.waiting)
    @rule(at=st.integers(0, 1 << 30))
    def give_up(self, at: int) -> None:
        """A client went away."""
        self.waiting.pop(at % len(self.waiting)).leave(self.now_s)

    @precondition(lambda self: self.working)
    @rule(at=st.integers(0, 1 << 30))
    def answer(self, at: int) -> None:
        """One is done."""
        self.working.pop(at % len(self.working))[0].leave(self.now_s)

    @rule(seconds=st.sampled_from([0.01, 0.05, 0.2, 3.0]))
    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.now_s += seconds
        self.admission.tick()

    @invariant()
    def nothing_is_lost(self) -> None:
        """Work is what is being done, and at most what is still arriving."""
        admission = self.admission
        working = sum(units for _, units in self.working)
        accounts = (admission.first, admission.last)
        arriving = [n for one in accounts for n in (one.arriving, one.arriving_before)]
        assert admission.load == working + sum(arriving)
        assert min(arriving) >= 0
        assert min(account.load for account in accounts) >= 0
        assert LIMIT_MIN <= admission._limit.units <= LIMIT_MAX

    def teardown(self) -> None:
        """At the end nothing is under way."""
        for passage in [*self.waiting, *(one for one, _ in self.working)]:
            passage.leave(self.now_s)
        assert self.admission.load == 0


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


@given(
    capacity=st.floats(300, 30_000),
    first=st.floats(LIMIT_MIN, LIMIT_MAX),
)
def test_the_limit_finds_its_level(capacity: float, first: float) -> None:
    """Under a steady overload waiting comes close to what is wanted, at any speed of the machine.

    With so much work under way as the limit allows, everybody waits limit / capacity.
    """
    target_s = 0.08
    limit = LoadLimit(target_s)
    limit.units = first
    for _ in range(100):
        limit.adjust(limit.units / capacity, limit.units, was_full=True)
    wait_s = limit.units / capacity
    assert wait_s <= target_s * 1.15 or limit.units == LIMIT_MIN
    assert wait_s >= target_s * 0.6
