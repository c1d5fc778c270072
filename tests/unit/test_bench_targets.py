"""The table of targets: its arithmetic, its picture, what it measures on, and its command."""

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
from click.testing import CliRunner

from bench import chart, grown, history, setups, targets
from bench.corpus import Account, templates
from bench.figures import Figure, median_figure, ratio_figure, slope
from bench.fleet import LoadFailed
from bench.goals import GOALS, Goal, goals_table, spreads
from bench.memory import growth
from bench.options import Options
from bench.setups import Setup
from collector import config_file
from collector.config import Config
from storage import Files, layout
from storage.keyindex import WINDOW_US
from storage.keyrun import Run

NOW_US = 1_795_000_000_000_000
FLOOR = Goal("a", "m", "a rate", 0.75)
CEILING = Goal("b", "m", "a time", 5, "s", is_floor=False)


# --- figures and goals


def test_a_goal_is_met_up_to_its_bound() -> None:
    """What should not be below may be equal, and so may what should not be above."""
    assert [FLOOR.is_met(value) for value in (0.74, 0.75, 0.76)] == [False, True, True]
    assert [CEILING.is_met(value) for value in (4.9, 5, 5.1)] == [True, True, False]


def test_the_table_tells_median_spread_and_verdict() -> None:
    """One line for each goal; a single value has no spread, what nobody measured no verdict."""
    figures = [median_figure("a", [0.7, 0.8, 0.9], ""), Figure("b", 6.0, "s"), Figure("c", 1, "")]
    missing = Goal("d", "m", "missing", 250_000, "events/s")
    lines = goals_table(figures, [FLOOR, CEILING, missing]).splitlines()
    assert [re.split(r"\s{2,}", line) for line in lines] == [
        ["measure", "target", "median", "min - max", "met"],
        ["-" * 7, "-" * 18, "-" * 12, "-" * 13, "---"],
        ["a rate", "\N{GREATER-THAN OR EQUAL TO} 0.75", "0.800", "0.700 - 0.900", "yes"],
        ["a time", "\N{LESS-THAN OR EQUAL TO} 5 s", "6.00", "no"],
        ["missing", "\N{GREATER-THAN OR EQUAL TO} 250,000 events/s", "not measured"],
    ]


def test_the_history_gets_lowest_and_highest_rounds_of_targets_only() -> None:
    """Beside a target's median stand its extremes; other figures are one number."""
    name = GOALS[0].name
    figures = [median_figure(name, [2.0, 1.0, 3.0], ""), median_figure("other", [1.0, 2.0], "")]
    assert [(one.name, one.value) for one in spreads(figures)] == [
        (f"{name}_min", 1.0),
        (f"{name}_max", 3.0),
    ]


def test_rounds_of_a_ratio_are_those_taken_in_turn() -> None:
    """The value is the ratio of medians, its rounds compare neighbours in time."""
    figure = ratio_figure("r", [80.0, 40.0, 90.0], [100.0, 50.0, 90.0])
    assert figure.value == pytest.approx(80 / 90)
    assert figure.rounds == pytest.approx((0.8, 0.8, 1.0))


def test_no_figure_of_no_round() -> None:
    """A median of nothing is an error that names the figure."""
    with pytest.raises(ValueError, match="fresh: no round"):
        median_figure("fresh", [], "ms")


def test_a_slope_is_growth_per_unit() -> None:
    """A straight line gives its own slope, a flat one none."""
    assert slope([(0, 100), (1, 103), (2, 106)]) == pytest.approx(3)
    assert slope([(0, 5.0), (1, 5.0)]) == 0


@pytest.mark.parametrize("points", [[], [(1.0, 1.0)], [(1.0, 1.0), (1.0, 2.0)]])
def test_a_slope_needs_points_apart(points: list[tuple[float, float]]) -> None:
    """One moment says nothing about growth."""
    with pytest.raises(ValueError, match="points apart"):
        slope(points)


def test_the_first_two_minutes_are_no_growth() -> None:
    """What is taken at the start does not count; of a short load, the second half does."""
    steep = [(minute / 10, minute * 50.0) for minute in range(20)]
    flat = [(minute / 10, 1_000 + minute / 10) for minute in range(20, 100)]
    assert growth([*steep, *flat]) == pytest.approx(1)
    assert growth([(0.0, 0.0), (0.4, 90.0), (0.6, 100.0), (0.8, 100.0), (1.0, 100.0)]) == 0


