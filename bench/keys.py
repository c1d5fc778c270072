"""Measure the key index at scale: `python -m bench.keys`; `--huge` for a thousand million keys.

Each stage is a process of its own, so that the memory it tells of is that of the index and of
nothing else. The first claims all keys, spread over 24 hours, and is killed with -9; the second
opens what is left and must give the same answers; the third has everything happen all the time and
looks for pauses.
"""

import gc
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from bench import history
from bench.figures import Figure, percentile, table
from bench.keyload import KEY_BYTES, Claims, random_keys, resident_mb, spent_us
from bench.switches import directory_option, history_option
from storage import keyindex, keyupkeep
from storage.keyindex import WINDOW_US

_BATCH: Final = 1_000
_KEYS: Final = 100_000_000
_HUGE_KEYS: Final = 1_000_000_000
# Of those all but the last ten million are written as runs of so many, as a start does with rows:
# to claim them all would take an hour.
_CLAIMED: Final = 10_000_000
_LOADED: Final = 10_000_000
# One key in so many is remembered and asked for at the end.
_SAMPLED: Final = 20_000
_SAMPLES: Final = "samples"
_ROUNDS: Final = 50
_SINGLES: Final = 2_000
_SETTLE_S: Final = 1_800.0
# The soak: generations so small, and a window so short, that upkeep never rests.
_SOAK_KEYS: Final = 10_000_000
_SOAK_BATCH: Final = 100
_SOAK_GENERATION: Final = 8_192
_SOAK_WINDOW_US: Final = 2_000_000
_SWITCH_S: Final = 0.001
_GC_THRESHOLD: Final = 20_000
_decoder: Final = msgspec.json.Decoder(list[Figure])
_encoder: Final = msgspec.json.Encoder()


