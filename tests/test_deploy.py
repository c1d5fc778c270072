"""The files of `deploy/`: they are what they say, name what there is, and stand in the page."""

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from collector import config_file
from collector.cli import main
from collector.config import Config, Server
from tests.house.source import tracked
from tests.support import pages, programs

DEPLOY: Final = pages.ROOT / "deploy"
PAGE: Final = pages.page("docs/OPERATIONS.md")
METRIC: Final = re.compile(r"\bcollector_[a-z_]+[a-z]\b")
UNITS: Final = sorted(DEPLOY.glob("*.service")) + sorted(DEPLOY.glob("*.timer"))


def text(name: str) -> str:
    """A file of `deploy/`."""
    return (DEPLOY / name).read_text(encoding="utf-8")


def settings(unit: str) -> dict[str, list[str]]:
    """The settings of a unit; of those given twice both values."""
    found: dict[str, list[str]] = {}
    for line in text(unit).splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


# --- metrics


def known_metrics() -> set[str]:
    """Every series that /metrics has, by docs/METRICS.md, which is held to it by another test."""
    found: set[str] = set()
    for row in pages.rows(pages.page("docs/METRICS.md")):
        name = row[0].strip("`")
        if name.startswith("collector_"):
            is_histogram = row[1] == "histogram"
            found |= (
                {f"{name}_{end}" for end in ("bucket", "sum", "count")} if is_histogram else {name}
            )
    assert len(found) > 30
    return found