def test_every_goal_has_a_measure_and_every_measure_a_goal() -> None:
    """No row of the table is empty for ever, and nothing is measured in it without a target."""
    assert {goal.measure for goal in GOALS} == targets.MEASURES.keys()
    assert len({goal.name for goal in GOALS}) == len(GOALS)


# --- the picture


def _run(date: str, figures: dict[str, float], cpu: str = "one", rounds: int = 5) -> history.Run:
    machine = history.Machine(
        cpu=cpu, cores=2, memory_mb=1, kernel="6.1", file_system="ext4", sync_ms=0.2
    )
    return history.Run(
        date=f"{date}T00:00:00Z",
        commit="",
        is_clean=True,
        machine=machine,
        versions={},
        options={"rounds": rounds},
        figures=figures,
    )


def _drawn(runs: list[history.Run], goals: list[Goal]) -> dict[str, ET.Element]:
    """The group of each goal in a picture that is well-formed and holds only numbers."""
    text = chart.svg(runs, goals)
    assert not re.search(r"\b(nan|inf|None)\b", text)
    root = ET.fromstring(text)  # noqa: S314 our own text
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for one in root.iter():
        for name in ("x", "y", "cx", "cy", "x1", "y1", "x2", "y2"):
            if name in one.attrib:
                assert 0 <= float(one.attrib[name]) <= chart.WIDTH, one.attrib
    return {one.attrib["id"]: one for one in root if one.tag.endswith("}g")}


def _count(group: ET.Element, tag: str, kind: str) -> int:
    found = (one for one in group if one.tag.endswith("}" + tag))
    return sum(one.attrib.get("class") == kind for one in found)


def test_each_target_has_a_series_and_a_target_line() -> None:
    """All goals are there, each with a dot per run that measured it and one dashed line."""
    runs = [
        _run("2026-01-01", {goal.name: goal.bound * factor for goal in GOALS})
        for factor in (0.5, 1.0, 3.0)
    ]
    groups = _drawn(runs, list(GOALS))
    assert list(groups) == [goal.name for goal in GOALS]
    for group in groups.values():
        assert _count(group, "circle", "dot") == 3
        assert _count(group, "polyline", "series") == 1
        assert _count(group, "line", "target") == 1


@pytest.mark.parametrize("figures", [{}, {"a": 0.0}, {"a": 0.9}, {"a": 1e9}, {"a": -1.0}])
def test_a_history_of_one_run_or_none_can_be_drawn(figures: dict[str, float]) -> None:
    """One point is a point, no point is told."""
    groups = _drawn([_run("2026-01-01", figures)], [FLOOR, CEILING])
    words = ["".join(group.itertext()) for group in groups.values()]
    assert _count(groups["a"], "circle", "dot") == len(figures)
    assert ("not measured yet" in words[0]) == (not figures)
    assert "not measured yet" in words[1]
    assert chart.svg([], [FLOOR])


def test_the_picture_tells_rough_runs_and_other_machines() -> None:
    """Fewer than five rounds are hollow; a line never joins two machines."""
    runs = [
        _run("2026-01-01", {"a": 0.5}),
        _run("2026-01-02", {"a": 0.6}, rounds=2),
        _run("2026-01-03", {"other": 1.0}),
        _run("2026-01-04", {"a": 0.8, "a_min": 0.7, "a_max": 0.9}, cpu="two"),
    ]
    group = _drawn(runs, [FLOOR])["a"]
    assert (_count(group, "circle", "dot"), _count(group, "circle", "dot rough")) == (2, 1)
    assert _count(group, "polyline", "series") == 2
    words = "".join(group.itertext())
    assert "0.800, met" in words
    assert "2026-01-01" in words
    assert "2026-01-04" in words


