"""The configuration of a real collector that goes on running: edited, broken, and edited again."""

import json
import os
import re
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.keys import DEMO_KEY, new_key, toml_block
from tests.support.process import CollectorProcess, wait_until

pytestmark = pytest.mark.end_to_end

# Written by hand, as people do: comments, tables, room between them.
_TEXT = """\
# What we collect.
[server]
port = {port}
dashboard_priority = "low"

[storage]
directory = "data"
publish_interval_ms = 200
disk_free_bytes_min = 0

[limits]
server_requests_per_minute = 0
failed_auth_per_minute = 0

[[sites]]
id = "demo"
team = "demo"   # ours
allowed_domains = ["localhost"]
tracking_code = "ZV_demo"
"""


class Home:
    """A collector whose file is text; `keys` are those in it, by name."""

    def __init__(self, collector: CollectorProcess) -> None:
        self.collector = collector
        self.keys = {"backend": DEMO_KEY}
        self.text = _TEXT.format(port=collector.port)

    def write(self, text: str | None = None) -> None:
        """Replace the file at once; without `text`, by what it should say."""
        if text is None:
            blocks = [
                toml_block(
                    name=name, key_text=key, site="demo", team="demo", tier="pro", scope=_SCOPE
                )
                for name, key in self.keys.items()
            ]
            text = "\n".join([self.text, *blocks])
        other = self.collector.config_path.with_suffix(".new")
        other.write_text(text, encoding="utf-8")
        other.rename(self.collector.config_path)

    def status(self, key: str) -> int:
        """What a back end with this key is answered."""
        body = {
            "site_id": "demo",
            "event_name": "purchase",
            "event_id": str(uuid.uuid4()),
            "scan_session_id": str(uuid.UUID(int=7)),
        }
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        return self.collector.request(
            "POST", "/server-events", body=json.dumps(body), headers=headers
        ).status

    def wait(self, key: str, status: int) -> None:
        """Return when this key is answered so; within the time that is promised, and some."""
        wait_until(lambda: self.status(key) == status, timeout_s=8, what=f"{status} for a key")

    def configuration(self) -> dict[str, Any]:
        """What the admin API says of the configuration."""
        state = json.loads(self.collector.request("GET", "/admin/v1/state").body)
        found: dict[str, Any] = state["configuration"]
        return found

    def reloads(self, result: str) -> int:
        """How often that came of reading the file again."""
        page = self.collector.request("GET", "/metrics").body.decode()
        match = re.search(rf'collector_config_reloads_total{{result="{result}"}} (\d+)', page)
        assert match, page
        return int(match[1])


_SCOPE = "site_access"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """One that has taken its file as text."""
    with CollectorProcess(tmp_path) as collector:
        home = Home(collector)
        home.write()
        wait_until(lambda: home.reloads("taken") == 1, timeout_s=8, what="the file is taken")
        yield home


def test_an_edited_file_is_taken_and_a_broken_one_is_not(home: Home) -> None:
    """Keys come and go within seconds; a faulty file changes nothing, and the reason is told."""
    workers = home.collector.pids
    key = home.keys["shop-2"] = new_key()
    assert home.status(key) == 403
    home.write()
    home.wait(key, 200)
    assert "keys added: shop-2" in home.collector.log_tail()

    home.write(home.text + '\n[[keys]]\nname = "x"\nsha256 = "no"\nsite = "nowhere"\n')
    wait_until(lambda: home.configuration()["refused"], timeout_s=8, what="the refusal is told")
    told = home.configuration()
    assert "keys[0].sha256" in told["refused"]
    assert home.reloads("refused") == 1
    assert told["refused"] in home.collector.log_tail()
    page = home.collector.request("GET", "/dashboard").body.decode()
    assert "is not obeyed as it is now" in page
    assert (home.status(key), home.status(DEMO_KEY)) == (200, 200), "the old rules, whole"
    # Asked for by hand it is told once more; nothing ends.
    os.kill(home.collector.pid, signal.SIGHUP)
    wait_until(lambda: home.reloads("refused") == 2, timeout_s=8, what="it is looked at again")
    home.write("")
    wait_until(lambda: "empty" in home.configuration()["refused"], timeout_s=8, what="refused")
    assert home.status(key) == 200

    del home.keys["shop-2"]
    home.write()
    home.wait(key, 403)
    assert home.configuration()["refused"] == ""
    assert home.status(DEMO_KEY) == 200
    os.kill(home.collector.pid, signal.SIGHUP)
    wait_until(lambda: home.reloads("unchanged") == 1, timeout_s=8, what="SIGHUP is obeyed")
    assert home.collector.pids == workers, "the same processes all the time"


