"""What is kept of malformed events: every protocol, consent and signal, as docs/PRIVACY.md says.

The second part of the privacy matrix. Each event is sent malformed in two ways: as JSON that breaks
a rule, and cut off, so that it is no JSON and consent has to be searched for.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.test_privacy_matrix import (
    ADDRESS,
    CONSENTS,
    GPC,
    KINDS,
    PAGE,
    Case,
    _signal,
    config_of,
    request_of,
)
from tests.support import app, pages
from tests.support.quarantine import headers_of, kept

PROTOCOLS = ("scanova", "croct", "zenovay")
FAULTS = ("a rule", "no JSON")
# A member of each that breaks a rule.
WRONG: dict[str, tuple[str, Any]] = {
    "scanova": ("visitor_id", 7),
    "croct": ("originalTime", "noon"),
    "zenovay": ("ts", 1),
}


@cache
def left() -> dict[str, dict[str, str]]:
    """What the page says, by signal and protocol."""
    text = pages.section(pages.page(PAGE), "Quarantine and log")
    rows = [row for row in pages.rows(text) if len(row) == 4]
    assert len(rows) == len({row[0] for row in rows})
    return {signal: dict(zip(PROTOCOLS, cells, strict=True)) for signal, *cells in rows}


def cases(*, honour_gpc: bool) -> Iterator[tuple[Case, str]]:
    """Every kind of event once per endpoint, every consent and signal, both faults."""
    kinds = {(kind, path): name for kind, path, name in reversed(KINDS)}
    for (kind, path), name in kinds.items():
        for consent in CONSENTS:
            for gpc in GPC:
                for fault in FAULTS:
                    # The hint makes ids of cases differ; nothing else reads it here.
                    yield Case(kind, path, name, consent, gpc, fault, honour_gpc), fault


def is_kept(case: Case, fault: str) -> bool:
    """What the page makes of this case."""
    if fault == "no JSON" and case.kind == "scanova browser":
        return False  # too broken to name its site
    protocol = case.kind.split()[0]
    made = "by consent"
    if case.gpc == "1":
        signal = "`Sec-GPC: 1`, `honour_gpc = true`" if case.honour_gpc else "`Sec-GPC: 1`"
        made = left()[signal][protocol]
    if made == "by consent":
        made = left()[_signal(case.consent)][protocol]
    assert made in {"kept", "not kept"}
    return made == "kept"


def malformed(case: Case, fault: str) -> tuple[dict[str, str], bytes]:
    """Headers and body."""
    headers, body = request_of(case)
    name, value = WRONG[case.kind.split()[0]]
    event = body["events"][0] if "events" in body else body
    event[name] = value
    # The consent last, where a body that is cut off has nothing behind it.
    if "consent" in event:
        event["consent"] = event.pop("consent")
    raw = json.dumps(body).encode()
    return headers, raw if fault == "a rule" else raw.rstrip(b"}]") + b","


@pytest.mark.parametrize("honour_gpc", [False, True], ids=["ignores GPC", "honours GPC"])
def test_malformed_events_are_kept_as_the_page_says(tmp_path: Path, honour_gpc: bool) -> None:
    """Each case that the page keeps is in quarantine once, and no other; none is a row."""

    async def play() -> None:
        config = config_of(tmp_path, honour_gpc=honour_gpc)
        wanted, sent = set(), 0
        async with app.running(tmp_path, config) as collector:
            for case, fault in cases(honour_gpc=honour_gpc):
                headers, body = malformed(case, fault)
                answer = await collector.request(
                    "POST", case.path, headers=headers, body=body, address=ADDRESS
                )
                assert answer.status in {200, 400, 422}, (case, answer)
                sent += 1
                if is_kept(case, fault):
                    wanted.add(case.id)
            found = await kept(collector)
            assert collector.rows() == []
        texts = [one.raw.decode() + str(headers_of(one)) for one in found]
        ids = {case.id: case for case, _ in cases(honour_gpc=honour_gpc)}
        assert len(ids) == sent
        held = {one for text in texts for one in ids if one in text}
        assert [ids[one] for one in wanted - held] == []
        assert [ids[one] for one in held - wanted] == []
        assert len(found) == len(wanted)
        assert ADDRESS not in "".join(texts + [one.envelope or "" for one in found])
        met = {(case.kind.split()[0], one in wanted) for one, case in ids.items()}
        assert met == {(protocol, kept_) for protocol in PROTOCOLS for kept_ in (True, False)}

    app.run(play())
