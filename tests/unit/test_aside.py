"""The quarantine's files: names, joining, rewriting, erasing, and a process that is killed."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import Files, StorageError, asidereader
from storage.aside import Aside, Kept, Reason, _from_lines, size_of
from storage.asidenames import AsidePart, listed, live
from storage.asidesearch import Search

TIME_US = 1_795_000_000_000_000


class Killed(BaseException):
    """The process is gone."""


class Faulty(Files):
    """Ends the process in the n-th operation that changes names."""

    def __init__(self) -> None:
        self.left = -1

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def publish(self, temporary: Path, final: Path) -> None:
        """See Files; killed before or after."""
        self._count()
        super().publish(temporary, final)
        self._count()

    def remove(self, path: Path) -> None:
        """See Files."""
        if path.parent.name == "quarantine":
            self._count()
        super().remove(path)

    def create(self, path: Path) -> int:
        """See Files."""
        self._count()
        return super().create(path)


def one(number: int, raw: bytes = b"{}", site: str = "demo", **members: object) -> Kept:
    """A kept event whose id tells its number."""
    known = {
        "id": str(uuid.UUID(int=number)),
        "time": TIME_US + number,
        "site_id": site,
        "protocol": "p",
        "source": "server",
        "endpoint": "/p",
        "reason": "r",
        "message": "m",
        "raw": raw,
    }
    return Kept(**(known | members))  # type: ignore[arg-type]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A data directory."""
    (tmp_path / "tmp").mkdir()
    yield tmp_path
    assert list((tmp_path / "tmp").iterdir()) == [], "nothing unfinished is left"


def opened(directory: Path, files: Files | None = None) -> Aside:
    """The quarantine of `directory`."""
    aside = Aside(directory, files or Files())
    aside.open()
    return aside


def numbers(directory: Path) -> list[int]:
    """What a reader finds."""
    found = asidereader.ids(directory, asidereader.Filter())
    return [uuid.UUID(text).int for text in found]


def test_every_column_comes_back(directory: Path) -> None:
    """What is kept is read as it was, whatever its bytes; plain DuckDB reads the files."""
    events = [
        one(
            1,
            bytes(range(256)) * 3,
            violations=msgspec.Raw(b'[{"reason":"\xc3\xa9"}]'),
            content_type="application/json",
            key_id="k",
            origin="example.com",
            headers=msgspec.Raw(b'{"user-agent":"a\\"b"}'),
            event_id="e\u0000\n",
            envelope='{"a":"\u00e9"}',
        ),
        one(2, b"x" * 4_194_304),
        one(3, b""),
    ]
    aside = opened(directory)
    aside.add(events)
    found = asidereader.read(directory, asidereader.Filter())[::-1]
    assert msgspec.json.encode(found) == msgspec.json.encode(events)
    assert aside.sizes() == {"demo": sum(map(size_of, events))}
    [path] = (directory / "quarantine").iterdir()
    rows = duckdb.read_parquet(str(path)).order("time").select("raw").fetchall()
    assert [row[0] for row in rows] == [event.raw for event in events]


def test_files_stay_few_and_events_in_order(directory: Path) -> None:
    """Many writes make few files; nothing is lost, doubled or reordered by joining them."""
    aside = opened(directory)
    for number in range(1, 70):
        aside.add([one(2 * number, b"x" * 100), one(2 * number + 1)])
        aside.join()
    assert numbers(directory) == list(range(2, 140))
    assert len(listed(directory / "quarantine")) < 20
    assert opened(directory).ids() == aside.ids()


