"""What a user agent tells, and what it costs to ask again."""

import subprocess
import sys
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import agents
from collector.agents import AGENT_CHARS_MAX, DEVICE_TYPES, Agent, AgentReader, refine
from collector.config import FraudRule
from collector.hints import Hints

CHROME = "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 {}Safari/537.36"
WINDOWS = CHROME.format("Windows NT 10.0; Win64; x64", "")
PHONE = CHROME.format("Linux; Android 10; K", "Mobile ")
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
TABLET_PC = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; Tablet PC 2.0)"
READER = AgentReader()


@pytest.mark.parametrize(
    ("agent", "device", "browser", "system"),
    [
        (WINDOWS, "desktop", "Chrome", "Windows"),
        (CHROME.format("X11; CrOS x86_64 14541.0.0", ""), "desktop", "Chrome", "Chrome OS"),
        (WINDOWS + " Edg/131.0.0.0", "desktop", "Edge", "Windows"),
        (FIREFOX, "desktop", "Firefox", "Linux"),
        (TABLET_PC, "desktop", "IE", "Windows"),
        (PHONE, "mobile", "Chrome Mobile", "Android"),
        (IPHONE, "mobile", "Mobile Safari", "iOS"),
        ("Dalvik/2.1.0 (Linux; U; Android 13; Pixel 7)", "mobile", "Android", "Android"),
        ("MyShop/3.2 CFNetwork/1485 Darwin/23.1.0", "mobile", "MyShop", "iOS"),
        ("Nokia6120c/3.83; Profile/MIDP", "mobile", "Nokia Services (WAP) Browser", None),
        (CHROME.format("Linux; Android 13; SM-X906C", ""), "tablet", "Chrome", "Android"),
        (IPHONE.replace("iPhone;", "iPad;"), "tablet", "Mobile Safari", "iOS"),
        (CHROME.format("SMART-TV; LINUX; Tizen 6.0", "TV "), "tv", "Chrome", "Tizen"),
        (CHROME.format("Linux; Android 9; AFTMM", "Mobile "), "tv", "Chrome Mobile", "Android"),
        ("Roku/DVP-9.10", "tv", "Roku", "Roku"),
        (CHROME.format("Windows NT 10.0; Xbox; Xbox Series X", ""), "console", "Chrome", "Windows"),
        ("Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet)", "console", None, None),
        ("Mozilla/5.0 (Apple Watch; CPU Watch OS 7_0 like Mac OS X)", "wearable", None, None),
        ("something else entirely", None, None, None),
        ("Mozilla/5.0", None, None, None),
    ],
)
def test_devices_browsers_and_systems(agent, device, browser, system):
    """One agent of each kind; none of them is a bot."""
    assert READER.read(agent) == Agent(device, browser, system)


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "GPTBot/1.2",
        "facebookexternalhit/1.1",
        "WhatsApp/2.23",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        PHONE + " Chrome-Lighthouse",
        "MyFetcher/1.0 (+https://example.com/about)",
    ],
)
def test_who_says_so_is_a_crawler(agent):
    """Named in a list, or with words that only crawlers use of themselves."""
    found = READER.read(agent)
    assert (found.device_type, found.flags, found.fired) == ("bot", ("bot",), {"crawler"})


@pytest.mark.parametrize(
    "agent",
    [
        CHROME.replace("Chrome/", "HeadlessChrome/").format("X11; Linux x86_64", ""),
        "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML) PhantomJS/2.1.1 Safari/538",
        "Mozilla/5.0 (linux) AppleWebKit/537.36 (KHTML, like Gecko) jsdom/22.1.0",
        WINDOWS + " Cypress/13.0.0",
    ],
)
def test_headless_browsers_are_bots_of_another_kind(agent):
    """They are flagged as both, and only their own rule fires: people test their sites."""
    found = READER.read(agent)
    assert (found.device_type, found.flags) == ("bot", ("bot", "headless"))
    assert found.fired == {"headless"}


@pytest.mark.parametrize(
    "agent",
    [
        *("curl/8.5.0", "python-requests/2.32", "okhttp/4.12", "Go-http-client/1.1", "node"),
        *("axios/1.7.2", "Java/17.0.1", "Dart/3.2 (dart:io)", "Ktor client", "GuzzleHttp/7"),
        *("got (https://github.com/sindresorhus/got)", "Python/3.11 aiohttp/3.9", "Wget/1.21"),
        "Mozilla/5.0 (Windows NT; en-US) WindowsPowerShell/5.1.19041",
    ],
)
def test_libraries_are_no_bots(agent):
    """A script that sends events is a program of the site's, or one that somebody wrote at home."""
    found = READER.read(agent)
    assert (found.flags, found.fired) == (("http_client",), {"http_client"})
    assert found.device_type != "bot"


