"""`collector demo`: realistic traffic of all three protocols to a running collector, and a summary.

Owns the pace and the account of it. `demo_visitors` says what happens, `demo_sender` sends it. A
client like any other: it shares nothing with the collector but the configuration it reads.
"""

import contextlib
import random
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

import click
import msgspec

from collector import keys
from collector.config import Config, Site
from collector.demo_sender import Sender, Tally, Unreachable
from collector.demo_shop import Shop
from collector.demo_visitors import Crowd

__all__ = ["Options", "Summary", "Unreachable", "Unusable", "run", "shop_of"]

SECONDS_MAX: Final = 3_600.0
# Beyond it browser events would no longer fit into one batch of 100 a second.
RATE_MAX: Final = 200.0
_TICK_S: Final = 0.1
_PROGRESS_S: Final = 2.0
_COUNTS: Final = ("sent", "accepted", "duplicate", "rejected", "limited", "waiting")
_QUERY: Final = (
    "SELECT protocol, source, coalesce(event_type, event_name) AS event, count(*) AS events "
    "FROM valid_events GROUP BY ALL ORDER BY ALL"
)


class Unusable(Unreachable):
    """The options or the configuration leave nothing to send; the message says why."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What to send where. `rate`: events per second over all protocols, about.

    `key` is the text of an API key; without one that may be of use, nothing is sent that needs it.
    """

    url: str
    seconds: float = 10.0
    rate: float = 20.0
    key: str = keys.DEMO_KEY


class Summary(msgspec.Struct, frozen=True):
    """What came of it: counts by channel, and the first refusal of each in the collector's words.

    As text: a table, the refusals, and what to do next.
    """

    tallies: dict[str, Tally]
    refusals: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(["", *self._table(), *self.refusals, "", *self._hint()])

    def _table(self) -> list[str]:
        lines = ["".join([f"{'':<16}", *(f"{name:>11}" for name in _COUNTS)])]
        for channel, tally in self.tallies.items():
            counts: list[int] = [getattr(tally, name) for name in _COUNTS]
            lines.append("".join([f"{channel:<16}", *(f"{count:>11,}" for count in counts)]))
        return lines

    def _hint(self) -> Sequence[str]:
        if not any(tally.accepted for tally in self.tallies.values()):
            return ("Nothing was accepted.",)
        return ("Look at it:", f'  collector query "{_QUERY}"')


def run(
    options: Options,
    config: Config,
    *,
    now_s: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    say: Callable[[str], object] = click.echo,
    seed: int | None = None,
) -> Summary:
    """Send traffic of the first active site for `options.seconds`, saying how far it is.

    Stops early on Ctrl-C. `now_s` is Unix time; `seed` None: other visitors every time (the
    collector would take the same ones for repeats). Raises `Unreachable` when no collector answers
    and, as one of them, `Unusable`.
    """
    if not 0 < options.seconds <= SECONDS_MAX or not 0 < options.rate <= RATE_MAX:
        raise Unusable(f"at most {SECONDS_MAX:,.0f} seconds and {RATE_MAX:.0f} events a second")
    shop = shop_of(config)
    seed = secrets.randbits(64) if seed is None else seed
    crowd = Crowd(shop, random.Random(seed))  # noqa: S311 made-up visitors, no secret
    with Sender(options.url, shop, _usable_key(options, config)) as sender:
        say(f"sending events of site {shop.site} to {options.url} for {options.seconds:g} s")
        for remark in sender.remarks:
            say(remark)
        began_s = told_s = now_s()
        made = 0
        with contextlib.suppress(KeyboardInterrupt):
            while (moment_s := now_s()) < began_s + options.seconds:
                while made < (moment_s - began_s) * options.rate:
                    made += 1
                    for step in crowd.next(int(moment_s * 1_000)):
                        sender.take(step)
                sender.flush(moment_s)
                if moment_s - told_s >= _PROGRESS_S:
                    told_s = moment_s
                    say(_progress(sender, moment_s - began_s))
                sleep(_TICK_S)
        sender.finish(now_s())
        return Summary(sender.tallies(), sender.refusals())


def shop_of(config: Config) -> Shop:
    """The shop of the first active site of `config`. Raises `Unusable`."""
    site = next((site for site in config.sites if site.active), None)
    if site is None:
        raise Unusable("the configuration has no active site to send events to")
    return Shop(
        site=site.id,
        origin=_origin(site),
        tracking_code=site.tracking_code,
        app_id=site.croct_app_id,
        goal=min(site.goals, default=""),
    )


def _origin(site: Site) -> str:
    """An origin that the site allows."""
    for domain in site.allowed_domains:
        return "http://" + domain.replace("*.", "www.", 1)
    raise Unusable(f"site {site.id} allows no domain, so that no browser can send events to it")


def _usable_key(options: Options, config: Config) -> str:
    """The key to send, "" for the published one where the configuration does not know it."""
    known = {key.sha256 for key in config.keys}
    if options.key == keys.DEMO_KEY and keys.digest(keys.DEMO_KEY) not in known:
        return ""
    return options.key


def _progress(sender: Sender, elapsed_s: float) -> str:
    tallies = sender.tallies().values()
    accepted = sum(tally.accepted for tally in tallies)
    others = sum(tally.sent for tally in tallies) - accepted
    return f"{elapsed_s:4.0f} s: {accepted:,} events accepted, {others:,} answered otherwise"
