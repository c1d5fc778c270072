"""A shop's pages and how people come to them: paths, titles, query strings, referrers.

A few pages get most of the visits and hundreds get a few each (Zipf's law); most addresses carry no
query string, and a long tail carries those of campaigns and advertisements, which are never the
same twice. Texts are of several languages, so that not every byte is ASCII. Pure.
"""

import base64
import random
from functools import cache
from itertools import accumulate
from typing import Final

import msgspec

from bench.browsers import falling

_POPULARITY: Final = 0.9
_PRODUCTS: Final = 360
_POSTS: Final = 140

_FIXED: Final = [
    ("/", "Hill & Dale: shoes for long ways"),
    ("/products/trail-running", "Trail running shoes | Hill & Dale"),
    ("/sale", "Sale: up to 50 % off | Hill & Dale"),
    ("/cart", "Your cart | Hill & Dale"),
    ("/pricing", "Pricing"),
    ("/menu/lunch", "Mittagskarte: Gasthaus zum Löwen"),
    ("/checkout/shipping", "Checkout: shipping | Hill & Dale"),
    ("/checkout/payment", "Checkout: payment | Hill & Dale"),
    ("/account", "Your account | Hill & Dale"),
    ("/search", "Search results | Hill & Dale"),
    ("/stores/z%C3%BCrich-hauptbahnhof", "Filiale Zürich Hauptbahnhof"),
    ("/pt/sapatos/corrida", "Tênis de corrida em promoção: frete grátis"),
    ("/ja/products", "トレイルランニングシューズ・公式オンラインストア"),
    ("/hi/offers", "आज के ऑफ़र: मुफ़्त डिलीवरी"),
    ("/fr/chaussures", "Chaussures de randonnée été 2026 : nos modèles préférés"),
    ("/contact", "Contact us"),
    ("/about", "About us"),
    ("/privacy", "Privacy policy"),
    ("/help/returns", "Returns and refunds: help centre"),
    ("/gift-cards", "Gift cards 🎁"),
]
_ADJECTIVES: Final = [
    *("light", "waterproof", "wide", "winter", "carbon", "vegan", "kids", "classic", "cushioned"),
    *("grippy", "recycled", "breathable"),
]
_NOUNS: Final = [
    *("running-shoe", "hiking-boot", "sandal", "trail-shoe", "sock", "insole", "gaiter", "vest"),
    *("backpack", "headlamp", "bottle", "jacket"),
]
_TOPICS: Final = [
    *("how-we-measure-cushioning", "ten-trails-for-autumn", "what-to-wear-in-the-rain"),
    *("a-marathon-in-the-alps", "recycling-old-shoes", "behind-the-scenes", "training-for-50k"),
]
_CAMPAIGNS: Final = [
    *("autumn-sale", "black_friday_2026", "newsletter-47", "brand", "retargeting_cart", "qr-table"),
]
_SOURCES: Final = [
    *(("google", "cpc"), ("newsletter", "email"), ("instagram", "paid_social"), ("qr", "print")),
    *(("facebook", "paid_social"), ("bing", "cpc"), ("tiktok", "paid_social"), ("partner", "ref")),
]
_SEARCHES: Final = [
    *("trail+shoes", "size+43", "wasserdicht", "gore-tex", "t%C3%AAnis", "%E9%9D%B4", "insoles"),
    *("gift+card", "return+label", "kids+boots+winter"),
]
_REFERRERS: Final = [
    *("https://www.google.com/", "https://www.bing.com/", "https://l.instagram.com/"),
    *("https://m.facebook.com/", "https://duckduckgo.com/", "https://www.google.de/"),
    *("https://t.co/", "https://www.youtube.com/", "https://www.reddit.com/"),
    *("https://search.yahoo.com/", "https://yandex.ru/", "https://www.baidu.com/link"),
    *("https://www.ecosia.org/", "https://out.reddit.com/", "https://www.linkedin.com/"),
    *("android-app://com.google.android.googlequicksearchbox/", "https://chatgpt.com/"),
    *("https://www.pinterest.com/", "https://news.ycombinator.com/", "https://lnkd.in/"),
]
# Percent of the visits that come from elsewhere, from a page before, and from nowhere known.
_COME_FROM: Final = (25, 40, 35)
# Percent of the addresses without a query string, and with one of each kind.
_QUERY_KINDS: Final = (68, 12, 7, 5, 3, 5)


