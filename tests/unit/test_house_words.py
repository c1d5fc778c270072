"""Every rule about words is broken, and kept by something that looks like breaking it."""

import pytest

from tests.house import words


@pytest.mark.parametrize("text", ["# TODO: later", "x = 1  # FIXME", '"XXX"', "<!-- HACK -->"])
def test_markers(text: str) -> None:
    """Left-over markers are found wherever they stand, as words of their own."""
    assert [fault.line for fault in words.no_markers("a.py", f"\n{text}\n")] == [2]
    assert list(words.no_markers("a.py", "todo mastodons, XXXL, hackathon")) == []


@pytest.mark.parametrize(
    "text", ["see decision 12", "Issue #3", "(reference/001)", "seed-004", "DECISION 1"]
)
def test_sources_that_lead_nowhere(text: str) -> None:
    """Numbers of what is not here are found; in lock files anything may stand."""
    assert list(words.sources_can_be_looked_up("docs/a.md", text))
    assert list(words.sources_can_be_looked_up("requirements.lock", text)) == []
    good = "docs/decisions/0003-names.md, our decision: 405, an issue with 3 parts, reference/event"
    assert list(words.sources_can_be_looked_up("a.py", good)) == []


def test_pages_that_are_not_there() -> None:
    """A page is looked for from the root, in docs/, and beside the text that names it."""
    files = {"README.md", "docs/CONFIG.md", "docs/decisions/0001-x.md", "bench/README.md"}
    good = "README.md docs/CONFIG.md CONFIG.md decisions/0001-x.md (../CONFIG.md) ./README.md"
    assert list(words.pages_exist("docs/decisions/0002-y.md", good, files)) == []
    (fault,) = words.pages_exist("collector/a.py", "x\nsee PLAN.md, x.mdx", files)
    assert (fault.line, "PLAN" in fault.message) == (2, True)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("requirements.lock", "x @ https://packages.example.net/x.whl"),
        ("requirements-dev.lock", "--index-url x"),
        ("tests/browser/package-lock.json", '"resolved": "x"'),
        ("tests/browser/package-lock.json", '"x": "git+ssh://a/b"'),
        ("Makefile", "\tcurl http://files.example.net"),
        (".ci/run", "pip install --registry"),
        (".npmrc", ""),
        ("deploy/pip.conf", ""),
    ],
)
def test_registries(path: str, text: str) -> None:
    """Lock files, scripts and settings name no place to get packages from."""
    assert list(words.no_registries(path, text))


def test_no_registries_is_no_ban_on_addresses() -> None:
    """Documents and code may hold addresses; scripts may speak to this machine."""
    assert list(words.no_registries("README.md", "https://example.com")) == []
    assert list(words.no_registries("Makefile", "# on http://127.0.0.1:8000")) == []


def test_machines() -> None:
    """The machine's name is found; a name as general as `localhost` is no name."""
    assert list(words.no_machine("a.py", "on build-host-17.", ["build-host-17"]))
    assert list(words.no_machine("a.py", "localhost vm", ["localhost", "vm"])) == []
