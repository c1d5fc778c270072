"""What the load generator sends: accepted by the real adapters, realistic, the same for a seed."""

import random
import re
from collections import Counter
from functools import cache

import msgspec
import pytest

from bench.browsers import browsers
from bench.corpus import Account, Traffic, templates
from bench.pages import pages, query
from bench.plan import Plan
from bench.rows import encoded_groups
from bench.source import Source
from bench.template import Ids, Template
from collector import hints
from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint, Head, Request
from collector.agents import AgentReader
from collector.event import Batch, Event

ACCOUNT = Account(host="127.0.0.1:8000")
NOW_MS = 1_795_000_000_000
TRAFFIC: list[tuple[Traffic, int]] = [
    ("scanova", 1),
    ("scanova_server", 1),
    ("croct", 1),
    ("zenovay", 100),
    ("zenovay", 1_000),
]


@cache
def _made(traffic: Traffic, size: int) -> list[Template]:
    return templates(traffic, size, ACCOUNT, seed=1)


def _endpoint(path: str) -> Endpoint:
    found = next(endpoint for endpoint in ENDPOINTS if endpoint.path == path)
    assert isinstance(found, Endpoint)
    return found


def _request(data: bytes) -> Request:
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    method, path, _ = line.decode().split(" ")
    pairs = [one.decode().split(": ", 1) for one in lines]
    lower = {name.lower(): value for name, value in pairs}
    assert int(lower["content-length"]) == len(body)
    return Request(
        method=method, path=path, query="", headers=lower, body=body, now_us=NOW_MS * 1_000
    )


@pytest.mark.parametrize(("traffic", "size"), TRAFFIC)
def test_every_request_of_the_corpus_is_accepted(traffic: Traffic, size: int) -> None:
    """The real adapters take each head and each body, with as many events as it claims."""
    ids = Ids("00000000")
    for template in _made(traffic, size):
        request = _request(ids.next().join(template.stamped(NOW_MS)))
        endpoint = _endpoint(request.path)
        assert isinstance(endpoint.read_head(request), Head)
        batch = endpoint.decode(request)
        assert isinstance(batch, Batch)
        assert len(batch.items) == template.events == size
        refused = [item for item in batch.items if not isinstance(item, Event)]
        assert refused == []


@pytest.mark.parametrize(("traffic", "size"), TRAFFIC)
def test_no_two_events_are_the_same(traffic: Traffic, size: int) -> None:
    """The same template with another id gives other events, and a batch has no repeats in it."""
    ids = Ids("00000000")
    cut = _made(traffic, size)[0].stamped(NOW_MS)
    identities = set()
    for _ in range(3):
        request = _request(ids.next().join(cut))
        batch = _endpoint(request.path).decode(request)
        assert isinstance(batch, Batch)
        identities |= {item.identity for item in batch.items if isinstance(item, Event)}
    assert None not in identities
    assert len(identities) == 3 * size


@pytest.mark.parametrize(("traffic", "size"), TRAFFIC[:-1])
def test_the_seed_decides(traffic: Traffic, size: int) -> None:
    """Equal seeds give equal bytes, so that runs can be compared; others do not."""
    first = _made(traffic, size)
    random.seed(7)  # Python's own generator has no part in it
    assert first == templates(traffic, size, ACCOUNT, seed=1)
    assert first != templates(traffic, size, ACCOUNT, seed=2)


@pytest.mark.parametrize(
    ("traffic", "size", "expected"),
    [("scanova", 1, 740), ("scanova_server", 1, 500), ("croct", 1, 440), ("zenovay", 1_000, 330)],
)
def test_events_have_the_size_of_real_ones(traffic: Traffic, size: int, expected: int) -> None:
    """Bytes per event are what bench/README.md says, on average, and vary."""
    bodies = [len(template.body) for template in _made(traffic, size)]
    assert sum(bodies) / len(bodies) / size == pytest.approx(expected, rel=0.05)
    if traffic in {"scanova", "croct"}:
        assert max(bodies) > 4 * min(bodies)


def test_hundreds_of_browsers_come_as_often_as_they_are_common() -> None:
    """Most are different, the commonest ten make less than half of the traffic and more than a
    fifth, and the seldom ones come too.
    """
    rng = random.Random(1)
    drawn = Counter(browsers().draw(rng).user_agent for _ in range(5_000))
    assert len(browsers()) > 300
    assert len(drawn) > 200
    assert 0.2 < sum(count for _, count in drawn.most_common(10)) / 5_000 < 0.5


def test_browsers_are_those_that_the_collector_knows() -> None:
    """Each is recognised by what it calls itself; its client hints are read and agree."""
    reader = AgentReader()
    rng = random.Random(1)
    for browser in [browsers().draw(rng) for _ in range(2_000)]:
        agent = reader.read(browser.user_agent)
        assert agent.browser_family, browser.user_agent
        said = hints.read(dict(browser.hints))
        assert (said is None) == (not browser.hints)
        if said is not None:
            assert said.platform == agent.os_family, browser.user_agent
            assert said.mobile == (agent.device_type == "mobile"), browser.user_agent


