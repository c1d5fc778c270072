"""Counting instructions with valgrind's callgrind: how it is run, asked, and read.

Callgrind simulates the processor, so a count depends on program and input, not on how busy the
machine is or how fast. The kernel's work is not counted. Knows nothing of what is counted.
"""

import ctypes
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
# What glibc's functions for memory and texts may not choose: they differ between processors, and
# `rep movsb` (ERMS) would count each byte that it copies as an instruction.
_TUNABLES: Final = "glibc.cpu.hwcaps=-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM"

# A client request, as valgrind.h has it: rax points to six words, rdx holds the answer that is
# given where no valgrind listens. Four rotations that together change nothing, and an exchange of
# a register with itself: to a processor it is idling.
_MACHINE_CODE: Final = bytes.fromhex(
    "4889f8"  # mov rax, rdi
    "31d2"  # xor edx, edx
    "48c1c703"  # rol rdi, 3
    "48c1c70d"  # rol rdi, 13
    "48c1c73d"  # rol rdi, 61
    "48c1c733"  # rol rdi, 51
    "4887db"  # xchg rbx, rbx
    "4889d0"  # mov rax, rdx
    "c3"  # ret
)
_RUNNING_ON_VALGRIND: Final = 0x1001
_CALLGRIND: Final = (ord("C") << 24) | (ord("T") << 16)
_DUMP_STATS_AT, _START_INSTRUMENTATION, _STOP_INSTRUMENTATION = (
    _CALLGRIND + number for number in (3, 4, 5)
)

_NAME: Final = re.compile(r"^desc: Trigger: Client Request: (.+)$", re.MULTILINE)
_TOTAL: Final = re.compile(r"^totals: (\d+)", re.MULTILINE)


class CountFailed(Exception):
    """Nothing was counted, for the reason in the message."""


class Counter:
    """Counts what this process does between `start` and `stop`. Outside valgrind it cannot be made.

    Raises `CountFailed`. Everything outside is run without being counted, several times faster.
    """

    def __init__(self) -> None:
        if platform.machine() != "x86_64":
            raise CountFailed(f"callgrind can be asked on x86_64 only, not on {platform.machine()}")
        self._code = mmap.mmap(-1, len(_MACHINE_CODE), prot=mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._code.write(_MACHINE_CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        self._ask = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)
        if not self._request(_RUNNING_ON_VALGRIND):
            raise CountFailed("this process is not run by valgrind")

    def start(self) -> None:
        """Count from here, from zero: writing a count ends it."""
        self._request(_START_INSTRUMENTATION)

    def stop(self, name: str) -> None:
        """Count no longer; what was counted is written under `name` (ASCII)."""
        text = ctypes.create_string_buffer(name.encode("ascii"))
        self._request(_DUMP_STATS_AT, ctypes.addressof(text))
        self._request(_STOP_INSTRUMENTATION)

    def _request(self, code: int, argument: int = 0) -> int:
        words = (ctypes.c_uint64 * 6)(code, argument)
        return int(self._ask(ctypes.addressof(words)))


def is_installed() -> bool:
    """Whether there is a valgrind to run."""
    return shutil.which("valgrind") is not None


def counted(
    module: str, arguments: Sequence[str], folder: Path, timeout_s: float
) -> dict[str, int]:
    """Run a Python module under callgrind: instructions by the names that its `Counter` stopped at.

    Callgrind's profiles stay in `folder`, which is empty before. Raises `CountFailed`.
    """
    command = [
        "valgrind",
        "--quiet",
        "--tool=callgrind",
        "--instr-atstart=no",
        f"--callgrind-out-file={folder / 'callgrind.out'}",
        *(sys.executable, "-m", module, *arguments),
    ]
    try:
        subprocess.run(
            command,
            cwd=ROOT,
            env=_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise CountFailed(f"not counted after {timeout_s:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise CountFailed(f"{module} ended with {error.returncode}:\n{error.stderr}") from None
    except OSError as error:
        raise CountFailed(f"valgrind cannot be run: {error.strerror}") from None
    # The last one is written at the end, and holds what nobody asked for.
    profiles = sorted(folder.glob("callgrind.out.*"))
    return dict(total(profile.read_text(errors="replace")) for profile in profiles)


def total(profile: str) -> tuple[str, int]:
    """Name and instructions of a profile that a `Counter` had written. Raises `CountFailed`."""
    name, instructions = _NAME.search(profile), _TOTAL.search(profile)
    if name is None or instructions is None:
        raise CountFailed("callgrind wrote no total")
    return name[1], int(instructions[1])


def _environment() -> dict[str, str]:
    """Nothing of the caller's but where programs are: his settings would be counted, too."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "GLIBC_TUNABLES": _TUNABLES,
    }
