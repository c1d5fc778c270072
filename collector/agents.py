"""What a user agent says of its sender: class of device, browser, operating system; bot or not.

Owns the closed list of device types, and what counts as a crawler, a headless browser or an HTTP
library. A few thousand agents make up nearly all traffic, so what was found is kept in a bounded
cache, and only a new agent is parsed (docs/decisions/0010). Knows no request and no row.
"""

import re
from functools import cache
from typing import Final, Literal, get_args

import msgspec
from is_crawler import crawler_contact, crawler_signals, crawler_url, is_crawler
from ua_parser.core import Domain, PartialResult
from ua_parser.loaders import load_lazy_builtins

# The one in Rust. Without its extension module this import fails, and with it the start: the
# fall-back in Python takes 1.4 ms per agent and would stand still under a flood.
from ua_parser.regex import Resolver

from collector.hints import Hints

DeviceType = Literal["desktop", "mobile", "tablet", "tv", "console", "wearable", "bot"]
DEVICE_TYPES: Final[tuple[str, ...]] = get_args(DeviceType)

# Agents of browsers have 100 to 300 characters, those of browsers inside apps up to about 500.
AGENT_CHARS_MAX: Final = 512
# Two generations of this many at most: about 5 MB, 20 MB when every agent is as long as allowed.
GENERATION: Final = 8_192

# What stands at the beginning of an agent of a library or tool that speaks HTTP for a program; here
# and below in small letters. Words are looked for one by one: a pattern of them all takes 20 times
# as long, and an agent that was never seen before is what a flood is made of.
_LIBRARIES: Final = frozenset(
    (
        *("aiohttp", "apache-httpclient", "axios", "bun", "curl", "dart", "deno", "faraday"),
        *("go-http-client", "got", "guzzlehttp", "httpie", "hyper", "insomnia", "jakarta", "java"),
        *("jersey", "ktor", "ktor-client", "libcurl", "libwww-perl", "lwp-request", "lwp-trivial"),
        *("node", "node-fetch", "node-superagent", "okhttp", "php", "postmanruntime", "python"),
        *("python-httpx", "python-requests", "python-urllib", "python-urllib3", "req", "reqwest"),
        *("rest-client", "restsharp", "ruby", "superagent", "symfony", "typhoeus", "undici"),
        *("unirest-java", "unirest-net", "ureq", "wget", "winhttp"),
    )
)
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_POWERSHELL: Final = "powershell/"
_HEADLESS: Final = (
    *("headless", "phantomjs", "slimerjs", "puppeteer", "playwright", "selenium", "webdriver"),
    *("jsdom/", "htmlunit", "cypress/"),
)
# Of is-crawler's signals all but "no_browser_signature": apps, television sets and old phones
# have none of a browser either, and declare nothing.
_DECLARED: Final = frozenset({"bot_signal", "bare_compatible", "known_tool", "url_in_ua"})
_SPIDER: Final = "Spider"
# A maker of phones, whose name ends as a bot's would.
_NO_BOT: Final = "cubot"

_CONSOLE: Final = ("playstation", "xbox", "nintendo", "steam deck")
_TV: Final = (
    *("smarttv", "smart-tv", "hbbtv", "web0s", "netcast", "appletv", "apple tv", "googletv"),
    *("google tv", "android tv", "bravia", "roku/", "roku ", "crkey", "; aft", "vidaa", "viera"),
    *(" tv ", " dtv"),
)
_WEARABLE: Final = (
    *("apple watch", "watchos", "watch os", "wear os", "; sm-r", "; sm-l", "oculusbrowser"),
    *("; quest", "visionos"),
)
_TABLET: Final = ("ipad", "tablet;", "tablet)", "tablet ", "kindle", "playbook")
_TABLET_PC: Final = "tablet pc"  # a Windows with support for pens, on any computer
_MOBILE: Final = (
    *("iphone", "ipod", "mobi", "android", "windows phone", "blackberry", "bb10", "opera mini"),
    *("kaios", "symbian", "nokia", "midp", "j2me"),
)
_DESKTOP: Final = ("windows nt", "macintosh", "x11", "linux", "cros ", "win64", "win32")

# Families that stand for "some browser made of Chromium": only of these a brand knows more.
_CHROMIUM: Final = frozenset({"Chrome", "Chrome Mobile", "Chromium"})
_FIXED: Final = frozenset({"tv", "console", "wearable", "bot"})


class Agent(msgspec.Struct, frozen=True, gc=False):
    """What is known of one agent; None where it does not say.

    `flags` go into the row; `fired` are the rules of `marks` that it satisfies.
    """

    device_type: DeviceType | None = None
    browser_family: str | None = None
    os_family: str | None = None
    flags: tuple[str, ...] = ()
    fired: frozenset[str] = frozenset()


# What is known of somebody who shows none.
NOBODY: Final = Agent()

_CRAWLER: Final = (("bot",), frozenset({"crawler"}))
_HEADLESS_BROWSER: Final = (("bot", "headless"), frozenset({"headless"}))
_HTTP_CLIENT: Final = (("http_client",), frozenset({"http_client"}))
_NOTHING: Final[tuple[tuple[str, ...], frozenset[str]]] = ((), frozenset())

