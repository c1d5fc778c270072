"""How this program is started once more, by itself."""

import sys
from typing import Final

# In the place of a command, and not for people: the process that answers questions (`asking`).
ANSWER: Final = "answer-questions"


def own_command() -> list[str]:
    """An interpreter with the command, or the one file that holds all of it."""
    return [sys.executable, *([] if getattr(sys, "frozen", False) else ["-m", "collector"])]