def test_a_dot_stands_where_its_value_is() -> None:
    """On the line of the target when it is just that, above it when it is more."""
    group = _drawn([_run("2026-01-01", {"a": value}) for value in (0.0, 0.75, 1.5)], [FLOOR])["a"]
    none, bound, twice = (float(one.attrib["cy"]) for one in group if "cy" in one.attrib)
    lines = {one.attrib["class"]: float(one.attrib["y1"]) for one in group if "y1" in one.attrib}
    axis, target = lines["axis"], lines["target"]
    assert (none, bound) == (axis, target)
    assert twice == pytest.approx(2 * target - axis, abs=0.2)


def test_words_of_a_picture_are_escaped() -> None:
    """What XML means something by can stand in a title."""
    assert list(_drawn([], [Goal("x", "m", '<a & "b">', 1)])) == ["x"]


def test_the_history_can_be_read_back(tmp_path: Path) -> None:
    """What is appended is read in its order; the history of the repository can be drawn."""
    runs = [_run("2026-01-01", {"a": 1.0}), _run("2026-01-02", {"a": 2.0})]
    for run in runs:
        history.append(run, tmp_path / "history.ndjson")
    assert history.read(tmp_path / "history.ndjson") == runs
    _drawn(history.read(), list(GOALS))


# --- what is measured


def _config(setup: Setup) -> Config:
    text = setups.text(Account(host="localhost"), 8000, setup)
    return config_file.parse(text.encode(), file="config.toml", path=None)


def test_checks_are_all_on_or_all_off() -> None:
    """Every limit counts on the one side; on the other nothing is left that can be switched off."""
    strict, lax = (_config(Setup(checks=checks)) for checks in ("all", "none"))
    for config, is_on in ((strict, True), (lax, False)):
        limits = config.limits
        counting = [
            limits.browser_requests_per_minute,
            limits.server_requests_per_minute,
            limits.croct_requests_per_minute,
            limits.failed_auth_per_minute,
            config.sites[0].requests_per_minute,
        ]
        assert [bool(limit) for limit in counting] == [is_on] * 5
        assert config.sites[0].honour_gpc == is_on
        assert bool(config.sites[0].fraud_rules) == is_on
        assert bool(config.enrich.replay_copies_max) == is_on
        assert bool(config.server.trusted_proxies)


def test_neighbours_have_everything_of_their_own() -> None:
    """200 sites have 200 keys, tracking codes and applications."""
    config = _config(Setup(sites=200))
    assert len({key.sha256 for key in config.keys}) == len(config.sites) == 200
    assert len({site.tracking_code for site in config.sites}) == 200
    assert len({site.croct_app_id for site in config.sites}) == 200


def test_a_proxy_is_in_front_only_when_asked_for() -> None:
    """Forwarded requests carry public addresses; without, heads are as they always were."""
    through = Account(host="localhost", is_forwarded=True)
    heads = [one.head for one in templates("croct", 1, through, seed=1)]
    found = {match[1] for head in heads if (match := re.search(rb"Forwarded-For: (\S+)", head))}
    assert len(found) > len(heads) * 0.9
    plain = templates("croct", 1, Account(host="localhost"), seed=1)
    assert not any(b"Forwarded" in one.head for one in plain)


