"""What py-spy saw, as stacks worth drawing: frames named, waiting left out, the loop cut short.

Reads its raw format, one stack per line, outermost frame first: `name (file:line);... samples`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from bench.flamegraph import Frame, Stack

_FRAME: Final = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
_ADDRESS: Final = re.compile(r"^0x[0-9a-f]+$")
_OURS: Final = ("collector/", "storage/")
# Ours too, but only what everything else was started by.
_STARTING: Final = frozenset({"collector/cli.py", "collector/supervisor.py"})
# A thread that is in one of these waits: for work, for its turn, for the interpreter's lock.
_WAITING: Final = frozenset(
    (
        *("PyThread_acquire_lock_timed", "take_gil", "epoll_pwait", "epoll_wait", "sched_yield"),
        *("pthread_cond_timedwait", "pthread_cond_wait", "sem_wait", "sem_clockwait", "syscall"),
        *("futex_wait", "clock_nanosleep", "nanosleep"),
    )
)
_DISK: Final = frozenset(
    (
        *("fdatasync", "fsync", "pwrite", "pwrite64", "pwritev", "pwritev2", "pwritev64v2"),
        *("open64", "openat", "fallocate64", "posix_fallocate64"),
    )
)
# Files of native code, which come without a folder.
_LOOP_FILES: Final = re.compile(
    r"^(loop|handles|request|stream|tcp|core|linux|queue|loop-watcher|timer|unix)\.(c|h)$|"
    r"^_asynciomodule\.c|^(uvloop|asyncio|granian)/"
)
# Inlined into whoever releases an object: as frames they only stand between the interesting ones.
_INLINED: Final = frozenset({"object.h", "pycore_object.h", "abstract.h", "pycore_frame.h"})
_LOOP: Final = Frame("event loop", "event loop")


def read(raw: str) -> Counter[Stack]:
    """Stacks of threads that did something, and how often each was seen.

    Frames are dropped up to the first of ours that does not only start others; a stack without any
    is the event loop itself, or a thread of the server.
    """
    found: Counter[Stack] = Counter()
    for line in raw.splitlines():
        text, _, samples = line.rpartition(" ")
        stack = _tidy([_split(frame) for frame in text.split(";")])
        if stack:
            found[stack] += int(samples)
    return found


def _split(text: str) -> tuple[str, str]:
    """Name and file of a frame as py-spy writes it."""
    match = _FRAME.match(text)
    return (match["name"], match["file"]) if match else (text, "")


def _tidy(frames: list[tuple[str, str]]) -> Stack:
    """The stack without what nobody asks for; empty where its thread waits, or works for us."""
    if any(name in _WAITING for name, _ in frames):
        return ()
    first = next((n for n, (_, file) in enumerate(frames) if _is_ours(file)), None)
    if first is not None:
        return tuple(_without_repeats(_named(name, file) for name, file in frames[first:]))
    # Who hands requests over runs below the loop, and is called by it.
    for _, file in reversed(frames):
        if file.startswith("bench/"):
            return ()
        if _LOOP_FILES.match(file):
            return (_LOOP,)
    return ()


def _is_ours(file: str) -> bool:
    return file.startswith(_OURS) and file not in _STARTING


def _without_repeats(frames: Iterator[Frame | None]) -> Iterator[Frame]:
    last: Frame | None = None
    for frame in frames:
        if frame is not None and frame != last:
            yield frame
            last = frame


def _named(name: str, file: str) -> Frame | None:
    """A frame as module.function, and its package; None for what only stands in between."""
    if file in _INLINED:
        return None
    package, _, rest = file.rpartition("site-packages/")[2].partition("/")
    name = name.replace("<locals>.", "")
    if f"{package}/" in _OURS:
        return Frame(f"{rest.rpartition('/')[2].removesuffix('.py')}.{name}", package)
    if name in _DISK:
        return Frame(name, "disk")
    if _LOOP_FILES.match(file):
        return _LOOP
    library = _library(file)
    # Native code without symbols is known by its library only.
    text = library if _ADDRESS.match(name) else f"{library}.{name}"
    if library in {"msgspec", "xxhash"}:
        return Frame(text, library)
    if file.endswith((".c", ".h")) or library in {"libpython", "libc"}:
        return Frame(text.removeprefix(f"{library}."), "python")
    return Frame(text, "other" if rest else "python")


def _library(file: str) -> str:
    """The short name of the library, module or package that a file belongs to."""
    folder, _, last = file.rpartition("site-packages/")[2].partition("/")
    if last:
        return folder
    return re.sub(r"[-\d.]*\.(?:cpython|abi3|so|c|h|py)\b.*$", "", folder).lstrip("_") or folder
