"""The one-file program of `make binary`, started where nothing of the sources can be seen."""

import contextlib
import json
import os
import runpy
import signal
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.house.source import ROOT
from tests.support.asking import DIALECTS, ask, assert_accepted, post
from tests.support.process import CollectorProcess, wait_until

pytestmark = pytest.mark.end_to_end

BUILD: dict[str, Any] = runpy.run_path(str(ROOT / "binary" / "build.py"))
# Of what it unpacks, in bytes: far above what it is, far below what a forgotten exclusion adds.
UNPACKED_MAX = 200_000_000


def _found() -> Path:
    """The program under test; skips the tests, with a reason, where there is none."""
    given = os.environ.get("COLLECTOR_BINARY")
    if given:
        return Path(given).resolve()
    if not BUILD["is_current"]():
        pytest.skip("dist/collector is not built of these sources: make binary")
    found: Path = BUILD["BINARY"]
    return found


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one file, moved to where nothing else is."""
    path = tmp_path_factory.mktemp("bin") / "collector"
    # A link would be followed to the sources' neighbourhood.
    path.write_bytes(_found().read_bytes())
    path.chmod(0o755)
    return path


class Place:
    """An empty folder to run the program in; `temporary` is where it unpacks itself."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.environment: Mapping[str, str] = {
            "PATH": "/usr/bin:/bin",
            "TMPDIR": str(self.temporary),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
        }

    def run(self, *arguments: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """A command; its exit is not judged."""
        return subprocess.run(
            [self.binary, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def serving(self, **overrides: Any) -> CollectorProcess:
        """`serve`, in a folder of its own; both processes and the worker are in its group."""

        class Packed(CollectorProcess):
            program: ClassVar = (str(self.binary),)

        collector = Packed(self.folder / "served", **overrides)
        collector._environment = dict(self.environment)
        return collector

    def unpacked(self) -> list[Path]:
        """The folders that the program has unpacked itself into."""
        return sorted(self.temporary.glob("_MEI*"))


@pytest.fixture
def place(binary: Path, tmp_path: Path) -> Place:
    """See `Place`."""
    return Place(binary, tmp_path)


def test_it_serves_queries_and_stops(place: Place) -> None:
    """Events of every protocol are stored with all that is looked up, and can be asked for."""
    with place.serving() as collector:
        for dialect in DIALECTS:
            assert_accepted(dialect, ask(collector, post(dialect)))
        sent = collector.run("demo", "--seconds", "2", "--rate", "40")
        assert sent.returncode == 0, sent.stderr
        [row] = collector.query(
            "SELECT count(DISTINCT protocol) AS protocols, count(browser_family) AS browsers,"
            " max(received_time) AS newest FROM events"
        )
        assert row["protocols"] == 3
        assert row["browsers"], "the tables of user agents are inside"
        assert row["newest"].endswith("Z"), "times have a zone"
        page = collector.request("GET", "/dashboard")
        assert page.status == 200
        assert collector.request("GET", "/openapi.json").status == 200
        assert len(place.unpacked()) == 1, "supervisor and worker share what is unpacked"
        _look_at(place.unpacked()[0])
        assert collector.terminate() == 0
        assert place.unpacked() == [], "it takes away what it has unpacked"
        audit = collector.run("audit")
        assert audit.returncode == 0, audit.stdout + audit.stderr


def _look_at(folder: Path) -> None:
    """What is inside: nothing of tests, nothing of where it was built, and not too much."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = [path.relative_to(folder).as_posix() for path in files]
    assert [name for name in names if "tests/" in name or "pytest" in name] == []
    assert [name for name in names if name.endswith((".py", "direct_url.json", "RECORD"))] == []
    assert not any("readline" in name for name in names), "GPL"
    built_in = str(ROOT).encode()
    assert [
        name for name, path in zip(names, files, strict=True) if built_in in path.read_bytes()
    ] == []
    assert sum(path.lstat().st_size for path in files) < UNPACKED_MAX


def test_what_was_acknowledged_survives_kill_9(place: Place) -> None:
    """Launcher, supervisor and worker are killed; what was acknowledged is there after it."""
    with place.serving() as collector:
        for dialect in DIALECTS:
            assert_accepted(dialect, ask(collector, post(dialect)))
        collector.restart()
        [row] = collector.query("SELECT count(*) AS n FROM events")
        assert row["n"] == len(DIALECTS)
        assert len(place.unpacked()) == 1, "a start removes what the killed one left"
        assert collector.terminate() == 0


def test_nothing_outlives_a_killed_launcher(place: Place) -> None:
    """Who kills -9 the process that was started has killed all; another start finds a free port."""
    with place.serving() as collector:
        assert len(collector.pids) == 3, "launcher, supervisor, worker"
        group = collector.pid
        collector.kill_main()
        wait_until(lambda: not collector.pids, timeout_s=10, what=f"nobody left of {group}")
        collector.restart()
        assert collector.terminate() == 0


def test_signals_reach_the_supervisor(place: Place) -> None:
    """SIGHUP starts another worker where a setting needs one; Ctrl-C, which all processes get at
    once, ends it in order.
    """
    with place.serving() as collector:
        before = collector.pids
        text = collector.config_path.read_text(encoding="utf-8")
        changed = text.replace('"publish_interval_ms" = 200', '"publish_interval_ms" = 300')
        assert changed != text
        collector.config_path.write_text(changed, encoding="utf-8")
        os.kill(collector.pid, signal.SIGHUP)
        collector.wait_another_worker(before)
        os.killpg(collector.pid, signal.SIGINT)
        assert collector.wait_exit() == 0
    assert place.unpacked() == []


def test_commands_work_without_files_around_them(place: Place) -> None:
    """Version, built-in configuration, keys, and exit codes are those of the installed command."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert place.run("--version").stdout.split()[-1] == project["version"]
    assert place.run("check").stdout.startswith("built-in example values: ok")
    made = place.run("keys", "new", "--name", "shop")
    assert 'name = "shop"' in made.stdout
    (place.folder / "config.toml").write_text("no_such_table = 1\n", encoding="utf-8")
    wrong = place.run("check")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "no_such_table" in wrong.stderr
    assert {path.name for path in place.folder.iterdir()} == {"tmp", "config.toml"}
    assert place.unpacked() == []


def test_it_proves_itself(place: Place) -> None:
    """`prove` starts the very same file as the collectors that it kills, also on a small disk."""
    proved = place.run("prove", "--rounds", "2", "--seconds", "0.3", "--events", "2000", "--json")
    assert proved.returncode == 0, proved.stdout + proved.stderr
    report = json.loads(proved.stdout)
    assert report["acknowledged"] == report["found"] > 0
    assert report["full_disk"]
    with contextlib.suppress(FileNotFoundError):
        assert place.unpacked() == []
