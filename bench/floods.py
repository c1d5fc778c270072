"""Starts flood and crowd processes, and looks at the server meanwhile."""

import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import msgspec

from bench.crowd import Crowd, Crowded
from bench.fleet import LoadFailed
from bench.flood import Flood, Flooded
from bench.target import Collector

_ROOT: Final = Path(__file__).resolve().parent.parent
_GRACE_S: Final = 60.0
_STAND_S: Final = 60.0
_SAMPLE_S: Final = 0.5


def _start(module: str, told: bytes, out: IO[bytes] | int) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    child.stdin.write(told)
    child.stdin.close()
    # `communicate` would flush it once more.
    child.stdin = None
    return child


class _Child:
    """A process that ends with the block."""

    def __init__(
        self, module: str, told: bytes, seconds: float, out: IO[bytes] | int = subprocess.PIPE
    ) -> None:
        self._timeout_s = seconds + _GRACE_S
        self._child = _start(module, told, out)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()

    def _output(self) -> bytes:
        try:
            out, err = self._child.communicate(timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            raise LoadFailed("a load process did not end in time") from None
        if self._child.returncode:
            raise LoadFailed(err.decode(errors="replace").strip()[-500:])
        return out


class Flooding(_Child):
    """A flood at work."""

    def __init__(self, flood: Flood) -> None:
        # Megabytes of latencies. Twice the end of a report was missing when it came through a pipe;
        # why is not known, and has not been seen with a file.
        self._report = tempfile.TemporaryFile()  # noqa: SIM115 (closed at the end of the block)
        super().__init__("bench.flood", msgspec.json.encode(flood), flood.seconds, self._report)

    def wait(self) -> Flooded:
        """What came of it. Raises `LoadFailed`."""
        self._output()
        self._report.seek(0)
        report = self._report.read()
        try:
            return msgspec.json.decode(report, type=Flooded)
        except msgspec.DecodeError as error:
            raise LoadFailed(f"a flood's report of {len(report):,} bytes: {error}") from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._report.close()


class Crowding(_Child):
    """A crowd; entered, all of its connections stand."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__("bench.crowd", msgspec.json.encode(crowd), crowd.seconds + _STAND_S)

    def __enter__(self) -> Self:
        assert self._child.stdout is not None
        self.stood = int(self._child.stdout.readline() or b"0")
        return self

    def wait(self) -> Crowded:
        """What came of it. Raises `LoadFailed`."""
        try:
            return msgspec.json.decode(self._output(), type=Crowded)
        except msgspec.DecodeError as error:
            raise LoadFailed(f"a crowd's report: {error}") from None


class Watch:
    """The most memory that the collector's processes have together while the block runs."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.max_mb = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.max_mb = max(self.max_mb, self._collector.group_mb())
            if self._is_over.wait(_SAMPLE_S):
                return
