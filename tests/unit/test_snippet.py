"""The script for web pages before it is served: how small it gets, and that it stays the same."""

import re
from importlib.resources import files
from typing import Any, Final

import pytest

from collector.snippet.serving import Snippet, names_tag, takes_gzip
from collector.snippet.shorten import Unclear, shorten

SOURCE: Final = files("collector.snippet").joinpath("s.js").read_text(encoding="utf-8")
# What the documents promise, three thousand and not three times 1,024.
GZIP_BYTES_MAX: Final = 3_000


class _Asker:
    """Somebody with these header fields."""

    client = "203.0.113.9:40000"
    http_version = "1.1"

    def __init__(self, **headers: str) -> None:
        self.headers: dict[str, str] = {
            name.replace("_", "-"): value for name, value in headers.items()
        }


def test_it_is_small() -> None:
    """At most 3,000 bytes travel to a browser that reads gzip, as all do."""
    answer = Snippet().page(_Asker(accept_encoding="gzip"))
    assert dict(answer.headers)["content-encoding"] == "gzip"
    assert len(answer.body) <= GZIP_BYTES_MAX


def test_every_start_serves_the_same_bytes() -> None:
    """Two collectors of one version, or one before and after a restart, agree on the tag."""
    one, other = (Snippet().page(_Asker()) for _ in range(2))
    assert one.headers == other.headers
    assert one.body == other.body


def test_it_needs_nothing_from_elsewhere() -> None:
    """It names no address of anybody's: where it sends to is where it came from."""
    assert re.findall(r"https?://[^\s']*|//[a-z]+\.[a-z]+", SOURCE) == []


@pytest.mark.parametrize(
    ("script", "short"),
    [
        ("const one = 1;\n// why\nconst two = one + 1;\n", "const a=1;const b=a+1;"),
        ("let count, other = [1, 2];", "let a,b=[1,2];"),
        # Members keep their names, whatever is declared.
        ("const name = {name: it.name, of: name};", "const a={name:it.name,of:a};"),
        ("const pick = (one, ...rest) => one ? rest : pick;", "const b=(a,...c)=>a?c:b;"),
        ("const twice = value => value * 2;", "const b=a=>a*2;"),
        ("for (const key of [1]) use(key);", "for(const a of[1])use(a);"),
        # Texts and patterns are what they were.
        (r"const text = 'text // \' text'; use(text);", r"const a='text // \' text';use(a);"),
        (r"const half = whole / 2 / half;", r"const a=whole/2/a;"),
        (r"const is = /[/'] is\/(?:x)/g.test(is);", r"const a=/[/'] is\/(?:x)/g.test(a);"),
        ("const one = () => { return /x/; };", "const a=()=>{return/x/};"),
        # Blanks that are needed.
        ("const one = typeof two;\nvoid one;", "const a=typeof two;void a;"),
        ("const one = two + ++three - -four;", "const a=two+ ++three- -four;"),
        ("const one = 1 .toFixed(); 'in' in one;", "const a=1 .toFixed();'in'in a;"),
    ],
)
def test_it_is_shortened(script: str, short: str) -> None:
    """Blanks, comments and long names go; the rest stays."""
    assert shorten(script) == short


@pytest.mark.parametrize(
    "script",
    [
        "const one = `text`;",
        "const one = 1; /* why */",
        "const {one} = two;",
        "const [one] = two;",
        "const one = ({two}) => two;",
        "const one = (two = {}) => two;",
        "const one = 'two;",
        'const one = "two";',
    ],
)
def test_what_it_does_not_know_is_an_error(script: str) -> None:
    """A way of writing that could be misread stops the build of the page, not its readers."""
    with pytest.raises(Unclear):
        shorten(script)


def test_names_do_not_meet() -> None:
    """No short name is one that the script uses already, or a word of the language."""
    many = "".join(f"const name{number} = a + of;" for number in range(400))
    names = re.findall(r"const (\w+)=", shorten(many))
    assert len(set(names)) == len(names) == 400
    assert set(names).isdisjoint({"a", "of", "do", "if", "in", "is", "as"})


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP, deflate, br, zstd", True),
        ("deflate,x-gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("gzip;q=0.001", True),
        ("identity", False),
        ("*", True),
        ("br, *;q=0", False),
        (";;,,q=", False),
    ],
)
def test_who_reads_gzip(accepted: str, *, takes: bool) -> None:
    """As RFC 9110 has it: by name, by weight, by the star for what is not named."""
    assert takes_gzip(accepted) == takes


@pytest.mark.parametrize(
    ("wanted", "names"),
    [("", False), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("a", False), (" * ", True)],
)
def test_whose_copy_is_known(wanted: str, *, names: bool) -> None:
    """A list of tags, each of which may be weak, or the star."""
    found: Any = names_tag(wanted, '"a"')
    assert found is names