def _fill(directory: Path, total: int, end_us: int) -> list[Figure]:
    """Claim `total` keys over the 24 hours before `end_us`, then measure at that size."""
    rng = random.Random(1)
    claims = Claims(directory, end_us - WINDOW_US + 1)
    base_mb = resident_mb()
    filling_us = 0.0
    loaded = total - _CLAIMED if total > _KEYS else 0
    samples = [
        claims.load(_LOADED, end_us - WINDOW_US + 1 + WINDOW_US * done // total)
        for done in _shown(range(0, loaded, _LOADED), "loading")
    ]
    for done in _shown(range(loaded, total, _BATCH), "claiming"):
        keys = random_keys(_BATCH)
        filling_us += spent_us(lambda keys=keys: claims.claim(keys))
        claims.go_on(_BATCH, end_us - WINDOW_US + 1 + WINDOW_US * done // total)
        if rng.random() < _BATCH * _SAMPLED / total:
            samples.append(rng.choice(keys))
    claims.settle(_SETTLE_S)
    (directory / _SAMPLES).write_bytes(b"".join(samples))
    claims.now_us = end_us
    figures = _sizes(claims, base_mb)
    figures.append(
        Figure(
            "keys_filling_us",
            filling_us / (total - loaded),
            "us/key",
            f"the last {total - loaded:,}, while everything is written and joined",
        )
    )
    return figures + _claim_figures(claims) + _repeat_figures(claims, samples, directory)


def _sizes(claims: Claims, base_mb: float) -> list[Figure]:
    index = claims.index
    return [
        Figure("keys_held", len(index), "keys", f"in {index.runs} runs"),
        Figure("keys_resident_mb", resident_mb(), "MB", f"{base_mb:.0f} MB of it without keys"),
        Figure("keys_resident_peak_mb", resident_mb("VmHWM"), "MB", "the most there ever were"),
        Figure("keys_filter_mb", index.memory_bytes / 1e6, "MB", "filters and fences"),
        Figure("keys_disk_mb", index.disk_bytes / 1e6, "MB"),
    ]


def _claim_figures(claims: Claims) -> list[Figure]:
    """Claims of new keys; medians, because single rounds are spoilt by neighbours."""
    batches = [random_keys(_BATCH) for _ in range(_ROUNDS)]
    batch_us = sorted(spent_us(lambda keys=keys: claims.claim(keys)) / _BATCH for keys in batches)
    singles = []
    for _ in range(_ROUNDS):
        keys = [[key] for key in random_keys(_SINGLES)]
        singles.append(spent_us(lambda keys=keys: [claims.claim(key) for key in keys]) / _SINGLES)
    return [
        Figure("keys_batch_us", percentile(batch_us, 0.5), "us/key", f"new keys, {_BATCH} at once"),
        Figure(
            "keys_single_us", percentile(sorted(singles), 0.5), "us/key", "new keys, one by one"
        ),
    ]


def _repeat_figures(claims: Claims, samples: list[bytes], directory: Path) -> list[Figure]:
    """Look-ups of repeats anywhere in the window, from the system's cache and from the disk."""
    figures = []
    for name, note in [("warm", "files in the system's cache"), ("cold", "read from the disk")]:
        if name == "cold":
            _drop_cached(directory)
        taken = sorted(spent_us(lambda key=key: _must_be_seen(claims, key)) for key in samples)
        figures += [
            Figure(f"keys_repeat_{name}_p50_us", percentile(taken, 0.5), "us", note),
            Figure(f"keys_repeat_{name}_p99_us", percentile(taken, 0.99), "us", note),
        ]
    return figures


def _must_be_seen(claims: Claims, key: bytes) -> None:
    if not claims.is_repeat(key):
        raise AssertionError("a key that was accepted is not known")


def _drop_cached(directory: Path) -> None:
    """Have the system forget what it holds of the files."""
    for path in directory.glob("keys/*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _restart(directory: Path, end_us: int, began_s: float) -> list[Figure]:
    """Open what a killed process left; the same answers as before."""
    claims = Claims(directory, end_us)
    ready_s = time.time() - began_s
    data = (directory / _SAMPLES).read_bytes()
    for at in range(0, len(data), KEY_BYTES):
        _must_be_seen(claims, data[at : at + KEY_BYTES])
    if any(map(claims.is_repeat, random_keys(_SAMPLED))):
        raise AssertionError("a key that was never accepted is known")
    note = f"{len(claims.index):,} keys, from starting Python; not in the system's cache"
    figures = [
        Figure("keys_restart_s", ready_s, "s", note),
        Figure("keys_restart_resident_mb", resident_mb(), "MB"),
    ]
    claims.close()
    return figures


def _soak(directory: Path, total: int) -> list[Figure]:
    """Claims while generations are written, joined and dropped all the time: the longest pause."""
    keyindex.GENERATION_KEYS = _SOAK_GENERATION  # type: ignore[misc]
    keyupkeep.DROP_AFTER_S = 0.0  # type: ignore[misc]
    figures = []
    for name, keeps_up in [("keys_soak_pause_ms", True), ("keys_idle_pause_ms", False)]:
        claims = Claims(directory / name, 0, window_us=_SOAK_WINDOW_US)
        pauses = []
        for done in _shown(range(0, total if keeps_up else total // 10, _SOAK_BATCH), name):
            keys = random_keys(_SOAK_BATCH)
            began_s = time.perf_counter()
            claims.claim(keys)
            claims.go_on(_SOAK_BATCH, done, keeps_up=keeps_up)
            pauses.append((time.perf_counter() - began_s) * 1000)
        held = len(claims.index)
        claims.close()
        pauses.sort()
        note = f"{total:,} claims, {held:,} held at the end" if keeps_up else "the same, no upkeep"
        figures += [
            Figure(name, pauses[-1], "ms", f"longest of {len(pauses):,} batches of 100: {note}"),
            Figure(name.replace("_ms", "_p9999_ms"), percentile(pauses, 0.9999), "ms"),
        ]
    return figures


def _shown(steps: range, label: str) -> Iterator[int]:
    with click.progressbar(steps, label=label, file=sys.stderr, update_min_steps=500) as bar:
        yield from bar


def _staged(stage: str, directory: Path, keys: int, end_us: int) -> list[Figure]:
    """Run a stage in a process of its own and kill it with -9 at the end."""
    command = [sys.executable, "-m", "bench.keys", "--stage", stage, "--keys", str(keys)]
    command += ["--directory", str(directory), "--end-us", str(end_us)]
    command += ["--began", str(time.time())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None, "a pipe"
        line = child.stdout.readline()
        child.kill()
    if not line:
        raise click.ClickException(f"stage {stage} failed")
    return _decoder.decode(line)


def _tell(figures: list[Figure]) -> None:
    """Hand figures to the process that waits for them, and wait for its kill -9."""
    sys.stdout.buffer.write(_encoder.encode(figures) + b"\n")
    sys.stdout.buffer.flush()
    sys.stdin.read()


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--keys", type=click.IntRange(_BATCH), default=_KEYS, help="Keys held.")
@click.option("--huge", is_flag=True, help="1,000 million: a quarter of an hour and 30 GB of disk.")
@click.option("--soak-keys", type=click.IntRange(_SOAK_BATCH * 10), default=_SOAK_KEYS)
@directory_option("Where files are made. Its disk is part of what is measured.")
@history_option()
@click.option("--stage", type=click.Choice(["fill", "restart", "soak"]), hidden=True)
@click.option("--end-us", type=int, default=0, hidden=True)
@click.option("--began", type=float, default=0.0, hidden=True)
def main(
    *,
    keys: int,
    huge: bool,
    soak_keys: int,
    directory: Path,
    is_kept: bool,
    stage: str | None,
    end_us: int,
    began: float,
) -> None:
    """Measure the key index: memory, claims, repeats, restart, pauses."""
    if stage is not None:
        # As `collector serve` does.
        sys.setswitchinterval(_SWITCH_S)
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
    if stage == "fill":
        _tell(_fill(directory, keys, end_us))
    elif stage == "restart":
        _tell(_restart(directory, end_us, began))
    elif stage == "soak":
        _tell(_soak(directory, keys))
    else:
        _measure(_HUGE_KEYS if huge else keys, soak_keys, directory, is_kept)


def _measure(keys: int, soak_keys: int, parent: Path, is_kept: bool) -> None:
    directory = Path(tempfile.mkdtemp(prefix="collector-bench-", dir=parent))
    end_us = time.time_ns() // 1000
    try:
        figures = _staged("fill", directory, keys, end_us)
        _drop_cached(directory)
        figures += _staged("restart", directory, keys, end_us)
        figures += _staged("soak", directory, soak_keys, end_us)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    run = history.describe(history.Options(directory=parent), figures)
    machine = run.machine
    click.echo(f"{machine.cpu}, {machine.cores} cores, {machine.memory_mb:,} MB\n{table(figures)}")
    if is_kept:
        history.append(run)


if __name__ == "__main__":
    main()
