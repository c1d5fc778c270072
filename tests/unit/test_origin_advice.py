"""Why an origin is refused, and whether the line that is offered mends it."""

import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from collector import config_file
from collector.config import Config, Site
from collector.dashboard.html import tag
from collector.dashboard.origins import advised
from collector.origin_advice import Advice, advise, judge
from collector.refused_origins import NOT_FOUND, REASONS, Place

APP: Final = "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a"
OTHER_APP: Final = "00000000-e4b3-45d4-b1c7-48287f1e5e8a"


def config(**members: Any) -> Config:
    """Two sites, the first with an application; members are of the first."""
    first = Site(id="shop", allowed_domains=("shop.example", "*.shop.example"), croct_app_id=APP)
    return Config(
        sites=(
            msgspec.structs.replace(first, **members),
            Site(id="blog", allowed_domains=("xn--mnchen-3ya.de",)),
        )
    )


@pytest.mark.parametrize(
    ("origin", "site", "pattern"),
    [
        ("https://shop.example", "shop", "shop.example"),
        ("shop.example", "shop", "shop.example"),
        (" http://SHOP.example:8080/cart?x=1 ", "shop", "shop.example"),
        ("https://www.shop.example", "shop", "*.shop.example"),
        ("https://m\u00fcnchen.de", "blog", "xn--mnchen-3ya.de"),
    ],
)
def test_allowed_and_by_what(origin: str, site: str, pattern: str) -> None:
    """Scheme, port, path and case do not matter; the domain that names it is told."""
    found = judge(config(), origin, site)
    assert found.is_allowed
    assert found.why.startswith(f"{pattern} in allowed_domains")
    assert found.advice is None


@pytest.mark.parametrize("origin", ["null", "", "file:///x", "https://a b", "https://x@y\\z", "*"])
def test_no_line_for_what_names_no_host(origin: str) -> None:
    """Nothing that could be put into a list of domains would let it in."""
    found = judge(config(allowed_domains=()), origin, "shop")
    assert not found.is_allowed
    assert found.host == ""
    assert found.advice is not None
    assert not found.advice.line


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evilshop.example", "https://shop.example.evil.net", "http://[2001:db8::1]:80"),
        *("https://m\u00fcnchen.de", "http://192.0.2.7"),
    ],
)
def test_the_line_is_ready_to_copy(origin: str, tmp_path: Path) -> None:
    """Put into the file where it says: it is read, allows the origin, and keeps the others."""
    before = config()
    found = judge(before, origin, "shop")
    assert not found.is_allowed
    advice = found.advice
    assert advice is not None
    assert advice.site == "shop"
    path = tmp_path / "config.toml"
    path.write_text(f'[[sites]]\nid = "shop"\n{advice.line}\n', encoding="utf-8")
    after = config_file.load(path)
    assert judge(after, origin, "shop").is_allowed
    assert judge(after, "https://www.shop.example", "shop").is_allowed
    assert len(after.sites[0].allowed_domains) == 3


def test_where_the_line_belongs_is_told(tmp_path: Path) -> None:
    """In which file and table, and instead of which line: a second one would be a fault."""
    advice = judge(config(), "https://x.example", "shop").advice
    assert advice is not None
    for path, words in (
        (tmp_path / "shop.toml", "In shop.toml, under [[sites]] with id shop"),
        (None, "In config.toml, a copy of config.example.toml, under [[sites]] with id shop"),
    ):
        told = str(tag("div", advised(msgspec.structs.replace(config(), path=path), advice)))
        assert words in told
        assert "in the place of its line allowed_domains" in told


def test_what_is_switched_off_and_what_is_not_there() -> None:
    """Sites and applications: a line where there is one, else those that are there."""
    off = config(active=False)
    assert (
        advise(off, Place("inactive_site", "/ct", "shop.example", "shop")).line == "active = true"
    )
    assert "shop, blog" in advise(off, Place("unknown_site", "/ct", "shop.example", "shpo")).text
    found = advise(off, Place("unknown_app", "/client/web/track", "x.example", OTHER_APP))
    assert found.site == "blog"
    assert tomllib.loads(found.line) == {"croct_app_id": OTHER_APP}
    cid = advise(config(), Place("origin_refused", "/client/web/cid", "x.example", ""))
    assert cid.site == "shop"
    assert "x.example" in cid.line


def test_what_was_mended_says_so() -> None:
    """The record is of before; advice is by the configuration of now, and repeats itself never."""
    for place in (
        Place("origin_refused", "/ct", "www.shop.example", "shop"),
        Place("origin_refused", "/client/web/track", "shop.example", APP),
        Place("inactive_site", "/ct", "shop.example", "shop"),
        Place("unknown_site", "/ct", "shop.example", "shop"),
        Place("unknown_app", "/client/web/track", "shop.example", APP),
    ):
        found = advise(config(), place)
        assert not found.line
        assert "By now" in found.text


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("origin", ["", None, "x.example"])
@pytest.mark.parametrize("sites", [(), config().sites])
def test_there_is_advice_for_every_reason(
    reason: str, origin: str | None, sites: tuple[Site, ...]
) -> None:
    """Whatever was sent and whatever is configured: a sentence, and never a fault of ours."""
    for asked in ("", "shop", "nobody", APP, OTHER_APP, '"\n[[keys]]'):
        found = advise(Config(sites=sites), Place(reason, "/x", origin, asked))
        assert isinstance(found, Advice)
        assert found.text.endswith(".") or found.text.endswith(")")
        if found.line:
            assert len(tomllib.loads(found.line)) == 1
    assert NOT_FOUND in REASONS