@pytest.mark.parametrize("step", range(1, 32))
def test_a_kill_at_any_step_loses_nothing_that_was_kept(
    directory: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill -9 in any operation: kept events are there once, taken ones stay away after a rerun."""
    monkeypatch.setattr("storage.aside._JOINED_AT", 4)
    files = Faulty()
    aside = opened(directory, files)
    kept: set[int] = set()
    files.left = step
    try:
        for number in range(1, 8):
            aside.add([one(number)])
            kept.add(number)
            aside.join()
        aside.settle([str(uuid.UUID(int=3))])
        kept.discard(3)
        aside.expire(TIME_US + 6)
    except Killed:
        pass
    for path in (directory / "tmp").iterdir():
        path.unlink()  # as a start does
    again = opened(directory)
    found = numbers(directory)
    assert len(found) == len(set(found))
    assert kept - {1, 2, 4, 5} <= set(found) <= set(range(1, 9))
    again.settle([str(uuid.UUID(int=3))])
    again.expire(TIME_US + 6)
    assert set(numbers(directory)) == set(found) - {1, 2, 3, 4, 5}
    assert {uuid.UUID(text).int for text in opened(directory).ids()} == set(numbers(directory))


def test_sites_expire_at_times_of_their_own(directory: Path) -> None:
    """What is told of a site holds for it, earlier or later; the others follow the common time."""
    aside = opened(directory)
    sites = ("long", "other", "short")
    aside.add([one(n, site_id=sites[n % 3]) for n in range(1, 13)])
    assert aside.expire(TIME_US + 6, {"short": TIME_US + 9, "long": 0, "none": TIME_US + 99}) == 5
    assert set(numbers(directory)) == {3, 6, 9, 12, 7, 10, 11}
    assert aside.expire(0, {}) == 0


def test_reasons_change_and_nothing_else(directory: Path) -> None:
    """A new reason is written to the one event; the bytes of all stay as they were."""
    aside = opened(directory)
    aside.add([one(1, b"\xff"), one(2), one(3, violations=msgspec.Raw(b'[{"reason":"old"}]'))])
    new = [
        Reason(str(uuid.UUID(int=1)), "new", "why", '[{"reason":"x"}]'),
        Reason(str(uuid.UUID(int=3)), "newer", "because"),
    ]
    assert aside.settle([str(uuid.UUID(int=2))], new) == 1
    third, first = asidereader.read(directory, asidereader.Filter())
    assert (first.reason, first.message, first.raw) == ("new", "why", b"\xff")
    assert bytes(first.violations or b"") == b'[{"reason":"x"}]'
    assert (third.reason, third.message, third.violations) == ("newer", "because", None)
    assert aside.settle([], []) == 0
    assert aside.settle([str(uuid.UUID(int=77))]) == 0


def test_erasure_finds_a_person_in_every_spelling(directory: Path) -> None:
    """Bytes, JSON escapes, capitals, UUIDs without dashes, headers and the id; only of the site."""
    visitor = "2c9f0f4b-e1d3-4f7a-8a6d-5b1c0e9f7a63"
    person = [
        one(1, f'{{"v":"{visitor}"}}'.encode()),
        one(2, f'{{"v":"{visitor.upper()}"}}'.encode()),
        one(3, b"no json " + visitor.replace("-", "").encode()),
        one(4, b"{}", headers=msgspec.Raw(f'{{"x-client-id":"{visitor}"}}'.encode())),
        one(5, b"{}", event_id=visitor),
        one(6, b"{}", envelope=f'{{"a":"{visitor}"}}'),
        one(7, b'{"v":"\\u0032c9f0f4b-e1d3-4f7a-8a6d-5b1c0e9f7a63"}'),
        one(8, b'{"v":"\\u0032c9f0f4b-e1d3-4f7a-8a6d-5b1c0e9f7a63" cut off'),
    ]
    others = [one(20, b'{"v":"other"}'), one(21, person[0].raw, site="elsewhere")]
    aside = opened(directory)
    aside.add(person[:4])
    aside.add([*person[4:], *others])
    names = [path.name for path in listed(directory / "quarantine")]
    expected = {names[0]: 4, names[1]: 4}
    assert aside.erase("demo", [visitor], dry_run=True) == expected
    assert len(numbers(directory)) == 10
    assert aside.erase("demo", [visitor]) == expected
    assert numbers(directory) == [20, 21]
    assert aside.erase("demo", [visitor]) == {}
    assert aside.erase("demo", ["", "x"]) == {}


def test_erasure_of_a_short_id_leaves_what_only_looks_like_it(directory: Path) -> None:
    """User 42 is no time, no price and no part of a text; several values go in one call."""
    aside = opened(directory)
    aside.add(
        [
            one(1, b'{"user":42}'),
            one(2, b'{"text":"42 is the answer"}'),
            one(3, b"{}", event_id="42"),
            one(4, b'{"user":"7"}'),
            one(5, b'{"time":1142}'),
        ]
    )
    assert aside.erase("demo", ["42", "7"]) == {"part-000000000001-000000000001-000000.parquet": 3}
    assert numbers(directory) == [2, 5]


def test_erasure_removes_files_that_are_no_parts(directory: Path) -> None:
    """Damaged files and those of an earlier version go whole, counted; others' stay."""
    aside = opened(directory)
    aside.add([one(1, b'{"v":"visitor-one"}')])
    folder = directory / "quarantine"
    [part] = folder.iterdir()
    damaged = folder / f"damaged-{part.name}"
    damaged.write_bytes(part.read_bytes()[:-20])
    mine = {"site": "demo", "body": '{"v":"visitor-one"}'}
    for name, members in {"a.json": mine, "b.json": mine | {"site": "other"}}.items():
        (folder / name).write_bytes(msgspec.json.encode(members))
    (folder / "c.json.tmp").write_bytes(b'{"site":"demo","body":"{\\"v\\":\\"visitor-one')
    (folder / "README").write_bytes(b"visitor-one")
    expected = {damaged.name: 1, "a.json": 1, "c.json.tmp": 1, part.name: 1}
    assert aside.erase("demo", ["visitor-one"], dry_run=True) == expected
    assert len(list(folder.iterdir())) == 6
    assert aside.erase("demo", ["visitor-one"]) == expected
    left = {path.name for path in folder.iterdir()}
    assert left == {"b.json", "README", part.name.replace("-000000.", "-000001.")}
    assert aside.erase("demo", ["visitor-one"]) == {}


def test_a_repeated_erasure_removes_what_the_first_left(directory: Path) -> None:
    """A dead file that could not be removed holds the person still; a repeat takes it away."""
    files = Files()
    aside = opened(directory, files)
    aside.add([one(1, b'{"v":"visitor-one"}')])
    [part] = (directory / "quarantine").iterdir()

    def fail(path: Path) -> None:
        if path == part:
            raise OSError(5, "Input/output error")
        Files.remove(files, path)

    files.remove = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="Input/output"):
        aside.erase("demo", ["visitor-one"])
    del files.remove
    assert part.exists()
    aside.erase("demo", ["visitor-one"])
    assert not part.exists()


