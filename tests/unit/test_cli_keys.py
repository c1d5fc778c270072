"""`collector keys`: what is written, and what is not."""

import json
import os
import re
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from collector import cli_keys
from collector.cli import main
from collector.cli_keys import _change
from collector.keys import digest
from storage import Files
from tests.support.files import FaultyFiles, Operation

TEXT = '[storage]\ndirectory = "data"\n\n[[sites]]\nid = "demo"  # ours\nteam = "demo"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file that only its owner reads."""
    path = tmp_path / "config.toml"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


def _keys(config: Path, *arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(
        main, ["keys", arguments[0], "--config", str(config), *arguments[1:]], input=answer
    )


def test_a_key_goes_into_the_file_and_out_again(config: Path) -> None:
    """Through a link, with the permissions of before; its text is nowhere but on the screen."""
    link = config.with_name("link.toml")
    link.symlink_to(config)
    made = _keys(link, "new", "--name", "a", "--write")
    assert made.exit_code == 0, made.output
    [key] = re.findall(r"zv_\w+", made.output)
    assert link.is_symlink()
    assert config.stat().st_mode & 0o777 == 0o600
    text = config.read_text()
    assert text.startswith(TEXT)
    assert digest(key) in text
    assert key not in text
    assert sorted(path.name for path in config.parent.iterdir()) == ["config.toml", "link.toml"]

    listed = _keys(config, "list", "--format", "json")
    [row] = json.loads(listed.output)
    assert (row["name"], row["tier"], row["limit"]) == ("a", "pro", 10_000)
    assert (row["requests"], row["running"]) == (0, "none runs")

    assert _keys(config, "revoke", "a", answer="n\n").exit_code == 1
    assert config.read_text() == text
    assert _keys(config, "revoke", "a", answer="y\n").exit_code == 0
    assert config.read_text() == TEXT


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("new", "--write", "--name", "b", "--site", "nowhere"), 2, "names no site"),
        (("new", "--write", "--name", "b", "--tier", "gold"), 2, "tier"),
        (("new", "--write", "--name", ""), 2, "name"),
        (("revoke", "bakend", "--yes"), 1, "did you mean backend?"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    config: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """2 for what the file would say, 1 for what is not there."""
    assert _keys(config, "new", "--write").exit_code == 0
    before = config.read_bytes()
    found = _keys(config, *arguments)
    assert found.exit_code == code
    assert told in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert config.read_bytes() == before


def test_a_list_in_one_line_is_left_to_its_writer(config: Path) -> None:
    """What cannot be changed for sure is not changed."""
    config.write_text("keys = []\n" + TEXT)
    found = _keys(config, "new", "--write")
    assert (found.exit_code, found.stderr.count("\n")) == (1, 1)
    assert "by hand" in found.stderr


def test_without_a_file_there_is_nothing_to_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The built-in values are nobody's file."""
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, ["keys", "new", "--write"])
    assert found.exit_code == 1
    assert "copy config.example.toml" in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_lose_nothing(config: Path) -> None:
    """Who comes second waits, and changes what the first has written: both keys are there."""
    is_reading, goes_on = threading.Event(), threading.Event()

    def slowly(data: bytes) -> bytes:
        is_reading.set()
        goes_on.wait(20)
        return data + b"# first\n"

    first = threading.Thread(target=_change, args=(config, slowly))
    second = threading.Thread(target=_change, args=(config, lambda data: data + b"# second\n"))
    first.start()
    assert is_reading.wait(20)
    second.start()
    second.join(0.3)
    assert second.is_alive()
    goes_on.set()
    for one in (first, second):
        one.join(20)
    assert config.read_text() == TEXT + "# first\n# second\n"
    assert [path.name for path in config.parent.iterdir()] == ["config.toml"]


def test_nobody_waits_for_ever(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command that hangs is told in one line; the file stays as it is."""
    monkeypatch.setattr(cli_keys, "_PATIENCE_S", 0.1)
    lock = Files().lock_folder(config.parent)
    try:
        found = _keys(config, "new", "--write")
    finally:
        os.close(lock)
    assert (found.exit_code, found.stderr.count("\n")) == (1, 1)
    assert "another command is changing it" in found.stderr
    assert config.read_text() == TEXT


@pytest.mark.parametrize("call", ["create", "write", "sync", "rename"])
def test_a_rewrite_that_fails_leaves_the_file(config: Path, call: str) -> None:
    """Whatever step fails, the old text is there and nothing beside it."""
    files = FaultyFiles()

    def fail(operation: Operation) -> OSError | None:
        return OSError(28, "No space left on device") if operation.call == call else None

    files.fail = fail
    with pytest.raises(OSError, match="No space"):
        files.rewrite(config, b"other")
    assert config.read_text() == TEXT
    assert [path.name for path in config.parent.iterdir()] == ["config.toml"]
    Files().rewrite(config, b"other")
    assert config.read_bytes() == b"other"