def test_no_request_fails_while_files_come_and_go(home: Home) -> None:
    """Good and broken files, SIGHUPs between: each request of a key that stays is accepted."""
    statuses: set[int] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            statuses.add(home.status(DEMO_KEY))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for number in range(6):
            home.keys[f"key-{number}"] = new_key()
            home.write("[broken" if number % 3 == 2 else None)
            os.kill(home.collector.pid, signal.SIGHUP)
            stop.wait(0.5)
        home.write()
        home.wait(home.keys["key-5"], 200)
    finally:
        stop.set()
        asking.join()
    assert statuses == {200}


def test_what_only_a_start_can_take_is_told_and_taken_on_sighup(home: Home) -> None:
    """The rest of the same file is taken at once; SIGHUP starts another worker with all of it."""
    key = home.keys["other"] = new_key()
    home.text = home.text.replace("[storage]\n", "[storage]\nretention_days = 90\n").replace(
        "[server]\n", '[server]\nlog_format = "json"\nlog_requests = true\n'
    )
    home.write()
    home.wait(key, 200)
    waiting = home.configuration()["waiting"]
    assert waiting == ["server.log_format", "server.log_requests", "storage.retention_days"]
    assert "storage.retention_days: what is new takes effect" in home.collector.log_tail()

    # Until then, a worker that fails is followed by one with what was taken, whatever the file is.
    del home.keys["backend"]
    home.write()
    home.wait(DEMO_KEY, 403)
    home.write("[broken")
    wait_until(lambda: home.configuration()["refused"], timeout_s=8, what="the refusal is told")
    workers = home.collector.pids
    home.collector.kill_worker()
    home.collector.wait_another_worker(workers)
    assert (home.status(key), home.status(DEMO_KEY)) == (200, 403)

    home.write()
    workers = home.collector.pids
    os.kill(home.collector.pid, signal.SIGHUP)
    home.collector.wait_another_worker(workers)
    assert home.configuration()["waiting"] == []
    assert home.status(key) == 200
    lines = home.collector.log_path.read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    asked = [one for one in told if one["logger"] == "collector.requests"]
    assert {"method": "POST", "path": "/server-events", "status": 200}.items() <= asked[-1].items()
    assert asked[-1]["endpoint"] == "scanova_server_events"
    assert home.collector.terminate() == 0


def test_budgets_outlive_a_reload(home: Home) -> None:
    """Who has used up a limit gets no new one by an edit of the file, nor by a larger burst."""
    home.text = home.text.replace(
        "server_requests_per_minute = 0", "server_requests_per_minute = 3"
    )
    home.write()
    wait_until(lambda: home.reloads("taken") == 2, timeout_s=8, what="the limit is taken")
    assert [home.status(DEMO_KEY) for _ in range(4)] == [200, 200, 200, 429]
    home.keys["other"] = new_key()
    home.write()
    home.wait(home.keys["other"], 200)
    assert home.status(DEMO_KEY) == 429


def test_keys_are_written_listed_and_revoked(home: Home) -> None:
    """`keys new --write` is taken by the running collector, `keys revoke` ends a key there."""
    config = home.collector.config_path
    config.chmod(0o600)
    before = config.read_text()
    made = home.collector.run("keys", "new", "--name", "shop-2", "--write")
    assert made.returncode == 0, made.stderr
    match = re.search(r"zv_\w+", made.stdout)
    assert match
    assert config.read_text().startswith(before), "all that was there stays, comments too"
    assert match[0] not in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o600
    home.wait(match[0], 200)

    listed = home.collector.run("keys", "list", "--format", "json")
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["shop-2"]["running"] == rows["backend"]["running"] == "yes"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", rows["shop-2"]["created"])

    asked = home.collector.run("keys", "revoke", "shop-2")
    assert asked.returncode == 1, "nobody said yes"
    assert home.status(match[0]) == 200
    revoked = home.collector.run("keys", "revoke", "shop-2", "--yes")
    assert revoked.returncode == 0, revoked.stderr
    home.wait(match[0], 403)
    assert config.read_text() == before
    assert home.status(DEMO_KEY) == 200
