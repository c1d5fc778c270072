"""How many instructions one event takes, held against what is kept: `python -m bench.instructions`.

The gate against a hot path that grows heavier unnoticed: counts hardly differ between two runs
(by less than 1 %), so a change of more than 5 % is one of the code or of a package. It fails, up or
down: a gain that is not kept could be lost again without notice. `--update --reason` keeps it.

Counts hold for one build of the interpreter on one architecture with one C library; elsewhere
nothing is compared. Packages are no such condition: the lock file says which there are, and what a
new one costs is for the gate to tell.
"""

import importlib.metadata
import os
import platform
import re
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import click
import msgspec

from bench import valgrind
from bench.valgrind import CountFailed

FILE: Final = Path(__file__).resolve().parent / "instructions.json"
PERCENT_MAX: Final = 5
_MODULE: Final = "bench.counting"
_PACKAGES: Final = ("duckdb", "granian", "msgspec", "numpy", "ua-parser-rs", "uvloop", "xxhash")
# Several times what a busy machine takes.
_TIMEOUT_S: Final = 600.0
_DIGITS: Final = 4

Verdict = Literal["", "above", "below", "not kept", "not counted"]


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What counts depend on besides our code and the packages. `build` is the interpreter's."""

    architecture: str
    libc: str
    python: str
    build: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The file: instructions per event by case, what they hold for, and why they changed last."""

    reason: str
    environment: Environment
    packages: dict[str, str]
    instructions_per_event: dict[str, int]


class Change(msgspec.Struct, frozen=True):
    """One case, kept and counted: instructions per event."""

    case: str
    kept: int | None
    counted: int | None

    @property
    def share(self) -> float:
        """By how much more was counted than kept, 0.05 for 5 %; 0 where one of them is missing."""
        return self.counted / self.kept - 1 if self.kept and self.counted else 0.0

    @property
    def verdict(self) -> Verdict:
        """What is wrong, empty for nothing."""
        if self.kept is None:
            return "not kept"
        if self.counted is None:
            return "not counted"
        if abs(self.counted - self.kept) * 100 <= self.kept * PERCENT_MAX:
            return ""
        return "above" if self.share > 0 else "below"


def environment() -> Environment:
    """The one that this process runs in."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    flags = re.findall(r"-O\S+", sysconfig.get_config_var("PY_CFLAGS") or "")
    build = [
        platform.python_compiler(),
        *flags[-1:],
        *(name for name in ("--enable-optimizations", "--with-lto") if name in options),
        "shared" if sysconfig.get_config_var("Py_ENABLE_SHARED") else "static",
    ]
    return Environment(
        architecture=platform.machine(),
        libc=" ".join(platform.libc_ver()),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        build=", ".join(build),
    )


def packages() -> dict[str, str]:
    """Versions of the packages that an event passes through."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def differences(kept: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """What is not the same, as sentences without an end."""
    names = sorted(kept.keys() | here.keys())
    return [
        f"{name} is {here.get(name, 'missing')}, not {kept.get(name, 'missing')}"
        for name in names
        if kept.get(name) != here.get(name)
    ]


def per_event(totals: Mapping[str, int]) -> dict[str, int]:
    """Instructions per event by case, of totals by "CASE EVENTS"; no more digits than mean much."""
    counts = {}
    for name, instructions in totals.items():
        case, events = name.split(" ")
        counts[case] = int(float(f"{instructions / int(events):.{_DIGITS}g}"))
    return counts


def compare(kept: Mapping[str, int], counted: Mapping[str, int]) -> list[Change]:
    """Every case of either side."""
    cases = [*kept, *(case for case in counted if case not in kept)]
    return [Change(case, kept.get(case), counted.get(case)) for case in cases]


def table(changes: Sequence[Change]) -> str:
    """Aligned lines: case, kept, counted, by how much they differ, and what is wrong."""
    lines = [f"{'instructions per event':<24}{'kept':>12}{'counted':>12}{'change':>10}"]
    for change in changes:
        numbers = [f"{n:,}" if n is not None else "-" for n in (change.kept, change.counted)]
        share = f"{change.share:+.1%}" if change.kept and change.counted else "-"
        line = f"{change.case:<24}{numbers[0]:>12}{numbers[1]:>12}{share:>10}  {change.verdict}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def count(profiles: Path | None = None) -> dict[str, int]:
    """Instructions per event by case; callgrind's profiles stay in `profiles`, which is empty.

    Raises `CountFailed`.
    """
    with tempfile.TemporaryDirectory(prefix="collector-bench-") as name:
        folder = Path(name)
        data, own = folder / "data", folder / "profiles"
        data.mkdir()
        own.mkdir()
        if profiles is not None and any(profiles.iterdir()):
            raise CountFailed(f"{profiles} is not empty")
        return per_event(valgrind.counted(_MODULE, [str(data)], profiles or own, _TIMEOUT_S))


def read(file: Path) -> Kept:
    """What is kept. Raises OSError or `msgspec.ValidationError`."""
    return msgspec.json.decode(file.read_bytes(), type=Kept)


def write(file: Path, kept: Kept) -> None:
    """Keep it, written so that a difference shows which case changed."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")


def why_not(kept: Kept, *, is_strict: bool) -> str:
    """Why nothing can be compared here; empty if it can.

    Raises `CountFailed` if it could, were valgrind there, and `is_strict`.
    """
    elsewhere = differences(
        msgspec.structs.asdict(kept.environment), msgspec.structs.asdict(environment())
    )
    if elsewhere:
        return f"counts are kept for another environment: {'; '.join(elsewhere)}"
    if valgrind.is_installed():
        return ""
    if is_strict:
        raise CountFailed("valgrind is not installed, and CI wants instructions counted")
    return "valgrind is not installed"


def check(file: Path, profiles: Path | None, *, is_strict: bool) -> bool:
    """Count, compare with `file`, print; whether all is well. Raises `CountFailed`."""
    kept = read(file)
    if reason := why_not(kept, is_strict=is_strict):
        click.echo(f"instructions: not compared: {reason}")
        return True
    changes = compare(kept.instructions_per_event, count(profiles))
    click.echo(table(changes))
    for difference in differences(kept.packages, packages()):
        click.echo(f"  since they were kept: {difference}")
    if not any(change.verdict for change in changes):
        return True
    click.echo(
        f"A change of more than {PERCENT_MAX} % must be meant. If it is:\n"
        '  .venv/bin/python -m bench.instructions --update --reason "what it is for"'
    )
    return False


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--update", "is_update", is_flag=True, help="Keep what is counted now.")
@click.option("--reason", default="", help="With --update: why the counts changed.")
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=FILE,
    show_default=False,
    help="Keep or compare elsewhere, as for another interpreter.  [default: the repository's]",
)
@click.option(
    "--profiles",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="An empty folder for callgrind's profiles, one per case: callgrind_annotate reads them.",
)
def main(*, is_update: bool, reason: str, file: Path, profiles: Path | None) -> None:
    """Count the instructions that an event takes, and compare them with those that are kept."""
    if is_update == (not reason.strip()):
        raise click.UsageError("--update and --reason go together")
    try:
        if not is_update:
            if not check(file, profiles, is_strict=bool(os.environ.get("CI"))):
                raise SystemExit(1)
            return
        before = read(file).instructions_per_event if file.exists() else {}
        counted = count(profiles)
    except (CountFailed, OSError, msgspec.ValidationError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(compare(before, counted)))
    write(
        file,
        Kept(
            reason=reason.strip(),
            environment=environment(),
            packages=packages(),
            instructions_per_event=counted,
        ),
    )


if __name__ == "__main__":
    main()
