"""The gate on instructions per event: its arithmetic, what it refuses to compare, its file."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from bench import instructions, valgrind
from bench.instructions import Change, Kept, compare, environment, packages, per_event, why_not
from bench.valgrind import Counter, CountFailed

HERE = Kept(
    reason="because",
    environment=environment(),
    packages=packages(),
    instructions_per_event={"single": 1_000, "batch": 200},
)
ELSEWHERE = msgspec.structs.replace(
    HERE, environment=msgspec.structs.replace(HERE.environment, python="CPython 3.99.0")
)


def _run(
    monkeypatch: pytest.MonkeyPatch, counted: dict[str, int], file: Path, *arguments: str
) -> Result:
    """The command, where `counted` is what there is to count."""
    monkeypatch.setattr(instructions, "count", lambda _profiles: counted)
    monkeypatch.setattr(valgrind, "is_installed", lambda: True)
    return CliRunner().invoke(instructions.main, ["--file", str(file), *arguments])


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A file that keeps `HERE`."""
    file = tmp_path / "kept.json"
    instructions.write(file, HERE)
    return file


# --- arithmetic


@pytest.mark.parametrize(
    ("counted", "verdict"),
    [(1_050, ""), (950, ""), (1_051, "above"), (949, "below"), (None, "not counted")],
)
def test_five_percent_either_way_are_let_pass(counted: int | None, verdict: str) -> None:
    """A change above or below that is told, as is a case that is gone."""
    assert Change("single", 1_000, counted).verdict == verdict


def test_every_case_of_either_side_is_compared() -> None:
    """A case that is new, or gone, does not slip through."""
    found = compare({"a": 100, "b": 100}, {"b": 101, "c": 100})
    assert [(c.case, c.verdict) for c in found] == [
        ("a", "not counted"),
        ("b", ""),
        ("c", "not kept"),
    ]


def test_totals_become_counts_per_event() -> None:
    """Divided by the events, four digits of them: more would only show noise."""
    assert per_event({"single 256": 88_601_600, "batch 2000": 162_861_234}) == {
        "single": 346_100,
        "batch": 81_430,
    }


def test_profiles_are_read_by_name_and_total() -> None:
    """What callgrind writes for a client request; without a total it is an error, not a zero."""
    text = "version: 1\ndesc: Trigger: Client Request: single 256\nevents: Ir\ntotals: 1234\n"
    assert valgrind.total(text) == ("single 256", 1_234)
    with pytest.raises(CountFailed, match="no total"):
        valgrind.total("version: 1\nevents: Ir\n")


# --- where counts can be compared


