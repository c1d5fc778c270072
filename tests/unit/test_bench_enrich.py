"""The measurement of enrichment measures what it says."""

from pathlib import Path

import pytest

from bench import enrich
from bench.options import Options
from collector.facts import Facts
from collector.geo import Geo
from collector.marks import Marker


def test_enrichment_is_measured_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts, then the whole with and without; a new agent costs more than a known one."""
    monkeypatch.setattr(enrich, "_CALLS", 200)
    monkeypatch.setattr(enrich, "_REQUESTS", 100)
    before = (Facts._read_agent, Geo.place, Marker.mark)
    found = {
        figure.name: figure.value for figure in enrich.enrich(Options(directory=tmp_path, rounds=1))
    }
    assert (Facts._read_agent, Geo.place, Marker.mark) == before
    assert found["agent_miss_ns"] > 10 * found["agent_hit_ns"] > 0
    for traffic in ("scanova", "croct"):
        assert found[f"{traffic}_plain_us"] > 0
        assert found[f"{traffic}_enriched_ratio"] > 0
        assert found[f"{traffic}_flood_ratio"] > 0
    assert list(tmp_path.iterdir()) == []
