"""Browsers as they come: user agents by their share of traffic, and client hints with them.

Built from the templates of real families and the versions that are about, the newest the most
common, with a long tail of old ones, of in-app browsers on phones of every make, and a few crawlers
and headless ones that run scripts. Shares are round figures, not a survey. Pure.
"""

import random
from functools import cache
from itertools import accumulate
from typing import Final

import msgspec

_KHTML: Final = "AppleWebKit/537.36 (KHTML, like Gecko)"
_SAFARI: Final = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_WINDOWS: Final = "Windows NT 10.0; Win64; x64"
_MAC: Final = "Macintosh; Intel Mac OS X 10_15_7"
_LINUX: Final = "X11; Linux x86_64"
# The same for every phone since 2023.
_ANDROID: Final = "Linux; Android 10; K"

_DESKTOP_SCREENS: Final = [
    *((1920, 1080), (1536, 864), (1366, 768), (2560, 1440), (1440, 900), (1280, 720), (1728, 1117)),
    *((1600, 900), (3840, 2160), (1512, 982), (2560, 1080), (1920, 1200), (3440, 1440)),
]
_PHONE_SCREENS: Final = [
    *((390, 844), (393, 852), (360, 800), (412, 915), (430, 932), (375, 812), (414, 896)),
    *((384, 832), (393, 873), (360, 780), (375, 667), (412, 892), (320, 568)),
]
_TABLET_SCREENS: Final = [(820, 1180), (768, 1024), (810, 1080), (834, 1194), (1024, 1366)]

# Chrome's last versions, newest first; one major each month. Old ones stay on old systems.
_CHROME: Final = [*range(142, 126, -1), 120, 116, 109]
_FIREFOX: Final = [145, 144, 140, 143, 128, 142, 115, 136, 133, 102]
_IOS: Final = [
    *("26.1", "18.6", "26.0", "18.7", "18.5", "17.6", "18.3", "16.7", "18.1", "15.8", "17.4"),
    *("16.6", "14.8", "17.2", "12.5"),
]
_MAC_SAFARI: Final = [
    *("26.1", "18.6", "26.0", "18.5", "17.6", "18.3", "16.6", "17.4", "15.6", "14.1", "13.1"),
]
# Phones that say what they are: web views and older browsers do, Chrome itself no longer.
_PHONES: Final = [
    *("SM-S928B", "SM-A546B", "SM-A155F", "SM-S911U", "SM-G991B", "SM-A127F", "SM-S918U1"),
    *("Pixel 8", "Pixel 7a", "Pixel 9 Pro", "Pixel 6", "2201117TY", "23053RN02A", "M2101K6G"),
    *("Redmi Note 12", "CPH2387", "CPH2581", "V2206", "V2250", "moto g54 5G", "moto g(60)"),
    *("TECNO KI5q", "Infinix X6831", "RMX3710", "LE2123", "ONEPLUS A6013", "ANE-LX1"),
]
_TABLETS: Final = ["SM-X200", "SM-T510", "SM-X810", "Lenovo TB-X606F", "KFTRWI"]


class Browser(msgspec.Struct, frozen=True, kw_only=True):
    """One browser: what it calls itself, and what it sends beside that.

    `hints` are the client hints of Chromium's kin as header lines, none elsewhere; `screens` are
    widths and heights in CSS pixels that fit the device.
    """

    user_agent: str
    hints: tuple[tuple[str, str], ...] = ()
    screens: tuple[tuple[int, int], ...] = tuple(_DESKTOP_SCREENS)


class Browsers:
    """Browsers to draw from, each as often as it comes."""

    def __init__(self) -> None:
        self._all, weights = _every_browser()
        self._cumulative = list(accumulate(weights))

    def __len__(self) -> int:
        """How many different ones there are."""
        return len(self._all)

    def draw(self, rng: random.Random) -> Browser:
        """One of them, common ones more often."""
        return rng.choices(self._all, cum_weights=self._cumulative)[0]


@cache
def browsers() -> Browsers:
    """All there are; made once."""
    return Browsers()


