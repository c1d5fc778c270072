"""Why a page is refused for where it comes from, and the one line of configuration that mends it.

Judges by `Sites`, as requests are, so that it never says anything else than what happens. Must not
know what was sent, nor change anything.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from collector.config import Config, Site
from collector.keys import quoted
from collector.origin import host_allowed, origin_host, split_patterns
from collector.refusal import (
    INACTIVE_SITE,
    METHOD_NOT_ALLOWED,
    ORIGIN_MISSING,
    ORIGIN_REFUSED,
    UNKNOWN_APP,
    UNKNOWN_SITE,
    Refusal,
)
from collector.refused_origins import NOT_FOUND, Place
from collector.sites import Sites


class Advice(msgspec.Struct, frozen=True):
    """What to do. `line`: a setting in TOML, to replace the one of the same name in the `[[sites]]`
    whose id is `site`; both "" where no setting mends it.
    """

    text: str
    site: str = ""
    line: str = ""


class Judgement(msgspec.Struct, frozen=True):
    """Whether a page may send events of a site, why, and what to do if not.

    `host`: the host name that the origin was read as, "" if none.
    """

    is_allowed: bool
    host: str
    why: str
    advice: Advice | None = None


_NO_HOST: Final = (
    'The origin is "null" or names no host for certain: a page in a sandboxed frame, a file that '
    "was opened from a disk, a data: address. No list of domains names it. Serve the page from a "
    "host of its own."
)
_NO_ORIGIN: Final = (
    "There was neither Origin nor Referer, which browsers always send with an event. A program "
    "that is no browser sends to /server-events instead, with an API key."
)
_WRONG_PATH: Final = (
    "No endpoint has this path, so the browser sent nothing. Look at the address in the page's "
    "script: that of this collector, without a path of its own, and without a slash at its end."
)
_WRONG_METHOD: Final = "Events are sent with POST; the browser asked for another method."
_NO_PLACE: Final = "No application is configured that could trust the origin (croct_app_id)."


def judge(config: Config, origin: str, site_id: str) -> Judgement:
    """Whether a page of `origin` may send events of the site. A host name alone will do, too."""
    text = origin.strip()
    is_name = "://" not in text and text != "null"
    host = origin_host(f"https://{text}" if is_name else text)
    found = Sites(config).browser_site(site_id, host)
    if not isinstance(found, Refusal):
        return Judgement(True, host, f"{_pattern(found, host)} in allowed_domains names {host}.")
    place = Place(found.kind.code, "", host, site_id)
    return Judgement(False, host, found.message, advise(config, place))


def advise(config: Config, place: Place) -> Advice:
    """What to do about a place that was refused, by the configuration of now."""
    if place.reason == ORIGIN_REFUSED.code:
        return _about_origin(config, place)
    if place.reason == INACTIVE_SITE.code:
        site = _site_of(config, place.asked)
        if site is None:
            return Advice("The site was switched off, and is no longer there.")
        if site.active:
            return _done(site)
        return Advice("The site is switched off.", site.id, "active = true")
    if place.reason == UNKNOWN_SITE.code:
        if _site_of(config, place.asked) is not None:
            return Advice("By now there is such a site: nothing is left to do.")
        known = ", ".join(site.id for site in config.sites) or "none"
        return Advice(f"No site has this id. Have the page use one that is there: {known}.")
    if place.reason == UNKNOWN_APP.code:
        return _about_application(config, place.asked)
    return Advice(
        {
            ORIGIN_MISSING.code: _NO_ORIGIN,
            NOT_FOUND: _WRONG_PATH,
            METHOD_NOT_ALLOWED.code: _WRONG_METHOD,
        }[place.reason]
    )


def _about_origin(config: Config, place: Place) -> Advice:
    if not place.origin:
        return Advice(_NO_HOST)
    # Croct's client id is asked for without saying for which application.
    site = _site_of(config, place.asked) if place.asked else _first_application(config)
    if site is None:
        return Advice(_NO_PLACE if not place.asked else "The site is no longer configured.")
    if _pattern(site, place.origin):
        return _done(site)
    domains = (*site.allowed_domains, place.origin)
    return Advice(
        "If this is a page of yours, allow its host. Others stay refused.",
        site.id,
        f"allowed_domains = {_array(domains)}",
    )


def _about_application(config: Config, app_id: str) -> Advice:
    if _site_of(config, app_id) is not None:
        return Advice("By now there is such an application: nothing is left to do.")
    free = next((site for site in config.sites if not site.croct_app_id), None)
    if free is not None:
        text = "No site has this application id. If it is yours, give it to the site it is for."
        return Advice(text, free.id, f"croct_app_id = {quoted(app_id)}")
    known = ", ".join(site.croct_app_id for site in config.sites) or "none"
    return Advice(f"No site has this application id. Have the page use one that is there: {known}.")


def _done(site: Site) -> Advice:
    return Advice(f"By now the configuration of site {site.id} allows it: nothing is left to do.")


def _site_of(config: Config, asked: str) -> Site | None:
    """The site that was asked for, by its id or by that of its application."""
    sites = config.sites
    return next((site for site in sites if asked and asked in {site.id, site.croct_app_id}), None)


def _first_application(config: Config) -> Site | None:
    return next((site for site in config.sites if site.croct_app_id and site.active), None)


def _pattern(site: Site, host: str) -> str:
    """The domain of a site that names `host`, "" if none does."""
    return next(
        (
            pattern
            for pattern in site.allowed_domains
            if host_allowed(host, *split_patterns([pattern]))
        ),
        "",
    )


def _array(values: Sequence[str]) -> str:
    return f"[{', '.join(map(quoted, values))}]"
