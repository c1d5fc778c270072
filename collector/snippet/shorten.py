"""Makes our script small: its comments and blanks go, and the names that it declares get short.

For `s.js` and its manner of writing, which is that of JavaScript with fewer ways to say a thing.
Whatever it cannot be sure of is an error: every statement ends with a semicolon or a block, there
are no template literals, no comments between `/*` and `*/`, no destructuring and no members whose
name is left out (`{init}`), and no name is declared that the script also uses for a global.
"""

import itertools
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    r"""
    (?P<blank> \s+ | //[^\n]* )
    | (?P<text> '(?:[^'\\\n]|\\.)*' )
    | (?P<name> [A-Za-z_$][\w$]* )
    | (?P<number> \d[\w.]* )
    | (?P<mark> (?!/\*) (?: => | \.\.\. | \+\+ | -- | && | \|\| | \*\* | >>
        | [-+*/%&|^!<>=]?= =? | [^\s'"`\w$] ) )
    """,
    re.VERBOSE,
)
# A slash begins a pattern where a value is expected, and divides where one has just ended.
_PATTERN: Final = re.compile(r"/(?![*/])(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*")
_ENDS_A_VALUE: Final = frozenset(")]}")
_VALUE_FOLLOWS: Final = frozenset({"return", "typeof", "case", "of", "in"})
_RESERVED: Final = frozenset(
    {"as", "do", "if", "in", "is", "of", "for", "let", "new", "try", "var"}
)
_LETTERS: Final = string.ascii_letters
# Two tokens that would be another one without a blank between them.
_STICK: Final = re.compile(r"[\w$][\w$]|\+\+|--|/[/*]|\d\.")


class Unclear(Exception):
    """The script says something in a way that is not known here."""


class _Token(NamedTuple):
    kind: str
    text: str


def shorten(script: str) -> str:
    """The same script, smaller. Raises `Unclear`, which tells where."""
    tokens = list(_tokens(script))
    short = _short_names(tokens, sorted(_declared(tokens)))
    pieces: list[str] = []
    for index, token in enumerate(tokens):
        is_ours = token.kind == "name" and not _is_member(tokens, index)
        text = short.get(token.text, token.text) if is_ours else token.text
        if pieces and _STICK.match(pieces[-1][-1] + text[:2]):
            pieces.append(" ")
        # The last semicolon of a block says nothing.
        if text == "}" and pieces[-1] == ";":
            pieces.pop()
        pieces.append(text)
    return "".join(pieces)


def _tokens(script: str) -> Iterator[_Token]:
    """Everything but blanks and comments, in order."""
    last = _Token("mark", ";")
    at = 0
    while at < len(script):
        expects_value = (
            last.kind == "mark" and last.text not in _ENDS_A_VALUE
        ) or last.text in _VALUE_FOLLOWS
        found = _PATTERN.match(script, at) if expects_value else None
        kind = "pattern"
        if found is None:
            found = _TOKEN.match(script, at)
            if found is None:
                line = script.count("\n", 0, at) + 1
                raise Unclear(f"line {line}: {script[at : at + 20]!r}")
            kind = str(found.lastgroup)
        at = found.end()
        if kind != "blank":
            last = _Token(kind, found[0])
            yield last


def _is_member(tokens: Sequence[_Token], index: int) -> bool:
    """Whether a name is that of a member: `one.name`, or `{name: 1}`."""
    before = tokens[index - 1].text if index else ""
    after = tokens[index + 1].text if index + 1 < len(tokens) else ""
    return before == "." or (before in {"{", ","} and after == ":")


def _declared(tokens: Sequence[_Token]) -> set[str]:
    """What `const`, `let` and the parameters of arrow functions name."""
    names: set[str] = set()
    for index, token in enumerate(tokens):
        if token.text in {"const", "let"} and token.kind == "name":
            names.update(_declarators(tokens, index + 1))
        elif token.text == "=>":
            names.update(_parameters(tokens, index - 1))
    return names


def _is_name(tokens: Sequence[_Token], index: int) -> bool:
    return tokens[index].kind == "name" and not _is_member(tokens, index)


def _declarators(tokens: Sequence[_Token], index: int) -> Iterator[str]:
    """The names of a declaration whose first is at `index`."""
    depth = 0
    is_first = True
    for token in tokens[index:]:
        if is_first:
            if token.kind != "name":
                raise Unclear(f"{token.text!r} is declared")
            yield token.text
        is_first = depth == 0 and token.text == ","
        if token.text in {"(", "[", "{"}:
            depth += 1
        elif token.text in {")", "]", "}"}:
            depth -= 1
        if depth < 0 or (depth == 0 and token.text in {";", "of"}):
            return


def _parameters(tokens: Sequence[_Token], index: int) -> Iterator[str]:
    """The names before the arrow; `index` is what stands right before it."""
    if tokens[index].kind == "name":
        yield tokens[index].text
        return
    while tokens[index := index - 1].text != "(":
        if tokens[index].kind == "name":
            yield tokens[index].text
        elif tokens[index].text not in {",", "..."}:
            raise Unclear(f"{tokens[index].text!r} among parameters")


def _short_names(tokens: Sequence[_Token], names: Sequence[str]) -> dict[str, str]:
    """A short name for each of `names`, the shortest for what is used most."""
    uses = Counter(token.text for index, token in enumerate(tokens) if _is_name(tokens, index))
    taken = (uses.keys() - set(names)) | _RESERVED
    pairs = itertools.product(_LETTERS, repeat=2)
    free = (one for one in itertools.chain(_LETTERS, map("".join, pairs)) if one not in taken)
    # The order of equals is that of the alphabet: every start serves the same bytes.
    return dict(zip(sorted(names, key=lambda name: -uses[name]), free, strict=False))
