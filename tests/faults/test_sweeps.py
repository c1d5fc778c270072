"""Nothing that was acknowledged is lost, whatever fails and whenever power is lost."""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.sweep import DEEP, USUAL, Sweep
from tests.faults.world import small_world

# Far more is tried where this is set; about half an hour.
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


every_scenario = pytest.mark.parametrize("sweep", SCENARIOS, indirect=True, ids=lambda s: s.name)


@every_scenario
def test_every_operation_fails(
    sweep: Sweep, record_property: Callable[[str, object], None]
) -> None:
    """Once each, and then it is checked live, after a kill, and after a loss of power."""
    sweep.fail_each()
    record_property("failed", sweep.counts.failed)
    assert sweep.counts.failed >= sweep.counts.operations > 0


@every_scenario
def test_power_is_lost_at_every_operation(
    sweep: Sweep, record_property: Callable[[str, object], None]
) -> None:
    """In different ways, and once more while the start mends what that left."""
    sweep.crash_everywhere()
    record_property("states", sweep.counts.states)
    assert sweep.counts.states > 0


def test_scenarios_have_names_of_their_own() -> None:
    """A failure tells which one it is."""
    names = [scenario.name for scenario in SCENARIOS]
    assert len(names) == len(set(names))
    assert all(isinstance(scenario, Scenario) for scenario in SCENARIOS)