def alerts() -> list[dict[str, Any]]:
    """All rules of the file of alerts."""
    groups = yaml.safe_load(text("prometheus/alerts.yml"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_is_about_metrics_that_exist_and_says_where_to_read(rule: dict[str, Any]) -> None:
    """Each names metrics of ours, how urgent it is, and a section of OPERATIONS.md."""
    named = set(METRIC.findall(rule["expr"])) - {"collector_audit"}
    assert named <= known_metrics()
    assert named or "up{" in rule["expr"] or "node_systemd" in rule["expr"]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert pages.section(PAGE, rule["annotations"]["section"]).strip()
    labels = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert labels <= {"instance", "site", "name"}


def test_the_page_counts_the_alerts() -> None:
    """What OPERATIONS.md says there is."""
    assert f"{len(alerts())} alerts" in PAGE
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)


def test_prometheus_takes_the_alerts(tmp_path: Path) -> None:
    """Its own checker reads every expression and template; the scrape job names the file."""
    rules = tmp_path / "alerts.yml"
    rules.write_text(text("prometheus/alerts.yml"))
    (tmp_path / "prometheus.yml").write_text(text("prometheus/scrape.yml"))
    said = programs.passes("promtool", "check", "rules", str(rules))
    assert f"{len(alerts())} rules found" in said
    said = programs.passes("promtool", "check", "config", str(tmp_path / "prometheus.yml"))
    assert "1 rule files found" in said


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """Over made-up series: a stop of files, a lost event, restarts, a silence; none when well."""
    (tmp_path / "alerts.yml").write_text(text("prometheus/alerts.yml"))
    (tmp_path / "test.yml").write_text((pages.ROOT / "tests/programs/alerts.test.yml").read_text())
    programs.passes("promtool", "test", "rules", str(tmp_path / "test.yml"))


# --- the dashboard


def panels() -> list[dict[str, Any]]:
    """All panels of the dashboard that show something."""
    found = json.loads(text("grafana/dashboard.json"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def test_the_dashboard_can_be_imported() -> None:
    """No id of another server's, the data source is asked for, panels do not overlap."""
    found = json.loads(text("grafana/dashboard.json"))
    assert found["id"] is None
    variables = {one["name"]: one for one in found["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_asks_for_metrics_that_exist(panel: dict[str, Any]) -> None:
    """Every expression names metrics of ours only, of the chosen source and instances."""
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["description"].endswith(".")
    assert panel["targets"]
    for target in panel["targets"]:
        named = set(METRIC.findall(target["expr"]))
        assert named
        assert named <= known_metrics()
        assert target["expr"].count('instance=~"$instance"') >= len(METRIC.findall(target["expr"]))
        assert target["legendFormat"]


def test_prometheus_can_read_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    """As rules, with the variables filled in, its checker takes them."""
    filled = {"$instance": ".*", "$site": ".*", "$__rate_interval": "5m"}
    rules = []
    for panel in panels():
        for number, target in enumerate(panel["targets"]):
            expression = target["expr"]
            for name, value in filled.items():
                expression = expression.replace(name, value)
            rules.append({"record": f"panel:{panel['id']}:{number}", "expr": expression})
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    said = programs.passes("promtool", "check", "rules", str(tmp_path / "rules.yml"))
    assert f"{len(rules)} rules found" in said


# --- systemd


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say, with programs in the place of ours."""
    for unit in UNITS:
        there = text(unit.name).replace("/opt/collector/.venv/bin/collector", "/bin/true")
        # A user of this machine; groups and users of the page are made by its commands.
        there = re.sub(r"^(User|Group)=collector$", r"\1=root", there, flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(there)
    names = [str(tmp_path / unit.name) for unit in UNITS]
    said = programs.passes("systemd-analyze", "verify", "--man=no", *names)
    ours = [line for line in said.splitlines() if "collector" in line]
    assert ours == []


@pytest.mark.parametrize(
    ("unit", "most"),
    [
        ("collector.service", 1.2),
        ("collector-backup.service", 1.7),
        ("collector-audit.service", 0.6),
    ],
)
def test_units_are_shut(unit: str, most: float) -> None:
    """`systemd-analyze security` rates their exposure, of 10, at most so high."""
    said = programs.passes(
        "systemd-analyze", "security", "--offline=true", "--no-pager", str(DEPLOY / unit)
    )
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert score, said
    assert float(score[1]) <= most, said


def test_the_unit_waits_as_long_as_a_stop_may_take() -> None:
    """The time-outs and the limits of the unit fit to the defaults of the configuration."""
    unit, server = settings("collector.service"), Server()
    # Requests, the last conversion, and two threads.
    needed_s = server.stop_timeout_ms / 1000 + 8 + 5 + 5
    assert float(unit["TimeoutStopSec"][0]) > needed_s
    assert int(unit["LimitNOFILE"][0]) >= server.connections_max + 512
    assert unit["KillMode"] == ["mixed"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    wait = yaml.safe_load(text("compose.yaml"))["services"]["collector"]["stop_grace_period"]
    assert float(wait.removesuffix("s")) > needed_s


def _commands() -> Iterator[list[str]]:
    """What units and the page start of ours, as words."""
    for unit in UNITS:
        for name, values in settings(unit.name).items():
            if name.startswith("Exec") and "/collector" in values[0]:
                yield shlex.split(values[0])[1:]
    for block in pages.blocks(PAGE, "sh"):
        for line in block.text.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0].rpartition("/")[2] == "collector":
                yield words[1:]


def test_every_command_that_is_shown_exists() -> None:
    """Commands and options of `collector` in units and in the page are those of the program."""
    seen = 0
    for words in _commands():
        command: Any = main
        names = iter(words)
        while hasattr(command, "commands"):
            command = command.commands[next(names)]
        options = {o for p in command.params for o in p.opts}
        assert [w for w in names if w.startswith("--") and w not in options] == [], words
        seen += 1
    assert seen > 8


def test_every_file_that_the_page_names_is_there_and_the_other_way_round() -> None:
    """Paths of `deploy/` in OPERATIONS.md exist; every file there is named in it."""
    named = set(re.findall(r"(?:^|[ (/.])(deploy/[\w./-]+\w)", PAGE, re.MULTILINE))
    assert [name for name in named if not (pages.ROOT / name).exists()] == []
    for path in tracked():
        if path.startswith("deploy/"):
            assert Path(path).name in PAGE or path.rpartition("/")[0] in PAGE, path


def test_shell_snippets_are_shell(tmp_path: Path) -> None:
    """Every block of shell in the page is read by a shell without complaint."""
    for number, block in enumerate(pages.blocks(PAGE, "sh")):
        script = tmp_path / f"{number}.sh"
        script.write_text(block.text)
        programs.passes("bash", "-n", str(script))


@pytest.mark.parametrize(
    ("who", "words", "told"),
    [
        ("root", ["compact"], "as collector: compact"),
        ("root", ["export", "--output", "/srv/a b"], "as collector: export --output /srv/a b"),
        ("collector", ["audit"], "as oneself: audit"),
        ("root", ["keys", "new", "--write"], "as oneself: keys new --write"),
        ("root", [], "as collector:"),
    ],
)
def test_commands_for_people_run_as_the_user_of_the_collector(
    tmp_path: Path, who: str, words: list[str], told: str
) -> None:
    """What root would write the service could not open; keys go into a file that is root's."""
    there = {"/opt/collector/.venv/bin/collector": "program", "/etc/collector": "etc"}
    script = text("collector.sh")
    for path, name in there.items():
        assert path in script
        script = script.replace(path, str(tmp_path / name))
    (tmp_path / "etc").mkdir()
    for name, content in {
        "collector": script,
        "id": f"#!/bin/sh\necho {who}\n",
        "runuser": '#!/bin/sh\n[ "$1 $3" = "-u --" ] && u=$2 && shift 3 && exec env AS=$u "$@"\n',
        "program": '#!/bin/sh\necho "$PWD as ${AS:-oneself}: $*"\n',
    }.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    result = subprocess.run(
        [tmp_path / "collector", *words],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.stderr, result.stdout.strip()) == ("", f"{tmp_path}/etc {told}")


def test_what_the_script_for_people_names_is_what_the_page_and_the_units_have() -> None:
    """One program, one user, one folder of the configuration, and the page installs it."""
    script = text("collector.sh")
    unit = settings("collector.service")
    program = unit["ExecStart"][0].split()[0]
    assert f"program={program}\n" in script
    assert f"runuser -u {unit['User'][0]} --" in script
    assert unit["ExecStart"][0].endswith("--config /etc/collector/config.toml")
    assert "cd /etc/collector\n" in script
    assert "install -m 755 deploy/collector.sh /usr/local/bin/collector" in PAGE


# --- the image


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as instructions and what stands behind them, continued lines as one."""
    lines = re.sub(r"^#.*\n", "", text("Dockerfile"), flags=re.MULTILINE).replace("\\\n", " ")
    found = [line.partition(" ") for line in lines.splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, _, rest in found]


def test_the_linter_has_nothing_to_say_of_the_dockerfile() -> None:
    """Hadolint, shellcheck of its RUN lines included, finds nothing."""
    assert programs.passes("hadolint", "--no-color", str(DEPLOY / "Dockerfile")).strip() == ""


def test_the_image_gets_what_it_copies_and_nothing_else() -> None:
    """Whatever is copied is let through by .dockerignore, and all that is let through is copied."""
    lines = (pages.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "all is left out but for exceptions"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied: set[str] = set()
    for name, rest in instructions():
        if name == "COPY" and "--from=" not in rest:
            *sources, _target = rest.split()
            copied |= set(sources)
    assert copied == let_in
    assert [name for name in copied if not (pages.ROOT / name).exists()] == []
    secret = [".git", "data", "config.toml", "tests", ".venv"]
    assert [name for name in secret if any(fnmatch(name, one) for one in let_in)] == []


def test_the_image_is_pinned_and_not_root() -> None:
    """Dependencies with hashes, what builds the package too; a user by number; a health check."""
    found = instructions()
    runs = " && ".join(rest for name, rest in found if name == "RUN")
    installs = re.findall(r"pip install ([^&]*)", runs)
    assert [install.strip() for install in installs] == [
        "--require-hashes -r requirements.lock",
        "--require-hashes -r requirements-build.lock",
        "--no-deps --no-index dist/*.whl",
    ]
    assert "-m hatchling build" in runs
    picked = re.search(r"\^\(([\w|-]+)\)==", runs)
    assert picked, "awk takes packages out of the second lock file"
    assert set(picked[1].split("|")) == _with_what_it_needs("hatchling")
    assert [rest for name, rest in found if name == "USER"] == ["10001:10001"]
    [check] = [rest for name, rest in found if name == "HEALTHCHECK"]
    command = json.loads(check.partition(" CMD ")[2])
    assert command[0] == "python"
    compile(command[2], "HEALTHCHECK", "exec")
    assert "/healthz" in command[2]
    last = next(rest for name, rest in reversed(found) if name == "RUN")
    assert "python -m pip uninstall --yes pip setuptools wheel" in last, "the page says: no pip"
    bases = {rest.split()[0] for name, rest in found if name == "FROM"}
    assert len(bases) == 1, "what is built runs where it was built"


def _with_what_it_needs(package: str) -> set[str]:
    """A package and all that it depends on, as installed here."""
    found, waiting = set(), [package]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            needed = map(Requirement, metadata.requires(name) or ())
            waiting += [
                one.name
                for one in needed
                if one.marker is None or one.marker.evaluate({"extra": ""})
            ]
    return found


def test_the_containers_are_shut_and_fit_together() -> None:
    """Nothing to write but the volume and /tmp, no rights, no port but the proxy's, one network."""
    composed = yaml.safe_load(text("compose.yaml"))
    ours, proxy = composed["services"]["collector"], composed["services"]["caddy"]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert ours["security_opt"] == ["no-new-privileges:true"]
    assert ours["tmpfs"][0].startswith("/tmp:")  # noqa: S108  of the container
    assert "ports" not in ours
    assert (pages.ROOT / "deploy" / ours["build"]["dockerfile"].partition("/")[2]).exists()
    config = container_config()
    port = config.server.port
    assert proxy["environment"]["COLLECTOR_UPSTREAM"] == f"collector:{port}"
    assert f"http://127.0.0.1:{port}/healthz" in text("Dockerfile")
    assert f"127.0.0.1:{port}" in text("Caddyfile")
    assert f"127.0.0.1:{port}" in text("nginx.conf")
    [network] = composed["networks"]["inside"]["ipam"]["config"]
    assert list(config.server.trusted_proxies) == [network["subnet"]]
    volumes = dict(one.split(":")[:2] for one in ours["volumes"])
    assert volumes["data"] == str(config.storage.directory)
    # A backup goes neither into the data nor onto the root, which is read only.
    assert volumes["backup"] == "/backup"
    assert not config.storage.directory.is_relative_to("/backup")
    [made] = [rest for name, rest in instructions() if name == "RUN" and "useradd" in rest]
    assert "install -d -o 10001 -g 10001 -m 0750 /data /backup" in made
    assert "collector collector backup /backup/" in PAGE
    for source in (*ours["volumes"], *proxy["volumes"]):
        if source.startswith("./"):
            assert (DEPLOY / source.partition(":")[0]).is_file()


def container_config() -> Config:
    """The configuration of the container, as the collector reads it."""
    data = text("container.toml")
    assert tomllib.loads(data)["sites"]
    return config_file.parse(data.encode(), file="container.toml", path=None)
