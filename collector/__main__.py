"""`python -m collector` is the command `collector`; also what the one-file program runs."""

import sys

from collector.program import ANSWER


def main() -> None:
    """Run what the command line asks for."""
    if sys.argv[1:2] == [ANSWER]:
        # It starts sooner without everything that commands need.
        from collector.asking import child  # noqa: PLC0415  nothing else needs it

        child.main(*sys.argv[2:])
    else:
        from collector.cli import main as run  # noqa: PLC0415  the child does not need it

        run(prog_name="collector")


if __name__ == "__main__":
    main()
