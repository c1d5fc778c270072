"""`python -m collector` is the command `collector`."""

from collector.cli import main

if __name__ == "__main__":
    main(prog_name="collector")
