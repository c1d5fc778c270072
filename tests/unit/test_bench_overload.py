"""Overload and soak: recovery, shares, slopes and their uncertainty, the picture."""

from xml.etree import ElementTree as ET

import pytest

from bench import levels, soak, soakchart
from bench.fleet import LoadFailed
from bench.flood import Flooded


def _line(*bad: tuple[float, float, int, int]) -> list[tuple[float, int, int]]:
    """Fifty answers a second for 30 s: 4 ms and 200, but what was sent from, until: ms, status."""
    timeline = []
    for number in range(1_500):
        sent, ms, status = number / 50, 4, 200
        for since, until, its_ms, its_status in bad:
            if since <= sent < until:
                ms, status = its_ms, its_status
        timeline.append((sent + ms / 1e3, ms * 1_000, status))
    return timeline


@pytest.mark.parametrize(
    ("bad", "seconds"),
    [
        ([], 0.0),
        ([(10, 20, 900, 503)], 0.0),
        ([(20, 22, 40, 200)], 0.0),
        ([(20, 22, 60, 200)], 2.0),
        ([(20, 24, 4, 503)], 4.0),
        ([(20, 21, 4, 503), (23, 23.1, 800, 200)], 1.0),
        ([(20, 30, 4, 503)], 10.0),
    ],
)
def test_recovery_ends_with_a_normal_second(
    bad: list[tuple[float, float, int, int]], seconds: float
) -> None:
    """What was sent before the end does not count, nor does a single late answer afterwards."""
    found = levels.recovery_s(_line(*bad), 10.0, 20.0)
    assert found == pytest.approx(seconds, abs=0.11)


def test_without_a_normal_there_is_no_recovery() -> None:
    """A light load that was never answered before tells nothing."""
    with pytest.raises(LoadFailed):
        levels.recovery_s([(12.0, 1, 200)], 10.0, 20.0)


def test_a_level_counts_what_must_not_be() -> None:
    """Statuses that are neither success nor retriable, connections that broke, silence."""
    flooded = Flooded(
        window_s=2.0,
        due=400,
        sent=200,
        accepted=100,
        statuses={200: 100, 503: 90, 500: 3, 408: 1},
        latencies_us=[1_000] * 99 + [9_000],
        broken=4,
        unanswered=2,
        untold=5,
    )
    level = levels.level_of("x", flooded, best=100.0, max_mb=1.0, recovery_s=0.0)
    assert (level.due, level.sent, level.good) == (200, 100, 50)
    assert level.other == 3 + 1 + 4 + 2
    assert (level.p50_ms, level.p99_ms) == (1.0, 1.0)
    assert level.share == pytest.approx(100 / 194)
    assert len(levels.shown(level)) == len(levels.shown(None))


def test_a_slope_knows_how_sure_it_is() -> None:
    """A straight line is not flat, a sawtooth is, a sawtooth that rises is not."""
    minutes = [at / 12 for at in range(360)]
    rising = soak.slope_of([(at, 100 + 0.5 * at) for at in minutes])
    assert rising.per_min == pytest.approx(0.5)
    assert not rising.is_flat
    saw = [(at, 100 + 20 * (at * 3.7 % 1)) for at in minutes]
    assert soak.slope_of(saw).is_flat
    assert not soak.slope_of([(at, y + 2 * at) for at, y in saw]).is_flat
    with pytest.raises(ValueError, match="points"):
        soak.slope_of([(1.0, 1.0)])


@pytest.mark.parametrize("leak_mb_per_min", [0.0, 1.0])
def test_what_stays_is_told_from_what_joining_takes(leak_mb_per_min: float) -> None:
    """Joins last longer and longer, and memory is back at what it was after each of them."""
    samples = [
        soak.Sample(
            minute=at / 12,
            memory_mb=200 + 100 * (at % 50 < 20 + at / 18) + at * 7 % 5 + leak_mb_per_min * at / 12,
            **dict.fromkeys(("open_files", "threads", "log_mb", "parts", "keys"), 1.0),
            key_filter_mb=0.0,
        )
        for at in range(360)
    ]
    assert soak.slope_of(soak.values(samples, "memory")).per_min > leak_mb_per_min + 1
    rest = soak.slope_of(soak.values(samples, "memory_at_rest"))
    assert rest.is_flat is not bool(leak_mb_per_min)
    assert rest.per_min == pytest.approx(leak_mb_per_min, abs=0.2)


def test_the_settling_is_left_out() -> None:
    """What is taken in the first fifth and kept is no growth."""
    points = [(at / 10, min(at, 40.0) + (at % 2)) for at in range(300)]
    assert soak.slope_of(points).is_flat


def test_the_picture_has_a_plot_for_each_measure() -> None:
    """It is XML, with a line of as many points as there are samples, also of zeros."""
    measured = {"memory": [(0.1, 5.0), (0.2, 6.0)], "log": [(0.1, 0.0), (0.2, 0.0)]}
    picture = soakchart.svg(measured, {"memory": "MB", "log": "MB"})
    tree = ET.fromstring(picture)  # noqa: S314 (our own)
    lines = tree.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len((line.get("points") or "").split()) for line in lines] == [2, 2]
