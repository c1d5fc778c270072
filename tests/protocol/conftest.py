"""Collectors with a real server, one of each kind for all tests of this folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.app import Collector
from tests.support.process import CollectorProcess

BODY_BYTES_MAX = 1_048_576


@contextmanager
def serving(
    factory: pytest.TempPathFactory, name: str, **settings: Any
) -> Iterator[CollectorProcess]:
    """A collector of which, at the end, nothing may have gone wrong unnoticed."""
    with CollectorProcess(factory.mktemp(name), **settings) as collector:
        yield collector
        metrics = collector.request("GET", "/metrics").body.decode()
        assert 'status="500"' not in metrics
        log = collector.log_path.read_text(encoding="utf-8")
        assert "Traceback" not in log
        assert "failed" not in log


@pytest.fixture(params=["rsgi", "asgi"])
def each_front(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked in this process is asked through both fronts, one test after the other."""
    monkeypatch.setattr(Collector, "front", request.param)


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Nothing is limited but the size of a body, to 1 MiB."""
    settings = {"body_bytes_max": BODY_BYTES_MAX}
    with serving(tmp_path_factory, "plain", server=settings) as process:
        yield process


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Waits 300 ms for a body, and as long for a head."""
    settings = {"body_bytes_max": BODY_BYTES_MAX, "body_timeout_ms": 300}
    with serving(tmp_path_factory, "impatient", server=settings) as process:
        yield process


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Takes one request a minute of anybody, and believes a proxy on this machine."""
    once = {"requests_per_minute": 1, "requests_per_month": 0}
    with serving(
        tmp_path_factory,
        "strict",
        server={"trusted_proxies": ["127.0.0.1/32"]},
        limits={
            "browser_requests_per_minute": 1,
            "server_requests_per_minute": 1,
            "croct_requests_per_minute": 1,
        },
        tiers={"pro": once},
    ) as process:
        yield process


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Has too little room on its disk to take anything."""
    storage = {"disk_free_bytes_min": 2**62}
    with serving(tmp_path_factory, "full", ready_path="/healthz", storage=storage) as process:
        yield process
