"""The collector as it is installed: built into a wheel, used where its sources are not."""

import os
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.house.source import ROOT, tracked
from tests.support.asking import DIALECTS, ask, assert_accepted, post
from tests.support.process import CollectorProcess

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", "--no-index", "--target", str(folder), str(wheel)], cwd=folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that has nothing to do with the sources."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(
    command: list[str], *, cwd: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_the_product_and_nothing_else(wheel: Path) -> None:
    """Every module, the example configuration, the markers for type checkers; no tests."""
    names = {name for name in _names(wheel) if ".dist-info/" not in name}
    sources = {path for path in tracked() if path.split("/")[0] in {"collector", "storage"}}
    assert names == sources
    assert {"collector/config.example.toml", "collector/py.typed", "storage/py.typed"} <= names
    assert len(names) > 40


def test_wheel_tells_what_it_is(wheel: Path) -> None:
    """Name, licence and requirements are those of pyproject.toml; the licence is enclosed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = message_from_bytes(archive.read(path))
        licence = archive.read(path.replace("METADATA", "licenses/LICENSE"))
    assert metadata["Name"] == project["name"]
    assert metadata["Version"] == project["version"]
    assert metadata["License-Expression"] == project["license"] == "Apache-2.0"
    assert metadata["Requires-Python"] == project["requires-python"]
    assert len(metadata.get_all("Requires-Dist", [])) == len(project["dependencies"])
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_installed_command(wheel: Path, installed: Path, elsewhere: Path) -> None:
    """`collector` knows its version, its commands and its built-in configuration."""
    environment = {"PYTHONPATH": str(installed)}
    command = str(installed / "bin" / "collector")
    help_text = _run([command, "--help"], cwd=elsewhere, environment=environment).stdout
    assert all(f"\n  {name} " in help_text for name in ("serve", "check", "query", "keys", "demo"))
    version = _run([command, "--version"], cwd=elsewhere, environment=environment).stdout
    assert version.split()[-1] == wheel.name.split("-")[1]
    checked = _run([command, "check"], cwd=elsewhere, environment=environment).stdout
    assert checked.startswith("built-in example values: ok")
    assert list(elsewhere.iterdir()) == []


def test_nothing_comes_from_the_sources(installed: Path, elsewhere: Path) -> None:
    """Every module is found where it was installed, also the ones that are imported late."""
    script = (
        "import pkgutil, importlib, sys, collector, storage\n"
        "for package in (collector, storage):\n"
        "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(found.name)\n"
        "for name, module in sorted(sys.modules.items()):\n"
        "    if name.split('.')[0] in ('collector', 'storage'):\n"
        "        print(module.__file__)\n"
    )
    environment = {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", "-c", script]
    files = _run(command, cwd=elsewhere, environment=environment).stdout.splitlines()
    assert len(files) > 40
    assert [file for file in files if not file.startswith(f"{installed}/")] == []


def test_installed_collector_serves(installed: Path, elsewhere: Path) -> None:
    """It starts, takes an event of every protocol, answers queries, and stops."""
    compiled = elsewhere / "compiled"
    environment = {
        "PYTHONPATH": str(installed),
        "PYTHONPYCACHEPREFIX": str(compiled),
        "PYTHONDONTWRITEBYTECODE": "",
    }
    with CollectorProcess(elsewhere / "run", environment=environment) as collector:
        for dialect in DIALECTS:
            assert_accepted(dialect, ask(collector, post(dialect)))
        rows = collector.query("SELECT protocol, count(*) AS n FROM events GROUP BY ALL ORDER BY 1")
        assert [(row["protocol"], row["n"]) for row in rows] == [
            ("croct", 1),
            ("scanova", 2),
            ("zenovay", 1),
        ]
        assert collector.terminate() == 0
    # What was compiled lies under the place it was loaded from.
    assert list(compiled.joinpath(*installed.parts[1:], "collector").glob("service.*.pyc"))
    assert not compiled.joinpath(*ROOT.parts[1:], "collector").exists()