def test_headers_of_a_request_are_its_visitors() -> None:
    """The user agent of the body is that of the head, and no header comes twice."""
    for template in _made("scanova", 1)[:200]:
        lines = template.head.decode().split("\r\n")[1:-2]
        names = [line.partition(":")[0].lower() for line in lines]
        assert len(set(names)) == len(names)
        agent = msgspec.json.decode(template.body)["device"]["user_agent"]
        assert f"User-Agent: {agent}" in lines


def test_few_pages_get_most_of_the_visits() -> None:
    """A tenth of the pages gets more than half of the visits; hundreds are visited at all."""
    rng = random.Random(1)
    visits = Counter(pages().draw(rng).path for _ in range(5_000))
    assert sum(count for _, count in visits.most_common(len(pages().all) // 10)) > 2_500
    assert len(visits) > 300


def test_query_strings_have_a_long_tail() -> None:
    """Most addresses have none; click identifiers make hundreds that come once."""
    rng = random.Random(1)
    found = Counter(query(rng) for _ in range(5_000))
    assert 0.6 < found[""] / 5_000 < 0.75
    assert sum(count == 1 for count in found.values()) > 200


def test_a_part_of_the_texts_is_not_ascii() -> None:
    """Some events of every protocol hold other scripts, most do not."""
    for traffic in ("scanova", "croct"):
        made = _made(traffic, 1)
        share = sum(not template.body.isascii() for template in made) / len(made)
        assert 0.05 < share < 0.5
    assert not all(template.body.isascii() for template in _made("zenovay", 100))


def test_a_prefix_stands_before_the_path() -> None:
    """A collector below a path of a proxy is asked there."""
    account = Account(host="collect.example", prefix="/events")
    head = templates("zenovay", 100, account, seed=1)[0].head
    assert head.startswith(b"POST /events/api/v1/events HTTP/1.1\r\nHost: collect.example\r\n")


def test_behind_a_proxy_every_browser_has_an_address() -> None:
    """Many addresses, one header each; none of it without a proxy."""
    account = msgspec.structs.replace(ACCOUNT, is_forwarded=True)
    found = [
        re.findall(rb"X-Forwarded-For: (93\.184\.\d+\.\d+)\r\n", template.head)
        for template in templates("croct", 1, account, seed=1)
    ]
    assert {len(one) for one in found} == {1}
    assert len({one[0] for one in found}) > 1_000
    assert b"X-Forwarded-For" not in _made("croct", 1)[0].head


def _source(**changes: float) -> Source:
    settings = {"address": "", "port": 1, "traffic": "croct", "run": "00000000", **changes}
    return Source(msgspec.convert({**settings, "account": {"host": "a"}}, Plan))


@pytest.mark.parametrize(("duplicates", "expected"), [(0.006, 29), (0.1, 494)])
def test_a_repeat_comes_well_after_its_first(duplicates: float, expected: int) -> None:
    """Never so soon that the first is still on its way, and always the same bytes."""
    source = _source(duplicates=duplicates)
    sent = [source.next() for _ in range(5_000)]
    first: dict[bytes, int] = {}
    apart = [index - first.setdefault(one, index) for index, one in enumerate(sent)]
    repeats = [gap for gap in apart if gap]
    assert len(repeats) == expected
    assert min(repeats) >= 64


def test_times_are_those_of_the_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """After as many stamps as there are in a second, every request says the present one."""
    source = _source()
    monkeypatch.setattr("time.time_ns", lambda: NOW_MS * 1_000_000)
    for _ in range(Source.STAMPS_PER_S):
        source.stamp()
    for _ in range(3_000):
        found = re.search(rb'"originalTime":(\d+)', source.next())
        assert found is not None
        assert NOW_MS - 2_000 <= int(found[1]) < NOW_MS


def test_batches_mix_all_types() -> None:
    """A batch of 1,000 holds page views, events, identifications, goals and purchases."""
    body = _made("zenovay", 1_000)[0].body
    found = set(re.findall(rb'"type":"([a-z]+)"', body))
    assert found == {b"pageview", b"event", b"identify", b"goal", b"purchase"}


def test_prepared_rows_are_all_different() -> None:
    """The segment for the flush holds as many lines as asked, each with an id of its own."""
    groups = list(encoded_groups(2_500, seed=1))
    assert [count for _, count in groups] == [1_000, 1_000, 500]
    found = [
        msgspec.json.decode(line)["event_id"] for lines, _ in groups for line in lines.splitlines()
    ]
    assert len(set(found)) == len(found) == 2_500
