"""What the one-file program runs first, before the command that was asked for.

The file begins with PyInstaller's launcher. It unpacks everything into a new folder in the
system's temporary folder, starts this in a second process, passes signals on to it, and removes
the folder when that has ended. A launcher that is killed can do neither: so this process ends with
it, and the next start removes what it left behind.
"""

import ctypes
import fcntl
import os
import re
import shutil
import signal
import sys
from contextlib import suppress
from multiprocessing import freeze_support
from pathlib import Path
from typing import Final

# How the launcher names a folder: its process id, and chance.
_FOLDER: Final = re.compile(r"_MEI([0-9a-f]{8})[0-9A-Za-z]{6}")
# Lies in folders of ours that are whole. One that is still being unpacked has none, nor has one of
# another program that was packed in the same way.
_MARK: Final = "unpacked-by-event-collector"
_PR_SET_PDEATHSIG: Final = 1
_END_CODE: Final = 1


def main() -> None:
    """Run the command line. Helper processes of `multiprocessing` are diverted before that."""
    freeze_support()
    folder = Path(getattr(sys, "_MEIPASS", ""))
    launched = _FOLDER.fullmatch(folder.name)
    if launched:
        end_with_launcher(int(launched[1], 16))
        hold(folder)
        clear_up(folder.parent)
    from collector.__main__ import main as run  # noqa: PLC0415  helper processes do not need it

    run()


def end_with_launcher(launcher: int) -> None:
    """Have the kernel kill this process when its parent dies; `launcher` is a process id.

    The parent is the launcher, or a process that is tied to the launcher in the same way (`prove`,
    which starts collectors). The launcher may have died while this process was being started.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        is_alive = Path(f"/proc/{launcher}/exe").samefile("/proc/self/exe")
    except OSError:
        is_alive = False
    if not is_alive:
        os._exit(_END_CODE)


def hold(folder: Path) -> None:
    """Say that `folder` is in use, for as long as this process or a fork of it lives.

    Whoever clears up old temporary files by systemd-tmpfiles leaves a locked folder alone, too.
    """
    # Locked first, marked then: what bears the mark and is not locked is left over.
    fcntl.flock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), fcntl.LOCK_SH)
    with suppress(OSError):
        (folder / _MARK).touch(mode=0o600)


def clear_up(temporary: Path) -> None:
    """Remove what killed launchers left in the folder `temporary`; what cannot be removed stays.

    Only folders of the same user that bear our mark and that nobody has locked.
    """
    with suppress(OSError), os.scandir(temporary) as entries:
        for entry in entries:
            if _FOLDER.fullmatch(entry.name):
                _remove_if_left(Path(entry.path))


def _remove_if_left(folder: Path) -> None:
    try:
        # Of a link nothing is opened.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_uid == os.geteuid() and (folder / _MARK).is_file():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # locked: in use
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
