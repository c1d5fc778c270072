"""Who is let in when more comes than can be answered, without a socket and without a clock."""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable
from typing import get_args

import pytest

from collector import filelimit
from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint
from collector.admission import Admission, Passage
from collector.config import Overload, ShedName
from collector.http import body_length
from collector.loadlimit import LIMIT_MIN, LoadLimit
from collector.pace import Pace
from collector.refusal import OVERLOADED, Refusal

_BY_NAME = {one.name: one for one in ENDPOINTS if isinstance(one, Endpoint)}
BROWSER = _BY_NAME["scanova_ct"]
SERVER = _BY_NAME["scanova_server_events"]
SMALL = {"content-length": "700"}
BATCH = {"content-length": "340000"}


class World:
    """An admission with its clock; requests are let in, arrive, and are answered by hand."""

    def __init__(self, settings: Overload | None = None) -> None:
        settings = settings or Overload()
        self.now_s = 100.0
        self.pace = Pace(settings.refusal_wait_ms_max, self._clock)
        self.admission = Admission(settings, ENDPOINTS, self.pace, self._clock)

    def _clock(self) -> float:
        return self.now_s

    def ask(self, endpoint: Endpoint, headers: dict[str, str]) -> Passage | None:
        """Let it in, or not."""
        found = self.admission.ask(endpoint, headers, body_length(headers))
        if isinstance(found, Refusal):
            assert found.kind is OVERLOADED
            assert found.retry_after_s > 0
            return None
        return found

    def fill(self, endpoint: Endpoint, headers: dict[str, str] = SMALL) -> list[Passage]:
        """As many as are let in."""
        passages = []
        while (passage := self.ask(endpoint, headers)) is not None:
            passages.append(passage)
        return passages

    def windows(self, count: int, wait_s: float = 0.0, requests: int = 0) -> None:
        """Let windows pass in each of which so many requests are answered after `wait_s`."""
        for _ in range(count):
            passages = [one for _ in range(requests) if (one := self.ask(SERVER, {}))]
            for passage in passages:
                passage.arrive(700)
            for step in range(2):
                self.now_s += 0.05
                if step:
                    self.now_s += wait_s
                    for passage in passages:
                        passage.leave(self.now_s)
                    self.now_s -= wait_s
                self.admission.tick()


def test_idle_takes_anything() -> None:
    """Where nothing is under way even the largest body is let in, whatever the limit."""
    world = World()
    world.admission._limit.units = LIMIT_MIN
    for headers in (SMALL, BATCH, {"content-length": "999999999999"}, {}):
        for endpoint in (BROWSER, SERVER):
            passage = world.ask(endpoint, headers)
            assert passage is not None
            passage.leave(world.now_s)
    assert world.admission.load == 0


def test_what_is_shed_first_pushes_nobody_out() -> None:
    """When browsers have filled the room, back ends are let in for as much again."""
    world = World()
    browsers = world.fill(BROWSER)
    assert 0 < len(browsers) <= 1_024
    servers = world.fill(SERVER)
    assert len(servers) == pytest.approx(len(browsers), rel=0.1)
    assert world.ask(BROWSER, SMALL) is None
    # All work counts for what is shed first: it waits until nearly all of it is done.
    for passage in browsers:
        passage.leave(world.now_s)
    assert world.ask(BROWSER, SMALL) is None
    for passage in servers:
        passage.leave(world.now_s)
    assert world.ask(BROWSER, SMALL) is not None


def test_every_endpoint_can_be_named() -> None:
    """The setting takes the names of all endpoints that take events, and their kinds; no others."""
    names = {*_BY_NAME, *(endpoint.source for endpoint in _BY_NAME.values())}
    assert set(get_args(ShedName)) == names


@pytest.mark.parametrize(("first", "spared"), [("server", BROWSER), ("zenovay_events", BROWSER)])
def test_the_order_is_configured(first: str, spared: Endpoint) -> None:
    """By who uses an endpoint, or by its name."""
    world = World(Overload(shed_first=(first,)))  # type: ignore[arg-type]
    shed = _BY_NAME["zenovay_events"]
    world.fill(shed)
    assert world.ask(shed, SMALL) is None
    assert world.ask(spared, SMALL) is not None


def test_off_lets_everybody_in() -> None:
    """`delay_target_ms` 0 switches it off."""
    world = World(Overload(delay_target_ms=0))
    for _ in range(20_000):
        assert world.ask(BROWSER, BATCH) is not None


def test_a_few_batches_are_let_in_side_by_side() -> None:
    """However low the limit: the next one should be there when one is done."""
    world = World()
    world.admission._limit.units = LIMIT_MIN
    assert 4 <= len(world.fill(SERVER, BATCH)) <= 6


def test_a_batch_counts_by_its_size() -> None:
    """Some batches take the room of some thousand singles; compressed ones count for more."""
    batches = len(World().fill(SERVER, BATCH))
    packed = len(World().fill(SERVER, BATCH | {"content-encoding": "gzip"}))
    assert packed < batches < 10
    assert len(World().fill(SERVER)) > 1_000


def test_slow_senders_push_out_nobody() -> None:
    """What does not arrive is given up as work after a moment, and counts again when it does."""
    world = World()
    slow = world.fill(BROWSER)
    assert world.ask(BROWSER, SMALL) is None
    world.windows(3)
    assert world.admission.load == 0
    assert world.ask(BROWSER, SMALL) is not None
    for passage in slow:
        passage.arrive(2_000)
    assert world.admission.load > len(slow)
    for passage in slow:
        passage.leave(world.now_s)
    world.windows(3)
    assert world.admission.load == 0


