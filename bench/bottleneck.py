"""What limits a collector under load: its handler, its disk, the machine, or the load generator.

The handler is one thread, and while the disk is fast it also writes and syncs: its time goes into
running, waiting for a core that somebody else has, and waiting for the disk. What of that is left
over is capacity. Pure.
"""

from typing import Final, Literal

import msgspec

Name = Literal["handler", "sync", "machine", "generator", "nothing"]

# The loop of a server that is loaded evenly cannot be filled further than this.
_FULL: Final = 0.80
# Of a core, per generator process.
_GENERATOR_FULL: Final = 0.90
# Of the latency that is allowed: later than that and it is measuring itself.
_GENERATOR_LATE: Final = 0.5
# Cores; a quiet machine's own business takes less.
_OTHERS_BUSY: Final = 0.4
# Of the handler's time: more than a generator beside it takes on two cores.
_WAITS: Final = 0.15


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the time of one load: 1 is all of it, of one core where it is CPU.

    `handler`: the server's busiest thread, called `thread`, on a core. `waiting`: the same ready,
    without a core. `sync`: in writes and syncs of the log. `generator`: each generator process on a
    core. `generator_lag_ms`: p99 of how late it was itself. `others`: cores that neither server
    nor generator had.
    """

    handler: float
    waiting: float
    sync: float
    generator: float
    generator_lag_ms: float
    others: float = 0.0
    thread: str = ""


class Limit(msgspec.Struct, frozen=True):
    """What limits, and why it is believed."""

    name: Name
    words: str


def find_limit(use: Use, latency_ms_max: float) -> Limit:
    """Name what was used up by a load that was just too much."""
    parts = f"CPU {use.handler:.2f}, sync {use.sync:.2f}, waiting for a core {use.waiting:.2f}"
    if use.generator >= _GENERATOR_FULL:
        return Limit(
            "generator",
            f"the load generator: each process used {use.generator:.2f} of a core. The collector "
            "can do more: use more --processes, on a machine with more cores",
        )
    filled = use.handler + use.waiting + use.sync
    if filled >= _FULL:
        return _limit_of_loop(use, parts)
    if use.others >= _OTHERS_BUSY:
        return Limit(
            "machine",
            f"the machine: other processes used {use.others:.2f} cores, so the handler was late "
            f"without being full ({parts}). Measure again when it is quiet",
        )
    if use.generator_lag_ms >= latency_ms_max * _GENERATOR_LATE:
        return Limit(
            "generator",
            f"the load generator: it was late itself by {use.generator_lag_ms:.0f} ms (p99) while "
            f"the handler was not full ({parts})",
        )
    return Limit(
        "nothing",
        f"nothing that was used up ({parts}): single pauses are longer than what is allowed",
    )


def _limit_of_loop(use: Use, parts: str) -> Limit:
    shares: dict[Name, float] = {
        "handler": use.handler,
        "sync": use.sync,
        "machine": use.waiting,
    }
    name = max(shares, key=lambda one: shares[one])
    if use.others >= _OTHERS_BUSY and use.waiting >= _WAITS:
        # A sync that is over also waits for a core, so that its share is too large.
        name = "machine"
    words: dict[Name, str] = {
        "handler": f"the handler's CPU: the time of its thread ({use.thread}) went into {parts}",
        "sync": f"sync: the log's writes and syncs took most of the handler's time ({parts})",
        "machine": f"the machine: others had the cores that the handler was ready for ({parts}; "
        f"processes that belong to neither side used {use.others:.2f} cores)",
    }
    return Limit(name, words[name])
