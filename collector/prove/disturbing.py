"""What is done to a collector under load: one function a kind of round.

Each leaves it dead, or running and to be waited for; what must not happen becomes a fault.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from collector.prove.trial import Trial
from storage import layout

# Longest load before something is done, by default; shortest.
_LOAD_MIN_S: Final = 0.05
_AIM_S: Final = 2.0
_AIM_POLL_S: Final = 0.0005
_FAIL_S: Final = 3.0
_GONE_S: Final = 30.0
# A collector whose disk works again says so after a probe, which is due every second.
_RECOVER_S: Final = 60.0
_POLL_S: Final = 0.01
# Of a log file of this size the next write is cut short: somewhere in the first groups.
_CUT_BYTES: Final = (1_000, 60_000)

Disturb = Callable[[Trial, float], None]


def kill(trial: Trial, load_s: float) -> None:
    """Kill -9 of all its processes at a random moment."""
    _wait(trial, load_s)
    trial.collector.kill()


def kill_while_starting(trial: Trial, load_s: float) -> None:
    """Kill it, and once or more kill what starts, recovery included."""
    kill(trial, load_s)
    usual_s = max(trial.recoveries_s[-5:], default=1.0)
    for _ in range(trial.chance.randint(1, 3)):
        trial.collector.start()
        time.sleep(trial.chance.uniform(0.3, 1.2) * usual_s)
        if trial.chance.random() < 0.3:
            _kill_main(trial)
        trial.collector.kill()


def kill_while_flushing(trial: Trial, load_s: float) -> None:
    """Kill it when a file is under construction."""
    _wait(trial, load_s)
    _await(lambda: _unfinished(trial.directory), _AIM_S, _AIM_POLL_S)
    rest(trial, 0.03)
    trial.collector.kill()


def kill_while_joining(trial: Trial, load_s: float) -> None:
    """Have its files joined, and kill it meanwhile."""
    _wait(trial, load_s)
    trial.collector.compact()
    _await(lambda: any((trial.directory / layout.ORDERS).iterdir()), _AIM_S, _AIM_POLL_S)
    rest(trial, 0.8)
    trial.collector.kill()


def kill_while_stopping(trial: Trial, load_s: float) -> None:
    """Tell it to stop, and kill it before it has."""
    _wait(trial, load_s)
    trial.collector.terminate()
    rest(trial, 0.4)
    trial.collector.kill()


def kill_worker(trial: Trial, load_s: float) -> None:
    """Kill its worker; the main process starts another."""
    _wait(trial, load_s)
    if trial.collector.has_lost_worker:
        # A second time within seconds, and the main process gives up, as it is to.
        trial.collector.kill()
        return
    trial.collector.kill_workers()
    _await(lambda: not trial.collector.is_ready(), _AIM_S, _POLL_S)


def kill_main(trial: Trial, load_s: float) -> None:
    """Kill its main process; the worker must end with it."""
    _wait(trial, load_s)
    _kill_main(trial)
    trial.collector.kill()


def _kill_main(trial: Trial) -> None:
    trial.collector.kill_main()
    if not _await(lambda: not trial.collector.workers(), _GONE_S, _POLL_S):
        trial.report.fault("a worker outlived its main process")


def stop(trial: Trial, load_s: float) -> None:
    """SIGTERM in the middle: it ends in order."""
    _wait(trial, load_s)
    trial.collector.terminate()
    code = trial.collector.wait_stopped()
    if code != 0:
        trial.report.fault(f"a stop ended with {code}\n{trial.collector.log_tail()}")
        trial.collector.kill()


def fail_writes(trial: Trial, load_s: float) -> None:
    """Have its writes cut short and refused by the kernel; then it goes on by itself, or is killed.

    The limit on the size of files is that of its worker only.
    """
    _wait(trial, load_s)
    trial.collector.limit_files(trial.chance.randint(*_CUT_BYTES))
    await_refusal(trial, _FAIL_S)
    rest(trial, 0.5)
    if trial.chance.random() < 0.25:
        trial.collector.kill()
        return
    trial.collector.limit_files(None)
    recover_by_itself(trial)
    if trial.chance.random() < 0.5:
        trial.collector.kill()


def recover_by_itself(trial: Trial) -> None:
    """Wait until events are acknowledged again, without a restart; else that is a fault."""
    acknowledged = trial.ledger.acknowledged
    goes_on = _await(lambda: trial.ledger.acknowledged > acknowledged, _RECOVER_S, _POLL_S)
    if not (goes_on and _await(trial.collector.is_ready, _RECOVER_S, _POLL_S)):
        trial.report.fault(
            f"no event was taken {_RECOVER_S:.0f} s after writes worked again\n"
            + trial.collector.log_tail()
        )


def rest(trial: Trial, most_s: float) -> None:
    """Wait for a while, `most_s` seconds at most: how long is left to chance."""
    time.sleep(trial.chance.uniform(0, most_s))


def await_refusal(trial: Trial, timeout_s: float) -> bool:
    """Wait until events are answered "later"; whether they are."""
    refused = trial.load.refused_later
    return _await(lambda: trial.load.refused_later > refused, timeout_s, _POLL_S)


# By name, with how often it is done, of 100 rounds.
KINDS: Final[dict[str, tuple[Disturb, int]]] = {
    "kill": (kill, 56),
    "kill while starting": (kill_while_starting, 8),
    "kill while flushing": (kill_while_flushing, 9),
    "kill while joining": (kill_while_joining, 6),
    "kill while stopping": (kill_while_stopping, 5),
    "kill the worker": (kill_worker, 4),
    "kill the main process": (kill_main, 3),
    "stop": (stop, 3),
    "failed writes": (fail_writes, 4),
}


def _wait(trial: Trial, load_s: float) -> None:
    time.sleep(trial.chance.uniform(_LOAD_MIN_S, max(_LOAD_MIN_S, load_s)))


def _unfinished(directory: Path) -> bool:
    return any((directory / layout.TEMPORARY).iterdir())


def _await(condition: Callable[[], bool], timeout_s: float, poll_s: float) -> bool:
    """Look until `condition` holds; False when it does not in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(poll_s)
    return True
