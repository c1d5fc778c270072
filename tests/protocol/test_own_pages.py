"""The pages of our own: health, readiness, metrics. Monitoring relies on their shape."""

import re
from collections import defaultdict
from typing import Final

import pytest

from tests.support import raw_http
from tests.support.asking import DIALECTS, ORIGIN, ask, assert_accepted, post
from tests.support.dialects import Zenovay
from tests.support.process import CollectorProcess
from tests.support.raw_http import Wire

pytestmark = pytest.mark.end_to_end

COUNTERS: Final = {"collector_events_total", "collector_requests_total"}
HISTOGRAMS: Final = {
    "collector_commit_seconds",
    "collector_commit_events",
    "collector_ack_seconds",
    "collector_flush_seconds",
}
GAUGES: Final = {
    "collector_queue_bytes",
    "collector_wal_bytes",
    "collector_unflushed_rows",
    "collector_parts",
    "collector_keys",
    "collector_disk_free_bytes",
}

_NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL: Final = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE: Final = re.compile(rf"({_NAME})(?:\{{((?:{_LABEL})(?:,{_LABEL})*)\}})? (\S+)")

Samples = dict[str, dict[str, float]]


def _parse(page: str) -> tuple[dict[str, str], Samples]:
    """Types and samples of Prometheus text, format 0.0.4; fails on whatever is not."""
    types: dict[str, str] = {}
    samples: Samples = defaultdict(dict)
    assert page.endswith("\n")
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            name, labels, value = match[1], match[2] or "", float(match[3])
            assert labels not in samples[name], f"twice: {line}"
            samples[name][labels] = value
            family = re.sub("_(bucket|sum|count)$", "", name)
            assert (name if name in types else family) in types, f"type comes first: {line}"
    return types, dict(samples)


def _metrics(collector: CollectorProcess) -> tuple[dict[str, str], Samples]:
    answer = ask(collector, raw_http.request("GET", "/metrics"))
    assert answer.status == 200
    assert answer.one("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    return _parse(answer.body.decode())


def test_metrics_are_prometheus_text(collector: CollectorProcess) -> None:
    """Every published metric is there with its type; the page parses."""
    for dialect in DIALECTS:
        assert_accepted(dialect, ask(collector, post(dialect)))
    types, samples = _metrics(collector)
    for names, kind in ((COUNTERS, "counter"), (HISTOGRAMS, "histogram"), (GAUGES, "gauge")):
        assert {name: types.get(name) for name in names} == dict.fromkeys(names, kind)
    assert {*COUNTERS, *GAUGES} <= samples.keys()
    assert all(name.startswith("collector_") for name in types)


def test_histograms_are_cumulative(collector: CollectorProcess) -> None:
    """Buckets never fall, the last is `+Inf` and equals the count."""
    assert_accepted(Zenovay(), ask(collector, post(Zenovay())))
    _, samples = _metrics(collector)
    for name in HISTOGRAMS:
        buckets = samples[f"{name}_bucket"]
        bounds = [float(label.removeprefix('le="').rstrip('"')) for label in buckets]
        assert bounds == sorted(bounds)
        assert bounds[-1] == float("inf")
        counts = list(buckets.values())
        assert counts == sorted(counts)
        assert counts[-1] == samples[f"{name}_count"][""]
        assert samples[f"{name}_sum"][""] >= 0


def test_counters_count(collector: CollectorProcess) -> None:
    """One event more is one more in `collector_events_total` and in `collector_requests_total`."""
    event = 'site="demo",protocol="zenovay",outcome="accepted",reason=""'
    request = 'endpoint="zenovay_events",status="200"'
    _, before = _metrics(collector)
    assert_accepted(Zenovay(), ask(collector, post(Zenovay())))
    _, after = _metrics(collector)
    for name, labels in (("collector_events_total", event), ("collector_requests_total", request)):
        assert after[name][labels] == before[name].get(labels, 0) + 1


def test_clients_cannot_make_new_series(collector: CollectorProcess) -> None:
    """Labels come from the configuration and our own tables, whatever clients send."""
    for path in ("/x1", '/x2"}', "/x3%0A"):
        ask(collector, raw_http.request("GET", path))
        ask(collector, raw_http.request("BREW", path))
    for dialect in DIALECTS:
        ask(collector, post(dialect, b'{"site_id":"made-up","trackingCode":"made-up","events":[]}'))
    text = str(_metrics(collector))
    assert "made-up" not in text
    assert not re.search(r"x[123]", text)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/healthz", b"ok\n"),
        ("/readyz", b"ready\n"),
        ("/metrics", None),
        ("/openapi.json", None),
        ("/s.js", None),
    ],
)
def test_methods_of_pages(collector: CollectorProcess, path: str, body: bytes | None) -> None:
    """GET answers, HEAD answers the same head without a body, anything else is 405."""
    with Wire(collector.port) as wire:
        wire.send(raw_http.request("GET", path, [ORIGIN]))
        answer = wire.answer()
        assert answer.status == 200
        assert body is None or answer.body == body
        # A page of another origin must not read what an operator's browser can reach.
        told = {"/metrics": [], "/s.js": ["*"]}
        assert answer.all("access-control-allow-origin") == told.get(path, [ORIGIN[1]])
        wire.send(raw_http.request("HEAD", path))
        head = wire.answer(has_body=False)
        assert (head.status, head.one("content-type")) == (200, answer.one("content-type"))
        assert body is None or head.one("content-length") == str(len(body))
        for method in ("POST", "PUT", "DELETE"):
            wire.send(raw_http.request(method, path, [], b"a body"))
            answer = wire.answer()
            assert (answer.status, answer.one("allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize(("version", "status"), [("1.0", 403), ("1.1", 200)])
def test_an_old_http_is_that_of_a_proxy(
    collector: CollectorProcess, version: str, status: int
) -> None:
    """By a real server: who speaks HTTP/1.0 is not taken for this machine itself."""
    with Wire(collector.port) as wire:
        head = f"GET /admin/v1/state HTTP/{version}\r\nHost: localhost\r\n\r\n"
        wire.send(head.encode())
        assert wire.answer().status == status


def test_alive_but_not_ready(full: CollectorProcess) -> None:
    """Without room on the disk it is alive, says why it takes nothing, and measures on."""
    assert full.request("GET", "/healthz").status == 200
    answer = full.request("GET", "/readyz")
    assert answer.status == 503
    assert answer.body.endswith(b"\n")
    assert len(answer.body) > 10
    _, samples = _metrics(full)
    assert samples["collector_disk_free_bytes"][""] > 0
