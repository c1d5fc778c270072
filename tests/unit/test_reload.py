"""Reading the configuration again: whole or not at all, whatever the file goes through."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import config_file, reload
from collector.config import Config
from collector.reload import MainProcess, Reload, changes, differences, merged, moved_keys
from collector.supervisor import _Current, _listen
from storage import Files, layout

BASE = '[[sites]]\nid = "demo"\nteam = "demo"\n'


async def _here(function: Callable[[], None]) -> None:
    function()


class World:
    """A file, and whoever watches it."""

    def __init__(self, folder: Path, text: str = BASE) -> None:
        self.path = folder / "config.toml"
        self.path.write_text(text)
        self.asked = 0
        self.told = 0
        self.results: Counter[str] = Counter()
        self.adopted: list[Config] = []
        self.now_us = 0
        self.reload = Reload(
            config_file.load(self.path),
            main=MainProcess(asked=lambda: self.asked, tell_taken=self._tell),
            adopt=lambda _before, now: self.adopted.append(now),
            count=self._count,
            now_us=lambda: self.now_us,
            in_thread=_here,
        )
        self.look()

    def _tell(self) -> None:
        self.told += 1

    def _count(self, result: str) -> None:
        self.results[result] += 1

    def look(self, times: int = 1) -> None:
        """As the collector does once a second."""
        for _ in range(times):
            asyncio.run(self.reload.look())

    def write(self, text: str) -> None:
        """Replace the file; two looks see that it holds still."""
        other = self.path.with_suffix(".new")
        other.write_text(text)
        other.rename(self.path)


def test_a_file_is_taken_when_it_holds_still(tmp_path: Path) -> None:
    """Not at the first look behind a change, which may be half of one, but at the next."""
    world = World(tmp_path)
    world.write(BASE + '[[sites]]\nid = "shop"\n')
    world.now_us = 7
    world.look()
    assert world.adopted == []
    world.look()
    assert [site.id for site in world.reload.in_force.sites] == ["demo", "shop"]
    assert world.adopted == [world.reload.in_force]
    assert (world.results, world.told, world.reload.loaded_us) == ({"taken": 1}, 1, 7)
    world.look(3)
    assert world.results == {"taken": 1}, "once for each file"


def test_what_is_no_good_changes_nothing_and_is_told(tmp_path: Path) -> None:
    """A fault, nothing at all, and no file: the reason stands there until there is a good one."""
    world = World(tmp_path)
    before = world.reload.in_force
    for text, reason in (("[nonsense", "not valid TOML"), ("[server]\nport = -1", "server.port")):
        world.write(text)
        world.look(2)
        assert reason in world.reload.refused
    world.write(" \n")
    world.look(2)
    assert world.reload.refused == "it is empty"
    world.path.unlink()
    world.look(2)
    assert "gone" in world.reload.told().refused
    assert world.reload.in_force is before
    assert (world.adopted, world.results) == ([], {"refused": 4})
    world.write(BASE)
    world.look(2)
    assert world.reload.refused == ""
    assert world.results == {"refused": 4, "unchanged": 1}


def test_a_file_that_is_named_may_come_later(tmp_path: Path) -> None:
    """What is refused for want of another file is told once, and taken when that is there."""
    world = World(tmp_path)
    world.write('[enrich]\nscan_sessions = "scans.csv"\n[limits]\nserver_burst = 5\n' + BASE)
    world.look(30)
    assert "names no file" in world.reload.refused
    assert world.results == {"refused": 1}
    (tmp_path / "scans.csv").write_text("scan_session_id,qr_code_id\n")
    world.look(10)
    assert world.reload.in_force.limits.server_burst == 5
    assert (world.reload.refused, world.results) == ("", {"refused": 1, "taken": 1})


def test_who_asks_is_answered_at_once(tmp_path: Path) -> None:
    """SIGHUP: read without waiting, also if nothing changed."""
    world = World(tmp_path)
    world.asked += 1
    world.look()
    assert world.results == {"unchanged": 1}
    world.write(BASE.replace("demo", "shop"))
    world.asked += 1
    world.look()
    assert world.results == {"unchanged": 1, "taken": 1}


def test_settings_of_a_start_wait_and_the_others_do_not(tmp_path: Path) -> None:
    """They are named as long as the file differs; nothing of them is in force."""
    world = World(tmp_path)
    world.write("[storage]\nretention_days = 9\n[limits]\nserver_burst = 5\n" + BASE)
    world.look(2)
    assert world.reload.waiting == ("storage.retention_days",)
    assert world.reload.in_force.limits.server_burst == 5
    assert world.reload.in_force.storage.retention_days == 0
    assert world.reload.gauges()["collector_config_settings_waiting"]() == 1
    world.write(BASE)
    world.look(2)
    assert world.reload.waiting == ()


def test_what_is_taken_at_once_is_in_no_other_section() -> None:
    """Every section is taken at once, or told to wait; a port that was found is no difference."""
    sections = {field.name for field in msgspec.structs.fields(Config)} - {"path"}
    assert set(reload.AT_ONCE) < sections
    config = Config()
    for section in sections - set(reload.AT_ONCE):
        value = getattr(config, section)
        name = msgspec.structs.fields(type(value))[0].name
        other = msgspec.structs.replace(value, **{name: "other"})
        found = msgspec.structs.replace(config, **{section: other})
        assert differences(config, found) == (f"{section}.{name}",)
        assert merged(config, found) == config
    any_port = msgspec.structs.replace(
        config, server=msgspec.structs.replace(config.server, port=0)
    )
    assert differences(config, any_port) == ()


def test_where_to_listen_waits_for_a_start(tmp_path: Path) -> None:
    """A new worker would not change host, port or interface; it takes the rest as it is."""
    path = tmp_path / "config.toml"
    path.write_text(BASE)
    current = _Current(config_file.load(path))
    path.write_text('[server]\ninterface = "asgi"\nport = 9\n' + BASE)
    assert current.needs_worker() == []
    assert current.asked.value == 1, "the worker that there is reads the file"
    path.write_text('[server]\ninterface = "asgi"\nlog_level = "debug"\n' + BASE)
    assert current.needs_worker() == ["server.log_level"]
    assert (current.config.server.interface, current.config.server.log_level) == ("rsgi", "debug")
    assert current.asked.value == 1
    path.write_text("[nonsense")
    assert current.needs_worker() == []
    assert current.config.server.log_level == "debug"


def test_a_directory_that_cannot_be_had_starts_no_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SIGHUP: a worker that ends at its start would end the collector that goes on running."""
    path = tmp_path / "config.toml"
    path.write_text(BASE)
    current = _Current(config_file.load(path))
    (tmp_path / "theirs").mkdir()
    lock = Files().lock(tmp_path / "theirs" / layout.LOCK)
    try:
        path.write_text('[storage]\ndirectory = "theirs"\n' + BASE)
        assert current.needs_worker() == []
    finally:
        os.close(lock)
    assert current.config.storage.directory == tmp_path / "data"
    assert current.asked.value == 1, "what can be taken at once is taken all the same"
    assert "no new worker is started" in caplog.text
    assert "is in use by another collector" in caplog.text
    assert current.needs_worker() == ["storage.directory"]
    assert current.config.storage.directory == tmp_path / "theirs"


