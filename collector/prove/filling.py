"""The round on a disk that fills up under load."""

from typing import Final

from collector.prove import disturbing
from collector.prove.smalldisk import SmallDisk
from collector.prove.trial import Trial

_ROOM_BYTES: Final = (100_000, 3_000_000)
# About what a start takes.
_START_S: Final = 1.0
_FILL_S: Final = 2.0
_FILLS_MAX: Final = 30


def fill(trial: Trial, disk: SmallDisk, batched_max: int) -> None:
    """Fill the disk, and give its room back: to a collector that goes on, or to one that starts.

    Then kill it in any case, start it, compare. Raises `NotReady`, `StorageError` or OSError.
    """
    trial.collector.start()
    trial.collector.wait_ready()
    trial.load.start(batched_max)
    disk.fill(trial.chance.randint(*_ROOM_BYTES))
    is_refusing = disturbing.await_refusal(trial, _FILL_S)
    for _ in range(_FILLS_MAX):
        if is_refusing:
            break
        # The load is slow, or the collector makes room by turning its log into files.
        disk.fill(0)
        is_refusing = disturbing.await_refusal(trial, _FILL_S)
    if not is_refusing:
        trial.report.fault(f"a full disk, and no 503\n{trial.collector.log_tail()}")
    if trial.chance.random() < 0.5:
        disk.empty()
        disturbing.recover_by_itself(trial)
        trial.collector.kill()
    else:
        trial.collector.kill()
        # It starts on a disk that is full, and must wait for room.
        trial.collector.start()
        disturbing.rest(trial, _START_S)
        disk.empty()
    trial.end_load()
    trial.restart()
    trial.check()
    trial.send_again()
    trial.collector.terminate()
    code = trial.collector.wait_stopped()
    if code != 0:
        trial.report.fault(f"a stop ended with {code}\n{trial.collector.log_tail()}")
        trial.collector.kill()
    trial.check(anew=True)