@pytest.mark.parametrize("now_us", [NOW_US, NOW_US // WINDOW_US * WINDOW_US])
def test_quarters_cover_the_window(now_us: int) -> None:
    """They follow on each other, from 24 hours ago until now, and no join would cross them."""
    spans = list(grown.quarters(now_us))
    assert (spans[0][0], spans[-1][1]) == (now_us - WINDOW_US, now_us)
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    quarter_us = WINDOW_US // 4
    assert [end % quarter_us for _, end in spans[:-1]] == [0] * (len(spans) - 1)
    assert len({start // quarter_us for start, _ in spans}) == len(spans)


def test_a_grown_directory_is_one_that_a_collector_leaves(tmp_path: Path) -> None:
    """So many parts of several dates, runs that cover all of them, so many keys of 24 hours."""
    assert grown.make_parts(tmp_path, 12, seed=1) == 1_200
    parts = layout.list_parts(tmp_path / layout.EVENTS)
    assert len({part.date for part in parts}) == 7
    assert sorted(part.first for part in parts) == list(range(1, 13))
    grown.make_keys(tmp_path, 5_003, 12, NOW_US)
    names = sorted(path.name for path in (tmp_path / layout.KEYS).iterdir())
    found = [layout.maybe_run(name) for name in names]
    covered = [number for one in found if one for number in range(one.first, one.last + 1)]
    assert covered == list(range(1, 13))
    runs = [Run(tmp_path / layout.KEYS / name, Files()) for name in names]
    assert sum(run.keys for run in runs) == 5_003
    assert all(NOW_US - WINDOW_US <= run.oldest_us <= run.newest_us < NOW_US for run in runs)


# --- the command


def _measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str
) -> tuple[list[str], int, str]:
    """Run the command with measures that measure nothing: which were asked, code, output."""
    asked: list[str] = []

    def fake(name: str) -> Callable[[Options], list[Figure]]:
        def measured(_: Options) -> list[Figure]:
            asked.append(name)
            if name == "batches":
                raise LoadFailed("a neighbour was too loud")
            return [median_figure(g.name, [g.bound], g.unit) for g in GOALS if g.measure == name]

        return measured

    for name, one in targets.MEASURES.items():
        changed = msgspec.structs.replace(one, measured=fake(name))
        monkeypatch.setitem(targets.MEASURES, name, changed)
    monkeypatch.setattr(history, "PICTURE", tmp_path / "history.svg")
    append, read = history.append, history.read
    kept = tmp_path / "history.ndjson"
    monkeypatch.setattr(history, "append", lambda run: append(run, kept))
    monkeypatch.setattr(history, "read", lambda path=kept: read(path))
    done = CliRunner().invoke(targets.main, ["--directory", str(tmp_path), *arguments])
    return asked, done.exit_code, done.output


def test_a_measure_that_fails_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All are measured, the failure is told at the end, the rest is kept and drawn."""
    asked, code, output = _measured(monkeypatch, tmp_path)
    assert asked == list(targets.MEASURES)
    assert code == 1
    assert "batches: a neighbour was too loud" in output
    assert "left out" not in output
    (run,) = history.read(tmp_path / "history.ndjson")
    wanted = {goal.name for goal in GOALS if goal.measure != "batches"}
    assert wanted <= run.figures.keys()
    assert {f"{name}_max" for name in wanted} <= run.figures.keys()
    assert (tmp_path / "history.svg").read_text().startswith("<svg")


def test_a_quick_run_says_what_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing that takes minutes is measured, and its reader is told."""
    asked, _, output = _measured(monkeypatch, tmp_path, "--quick")
    long = [name for name, one in targets.MEASURES.items() if one.is_long]
    assert long
    assert not set(asked) & set(long)
    assert f"left out: {', '.join(long)}" in output


def test_chosen_measures_alone_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Names on the command line choose, and nothing is kept that should not be."""
    asked, code, output = _measured(monkeypatch, tmp_path, "start", "--no-history")
    assert (asked, code) == (["start"], 0)
    assert "cold start" in output
    assert "grown" not in output
    assert list(tmp_path.iterdir()) == []


def test_a_cold_start_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The single start that comes before a kill does not take the place of the rounds' median."""
    once = [Figure("restart_ready_s", 2.0, "s"), Figure("start_empty_s", 9.0, "s")]
    monkeypatch.setattr(targets, "restart", lambda _options, _kills: once)
    found = targets.MEASURES["restart"].measured(Options(directory=tmp_path))
    assert [figure.name for figure in found] == ["restart_ready_s"]


@pytest.mark.end_to_end
def test_a_table_of_moments_from_real_collectors(tmp_path: Path) -> None:
    """The command measures, tells each target's figure, and leaves nothing behind."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.targets", "start", "batches", "--no-history"),
            *("--rounds", "1", "--round-seconds", "0.3", "--directory", str(tmp_path)),
        ],
        cwd=Path(history.__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for goal in (goal for goal in GOALS if goal.measure in {"start", "batches"}):
        pattern = rf"^{re.escape(goal.text)} +{re.escape(goal.target)} +([0-9.,]+) +(yes|no)$"
        found = re.search(pattern, done.stdout, re.MULTILINE)
        assert found, done.stdout
        assert math.isfinite(float(found[1].replace(",", "")))
    assert "refused" not in done.stdout
    assert list(tmp_path.iterdir()) == []
