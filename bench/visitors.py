"""Who visits: a browser, its language and screen, the headers of its requests. Pure."""

import random
from functools import cache
from itertools import accumulate
from typing import Final

import msgspec

from bench.browsers import Browser, browsers, falling

_LANGUAGES: Final = [
    *("en-US", "de-DE", "en-GB", "fr-FR", "pt-BR", "es-ES", "hi-IN", "ja-JP", "it-IT", "nl-NL"),
    *("pl-PL", "es-MX", "de-AT", "de-CH", "fr-CA", "en-IN", "en-AU", "ko-KR", "zh-CN", "tr-TR"),
    *("sv-SE", "cs-CZ", "ru-RU", "da-DK", "zh-TW", "pt-PT", "ar-EG", "he-IL", "uk-UA", "id-ID"),
    *("vi-VN", "th-TH", "fi-FI", "nb-NO", "el-GR", "hu-HU", "ro-RO", "en", "fr", "es-419"),
]
_CUMULATIVE: Final = list(accumulate(falling(len(_LANGUAGES))))


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """One person at one device; `screen` is width and height in CSS pixels."""

    browser: Browser
    language: str
    screen: tuple[int, int]
    id: str

    @property
    def accept_language(self) -> str:
        """The header that goes with the language, the rest of which most people never set."""
        short = self.language.partition("-")[0]
        if short == self.language:
            return self.language
        if short == "en":
            return f"{self.language},en;q=0.9"
        return f"{self.language},{short};q=0.9,en-US;q=0.8,en;q=0.7"

    def headers(self, host: str, origin: str) -> list[tuple[str, str]]:
        """What the browser sends with a `fetch` from `origin` to `host`, which is another site."""
        return [
            ("Host", host),
            ("Connection", "keep-alive"),
            *self.browser.hints,
            ("User-Agent", self.browser.user_agent),
            ("Content-Type", "application/json"),
            ("Accept", "*/*"),
            ("Origin", origin),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Mode", "cors"),
            ("Sec-Fetch-Dest", "empty"),
            ("Referer", origin + "/"),
            ("Accept-Encoding", "gzip, deflate, br, zstd"),
            ("Accept-Language", self.accept_language),
        ]


def draw_visitor(rng: random.Random) -> Visitor:
    """Somebody, as often as such people come."""
    browser = browsers().draw(rng)
    return Visitor(
        browser=browser,
        language=rng.choices(_LANGUAGES, cum_weights=_CUMULATIVE)[0],
        screen=rng.choices(browser.screens, cum_weights=_screens(len(browser.screens)))[0],
        id=draw_uuid(rng),
    )


def draw_uuid(rng: random.Random) -> str:
    """A UUID of version 4 in text."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


@cache
def _screens(count: int) -> list[float]:
    return list(accumulate(falling(count)))
