"""`python -m tests.fuzz NAME`: fuzz one target, guided by coverage, for as long as it is let.

    python -m tests.fuzz --list                   names of targets
    python -m tests.fuzz NAME [--seconds N]       until N seconds are over (60), or it fails
    python -m tests.fuzz NAME --corpus FOLDER     go on with what earlier runs found, and keep it
    python -m tests.fuzz NAME FILE                one input, with its traceback

What fails is kept as a file in the working directory (`--artifacts`), to be run again as FILE and,
once mended, to be put into `tests/fuzz/regressions/NAME/`. The fuzzing itself is done by a child
process (`instrumented.py`): the fuzzer ends its process without cleaning up.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.target import named

_EXECUTIONS = re.compile(r"Done (\d+) runs|stat::number_of_executed_units: (\d+)|#(\d+)\t")
_COVERAGE = re.compile(r"cov: (\d+)")


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("name", nargs="?")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--artifacts", type=Path, default=Path.cwd())
    return parser.parse_args(given)


def _run_file(name: str, path: Path) -> int:
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 (not before it is needed: it is slow)

    target = named(TARGETS, name)
    target.run(path.read_bytes())
    target.close()
    return 0


def _fuzz(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        seeds = Path(scratch) / "seeds"
        corpus = options.corpus or Path(scratch) / "corpus"
        for folder in (seeds, corpus, options.artifacts):
            folder.mkdir(parents=True, exist_ok=True)
        command = [
            *(sys.executable, "-m", "tests.fuzz.instrumented", options.name, scratch),
            *(str(corpus), str(seeds)),
            *(f"-max_total_time={options.seconds}", f"-runs={options.runs}", "-max_len=4096"),
            *(
                "-timeout=20",
                "-len_control=10",
                "-print_final_stats=1",
                f"-artifact_prefix={options.artifacts}/",
            ),
        ]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    found = [next(filter(None, match.groups())) for match in _EXECUTIONS.finditer(done.stderr)]
    covered = _COVERAGE.findall(done.stderr)
    if done.returncode != 0:
        sys.stderr.write(done.stderr[-8_000:])
    sys.stdout.write(
        f"{options.name}: {found[-1] if found else 0} executions, "
        f"coverage {covered[-1] if covered else 0}, "
        f"{'nothing found' if done.returncode == 0 else 'FAILED'}\n"
    )
    return done.returncode


def main(given: Sequence[str] | None = None) -> int:
    """Run the command with the arguments given; 0 when no promise was broken."""
    options = _arguments(given)
    if options.list or options.name is None:
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 (see `_run_file`)

        sys.stdout.write("\n".join(sorted(TARGETS)) + "\n")
        return 0
    return _fuzz(options) if options.file is None else _run_file(options.name, options.file)


if __name__ == "__main__":
    sys.exit(main())
