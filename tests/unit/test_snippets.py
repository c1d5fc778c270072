"""Snippets: ids become literals and nothing else, whatever is in them; addresses are checked."""

import ast
import re
import shlex
from collections.abc import Mapping
from typing import Final, cast

import msgspec
import pytest

from collector.admin import Visit
from collector.admin_gate import Asker
from collector.config import Config, Server, Site
from collector.dashboard.install import address_of, own_address
from collector.dashboard.snippets import Snippet, snippets

ADDRESS: Final = "https://events.example.com"
# Ways out of being a literal, in one id or another's language.
NASTY: Final = (
    "</script><script>hacked()</script>",
    "'+hacked()+'",
    '"+hacked()+"',
    "$(hacked)`hacked`",
    "'; hacked; '",
    "#{hacked}",
    "{$hacked} ${hacked}",
    "\\",
    "\\'",
    '\\"',
    "\u2028\u2029",
    "\u00e4\U0001f600",
)


def texts(name: str) -> Mapping[str, Snippet]:
    """All snippets of a site with every id, by name; the id of the site and the code are `name`."""
    site = Site(id=name, tracking_code=name, croct_app_id="7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a")
    return {one.name: one for one in snippets(ADDRESS, site)}


def test_every_way_has_one() -> None:
    """The ids and the address are filled in; a key never is."""
    found = texts("demo")
    assert list(found) == [
        *("scanova", "croct", "curl", "curl-zenovay", "node", "python", "ruby", "php")
    ]
    for one in found.values():
        assert ADDRESS in one.text
        assert ("demo" in one.text) != (one.name == "croct")
        is_server = one.name not in {"scanova", "croct"}
        assert ("COLLECTOR_KEY" in one.text) == is_server
        assert "zv_" not in one.text
    bare = [one.name for one in snippets(ADDRESS, Site(id="demo"))]
    assert "croct" not in bare
    assert "curl-zenovay" not in bare


def test_brackets_of_an_address_are_no_pattern() -> None:
    """A shell that knows patterns leaves the address of an IPv6 host as it is."""
    found = snippets("http://[::1]:8000", Site(id="demo", tracking_code="ZV_demo"))
    lines = [line for one in found for line in one.text.splitlines() if line.startswith("curl ")]
    addresses = [shlex.split(line.rstrip("\\ "))[1] for line in lines]
    assert all("'http://[::1]:8000/" in line for line in lines)
    assert addresses == [
        "http://[::1]:8000/server-events",
        "http://[::1]:8000/api/v1/events",
    ]


@pytest.mark.parametrize("name", NASTY)
def test_ids_stay_literals(name: str) -> None:
    """Read by the rules of each language, the id is there as it is configured, as one text."""
    found = texts(name)
    for which, member in (("curl", "site_id"), ("curl-zenovay", "trackingCode")):
        words = shlex.split(found[which].text.replace("\\\n", " "))
        body = msgspec.json.decode(words[words.index("-d") + 1].replace("$(date +%s)", "1"))
        assert body[member] == name
        assert len(words) == 8
    tree = ast.parse(found["python"].text)
    assert name in {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    [literal] = re.findall(r"^  site_id: (.*),$", found["node"].text, re.MULTILINE)
    assert msgspec.json.decode(literal) == name
    [literal] = re.findall(r"scanova\('init', (.*), \{$", found["scanova"].text, re.MULTILINE)
    assert msgspec.json.decode(literal) == name
    assert found["scanova"].text.count("<script") == found["scanova"].text.count("</script>") == 2
    [literal] = re.findall(r"^  site_id: (.*),$", found["ruby"].text, re.MULTILINE)
    assert not re.search(r"(?<!\\)#", literal)
    assert msgspec.json.decode(literal.replace("\\#", "#")) == name
    [literal] = re.findall(r"^    'site_id' => '(.*)',$", found["php"].text, re.MULTILINE)
    assert re.sub(r"\\([\\'])", r"\1", literal) == name
    assert not re.search(r"(?<!\\)(?:\\\\)*'", literal)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://events.example.com", "https://events.example.com"),
        (" HTTP://Events.Example.com:8080/x?y#z ", "http://events.example.com:8080"),
        ("http://[2001:DB8::1]:8000", "http://[2001:db8::1]:8000"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("", ""),
        ("events.example.com", ""),
        ("javascript://x", ""),
        ("https://user@events.example.com", ""),
        ("https://a b", ""),
        ("https://x';hacked()//", ""),
        ('https://x"onload=y', ""),
        ("https://x\\y", ""),
        ("https://$(hacked)", ""),
        ("https://x:123456", ""),
        ("https://", ""),
    ],
)
def test_only_what_is_an_address_is_repeated(text: str, address: str) -> None:
    """Scheme, host and port, in one spelling."""
    assert address_of(text) == address


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("events.example.com", "https://events.example.com"),
        ("localhost:8000", "https://localhost:8000"),
        ("x';hacked()//", "http://[::1]:8000"),
        (None, "http://[::1]:8000"),
    ],
)
def test_a_host_that_is_none_is_not_repeated(host: str | None, address: str) -> None:
    """The address is the one the browser used, else the configured one."""

    class _Asker:
        headers: Final = {} if host is None else {"host": host}

    visit = Visit(
        by="loopback",
        session="",
        query={},
        form={},
        csrf="",
        asker=cast("Asker", _Asker()),
        cookie=str,
    )
    assert own_address(Config(server=Server(host="::1")), visit, is_secure=True) == address
