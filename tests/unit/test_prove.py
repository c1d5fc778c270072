"""What a proof is made of: ledger, comparison, requests, place, report."""

import json
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from collector import config_file
from collector.cli import main
from collector.prove import channels, place, proof, report
from collector.prove.channels import CHANNELS, Answer, Maker, read_answer
from collector.prove.comparing import Compared, compare, stored
from collector.prove.ledger import Ledger
from storage import Files, rollcall

NOW_MS = 1_795_000_000_000
MAKER = Maker("0123abcd", "zv_key")


def _roll(*files: Sequence[int], marked: Sequence[int] = ()) -> rollcall.Roll:
    first = [np.array(numbers, np.uint32) for numbers in files]
    return rollcall.Roll(first, [np.array(marked, np.uint32)], [], len(files), 0)


def _ledger(*acknowledged: int, sent: int = 10) -> Ledger:
    ledger = Ledger(1_000)
    ledger.take(sent)
    for number in acknowledged:
        ledger.acknowledge(number, 1)
    return ledger


# --- ledger and comparison


def test_ledger_gives_each_number_once() -> None:
    """Numbers follow each other, up to the most that there may be; states grow with them."""
    ledger = Ledger(3_000_000)
    assert [ledger.take(count) for count in (1, 100, 2_500_000, 1)] == [0, 1, 101, 2_500_101]
    assert ledger.take(500_000) is None
    ledger.acknowledge(2_500_100, 1)
    assert len(ledger.states) == ledger.sent == 2_500_102
    assert np.flatnonzero(ledger.states & 2).tolist() == [2_500_100]


def test_ledger_counts_an_acknowledgement_once() -> None:
    """What is acknowledged again is no further event."""
    ledger = _ledger(1, 2, 2)
    ledger.acknowledge(1, 3)
    assert ledger.acknowledged == 3


def test_all_is_well() -> None:
    """Every acknowledged event once, over several files; what was not acknowledged may be there."""
    found = compare(_ledger(0, 1, 2), _roll([2, 0], [5], [1]))
    assert (found.found, found.lost, found.doubled, found.strange) == (3, (), (), 0)
    assert found.unacknowledged == 1
    assert [stored(found.copies, first, 3) for first in (0, 3, 6)] == [3, 1, 0]


def test_a_row_that_is_gone_is_lost() -> None:
    """An acknowledged event without a row is lost, a marked repeat of it notwithstanding."""
    ledger = _ledger(0, 1, 2)
    ledger.send_again(1, 1)
    found = compare(ledger, _roll([0], marked=[1]))
    assert (found.found, found.lost) == (1, (1, 2))


def test_a_row_twice_is_doubled() -> None:
    """Twice in one file, or in two, however often, and acknowledged or not."""
    found = compare(_ledger(0, 1), _roll([0, 0, 1, 5], [1, 5], [7] * 300))
    assert found.doubled == (0, 1, 5, 7)


def test_marked_repeats() -> None:
    """A repeat that was acknowledged must be there; one that nobody sent must not."""
    ledger = _ledger(0, 1, 2)
    for number in (0, 1):
        ledger.send_again(number, 1)
        ledger.acknowledge(number, 1, are_marked=True)
    found = compare(ledger, _roll([0, 1, 2], marked=[0, 2]))
    assert found.lost == (1,)
    assert found.doubled == (2,)


def test_rows_of_nobody_are_strange() -> None:
    """Numbers that were never given out, and rows without one."""
    found = compare(_ledger(0, sent=3), _roll([0, 3, rollcall.STRANGE], marked=[9]))
    assert found.strange == 3


# --- requests


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
def test_a_number_is_always_the_same_event(channel: channels.Channel) -> None:
    """The bodies are JSON, and tell the id that the report names, once for each event."""
    request = MAKER.make(channel, 255, channel.events, NOW_MS, 5)
    text = json.dumps(json.loads(request.body)) + json.dumps(dict(request.headers))
    counts = {text.count(MAKER.identity(255 + number)) for number in range(channel.events)}
    assert len(counts) == 1
    assert counts.pop() >= 2
    assert MAKER.identity(255) == "0123abcd-0000-4000-8000-0000000000ff"
    assert MAKER.identity(255 + channel.events) not in text


ZENOVAY = MAKER.make(CHANNELS[0], 0, 10, NOW_MS, 0)
SCANOVA = MAKER.make(CHANNELS[1], 0, 10, NOW_MS, 0)
CROCT = MAKER.make(CHANNELS[-1], 0, 1, NOW_MS, 0)


@pytest.mark.parametrize(
    ("request_", "status", "body", "answer"),
    [
        (ZENOVAY, 200, b'{"acceptedCount":7,"dedupedCount":3}', Answer("stored", 3)),
        (ZENOVAY, 200, b'{"acceptedCount":7,"dedupedCount":2}', Answer("refused")),
        (ZENOVAY, 200, b"{", Answer("refused")),
        (ZENOVAY, 503, b"", Answer("later")),
        (ZENOVAY, 429, b"", Answer("refused")),
        (ZENOVAY, 500, b"", Answer("refused")),
        (SCANOVA, 200, b'{"accepted":10,"duplicates":0}', Answer("stored", 0)),
        (SCANOVA, 200, b'{"accepted":9,"duplicates":0}', Answer("refused")),
        (CROCT, 204, b"", Answer("stored")),
        (CROCT, 200, b"", Answer("refused")),
        (CROCT, 202, b"", Answer("refused")),
    ],
)
def test_what_an_answer_promises(
    request_: channels.Request, status: int, body: bytes, answer: Answer
) -> None:
    """Only a success for every event of a request is taken for one."""
    assert read_answer(request_, status, body) == answer