def falling(count: int, power: float = 1.0) -> list[float]:
    """Weights of ranks 1 to `count` that add up to 1: Zipf's law with that `power`."""
    weights = [1 / rank**power for rank in range(1, count + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def _every_browser() -> tuple[list[Browser], list[float]]:
    found: list[Browser] = []
    weights: list[float] = []
    families = [*_chrome(), *_kin(), *_apple(), *_firefox(), *_phones(), *_machines()]
    for share, members, power in families:
        found += members
        weights += [share * weight for weight in falling(len(members), power)]
    return found, weights


# A family: percent of the traffic, its members from the most common on, how steeply they fall.
_Family = tuple[float, list[Browser], float]


def _hints(
    version: int, brand: str, platform: str, *, own: int = 0, is_mobile: bool = False
) -> tuple[tuple[str, str], ...]:
    """The three that every request carries; `own` is the brand's version where it counts itself."""
    # Made up by the browser, of changing spelling, so that nobody relies on the list.
    made_up = ("Not_A Brand", "Not;A=Brand", "Not/A)Brand", "Not)A;Brand")[version % 4]
    brands = [("Chromium", version), (brand, own or version), (made_up, (8, 24, 99)[version % 3])]
    turned = version % 3
    listed = [*brands[turned:], *brands[:turned]]
    return (
        ("sec-ch-ua", ", ".join(f'"{name}";v="{major}"' for name, major in listed)),
        ("sec-ch-ua-mobile", "?1" if is_mobile else "?0"),
        ("sec-ch-ua-platform", f'"{platform}"'),
    )


def _agent(system: str, version: int, suffix: str = "", mobile: str = "") -> str:
    return f"Mozilla/5.0 ({system}) {_KHTML} Chrome/{version}.0.0.0 {mobile}Safari/537.36{suffix}"


def _chrome() -> list[_Family]:
    google = "Google Chrome"

    def chrome(system: str, platform: str, versions: list[int]) -> list[Browser]:
        return [
            Browser(user_agent=_agent(system, major), hints=_hints(major, google, platform))
            for major in versions
        ]

    phone = [
        Browser(
            user_agent=_agent(_ANDROID, major, mobile="Mobile "),
            hints=_hints(major, google, "Android", is_mobile=True),
            screens=tuple(_PHONE_SCREENS),
        )
        for major in _CHROME
    ]
    tablet = [
        Browser(
            user_agent=_agent(_ANDROID, major),
            hints=_hints(major, google, "Android"),
            screens=tuple(_TABLET_SCREENS),
        )
        for major in _CHROME[:6]
    ]
    return [
        (21.0, chrome(_WINDOWS, "Windows", _CHROME), 1.3),
        (7.0, chrome(_MAC, "macOS", _CHROME[:14]), 1.3),
        (1.6, chrome(_LINUX, "Linux", _CHROME[:12]), 1.0),
        (1.2, chrome("X11; CrOS x86_64 14541.0.0", "Chrome OS", _CHROME[:8]), 1.0),
        (24.0, phone, 1.3),
        (0.8, tablet, 1.0),
    ]


def _kin() -> list[_Family]:
    """Others built on Chromium."""
    edge = [
        Browser(
            user_agent=_agent(system, major, f" Edg/{major}.0.0.0"),
            hints=_hints(major, "Microsoft Edge", platform),
        )
        for major in _CHROME[:10]
        for system, platform in ((_WINDOWS, "Windows"), (_MAC, "macOS"))
    ]
    opera = [
        Browser(
            user_agent=_agent(_WINDOWS, major, f" OPR/{major - 16}.0.0.0"),
            hints=_hints(major, "Opera", "Windows", own=major - 16),
        )
        for major in _CHROME[1:8]
    ]
    quiet = [
        Browser(
            user_agent=_agent(_LINUX, major),
            hints=_hints(major, brand, "Linux", own=own),
        )
        for major, brand, own in ((142, "Brave", 0), (140, "Vivaldi", 7), (141, "Brave", 0))
    ]
    samsung = [
        Browser(
            user_agent=_agent(_ANDROID, chromium, mobile="Mobile ").replace(
                "Chrome/", f"SamsungBrowser/{major}.0 Chrome/"
            ),
            hints=_hints(chromium, "Samsung Internet", "Android", own=major, is_mobile=True),
            screens=tuple(_PHONE_SCREENS),
        )
        for major, chromium in ((29, 136), (28, 130), (27, 125), (26, 122), (25, 121), (23, 115))
    ]
    return [
        (5.5, edge, 1.0),
        (1.4, opera, 1.0),
        (0.6, quiet, 0.0),
        (3.2, samsung, 1.0),
    ]


def _apple() -> list[_Family]:
    def ios(device: str, version: str, rest: str, screens: list[tuple[int, int]]) -> Browser:
        # From 26 on the system's version is frozen.
        system = "18_6" if version.startswith("26") else version.replace(".", "_")
        kind = "CPU iPhone OS" if device == "iPhone" else "CPU OS"
        return Browser(
            user_agent=f"Mozilla/5.0 ({device}; {kind} {system} like Mac OS X) {_SAFARI} {rest}",
            screens=tuple(screens),
        )

    iphone = [
        ios("iPhone", v, f"Version/{v} Mobile/15E148 Safari/604.1", _PHONE_SCREENS) for v in _IOS
    ]
    ipad = [
        ios("iPad", v, f"Version/{v} Mobile/15E148 Safari/604.1", _TABLET_SCREENS) for v in _IOS[5:]
    ]
    mac = [
        Browser(user_agent=f"Mozilla/5.0 ({_MAC}) {_SAFARI} Version/{v} Safari/605.1.15")
        for v in _MAC_SAFARI
    ]
    chrome = [
        ios("iPhone", v, f"CriOS/{major}.0.7444.77 Mobile/15E148 Safari/604.1", _PHONE_SCREENS)
        for v, major in zip(_IOS[:8], _CHROME[:8], strict=True)
    ]
    search = [
        ios("iPhone", v, f"GSA/{app}.0.8 Mobile/15E148 Safari/604.1", _PHONE_SCREENS)
        for v, app in zip(_IOS[:6], range(393, 387, -1), strict=True)
    ]
    inside = [
        ios("iPhone", v, f"Mobile/15E148 {app}", _PHONE_SCREENS)
        for v in _IOS[:5]
        for app in (
            "Instagram 407.0.0.27.83 (iPhone16,2; iOS 18_6; en_US; en; scale=3.00; 1290x2796)",
            "[FBAN/FBIOS;FBAV/536.0.0.47.77;FBBV/812345678;FBDV/iPhone14,5;FBMD/iPhone;FBSN/iOS]",
            "LinkedInApp",
            "musical_ly_41.9.0 JsSdk/2.0 NetType/WIFI Channel/App Store ByteLocale/en Region/US",
        )
    ]
    return [
        (15.0, iphone, 1.0),
        (1.0, ipad, 1.0),
        (6.0, mac, 1.0),
        (1.2, chrome, 1.0),
        (0.8, search, 1.0),
        (1.6, inside, 0.8),
    ]


def _firefox() -> list[_Family]:
    def desktop(system: str) -> list[Browser]:
        return [
            Browser(
                user_agent=f"Mozilla/5.0 ({system}; rv:{major}.0) Gecko/20100101 Firefox/{major}.0"
            )
            for major in _FIREFOX
        ]

    phone = [
        Browser(
            user_agent=f"Mozilla/5.0 (Android {system}; Mobile; rv:{major}.0) "
            f"Gecko/{major}.0 Firefox/{major}.0",
            screens=tuple(_PHONE_SCREENS),
        )
        for major, system in zip(_FIREFOX[:6], (15, 14, 13, 16, 12, 11), strict=True)
    ]
    return [
        (2.2, desktop(_WINDOWS), 1.0),
        (0.7, desktop("Macintosh; Intel Mac OS X 10.15"), 1.0),
        (0.8, desktop(_LINUX), 1.0),
        (0.4, phone, 1.0),
    ]


def _phones() -> list[_Family]:
    """Web views and the browsers of makers: the longest tail of all."""
    views, makers = [], []
    for index, model in enumerate([*_PHONES, *_TABLETS]):
        android, major = 16 - index % 6, _CHROME[index % len(_CHROME)]
        screens = tuple(_TABLET_SCREENS if model in _TABLETS else _PHONE_SCREENS)
        system = f"Linux; Android {android}; {model} Build/AP3A.{240905 + index:06d}.015; wv"
        version = f"Version/4.0 Chrome/{major}.0.{7000 + index}.{60 + index} Mobile Safari/537.36"
        apps = (
            "[FB_IAB/FB4A;FBAV/536.0.0.46.77;IABMV/1;]",
            f"Instagram 407.0.0.36.243 Android ({19 + android}/{android}; 450dpi; {model}; en_US)",
            "Line/15.17.1/IAB",
        )
        agents = [f"Mozilla/5.0 ({system}) {_KHTML} {version} {app}" for app in apps]
        views += [Browser(user_agent=agent, screens=screens) for agent in agents]
        own = ("XiaoMi/MiuiBrowser/14.43.0-gn", "HeyTapBrowser/45.12.5", "UCBrowser/15.5.4.1268")
        makers.append(
            Browser(
                user_agent=f"Mozilla/5.0 (Linux; U; Android {android}; en-us; {model}) {_KHTML} "
                f"Version/4.0 Chrome/{major}.0.0.0 Mobile Safari/537.36 {own[index % 3]}",
                screens=screens,
            )
        )
    return [(2.4, views, 0.7), (1.0, makers, 0.7)]


def _machines() -> list[_Family]:
    """Crawlers that run scripts, monitors, and browsers without a screen."""
    compatible = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; {}) {}"
    chrome = "Chrome/{}.0.0.0 Safari/537.36"
    found = [
        compatible.format("Googlebot/2.1; +http://www.google.com/bot.html", chrome.format(141)),
        compatible.format("bingbot/2.0; +http://www.bing.com/bingbot.htm", chrome.format(136)),
        _agent(_LINUX, 140).replace("Chrome/", "HeadlessChrome/"),
        "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
        compatible.format("Applebot/0.1; +http://www.apple.com/go/applebot", chrome.format(139)),
    ]
    return [(0.6, [Browser(user_agent=text) for text in found], 1.0)]
