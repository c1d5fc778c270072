"""Every fuzz target, for a moment: seeds, what once failed, and dozens of changes of them."""

import importlib.util
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import __main__ as command
from tests.fuzz import texts
from tests.fuzz.target import SEPARATOR
from tests.fuzz.targets import REGRESSIONS, TARGETS, regressions, words

_SEEDS = {name: target.seeds() for name, target in TARGETS.items()}
_WORDS = {name: words(target) for name, target in TARGETS.items()}
every_target = pytest.mark.parametrize("name", sorted(TARGETS))


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    """What the targets started is ended, and must have kept its promises until then."""
    yield
    for target in TARGETS.values():
        target.close()


def _changed(name: str, seed: int) -> bytes:
    """A seed of the target, changed in one to four places; the same for equal arguments."""
    chance = random.Random(seed)
    data = bytearray(chance.choice(_SEEDS[name]))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        put = chance.choice([
            chance.choice(_WORDS[name]), chance.randbytes(chance.randint(0, 5)),
            data[at : at + chance.randint(1, 40)] * 2, SEPARATOR,
        ])  # fmt: skip
        data[at : at + chance.choice([0, 1, 1, 3, 20])] = put
    return bytes(data)


@every_target
def test_seeds_and_what_once_failed(name: str) -> None:
    """Inputs that go far, and those that were found by fuzzing, keep the target's promise."""
    for data in [*_SEEDS[name], *regressions(name)]:
        TARGETS[name].run(data)


@every_target
def test_whatever_the_bytes_are(name: str) -> None:
    """Bytes by chance, and good inputs with some of their bytes changed, keep the promise too."""
    target = TARGETS[name]

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.binary(max_size=200)
        | st.integers(0, 10**9).map(lambda seed: _changed(name, seed))
        | st.lists(st.sampled_from(_WORDS[name]), max_size=12).map(b"".join)
    )
    def play(data: bytes) -> None:
        target.run(data)

    play()


def test_regressions_belong_to_targets() -> None:
    """No folder of inputs that once failed is left unread."""
    assert {path.name for path in REGRESSIONS.iterdir()} <= TARGETS.keys()


@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris has no wheel here")
def test_the_command_fuzzes(tmp_path: Path) -> None:
    """`python -m tests.fuzz NAME` runs a target guided by coverage, and says how often."""
    words_of_it = [sys.executable, "-m", "tests.fuzz", "salt", "--runs", "300"]
    done = subprocess.run(
        [*words_of_it, "--artifacts", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "salt: 300 executions" in done.stdout


def test_the_command_runs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An input that failed is run again, alone; it raises as long as the promise is broken."""
    given = tmp_path / "input"
    given.write_bytes(b"https://good.com")
    assert command.main(["origin", str(given)]) == 0
    monkeypatch.setattr(texts, "origin_host", lambda _: "evil.net")
    with pytest.raises(AssertionError):
        command.main(["origin", str(given)])
    assert command.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == sorted(TARGETS)
    with pytest.raises(SystemExit, match="no target is called nothing"):
        command.main(["nothing", str(given)])