# --- place


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_the_private_configuration_is_sound(tmp_path: Path, durability: place.Durability) -> None:
    """It passes `collector check`, listens on loopback, and has its data where it shall be."""
    odd = tmp_path / 'a "b" \\c'
    home = place.furnish(odd, Files(), port=1234, durability=durability, free_bytes_min=7)
    found = config_file.load(home.config)
    assert found.storage.directory == home.directory == odd / "data"
    assert (found.storage.durability, found.storage.disk_free_bytes_min) == (durability, 7)
    assert (found.server.host, found.server.port) == ("127.0.0.1", 1234)


def test_the_disk_below_a_folder(tmp_path: Path) -> None:
    """The mount nearest to the folder is told, of two in the same place the last."""
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        f"2 1 8:2 / {tmp_path} rw - xfs /dev/b rw\n"
        f"3 2 0:9 / {tmp_path} rw,noatime shared:1 - tmpfs none rw\n"
        f"4 1 8:3 / {tmp_path}/elsewhere rw - btrfs /dev/c rw\n"
    )
    assert place.disk_of(tmp_path, mounts) == place.Disk("tmpfs", "none", "rw,noatime")
    assert place.disk_of(tmp_path, tmp_path / "none") == place.Disk("", "", "")


def test_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    """A data directory that was never made still tells on which disk it would be."""
    assert place.existing(tmp_path / "a" / "b") == tmp_path


# --- rounds and report


def test_every_kind_of_round_comes_first_once(tmp_path: Path) -> None:
    """Ten rounds hold each kind; of many more than half are kills."""
    kinds = [*proof.KINDS, proof.FULL_DISK]
    options = proof.Options(
        below=tmp_path,
        rounds=1_000,
        seed=7,
        load_s=1,
        batched_max=1,
        durability="sync",
        keeps=False,
    )
    one, other = (
        proof.Proof(options, now_us=now_us, monotonic_s=float, tell=print) for now_us in (1, 2)
    )
    chosen = list(one._kinds())
    assert sorted(chosen[: len(kinds)]) == sorted(kinds)
    counts = Counter(chosen)
    assert counts["kill"] > 500
    assert min(counts.values()) >= 10
    assert chosen == list(other._kinds()), "the seed decides"
    assert one.folder != other.folder


def _report(**members: object) -> report.Report:
    known = {
        "directory": "/d",
        "file_system": "ext4",
        "device": "/dev/a",
        "mount_options": "rw",
        "durability": "sync",
        "seed": 1,
    }
    return report.Report(**(known | members))  # type: ignore[arg-type]


def test_report_sums_up_directories() -> None:
    """Counts of several data directories are added; anything wrong in one is wrong in all."""
    whole = _report()
    compared = Compared(5, (), (), 0, 1, np.zeros(0, np.uint8))
    report.add(whole, report.Account(sent=7, acknowledged=5, compared=compared, files=2, bytes=9))
    report.add(whole, report.Account(sent=1, acknowledged=1))
    assert (whole.sent, whole.acknowledged, whole.found, whole.files) == (8, 6, 5, 2)
    assert whole.is_passed
    wrong = msgspec.structs.replace(compared, lost=(3,))
    report.add(whole, report.Account(sent=1, acknowledged=1, compared=wrong))
    assert whole.lost == 1
    assert not whole.is_passed


@pytest.mark.parametrize("name", ["lost", "doubled", "strange_rows", "unreadable_files"])
def test_report_of_a_failure(name: str) -> None:
    """Whatever is wrong fails the proof, and the text says so; else it says what it held."""
    assert "Passed" in report.as_text(_report())
    assert "FAILED" in report.as_text(_report(**{name: 1}))
    assert not _report(**{name: 1}).is_passed
    assert not _report(faults=["x"]).is_passed


def test_report_names_ids_and_says_what_it_does_not_show() -> None:
    """Ids, files, where it all is, and that kill -9 is no loss of power."""
    text = report.as_text(
        _report(lost=1, ids_lost=["the-id"], unreadable=["the-file: why"], kept="/the/folder")
    )
    assert "lost: the-id" in text
    assert "unreadable: the-file: why" in text
    assert "/the/folder" in text
    assert "loss of power" in text


def test_recovery_times() -> None:
    """Median and longest of all starts."""
    whole = _report()
    whole.recovered([0.5, 3.0, 1.0])
    assert (whole.restarts, whole.recovery_p50_s, whole.recovery_max_s) == (3, 1.0, 3.0)


# --- the command


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rounds", "0"],
        ["--seconds", "0"],
        ["--events", "-1"],
        ["--directory", "/does/not/exist"],
        ["--config", "/does/not/exist.toml"],
    ],
    ids=" ".join,
)
def test_wrong_arguments(arguments: list[str]) -> None:
    """Exit code 2, and nothing is started."""
    assert CliRunner().invoke(main, ["prove", *arguments]).exit_code == 2


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line and exit code 1 when the private folder cannot be made."""

    def fail(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(Files, "make_folder", fail)
    result = CliRunner().invoke(main, ["prove", "--directory", str(tmp_path)])
    assert result.exit_code == 1
    assert "Permission denied" in result.output


@pytest.mark.parametrize("command", ["serve", "demo", "prove"])
def test_broken_connections_do_not_end_a_command(command: str) -> None:
    """A command that speaks to a collector survives SIGPIPE, which a closed connection raises."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    CliRunner().invoke(main, [command, "--config", "/does/not/exist.toml"])
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
