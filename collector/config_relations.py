"""Relations between settings: what no value shows to be wrong by itself.

Pure: takes a `Config` whose values are each of their kind and yields (key, message) per broken
relation. `at_fault` tells which values were reported already and replaced by a default: a relation
that involves one of them is not judged, because a second complaint about it would only mislead.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from collector.config import Config, Key, Site
from collector.config_reader import close_to
from collector.config_values import shown

AtFault = Callable[[str], bool]
Broken = tuple[str, str]

_LISTED_MAX: Final = 10


def broken_relations(config: Config, at_fault: AtFault) -> Iterator[Broken]:
    """Every broken relation of `config`, as (key, message)."""
    yield from _queue_holds_a_body(config, at_fault)
    yield from _room_for_a_body(config, at_fault)
    yield from _repeated("sites", "id", [site.id for site in config.sites])
    yield from _repeated("sites", "tracking_code", [site.tracking_code for site in config.sites])
    yield from _repeated("sites", "croct_app_id", [site.croct_app_id for site in config.sites])
    yield from _repeated("keys", "name", [key.name for key in config.keys])
    yield from _repeated("keys", "sha256", [key.sha256 for key in config.keys])
    yield from _tiers_exist(config, at_fault)
    yield from _keys_reach_something(config, at_fault)


def _queue_holds_a_body(config: Config, at_fault: AtFault) -> Iterator[Broken]:
    """A body that is allowed must fit into an empty queue, else it is 503 for ever."""
    if at_fault("storage.queue_bytes_max") or at_fault("server.body_bytes_max"):
        return
    queue_bytes, body_bytes = config.storage.queue_bytes_max, config.server.body_bytes_max
    if queue_bytes < body_bytes:
        message = f"must be at least server.body_bytes_max ({body_bytes}), not {queue_bytes}"
        yield "storage.queue_bytes_max", message


def _room_for_a_body(config: Config, at_fault: AtFault) -> Iterator[Broken]:
    """A body that is allowed must fit in where no other is being received."""
    if at_fault("overload.reading_bytes_max") or at_fault("server.body_bytes_max"):
        return
    room_bytes, body_bytes = config.overload.reading_bytes_max, config.server.body_bytes_max
    if 0 < room_bytes < body_bytes:
        message = f"must be 0 or at least server.body_bytes_max ({body_bytes}), not {room_bytes}"
        yield "overload.reading_bytes_max", message


def _repeated(section: str, member: str, values: Iterable[str]) -> Iterator[Broken]:
    """Values that an earlier table of the same section has; empty ones mean "none"."""
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if value and first.setdefault(value, index) != index:
            earlier = f"{section}[{first[value]}].{member}"
            yield f"{section}[{index}].{member}", f"repeats {earlier}; each must have its own"


def _tiers_exist(config: Config, at_fault: AtFault) -> Iterator[Broken]:
    for index, key in enumerate(config.keys):
        path = f"keys[{index}].tier"
        if key.tier not in config.tiers and not (at_fault(path) or at_fault("tiers")):
            yield path, f"names no tier: {_known(key.tier, config.tiers)}"


def _keys_reach_something(config: Config, at_fault: AtFault) -> Iterator[Broken]:
    members = [
        f"sites[{i}].{member}" for i in range(len(config.sites)) for member in ("id", "team")
    ]
    if at_fault("sites") or any(map(at_fault, members)):
        return
    sites = {site.id: site for site in config.sites}
    for index, key in enumerate(config.keys):
        path = f"keys[{index}]"
        if any(at_fault(f"{path}.{member}") for member in ("site", "team", "scope")):
            continue
        if key.scope == "site_access":
            yield from _reaches_its_site(key, path, sites)
        else:
            yield from _reaches_its_team(key, path, sites)


def _reaches_its_site(key: Key, path: str, sites: dict[str, Site]) -> Iterator[Broken]:
    site = sites.get(key.site)
    if not key.site:
        yield f"{path}.site", 'is missing: scope "site_access" needs the site that the key reaches'
    elif site is None:
        yield f"{path}.site", f"names no site: {_known(key.site, sites)}"
    elif key.team and site.team and key.team != site.team:
        message = f"must be the team of its site, {shown(site.team)}, not {shown(key.team)}"
        yield f"{path}.team", message


def _reaches_its_team(key: Key, path: str, sites: dict[str, Site]) -> Iterator[Broken]:
    teams = {site.team for site in sites.values() if site.team}
    if not key.team:
        yield f"{path}.team", 'is missing: scope "full_access" reaches every site of a team'
    elif key.team not in teams:
        yield f"{path}.team", f"is the team of no site: {_known(key.team, teams)}"


def _known(word: str, words: Iterable[str]) -> str:
    """What could have been meant instead of `word`."""
    names = sorted(words)
    hint = close_to(word, names)
    if hint:
        return f"{shown(word)} is not known{hint}"
    listed = ", ".join(shown(name) for name in names[:_LISTED_MAX])
    more = ", ..." if len(names) > _LISTED_MAX else ""
    return f"there is {listed}{more}" if names else "there is none"
