"""Nothing that was acknowledged is lost, whatever fails and whenever power is lost."""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.sweep import DEEP, USUAL, Sweep
from tests.faults.world import small_world

# Far more is tried where this is set; it takes tens of times as long.
DEPTH = DEEP if os.environ.get("COLLECTOR_FAULTS_DEEP") else USUAL


@pytest.fixture(autouse=True)
def _inline() -> Iterator[None]:
    with small_world():
        yield


@pytest.fixture
def sweep(request: pytest.FixtureRequest) -> Iterator[Sweep]:
    """All runs of one scenario."""
    made = Sweep(request.param, DEPTH)
    yield made
    made.close()


@pytest.mark.parametrize("sweep", SCENARIOS, indirect=True, ids=lambda scenario: scenario.name)
def test_nothing_is_lost_whatever_fails(
    sweep: Sweep, record_property: Callable[[str, object], None]
) -> None:
    """Every operation fails, and power is lost at every one: and again while that is mended."""
    sweep.fail_each()
    sweep.crash_everywhere()
    counts = sweep.counts
    for name in counts.__struct_fields__:
        record_property(name, getattr(counts, name))
    assert counts.failed >= counts.operations > 0
    assert counts.states > counts.operations


def test_scenarios_have_names_of_their_own() -> None:
    """A failure tells which one it is."""
    names = [scenario.name for scenario in SCENARIOS]
    assert len(names) == len(set(names))
    assert all(isinstance(scenario, Scenario) for scenario in SCENARIOS)