_Key = str | tuple[str, Hints]


@cache
def _resolver() -> Resolver:
    """The parser: 30 MB that never change, so a process needs them once."""
    return Resolver(load_lazy_builtins())


class AgentReader:
    """Reads agents, and remembers those it has read lately.

    Raises ImportError, when this module is imported, and what the parser raises when it is built,
    if the parser in Rust is not there. `misses` counts agents that had to be parsed.
    """

    def __init__(self, *, generation: int = GENERATION) -> None:
        self._resolve = _resolver()
        self._generation = generation
        self._newer: dict[_Key, Agent] = {}
        self._older: dict[_Key, Agent] = {}
        self.misses = 0

    def __len__(self) -> int:
        """How many agents are remembered."""
        return len(self._newer) + len(self._older)

    def read(self, text: str, hints: Hints | None = None) -> Agent:
        """What `text` says, refined by what its sender added in `hints`.

        Only the first `AGENT_CHARS_MAX` characters are looked at.
        """
        if len(text) > AGENT_CHARS_MAX:
            text = text[:AGENT_CHARS_MAX]
        key = text if hints is None else (text, hints)
        return self._newer.get(key) or self._find(key, text, hints)

    def _find(self, key: _Key, text: str, hints: Hints | None) -> Agent:
        agent = self._older.get(key)
        if agent is None:
            self.misses += 1
            agent = self._parse(text)
            if hints is not None:
                agent = refine(agent, hints)
        if len(self._newer) >= self._generation:
            self._older, self._newer = self._newer, {}
            # The library has caches of its own, which need be no larger than ours.
            for cached in (is_crawler, crawler_signals, crawler_contact, crawler_url):
                cached.cache_clear()
        self._newer[key] = agent
        return agent

    def _parse(self, text: str) -> Agent:
        try:
            parsed = self._resolve(text, Domain.ALL)
        except UnicodeEncodeError:  # half a surrogate pair, which is no text for Rust
            return Agent()
        low = text.lower()
        flags, fired = _nature(text, low, parsed)
        browser, system = parsed.user_agent, parsed.os
        os_family = None if system is None else system.family
        return Agent(
            device_type="bot" if "bot" in flags else _device_type(low, os_family),
            browser_family=None if browser is None else browser.family,
            os_family=os_family,
            flags=flags,
            fired=fired,
        )


def _has(low: str, words: tuple[str, ...]) -> bool:
    for word in words:  # noqa: SIM110 any() with a generator takes three times as long
        if word in low:
            return True
    return False


def _nature(text: str, low: str, parsed: PartialResult) -> tuple[tuple[str, ...], frozenset[str]]:
    """Flags and rules of an agent that is no person's browser."""
    name = _NAME.match(low)
    if (name is not None and name[0] in _LIBRARIES) or _POWERSHELL in low:
        return _HTTP_CLIENT
    if _has(low, _HEADLESS):
        return _HEADLESS_BROWSER
    if parsed.device is not None and parsed.device.family == _SPIDER:
        return _CRAWLER
    spared = low.replace(_NO_BOT, "phone") if _NO_BOT in low else text
    if is_crawler(spared) and not _DECLARED.isdisjoint(crawler_signals(spared)):
        return _CRAWLER
    return _NOTHING


def _device_type(low: str, os_family: str | None) -> DeviceType | None:
    """In an order that matters: a television set says Android too, a tablet sometimes Mobile."""
    if _has(low, _CONSOLE):
        return "console"
    if _has(low, _TV):
        return "tv"
    if _has(low, _WEARABLE):
        return "wearable"
    # By Google's convention a browser on Android says Mobile on phones only.
    is_large = "android" in low or "silk/" in low
    if is_large and low.startswith("mozilla/") and "mobi" not in low:
        return "tablet"
    if _has(low, _TABLET) and _TABLET_PC not in low:
        return "tablet"
    if os_family == "iOS" or _has(low, _MOBILE):
        return "mobile"
    return "desktop" if _has(low, _DESKTOP) else None


def refine(agent: Agent, hints: Hints) -> Agent:
    """`agent` with what the client hints know better.

    Agents have been frozen since Chromium 110: one version of the system, one model of phone, and
    Chrome for all browsers that want to look like it. What an agent says beyond that (an app, a
    television set, a crawler) is more than a hint knows, and stays.
    """
    flags, fired = agent.flags, agent.fired
    browser, device = agent.browser_family, agent.device_type
    if hints.brand == "HeadlessChrome" and not flags:
        flags, fired = _HEADLESS_BROWSER
        browser, device = hints.brand, "bot"
    elif hints.brand is not None and browser in _CHROMIUM:
        browser = hints.brand
    system = agent.os_family if hints.platform is None else hints.platform
    if device not in _FIXED:
        if hints.mobile:
            device = device if device == "tablet" else "mobile"
        elif hints.mobile is False and system == "Android":
            device = "tablet"
    return Agent(
        device_type=device, browser_family=browser, os_family=system, flags=flags, fired=fired
    )
