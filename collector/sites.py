"""Sites, their keys and applications, and who may write to which: look-ups and the access rules.

Built once from a `Config` and never changed; a reload builds another. Every rule returns the site
(or key) or the `Refusal` that says why not, and raises nothing. Host names come from `origin`. Must
not know a protocol's dialect, count anything, or keep the text of a key.
"""

from typing import Final

import msgspec

from collector.config import Config, Key, Site
from collector.keys import digest
from collector.origin import host_allowed, split_patterns
from collector.refusal import (
    INACTIVE_SITE,
    ORIGIN_REFUSED,
    SITE_FORBIDDEN,
    UNKNOWN_APP,
    UNKNOWN_KEY,
    UNKNOWN_SITE,
    Refusal,
)

_UNKNOWN_KEY: Final = Refusal(UNKNOWN_KEY, "the API key is unknown or was revoked")
_UNKNOWN_SITE: Final = Refusal(UNKNOWN_SITE, "site_id names no site of this collector")
_INACTIVE_SITE: Final = Refusal(INACTIVE_SITE, "site_id names a site that is switched off")
_SITE_FORBIDDEN: Final = Refusal(SITE_FORBIDDEN, "the API key does not reach the site of site_id")
_ORIGIN_REFUSED: Final = Refusal(
    ORIGIN_REFUSED, "origin is not one of the site's allowed domains; add its host name there"
)
_UNKNOWN_CODE: Final = Refusal(UNKNOWN_SITE, "trackingCode names no site of this collector")
_INACTIVE_CODE: Final = Refusal(INACTIVE_SITE, "trackingCode names a site that is switched off")
_CODE_FORBIDDEN: Final = Refusal(
    SITE_FORBIDDEN, "the API key does not reach the site of trackingCode"
)
_UNKNOWN_APP: Final = Refusal(UNKNOWN_APP, "X-App-Id names no application of this collector")
_INACTIVE_APP: Final = Refusal(INACTIVE_SITE, "X-App-Id names an application that is switched off")
_ORIGIN_UNTRUSTED: Final = Refusal(
    ORIGIN_REFUSED, "origin is not trusted by the application; add its host name to the domains"
)


class _Entry(msgspec.Struct, frozen=True):
    """A site and its allowed domains, split for `host_allowed`."""

    site: Site
    exact: frozenset[str]
    suffixes: tuple[str, ...]


class Sites:
    """The registry of one configuration."""

    def __init__(self, config: Config) -> None:
        entries = [_Entry(site, *split_patterns(site.allowed_domains)) for site in config.sites]
        self._by_id = {entry.site.id: entry for entry in entries}
        self._by_app_id = {e.site.croct_app_id: e for e in entries if e.site.croct_app_id}
        self._by_code = {e.site.tracking_code: e for e in entries if e.site.tracking_code}
        self._keys = {key.sha256: key for key in config.keys}
        self._keys_by_name = {key.name: key for key in config.keys}
        trusted = [
            domain
            for entry in self._by_app_id.values()
            if entry.site.active
            for domain in entry.site.allowed_domains
        ]
        self._trusted, self._trusted_suffixes = split_patterns(trusted)

    def by_id(self, site_id: str) -> Site | None:
        """The site with this id, active or not."""
        entry = self._by_id.get(site_id)
        return None if entry is None else entry.site

    def by_app_id(self, app_id: str) -> Site | None:
        """The site with this Croct application id (lower case, with dashes), active or not."""
        entry = self._by_app_id.get(app_id)
        return None if entry is None else entry.site

    def by_tracking_code(self, code: str) -> Site | None:
        """The site with this Zenovay tracking code, active or not."""
        entry = self._by_code.get(code)
        return None if entry is None else entry.site

    def key(self, text: str) -> Key | None:
        """The key whose text is `text`.

        Looked up by digest, so that the time it takes tells nothing about how near a guess was.
        """
        return self._keys.get(digest(text))

    def key_named(self, name: str) -> Key | None:
        """The key with this name."""
        return self._keys_by_name.get(name)

    def browser_site(self, site_id: str, origin_host: str) -> Site | Refusal:
        """The site a browser writes to: known, active, and `origin_host` among its domains."""
        entry = self._by_id.get(site_id)
        if entry is None:
            return _UNKNOWN_SITE
        if not entry.site.active:
            return _INACTIVE_SITE
        if not host_allowed(origin_host, entry.exact, entry.suffixes):
            return _ORIGIN_REFUSED
        return entry.site

    def key_holder(self, key_text: str) -> Key | Refusal:
        """The key that a caller shows."""
        return self.key(key_text) or _UNKNOWN_KEY

    def key_site(self, key: Key, site_id: str) -> Site | Refusal:
        """The site with this id, for a caller with `key`.

        A site that does not exist and one that the key does not reach are told alike, so that a
        key cannot be used to find out which sites there are.
        """
        site = self.by_id(site_id)
        if site is None or not _reaches(key, site):
            return _SITE_FORBIDDEN
        return site if site.active else _INACTIVE_SITE

    def key_tracking_code(self, key: Key, code: str) -> Site | Refusal:
        """The site with this tracking code, for a caller with `key`.

        Only a `full_access` key is told that a code is unknown rather than out of its reach.
        """
        site = self.by_tracking_code(code)
        if site is None:
            return _UNKNOWN_CODE if key.scope == "full_access" else _CODE_FORBIDDEN
        if not _reaches(key, site):
            return _CODE_FORBIDDEN
        return site if site.active else _INACTIVE_CODE

    def application(self, app_id: str, origin_host: str | None) -> Site | Refusal:
        """The site with this Croct application id; None: no origin at all, as servers call."""
        entry = self._by_app_id.get(app_id)
        if entry is None:
            return _UNKNOWN_APP
        if not entry.site.active:
            return _INACTIVE_APP
        if origin_host is not None and not host_allowed(origin_host, entry.exact, entry.suffixes):
            return _ORIGIN_UNTRUSTED
        return entry.site

    def any_trusts(self, origin_host: str) -> bool:
        """Whether some active Croct application trusts the origin."""
        return host_allowed(origin_host, self._trusted, self._trusted_suffixes)


def _reaches(key: Key, site: Site) -> bool:
    if key.scope == "full_access":
        # A site without a team belongs to nobody's full_access key.
        return key.team != "" and key.team == site.team
    return key.site == site.id
