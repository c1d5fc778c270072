"""Build the collector as one file, `dist/collector`; does nothing when that is up to date.

Beside it lies `dist/collector.licences.txt`: whoever passes the file on passes on the packages in
it, and owes their licences to those who get it.

`make binary` runs this in an environment that holds what `requirements-binary.lock` says. The file
is made of the wheel, not of the sources: what is not installed is not packed either.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
BINARY: Final = ROOT / "dist" / "collector"
# Says of which inputs the file was made.
STAMP: Final = ROOT / "dist" / "collector.inputs"
LICENCES: Final = ROOT / "dist" / "collector.licences.txt"
_WORK: Final = ROOT / "build" / "binary"
_PYTHON: Final = (sys.executable, "-m")
_FOLDERS: Final = ("binary", "collector", "storage")
_LOCKS: Final = ("requirements.lock", "requirements-binary.lock")
_FILES: Final = ("LICENSE", "README.md", "pyproject.toml", *_LOCKS)
_PACKAGE: Final = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
_LICENCE: Final = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS)", re.IGNORECASE)


def inputs() -> str:
    """A text that changes when the file has to be built anew: digest of sources, Python, system."""
    digest = hashlib.sha256()
    found = [path for folder in _FOLDERS for path in (ROOT / folder).rglob("*")]
    found += [ROOT / name for name in _FILES]
    for path in sorted(found):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    version = sys.version.split()[0]
    return f"{digest.hexdigest()} Python {version} {sysconfig.get_platform()}\n"


def is_current() -> bool:
    """Whether the file is there, and was made of what is here now."""
    return BINARY.is_file() and STAMP.is_file() and STAMP.read_text("utf-8") == inputs()


def build() -> None:
    """Make the file. Raises CalledProcessError where a step fails, which says why itself."""
    wanted = inputs()
    shutil.rmtree(_WORK, ignore_errors=True)
    _WORK.mkdir(parents=True)
    _run("hatchling", "build", "-t", "wheel", "-d", str(_WORK / "wheel"), folder=ROOT)
    (wheel,) = (_WORK / "wheel").glob("*.whl")
    pip = ("pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, "--no-deps", "--no-index", "--force-reinstall", str(wheel), folder=_WORK)
    # Elsewhere than beside the sources, or they would be found first.
    _run(
        *("PyInstaller", "--log-level", "ERROR", "--distpath", "dist", "--workpath", "work"),
        str(ROOT / "binary" / "collector.spec"),
        folder=_WORK,
    )
    STAMP.unlink(missing_ok=True)
    BINARY.parent.mkdir(exist_ok=True)
    (_WORK / "dist" / "collector").replace(BINARY)
    LICENCES.write_text("\n".join(licences()), encoding="utf-8")
    STAMP.write_text(wanted, encoding="utf-8")
    shutil.rmtree(_WORK)


def licences() -> Iterator[str]:
    """The licences of what is packed, each with a heading: ours, Python's, the packages'."""
    yield _titled("event-collector", (ROOT / "LICENSE").read_text("utf-8"))
    python = Path(sysconfig.get_path("stdlib")) / "LICENSE.txt"
    if python.is_file():
        yield _titled(f"Python {sys.version.split()[0]}", python.read_text("utf-8"))
    names = _PACKAGE.findall((ROOT / "requirements.lock").read_text("utf-8"))
    for name in sorted(set(names)):
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another system or another Python
        for file in found.files or ():
            if _LICENCE.match(file.name) and ".dist-info" in file.parts[0]:
                title = f"{name} {found.version}: {file.name}"
                yield _titled(title, file.read_text("utf-8"))


def _titled(title: str, text: str) -> str:
    return f"{title}\n{'=' * len(title)}\n\n{text.strip()}\n"


def _run(*command: str, folder: Path) -> None:
    # Without chance in the order of sets the same inputs give the same bytes.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([*_PYTHON, *command], cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    if not is_current():
        build()
    print(f"{BINARY.relative_to(ROOT)}: {BINARY.stat().st_size / 1e6:.0f} MB")
