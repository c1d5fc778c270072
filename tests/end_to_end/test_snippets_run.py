"""The snippets of the page Install, run as they are shown: each sends one event to a collector.

What no interpreter is there for is not run; of Ruby and PHP the syntax is checked where they are.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest

from collector.config import Site
from collector.dashboard.snippets import Snippet, snippets
from collector.keys import DEMO_KEY
from tests.support.process import CollectorProcess, example_site

pytestmark = pytest.mark.end_to_end

# Ids that would be code, were they not literals.
NASTY: Final = 'it\'s "a" `shop` $HOME #{1} \\ </script>'
_TIMEOUT_S: Final = 60


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector whose one site has an id that wants to be code."""
    site = example_site(id=NASTY, tracking_code=NASTY, team="demo")
    key = {"name": "backend", "team": "demo", "scope": "full_access", "tier": "pro"}
    digest = "0b3f86f198c58f3f7c189522331bc39ac8e71cc3e31ee335af32f290ac2e9744"
    directory = tmp_path_factory.mktemp("snippets")
    with CollectorProcess(directory, sites=[site], keys=[{**key, "sha256": digest}]) as process:
        yield process


def snippet(collector: CollectorProcess, name: str) -> Snippet:
    """One of those that the page shows."""
    found = msgspec.convert(collector.settings["sites"][0], Site)
    return next(one for one in snippets(collector.url, found) if one.name == name)


def run(arguments: Sequence[str], directory: Path) -> str:
    """Run a program that knows the key as the page says; what it printed."""
    done = subprocess.run(
        arguments,
        cwd=directory,
        env={"COLLECTOR_KEY": DEMO_KEY, "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def program(name: str) -> str:
    """Where an interpreter is; without it the test is skipped."""
    return shutil.which(name) or pytest.skip(f"no interpreter for the snippet: {name}")


@pytest.mark.parametrize(
    ("name", "suffix", "interpreter"),
    [
        ("curl", "sh", "sh"),
        ("curl-zenovay", "sh", "sh"),
        ("node", "mjs", "node"),
        ("python", "py", sys.executable),
    ],
)
def test_it_sends_an_event(
    name: str, suffix: str, interpreter: str, collector: CollectorProcess, tmp_path: Path
) -> None:
    """Saved to a file and run with the key in the environment: one event more of that site."""
    if name.startswith("curl"):
        program("curl")
    path = tmp_path / f"snippet.{suffix}"
    path.write_text(snippet(collector, name).text, encoding="utf-8")
    told = run([program(interpreter), str(path)], tmp_path)
    rows = collector.query("SELECT event_id, site_id, key_id FROM events ORDER BY received_time")
    event_id = rows[-1].pop("event_id")
    assert rows[-1] == {"site_id": NASTY, "key_id": "backend"}
    assert event_id in told or '"acceptedCount":1' in told


@pytest.mark.parametrize(("name", "check"), [("ruby", "-c"), ("php", "-l")])
def test_it_is_a_program(
    name: str, check: str, collector: CollectorProcess, tmp_path: Path
) -> None:
    """Its interpreter takes it for one."""
    path = tmp_path / "snippet"
    path.write_text(snippet(collector, name).text, encoding="utf-8")
    run([program(name), check, str(path)], tmp_path)