def test_raw_bodies_are_not_for_everybody(directory: Path) -> None:
    """Files have mode 0640 from their first byte on, their folder 0750, whatever the umask adds."""
    modes = []

    class Noting(Files):
        def publish(self, temporary: Path, final: Path) -> None:
            modes.append(temporary.stat().st_mode & 0o777)
            super().publish(temporary, final)

    before = os.umask(0)
    try:
        aside = opened(directory, Noting())
        aside.add([one(1), one(2)])
        aside.settle([str(uuid.UUID(int=1))])
    finally:
        os.umask(before)
    assert modes == [0o640, 0o640]
    [path] = (directory / "quarantine").iterdir()
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.parent.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("name", ["wal", "state", "orders", "quarantine", "events"])
def test_folders_with_what_people_sent_are_private(tmp_path: Path, name: str) -> None:
    """Published files are for whom the umask lets in; the rest is for the user and the group."""
    before = os.umask(0o022)
    try:
        Files().make_folder(tmp_path / "data" / name)
    finally:
        os.umask(before)
    mode = (tmp_path / "data" / name).stat().st_mode & 0o777
    assert mode == (0o755 if name == "events" else 0o750)


def test_a_write_of_which_events_get_lost_fails(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB making fewer rows than there are events is an error that says so, and no file."""
    aside = opened(directory)
    monkeypatch.setattr(
        "storage.aside._from_lines", lambda path: f"{_from_lines(path)} WHERE site_id <> 'lost'"
    )
    with pytest.raises(StorageError, match="1 of 2 events"):
        aside.add([one(1), one(2, site="lost")])
    assert numbers(directory) == []
    aside.add([one(1)])
    assert numbers(directory) == [1]


def test_what_a_reader_asks_for(directory: Path) -> None:
    """Filters leave what they name; the newest come first; a limit takes the newest."""
    aside = opened(directory)
    aside.add([one(1), one(2, site="b"), one(3, reason="x"), one(4, event_id="e")])
    chosen = [
        (asidereader.Filter(sites=("b",)), [2]),
        (asidereader.Filter(reasons=("x",)), [3]),
        (asidereader.Filter(event_ids=("e", "f")), [4]),
        (asidereader.Filter(protocols=("q",)), []),
        (asidereader.Filter(since_us=TIME_US + 3), [3, 4]),
        (asidereader.Filter(ids=(str(uuid.UUID(int=1)), "nonsense")), [1]),
    ]
    for wanted, expected in chosen:
        assert [uuid.UUID(i).int for i in asidereader.ids(directory, wanted)] == expected
    summary = asidereader.summary(directory, asidereader.Filter(), 2)
    [rows] = summary.chunks()
    assert [row[0].int for row in rows] == [4, 3]
    assert list(asidereader.summary(directory, asidereader.Filter(sites=("z",)), 2).chunks()) == []
    assert asidereader.ids(directory / "nowhere", asidereader.Filter()) == []


_parts = st.builds(
    lambda first, more, generation: AsidePart(first, first + more, generation),
    st.integers(1, 9),
    st.integers(0, 4),
    st.integers(0, 2),
)


@given(st.lists(_parts, max_size=12))
def test_no_live_file_makes_another_dead(parts: list[AsidePart]) -> None:
    """Of files as the writer makes them, nested or apart, each number is in the live ones once."""
    nested: list[AsidePart] = []
    for part in set(parts):
        if all(
            part.covers(other)
            or other.covers(part)
            or part.last < other.first
            or other.last < part.first
            or part == other
            for other in nested
        ):
            nested.append(part)
    kept = live(nested)
    covered = [number for part in kept for number in range(part.first, part.last + 1)]
    assert len(covered) == len(set(covered))
    assert {n for part in nested for n in range(part.first, part.last + 1)} == set(covered)


@given(st.text(min_size=8), st.text(), st.text())
def test_a_text_is_found_in_any_json_that_holds_it(text: str, before: str, after: str) -> None:
    """However JSON escapes it, and in letters of either case."""
    search = Search([text])
    for value in ({"a": [before + text + after]}, {before + text + after: 1}):
        escaped = msgspec.json.encode(value)
        assert search.finds([escaped])