@pytest.mark.parametrize(
    "agent",
    [
        CHROME.format("Linux; Android 10; CUBOT NOTE 20", "Mobile "),
        "MyApp 1.0",
        "BlackBerry9700/5.0",
        "AppleCoreMedia/1.0.0 (iPhone; U; CPU OS 17_0)",
        "nodejs-like-name/1.0",
    ],
)
def test_what_declares_nothing_is_nothing(agent):
    """Not to look like a browser is no confession, nor is a maker's name."""
    assert READER.read(agent).flags == ()


def test_each_rule_of_an_agent_is_a_setting():
    """What fires here can be switched off there."""
    kinds = (agents._CRAWLER, agents._HEADLESS_BROWSER, agents._HTTP_CLIENT)
    fired = {rule for _, rules in kinds for rule in rules}
    assert fired == {"crawler", "headless", "http_client"}
    assert fired < set(typing.get_args(FraudRule))


@given(st.text(st.characters(exclude_categories=()), max_size=700))
def test_any_text_is_an_agent(text):
    """Nothing raises, and devices are of the closed list."""
    agent = READER.read(text)
    assert agent.device_type is None or agent.device_type in DEVICE_TYPES
    assert agent == READER.read(text)


def test_only_the_beginning_of_an_agent_is_looked_at():
    """A long one costs no more than a real one, and is not remembered at its full length."""
    reader = AgentReader()
    beginning = "x" * AGENT_CHARS_MAX
    assert reader.read(beginning + " HeadlessChrome/1") is reader.read(beginning + "y" * 9_000)
    assert (reader.misses, len(reader)) == (1, 1)
    assert max(map(len, reader._newer)) == AGENT_CHARS_MAX


def test_a_known_agent_is_not_parsed_again():
    """The same answer, and one miss only; hints make it another."""
    reader = AgentReader()
    first = reader.read(WINDOWS)
    assert reader.read(WINDOWS) is first
    assert reader.misses == 1
    reader.read(WINDOWS, Hints(brand="Brave"))
    reader.read(WINDOWS, Hints(brand="Brave"))
    assert reader.misses == 2


def test_memory_is_bounded_and_spares_what_is_asked_for():
    """A flood of new agents pushes out other strangers, not the agents of the day."""
    reader = AgentReader(generation=10)
    for number in range(100):
        reader.read(WINDOWS)
        reader.read(f"stranger {number}")
        assert len(reader) <= 20
    assert reader.misses == 101
    assert agents.is_crawler.cache_info().currsize <= 20, "the library's own cache is kept small"


def test_the_parser_is_the_one_in_rust():
    """The one in Python would be 60 times slower, and nobody would notice until a flood."""
    assert type(READER._resolve).__module__ == "ua_parser.regex"
    assert type(READER._resolve.ua).__module__ != "ua_parser.basic"


def test_without_the_parser_in_rust_nothing_starts():
    """The import fails, and with it the collector, in words that name what is missing."""
    code = "import sys; sys.modules['ua_parser_rs'] = None; import collector.service"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "ua_parser_rs" in ended.stderr.splitlines()[-1]


# --- hints


@pytest.mark.parametrize(
    ("agent", "hints", "refined"),
    [
        (WINDOWS, Hints(brand="Brave"), ("desktop", "Brave", "Windows")),
        (WINDOWS + " Edg/131", Hints(brand="Brave"), ("desktop", "Edge", "Windows")),
        (WINDOWS, Hints(platform="Linux"), ("desktop", "Chrome", "Linux")),
        (WINDOWS, Hints(mobile=True), ("mobile", "Chrome", "Windows")),
        (WINDOWS, Hints(mobile=False), ("desktop", "Chrome", "Windows")),
        (PHONE, Hints(mobile=False), ("tablet", "Chrome Mobile", "Android")),
        (PHONE, Hints(), ("mobile", "Chrome Mobile", "Android")),
        (CHROME.format("Web0S; Linux/SmartTV", ""), Hints(mobile=True), ("tv", "Chrome", "Web0S")),
    ],
)
def test_hints_say_what_a_frozen_agent_cannot(agent, hints, refined):
    """They refine, and leave alone what the agent knows better."""
    found = READER.read(agent, hints)
    assert (found.device_type, found.browser_family, found.os_family) == refined
    assert found.flags == ()


def test_a_headless_brand_gives_a_headless_browser_away():
    """Its agent can be changed by an option; the brand is forgotten by those who do."""
    found = READER.read(WINDOWS, Hints(brand="HeadlessChrome", mobile=False))
    assert found == READER.read(WINDOWS, Hints(brand="HeadlessChrome"))
    assert (found.device_type, found.flags, found.fired) == (
        "bot",
        ("bot", "headless"),
        {"headless"},
    )


def test_hints_make_no_person_of_a_bot():
    """A crawler may send any hint."""
    crawler = READER.read("GPTBot/1.2")
    refined = refine(crawler, Hints(brand="HeadlessChrome", mobile=True, platform="Android"))
    assert (refined.device_type, refined.flags) == ("bot", ("bot",))