class Page(msgspec.Struct, frozen=True):
    """A path, percent-encoded where needed, and the title of what is there."""

    path: str
    title: str


class Pages:
    """The pages of the shop, each visited as often as it is popular."""

    def __init__(self) -> None:
        rng = random.Random("pages")
        self.all = [Page(path, title) for path, title in _FIXED]
        # In any order but the first twenty's: popularity does not go by number.
        others = [_product(rng, number) for number in range(1, _PRODUCTS + 1)]
        others += [_post(rng, number) for number in range(1, _POSTS + 1)]
        rng.shuffle(others)
        self.all += others
        self._cumulative = list(accumulate(falling(len(self.all), _POPULARITY)))
        self._from = list(accumulate(falling(len(_REFERRERS))))

    def draw(self, rng: random.Random) -> Page:
        """One page, popular ones more often."""
        return rng.choices(self.all, cum_weights=self._cumulative)[0]

    def referrer(self, rng: random.Random, origin: str) -> str:
        """Where a visitor comes from: "" unknown, an address of `origin`, or somebody else's."""
        kind = rng.choices(("elsewhere", "inside", "unknown"), _COME_FROM)[0]
        if kind == "elsewhere":
            return rng.choices(_REFERRERS, cum_weights=self._from)[0]
        return origin + self.draw(rng).path + query(rng) if kind == "inside" else ""


@cache
def pages() -> Pages:
    """All there are; made once."""
    return Pages()


def query(rng: random.Random) -> str:
    """A query string with its question mark, and sometimes a fragment; mostly ""."""
    kinds = ("none", "campaign", "click", "filter", "search", "fragment")
    match rng.choices(kinds, _QUERY_KINDS)[0]:
        case "campaign":
            return f"?{_campaign(rng)}"
        case "click":
            token = _token(rng, rng.randrange(40, 62))
            name = rng.choice(("gclid", "fbclid", "msclkid", "ttclid"))
            return f"?{_campaign(rng)}&{name}={token}"
        case "filter":
            color = rng.choice(("slate", "moss", "sand", "gr%C3%BCn"))
            return f"?color={color}&size={rng.randrange(36, 48)}&sort=price_asc"
        case "search":
            return f"?q={rng.choice(_SEARCHES)}&page={rng.randrange(1, 5)}"
        case "fragment":
            return rng.choice(("#reviews", "#results", "#size-guide"))
        case _:
            return ""


def _campaign(rng: random.Random) -> str:
    source, medium = rng.choice(_SOURCES)
    name = rng.choice(_CAMPAIGNS)
    return f"utm_source={source}&utm_medium={medium}&utm_campaign={name}"


def _token(rng: random.Random, count: int) -> str:
    return base64.urlsafe_b64encode(rng.randbytes(count)).decode().rstrip("=")


def _product(rng: random.Random, number: int) -> Page:
    adjective, noun = rng.choice(_ADJECTIVES), rng.choice(_NOUNS)
    title = f"{adjective} {noun.replace('-', ' ')} {number}".capitalize()
    return Page(f"/products/{adjective}-{noun}-{number:04d}", f"{title} | Hill & Dale")


def _post(rng: random.Random, number: int) -> Page:
    topic = rng.choice(_TOPICS)
    path = f"/blog/{2024 + number % 3}/{1 + number % 12:02d}/{topic}-{number}"
    return Page(path, f"{topic.replace('-', ' ').capitalize()} ({number}): Hill & Dale journal")