def test_another_environment_is_named_and_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of another interpreter say nothing here, also where CI is set: that is told."""
    monkeypatch.setattr(valgrind, "is_installed", lambda: False)
    for is_strict in (False, True):
        assert "python is" in why_not(ELSEWHERE, is_strict=is_strict)


def test_without_valgrind_only_ci_insists(monkeypatch: pytest.MonkeyPatch) -> None:
    """A contributor is told that nothing was counted; where it could be, CI fails."""
    monkeypatch.setattr(valgrind, "is_installed", lambda: False)
    assert why_not(HERE, is_strict=False) == "valgrind is not installed"
    with pytest.raises(CountFailed, match="valgrind"):
        why_not(HERE, is_strict=True)
    monkeypatch.setattr(valgrind, "is_installed", lambda: True)
    assert why_not(HERE, is_strict=True) == ""


def test_outside_valgrind_nothing_is_counted() -> None:
    """A process that nobody watches says so instead of counting nothing."""
    with pytest.raises(CountFailed, match=r"valgrind|x86_64"):
        Counter()


@pytest.mark.skipif(
    shutil.which("valgrind") is None or platform.machine() != "x86_64",
    reason="needs valgrind and an x86_64",
)
def test_a_counter_counts_what_lies_between(tmp_path: Path) -> None:
    """As much more work is as much more in the count; what is outside is not in it."""
    program = (
        "from bench.valgrind import Counter\n"
        "def work(n):\n"
        "    for _ in range(n): pass\n"
        "counter = Counter()\n"
        "for n in (1, 50_000, 100_000, 150_000):\n"
        "    work(1_000_000); counter.start(); work(n); counter.stop(f'work {n}')\n"
    )
    (tmp_path / "counted_work.py").write_text(program)
    command = [
        *("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no"),
        f"--callgrind-out-file={tmp_path / 'out'}",
        *(sys.executable, str(tmp_path / "counted_work.py")),
    ]
    subprocess.run(
        command,
        check=True,
        timeout=120,
        capture_output=True,
        env={"PYTHONPATH": str(valgrind.ROOT)},
    )
    totals = dict(valgrind.total(path.read_text()) for path in tmp_path.glob("out.*"))
    first, second, third = (totals[f"work {n}"] for n in (50_000, 100_000, 150_000))
    assert third - second == pytest.approx(second - first, rel=0.05)
    assert 0 < first < 50_000 * 200


# --- the command


def test_a_change_that_nobody_meant_fails(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    """The table names the case, and what to type if it was meant; small changes pass."""
    result = _run(monkeypatch, {"single": 1_060, "batch": 200}, kept)
    assert result.exit_code == 1
    assert "+6.0%  above" in result.output
    assert "--update --reason" in result.output
    assert _run(monkeypatch, {"single": 1_040, "batch": 198}, kept).exit_code == 0


def test_a_gain_has_to_be_kept(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    """Fewer instructions fail as well, until the file holds them: else they could be lost again."""
    counted = {"single": 900, "batch": 200}
    assert _run(monkeypatch, counted, kept).exit_code == 1
    assert _run(monkeypatch, counted, kept, "--update", "--reason", " leaner ").exit_code == 0
    assert _run(monkeypatch, counted, kept).exit_code == 0
    assert instructions.read(kept) == msgspec.structs.replace(
        HERE, reason="leaner", instructions_per_event=counted
    )


@pytest.mark.parametrize(
    "arguments", [["--update"], ["--reason", "x"], ["--update", "--reason", " "]]
)
def test_nothing_is_kept_without_a_reason(
    monkeypatch: pytest.MonkeyPatch, kept: Path, arguments: list[str]
) -> None:
    """An update needs a reason, and a reason without an update would be lost."""
    before = kept.read_bytes()
    assert _run(monkeypatch, {"single": 1}, kept, *arguments).exit_code == 2
    assert kept.read_bytes() == before


def test_packages_that_changed_are_named(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    """A new version is no way around the gate; it stands beside the count that it may explain."""
    older = HERE.packages | {"msgspec": "0.1.0"}
    instructions.write(kept, msgspec.structs.replace(HERE, packages=older))
    result = _run(monkeypatch, {"single": 1_060, "batch": 200}, kept)
    assert result.exit_code == 1
    assert f"msgspec is {HERE.packages['msgspec']}, not 0.1.0" in result.output


def test_elsewhere_the_gate_stands_open_and_says_so(
    monkeypatch: pytest.MonkeyPatch, kept: Path
) -> None:
    """What cannot be compared is not counted at all."""
    instructions.write(kept, ELSEWHERE)
    result = _run(monkeypatch, {"single": 9_999}, kept)
    assert (result.exit_code, "not compared" in result.output) == (0, True)


def test_a_file_that_nobody_can_read_is_an_error(
    monkeypatch: pytest.MonkeyPatch, kept: Path
) -> None:
    """A damaged or missing file does not open the gate."""
    kept.write_bytes(b"{}")
    assert _run(monkeypatch, {"single": 1_000}, kept).exit_code == 1
    kept.unlink()
    assert _run(monkeypatch, {"single": 1_000}, kept).exit_code == 1


def test_the_kept_file_has_a_reason_and_counts(tmp_path: Path) -> None:
    """The repository's file can be read, and is in the form in which it is written."""
    found = instructions.read(instructions.FILE)
    assert found.reason
    assert all(count > 0 for count in found.instructions_per_event.values())
    written = tmp_path / "written.json"
    instructions.write(written, found)
    assert written.read_bytes() == instructions.FILE.read_bytes(), "write it with --update"