def test_the_main_process_follows_the_worker(tmp_path: Path) -> None:
    """What the worker took is what the next one starts with; nothing else of the file is."""
    path = tmp_path / "config.toml"
    path.write_text(BASE)
    current = _Current(config_file.load(path))
    path.write_text("[storage]\nretention_days = 9\n" + BASE.replace("demo", "shop"))
    current.follow()
    assert current.config.sites[0].id == "shop"
    assert current.config.storage.retention_days == 0
    path.write_text("[nonsense")
    current.follow()
    assert current.config.sites[0].id == "shop"


def test_a_signal_in_the_midst_of_another_waits_for_its_end() -> None:
    """Else what the first of them read would be put in place of what the second found."""
    steps: list[str] = []

    def follow() -> None:
        steps.append("follow")
        os.kill(os.getpid(), signal.SIGHUP)
        steps.append("followed")

    def fail() -> None:
        steps.append("ask")
        raise ValueError

    numbers = (signal.SIGHUP, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    current: Any = SimpleNamespace(follow=follow, needs_worker=fail)
    server: Any = None
    try:
        _listen(current, server)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"^$"):
                os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert steps == ["follow", "followed", "ask"] * 2


def test_a_reload_that_comes_too_early_ends_nothing(tmp_path: Path) -> None:
    """SIGHUP while `collector serve` is still being loaded: it goes on, to whatever end."""
    config = tmp_path / "config.toml"
    config.write_text("[nonsense")
    # The command is up to its own code when the group's callback has run.
    code = (
        "import os, signal, collector.cli as cli\n"
        "load = cli.load\n"
        "cli.load = lambda path: (os.kill(os.getpid(), signal.SIGHUP), load(path))[1]\n"
        f"cli.main(['serve', '--config', {str(config)!r}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr


def test_changes_are_told_by_name() -> None:
    """Bounded: a line of the log, not the file."""
    text = BASE + "".join(f'[[sites]]\nid = "s{n}"\n' for n in range(15))
    key = '[[keys]]\nname = "a"\nsha256 = "{}"\nsite = "demo"\ntier = "{}"\n'
    before = _parsed(text + key.format("a" * 64, "pro"))
    now = _parsed(
        "[limits]\nserver_burst = 5\n"
        + BASE.replace('team = "demo"', "active = false")
        + key.format("a" * 64, "free")
        + key.format("b" * 64, "pro").replace('"a"', '"b"')
    )
    assert changes(before, now) == (
        "sites removed: s0, s1, s2, s3, s4, s5, s6, s7, s8, s9 and 5 more; sites changed: demo; "
        "keys added: b; keys changed: a; limits changed: server_burst"
    )
    assert moved_keys(before, now) == [("a", "pro", "free")]


def _parsed(text: str) -> Config:
    return config_file.parse(text.encode(), file="config.toml", path=None)


# --- any sequence of files

_SITES = st.lists(st.sampled_from(["demo", "shop", "blog"]), unique=True, min_size=1)
_GOOD = st.builds(
    lambda sites, burst: (
        f"[limits]\nserver_burst = {burst}\n" + "".join(f'[[sites]]\nid = "{s}"\n' for s in sites)
    ),
    _SITES,
    st.integers(0, 3),
)
_BAD = st.sampled_from(["", "[x", '[[sites]]\nid = ""\n', '[[sites]]\nid = "a"\n' * 2])
_CUT = st.builds(lambda text, n: text[: n % len(text)] + "\n[", _GOOD, st.integers(0, 200))
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "in place", "gone"]), _GOOD | _BAD | _CUT, st.integers(0, 3)
    ),
    max_size=12,
)


@given(_STEPS, st.lists(st.booleans(), min_size=12, max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_sequence_of_files_leaves_old_or_new_rules_whole(
    steps: list[tuple[str, str, int]], asks: list[bool]
) -> None:
    """In force is always one of the good files as it was, and the last, once it holds still."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        good = [merged(Config(), world.reload.in_force)]
        for (how, text, looks), is_asked in zip(steps, asks, strict=False):
            if how == "gone":
                world.path.unlink(missing_ok=True)
            elif how == "write":
                world.write(text)
            else:
                world.path.write_text(text)
                os.utime(world.path, ns=(time.time_ns(), time.time_ns()))
            found = _maybe(world.path)
            if found is not None:
                good.append(merged(Config(), found))
            world.asked += is_asked
            world.look(looks)
            assert merged(Config(), world.reload.in_force) in good
            world.look(2)
            last = None if found is None else merged(Config(), found)
            now = merged(Config(), world.reload.in_force)
            assert now == (last or now)
            assert bool(world.reload.refused) == (found is None)
        adopted: list[Any] = world.adopted
        assert adopted[-1:] in ([], [world.reload.in_force])


def _maybe(path: Path) -> Config | None:
    try:
        return reload.read(path)
    except (reload.Unusable, OSError):
        return None
