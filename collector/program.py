"""How this program is started once more, by itself."""

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# In the place of a command, and not for people: the process that answers questions (`asking`).
ANSWER: Final = "answer-questions"


def own_command() -> list[str]:
    """An interpreter with the command, or the one file that holds all of it."""
    # -P: what lies in the folder where it was started is not for it.
    frozen = getattr(sys, "frozen", False)
    return [sys.executable, *([] if frozen else ["-P", "-m", "collector"])]


def own_environment() -> Mapping[str, str]:
    """The environment; with the packages that this process has, where they are not installed."""
    here = str(Path(__file__).resolve().parents[1])
    if here == sysconfig.get_path("purelib"):
        return os.environ
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, *([others] if others else [])])}