def test_a_body_that_grew_counts_as_it_is() -> None:
    """A bomb: when it is inflated nothing else is, until there is less work again."""
    world = World()
    bomb = world.ask(BROWSER, {"content-length": "4000", "content-encoding": "gzip"})
    assert bomb is not None
    assert world.admission.refuses_inflation() is None
    bomb.arrive(64 << 20)
    refusal = world.admission.refuses_inflation()
    assert refusal is not None
    assert refusal.kind is OVERLOADED
    bomb.leave(world.now_s)
    assert world.admission.refuses_inflation() is None


def test_long_waits_lower_the_limit_and_short_ones_raise_it() -> None:
    """The limit follows what the machine can do, down within a second and up again."""
    world = World()
    world.windows(10, wait_s=0.5, requests=400)
    low = world.admission._limit.units
    assert low < 300
    for _ in range(30):
        held = world.fill(BROWSER)
        for passage in held:
            passage.arrive(700)
        world.now_s += 0.01
        for passage in held:
            passage.leave(world.now_s)
        world.windows(1)
    assert world.admission._limit.units > 4 * low


def test_a_slow_disk_is_not_taken_for_overload() -> None:
    """Waiting for syncs of 300 ms lowers no limit: fewer requests would not make them faster."""
    limit = LoadLimit(0.08)
    for _ in range(100):
        limit.observe_commit(0.3)
    before = limit.units
    limit.adjust(0.6, 500, was_full=True)
    assert limit.units >= before


@pytest.mark.parametrize(("requests", "is_lower"), [(300, True), (1, False)])
def test_a_late_loop_counts_as_waiting(requests: int, *, is_lower: bool) -> None:
    """Who calls too late tells how long everybody waits before it is his turn.

    With next to nothing under way it is a pause of the machine, and lowers no limit.
    """
    world = World()
    before = world.admission._limit.units
    for _ in range(10):
        for _ in range(requests):
            passage = world.ask(SERVER, {})
            if passage is not None:
                passage.arrive(700)
                passage.leave(world.now_s)
        world.now_s += 0.5
        world.admission.tick()
    assert (world.admission._limit.units < before) == is_lower


def test_an_overload_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """When it begins, and with how many refusals it ended; not again within a minute."""
    caplog.set_level(logging.INFO, "collector")
    world = World()
    for _ in range(3):
        held = world.fill(BROWSER)
        world.windows(1)
        for passage in held:
            passage.leave(world.now_s)
        world.windows(60)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "refused with 503" in told[0]
    assert "over after" in told[1]
    assert "1 requests" in told[1]


def _paced(play: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(play(), 30)

    asyncio.run(main())


def test_refusals_leave_at_a_pace() -> None:
    """So many a second and a few at once; those behind wait in order."""
    now_s = 0.0

    async def play() -> None:
        nonlocal now_s
        pace = Pace(5_000, lambda: now_s)
        pace.per_second = 100.0
        now_s = 1.0
        done: list[int] = []

        async def one(number: int) -> None:
            await pace.turn(700)
            done.append(number)

        tasks = [asyncio.ensure_future(one(number)) for number in range(50)]
        await asyncio.sleep(0)
        assert len(done) == 10
        assert pace.held == 40
        now_s += 0.1
        while len(done) < 20:  # noqa: ASYNC110 (it is woken by a timer of its own)
            await asyncio.sleep(0.005)
        assert len(done) == 20
        # Nobody waits longer than he may, however many there are.
        now_s += 5.0
        await asyncio.gather(*tasks)
        assert done == list(range(50))

    _paced(play)


def test_a_large_body_takes_many_turns() -> None:
    """What has to be received in order to say no is paid for."""

    async def play() -> None:
        pace = Pace(5_000, lambda: 0.0)
        pace._ready = 5.0
        await pace.turn(340_000)
        held = asyncio.ensure_future(pace.turn(700))
        await asyncio.sleep(0)
        assert pace.held == 1
        pace.end()
        await held

    _paced(play)


def test_a_stop_lets_all_go() -> None:
    """Nobody is held while the collector stops, and who was cancelled does not matter."""

    async def play() -> None:
        pace = Pace(60_000, lambda: 0.0)
        tasks = [asyncio.ensure_future(pace.turn(700)) for _ in range(10)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        pace.end()
        await asyncio.gather(*tasks[1:])
        await pace.turn(700)

    _paced(play)


def test_nobody_is_held_where_that_is_off() -> None:
    """`refusal_wait_ms_max` 0."""

    async def play() -> None:
        pace = Pace(0, lambda: 0.0)
        for _ in range(1_000):
            await pace.turn(340_000)

    _paced(play)


def test_connections_leave_files_for_the_rest() -> None:
    """Few files: most for connections; many: as many connections as are wanted."""
    assert filelimit.connections(1_024, 16_384) == 768
    assert filelimit.connections(4_096, 16_384) == 3_584
    assert filelimit.connections(1_048_576, 16_384) == 16_384
    assert filelimit.connections(2, 10) >= 1


def test_the_limit_of_files_is_raised() -> None:
    """To the most this process may have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert filelimit.raise_to_most() >= 256
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
