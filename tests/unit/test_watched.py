"""Files that others keep up to date: when they are read, and when not."""

import logging
import os
from pathlib import Path

import pytest

from collector.watched import Unusable, Watched


def load(path: Path) -> str:
    """The text of the file; "bad" is of no use."""
    text = path.read_text()
    if text.startswith("bad"):
        raise Unusable("it says so itself")
    return text


@pytest.fixture
def path(tmp_path):
    """A file with content."""
    file = tmp_path / "file"
    file.write_text("first")
    return file


@pytest.fixture
def watched(path):
    """Read once."""
    found = Watched(path, load, "the list")
    found.start()
    return found


def replace(path: Path, text: str) -> None:
    """As `mv` does."""
    path.with_name("new").write_text(text)
    path.with_name("new").replace(path)


@pytest.mark.parametrize("write", [Path.write_text, replace])
def test_a_change_is_seen_when_it_holds_still(path, watched, write):
    """Renamed or written in place: the second look after the change reads it, and once only."""
    assert watched.value == "first"
    write(path, "second")
    watched.look()
    assert watched.value == "first", "it may still be written"
    watched.look()
    assert watched.value == "second"


def test_a_link_that_is_pointed_elsewhere_is_followed(tmp_path):
    """As Kubernetes changes a mounted file: a link in its path is replaced, the name stays."""
    for text in ("first", "second"):
        (tmp_path / text).mkdir()
        (tmp_path / text / "file").write_text(text)
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "file").symlink_to("..data/file")
    watched = Watched(tmp_path / "file", load, "the list")
    watched.start()
    assert watched.value == "first"
    (tmp_path / "..new").symlink_to("second")
    (tmp_path / "..new").replace(tmp_path / "..data")
    watched.look()
    watched.look()
    assert watched.value == "second"


def test_a_file_that_keeps_changing_is_not_read(path, watched):
    """Each look meets another file; the last one counts."""
    for number in range(5):
        path.write_text("half" + "x" * number)
        watched.look()
    assert watched.value == "first"
    watched.look()
    assert watched.value == "halfxxxx"


def test_a_file_that_changes_while_it_is_read_does_not_count(path):
    """What was read may be half of each; the next looks read it whole."""
    contents = ["first", "second"]

    def load_slowly(file: Path) -> str:
        text = file.read_text()
        if contents:
            file.write_text(contents.pop())
        return text

    watched = Watched(path, load_slowly, "the list")
    watched.start()
    assert watched.value is None
    for _ in range(6):
        watched.look()
    assert watched.value == path.read_text() == "first"


def test_a_file_of_no_use_changes_nothing_and_is_told_once(path, watched, caplog):
    """The old content stays in force; a better file is taken."""
    replace(path, "bad")
    for _ in range(5):
        watched.look()
    assert (watched.value, watched.failures) == ("first", 1)
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage() == (
        f"{path}: the list cannot be used: it says so itself; what was read before stays in force"
    )
    replace(path, "third")
    watched.look()
    watched.look()
    assert (watched.value, watched.failures) == ("third", 1)


def test_a_file_that_is_gone_is_told_once_and_may_come_back(path, watched, caplog):
    """As when a network drive is away for a while."""
    path.unlink()
    for _ in range(4):
        watched.look()
    assert (watched.value, watched.failures) == ("first", 1)
    assert len(caplog.records) == 1
    path.write_text("back")
    watched.look()
    watched.look()
    assert watched.value == "back"


def test_a_start_with_a_bad_file_goes_on_without(path, caplog):
    """The collector takes events; the file may be mended meanwhile."""
    path.write_text("bad")
    watched = Watched(path, load, "the list")
    watched.start()
    assert watched.value is None
    assert "it is done without" in caplog.text
    path.write_text("good")
    watched.look()
    watched.look()
    assert watched.value == "good"


def test_a_file_that_cannot_be_read_is_told_by_the_system(path, watched, caplog):
    """The reason is the system's, and nothing else of the error."""
    path.unlink()
    path.mkdir()
    watched.look()
    watched.look()
    assert watched.value == "first"
    assert "cannot be used: Is a directory; " in caplog.text


def test_an_unchanged_file_is_not_read_again(path, watched):
    """Looking costs one call of the system."""
    calls = []
    watched._load = calls.append
    for _ in range(3):
        watched.look()
    assert calls == []
    os.utime(path, (1, 1))
    watched.look()
    watched.look()
    watched.look()
    assert calls == [path]


def test_what_the_system_refuses_is_tried_again(path, watched, caplog):
    """Rights are given, a drive is back: the file did not change for that. Told once till then."""
    is_denied = True

    def load_if_allowed(file: Path) -> str:
        if is_denied:
            raise PermissionError(13, "Permission denied")
        return load(file)

    watched._load = load_if_allowed
    replace(path, "second")
    for _ in range(40):
        watched.look()
    assert (watched.value, watched.failures, watched.reason) == ("first", 1, "Permission denied")
    assert len(caplog.records) == 1
    watched.read_again()
    assert watched.failures == 2, "whoever asks is told once more"
    is_denied = False
    for _ in range(10):
        watched.look()
    assert (watched.value, watched.failures, watched.reason) == ("second", 2, "")
    calls = []
    watched._load = calls.append
    for _ in range(40):
        watched.look()
    assert calls == []


def test_other_permissions_have_a_file_read_again(path, watched):
    """As after an editor that runs as root: the right owner and mode come a moment later."""
    calls = []
    watched._load = calls.append
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.chmod(0o600)
    for _ in range(3):
        watched.look()
    assert calls == [path]
