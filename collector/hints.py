"""User-agent client hints: what a browser says of itself beside its frozen user agent.

`Sec-CH-UA`, `Sec-CH-UA-Mobile` and `Sec-CH-UA-Platform` are structured fields (RFC 9651; brands:
https://wicg.github.io/ua-client-hints/). A field that breaks that syntax is ignored as a whole, as
the standard asks. Brands are looked up in a closed table: what a browser makes up to keep parsers
honest ("GREASE": `"Not/A)Brand"`) is in none, and neither is what a client invents.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from collector.headers import Headers

_BRANDS: Final = "sec-ch-ua"
_MOBILE: Final = "sec-ch-ua-mobile"
_PLATFORM: Final = "sec-ch-ua-platform"
# Of all three; browsers send about 120. What is read is remembered, so it must be small.
_FIELDS_CHARS_MAX: Final = 1_024
_BRANDS_MAX: Final = 16

_STRING: Final = r'"((?:[ !#-\[\]-~]|\\["\\])*+)"'
_BARE: Final = (
    rf"(?:{_STRING.replace('(', '(?:', 1)}|\?[01]|-?[0-9.]{{1,16}}|[A-Za-z*][!-+\--:<-~]*+)"
)
_PARAMETERS: Final = rf"(?:; *+[a-z*][a-z0-9_.*-]*+(?:={_BARE})?)*+"
_BRAND: Final = re.compile(rf"{_STRING}{_PARAMETERS}[ \t]*+(?:,[ \t]*+(?=[^\s])|\Z)")
_TEXT: Final = re.compile(rf"{_STRING}{_PARAMETERS}")
_TRUTH: Final = re.compile(rf"\?([01]){_PARAMETERS}")
_ESCAPED: Final = re.compile(r"\\(.)")

# Brand, in small letters: how the family is called where it comes from the user agent. Chromium and
# Google Chrome are missing, because that much the agent says by itself.
BRAND_FAMILIES: Final[Mapping[str, str]] = {
    "brave": "Brave",
    "microsoft edge": "Edge",
    "opera": "Opera",
    "opera gx": "Opera GX",
    "vivaldi": "Vivaldi",
    "yabrowser": "Yandex Browser",
    "yandex": "Yandex Browser",
    "samsung internet": "Samsung Internet",
    "duckduckgo": "DuckDuckGo",
    "whale": "Whale",
    "headlesschrome": "HeadlessChrome",
}
PLATFORM_FAMILIES: Final[Mapping[str, str]] = {
    "android": "Android",
    "chrome os": "Chrome OS",
    "chromium os": "Chrome OS",
    "ios": "iOS",
    "linux": "Linux",
    "macos": "Mac OS X",
    "windows": "Windows",
}


class Hints(msgspec.Struct, frozen=True):
    """What was said, in our own words; None: nothing, or nothing that is known.

    `brand` is a family of `BRAND_FAMILIES`, `platform` one of `PLATFORM_FAMILIES`.
    """

    brand: str | None = None
    mobile: bool | None = None
    platform: str | None = None


def read(headers: Headers) -> Hints | None:
    """The hints of a request, whose `headers` have lower-case names; None without any of use."""
    brands = headers.get(_BRANDS, "")
    mobile = headers.get(_MOBILE, "")
    platform = headers.get(_PLATFORM, "")
    if not (brands or mobile or platform):
        return None
    if len(brands) + len(mobile) + len(platform) > _FIELDS_CHARS_MAX:
        return None
    return _parse_cached(brands, mobile, platform)


def parse(brands: str, mobile: str, platform: str) -> Hints:
    """The values of the three fields, "" for one that is missing."""
    truth = _TRUTH.fullmatch(mobile.strip(" "))
    named = _TEXT.fullmatch(platform.strip(" "))
    return Hints(
        brand=_brand(brands.strip(" ")),
        mobile=None if truth is None else truth[1] == "1",
        platform=None if named is None else PLATFORM_FAMILIES.get(_unescaped(named[1]).lower()),
    )


# What is remembered is as small as the fields may be.
_parse_cached: Final = lru_cache(maxsize=512)(parse)


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _brand(text: str) -> str | None:
    """The first brand of the list that the table knows."""
    at, count, found = 0, 0, None
    while at < len(text):
        match = _BRAND.match(text, at)
        if match is None or count == _BRANDS_MAX:
            return None
        if found is None:
            found = BRAND_FAMILIES.get(_unescaped(match[1]).lower())
        at, count = match.end(), count + 1
    return found
