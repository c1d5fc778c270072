"""What limits cost in memory and in pauses when very many addresses come.

Each measurement runs in a process of its own, because memory is given back to the system rarely:
`python -m bench.limits ADDRESSES STEP_US` prints it as JSON. No server and no disk are involved.
"""

import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bench.figures import Figure
from bench.fleet import LoadFailed
from bench.options import Options
from collector.config import Limits
from collector.ratelimit import Limiter

# Each limit remembers 100,000: from there on nothing grows, whether two million come or ten.
_ADDRESSES: Final = 2_000_000
_ADDRESSES_QUICK: Final = 200_000
_ROUNDS: Final = 3
_PAGE_BYTES: Final = 4_096
_TIMEOUT_S: Final = 300


class Cost(msgspec.Struct, frozen=True):
    """What was measured: growth of the process, and processor time.

    `mean_us` is per call, `longest_us` is that of the four calls for one address.
    """

    grown_bytes: int
    mean_us: float
    longest_us: float


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Cost)


def limits(options: Options) -> list[Figure]:
    """Memory of all limits by address together, and the longest pause. Raises `LoadFailed`."""
    count = _ADDRESSES if options.seconds >= 10 else _ADDRESSES_QUICK
    # At a stand-still every address keeps its place; at 10,000 a second places become free again.
    still, passing = _in_process(count, 0), _in_process(count, 100)
    # The machine pauses too: what is ours shows up in every round.
    rounds = [_in_process(count // 20, 100) for _ in range(_ROUNDS)]
    return [
        Figure("limits_addresses", count, "addresses", "distinct, half IPv4, half IPv6"),
        Figure("limits_grown_mb", still.grown_bytes / 1e6, "MB", "three limits, table full"),
        Figure("limits_passing_grown_mb", passing.grown_bytes / 1e6, "MB", "at 10,000 a second"),
        Figure("limits_call_us", passing.mean_us, "us", "an address never seen before"),
        Figure(
            "limits_pause_us",
            min(cost.longest_us for cost in rounds),
            "us",
            f"the longest, least of {_ROUNDS} rounds",
        ),
    ]


def _in_process(count: int, step_us: int) -> Cost:
    done = subprocess.run(
        [sys.executable, "-m", "bench.limits", str(count), str(step_us)],
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise LoadFailed(done.stderr.decode(errors="replace")[-500:])
    return _decoder.decode(done.stdout)


def measure(count: int, step_us: int) -> Cost:
    """Send `count` addresses through every limit by address, `step_us` apart."""
    # As in the collector: what lives as long as the process is not visited by collections.
    limiter = Limiter(Limits(croct_requests_per_minute=100), {}, ())
    asked = (limiter.browser, limiter.failed_auth_blocked, limiter.failed_auth)
    gc.freeze()
    before, began_s = _resident_bytes(), time.thread_time()
    longest_s, now_us = 0.0, 0
    for address in _addresses(count):
        now_us += step_us
        called_s = time.thread_time()
        for ask in asked:
            ask(address, now_us)
        limiter.application(address, "", now_us)
        longest_s = max(longest_s, time.thread_time() - called_s)
    spent_s = time.thread_time() - began_s
    gc.unfreeze()
    return Cost(_resident_bytes() - before, spent_s * 1e6 / count / 4, longest_s * 1e6)


def _addresses(count: int) -> Iterator[str]:
    """Addresses of which no two are the same, nor two of IPv6 in one /64."""
    for number in range(count // 2):
        high, low = divmod(number, 65_536)
        yield f"{11 + (high >> 8)}.{high & 255}.{low >> 8}.{low & 255}"
        yield f"2001:db8:{high:x}:{low:x}::1"


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


if __name__ == "__main__":
    sys.stdout.buffer.write(_encoder.encode(measure(int(sys.argv[1]), int(sys.argv[2]))))
