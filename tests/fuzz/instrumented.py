"""The process that fuzzes: a target under atheris, with the collector and the engine instrumented.

Started by `python -m tests.fuzz`, with the name of a target, a folder for scratch files, and what
libFuzzer takes as arguments. Modules must not be loaded before atheris has its hooks in place.
"""

import logging
import os
import sys
import tempfile
from pathlib import Path

from tests.fuzz.target import named


def main() -> None:
    """Fuzz; does not return."""
    try:
        import atheris  # noqa: PLC0415 (it may be missing)
    except ImportError:
        raise SystemExit("atheris is not installed: there is no wheel for this machine") from None
    _, name, scratch, *arguments = sys.argv
    tempfile.tempdir = scratch
    os.environ["TMPDIR"] = scratch
    with atheris.instrument_imports(include=["collector", "storage"]):
        from tests.fuzz.targets import TARGETS, words  # noqa: PLC0415 (see above)
    # Damage is told, again and again.
    logging.getLogger("collector.storage").setLevel(logging.CRITICAL)
    target = named(TARGETS, name)
    for number, data in enumerate(target.seeds()):
        (Path(scratch) / "seeds" / f"{number:04}").write_bytes(data)
    dictionary = Path(scratch) / "words"
    quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in words(target) if word)
    dictionary.write_text("".join(f'"{text}"\n' for text in quoted), encoding="ascii")
    atheris.Setup([sys.argv[0], *arguments, f"-dict={dictionary}"], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
