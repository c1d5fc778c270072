"""Every protocol, consent and signal against every column, as docs/PRIVACY.md says.

The page holds two tables: what a signal makes of an event, and what that leaves of each column.
Both are read here, and every combination is sent.
"""

import itertools
import time
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from collector.config import Config
from collector.keys import DEMO_KEY
from storage import COLUMNS
from tests.support import app, pages, tokens
from tests.support.geo import GEOLITE2, write_database

PAGE: Final = "docs/PRIVACY.md"
ADDRESS: Final = "81.2.69.142"
AGENT: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36"
)
SCAN: Final = str(uuid.UUID(int=77))
ABSENT: Final = object()
CONSENTS: Final = (
    *(ABSENT, None, "granted", "pending", "denied", "opt-in", "opt-out", "unknown"),
    *("Denied", "", "no", 0, False, {"a": 1}),
)
GPC: Final = (None, "0", "1", "true", "")
HINTS: Final = ("none", "dnt", "body")
# What no other event has.
OWN: Final = frozenset({"event_id", "event_time", "received_time", "idempotency_key", "dedup_key"})
FREE_FORM: Final = frozenset({"metadata", "unknown"})


class Case(NamedTuple):
    """One event to be sent."""

    kind: str  # as in the table of columns
    path: str
    type: str  # of a beacon, or of Zenovay's
    consent: Any
    gpc: str | None
    hint: str
    honour_gpc: bool

    @property
    def id(self) -> str:
        """A UUID of its own."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, repr(tuple(map(str, self)))))

    @property
    def is_plain(self) -> bool:
        """Whether it carries no signal at all."""
        return self.consent is ABSENT and self.gpc is None and self.hint == "none"


KINDS: Final = (
    *(("scanova browser", path, "") for path in ("/ct", "/collect", "/collect/batch")),
    *(("scanova server", path, "") for path in ("/server-events", "/server-events/batch")),
    *(
        ("croct browser", "/client/web/track", name)
        for name in ("goalCompleted", "pageOpened", "pageLoaded")
    ),
    ("croct server", "/client/web/track", "goalCompleted"),
    *(
        ("zenovay", "/api/v1/events", name)
        for name in ("pageview", "event", "identify", "goal", "purchase")
    ),
)


def cases(*, honour_gpc: bool) -> Iterator[Case]:
    """Every combination."""
    for kind, consent, gpc, hint in itertools.product(KINDS, CONSENTS, GPC, HINTS):
        yield Case(*kind, consent, gpc, hint, honour_gpc)


# --- sending


def scanova_event(case: Case) -> dict[str, Any]:
    """An event with everything that its endpoint takes."""
    event: dict[str, Any] = {
        "site_id": "demo",
        "event_id": case.id,
        "scan_session_id": SCAN,
        "web_session_id": str(uuid.UUID(int=1)),
        "visitor_id": str(uuid.UUID(int=2)),
    }
    note = {"note": "private", **_body_hint(case)}
    if case.kind == "scanova browser":
        return event | {
            "event_type": "click",
            "page_url": "https://localhost/private",
            "page_title": "Private",
            "referrer": "https://localhost/before",
            "device": {"screen_width": 800, "screen_height": 600},
            "metadata": note,
        }
    return event | {
        "event_name": "purchase",
        "conversion_value": {"amount": 5, "currency": "EUR"},
        "user_identifiers": {"email_hash": "a" * 64, "phone_hash": "b" * 64, "external_id": "u-1"},
        "properties": note,
    }


def croct_beacon(case: Case) -> dict[str, Any]:
    """A beacon of one type, with everything that its context may hold."""
    context: dict[str, Any] = {"metadata": {"note": "private"}, "odd": "private"}
    if case.kind == "croct browser":
        context |= {
            "url": "https://localhost/private",
            "tabId": str(uuid.UUID(int=3)),
            "timeZone": "Europe/Oslo",
        }
    else:
        context["type"] = "server"
    now_ms = time.time_ns() // 1_000_000
    page = {"url": "https://localhost/private"}
    payload = {
        "goalCompleted": {"goalId": "newsletter", "value": 3, "currency": "EUR"},
        "pageOpened": {**page, "referrer": "https://localhost/before"},
        "pageLoaded": {**page, "title": "Private", "lastModifiedTime": now_ms},
    }[case.type]
    return {
        "originalTime": now_ms,
        "departureTime": now_ms,
        "context": context,
        "payload": {"type": case.type, **payload},
        **_body_hint(case),
    }


def zenovay_event(case: Case) -> dict[str, Any]:
    """An event of one type with everything that is read from its props."""
    own = {
        "pageview": {"url": "https://localhost/private", "referrer": "r", "title": "Private"},
        "event": {"name": "custom"},
        "identify": {"email": "jane@example.com", "customer_id": "u-1"},
        "goal": {"name": "signup", "value": 3, "currency": "EUR"},
        "purchase": {"amount": 3, "currency": "EUR", "customer_id": "u-1"},
    }[case.type]
    return {
        "type": case.type,
        "ts": time.time_ns() // 1_000_000,
        "visitorId": str(uuid.UUID(int=2)),
        "sessionId": str(uuid.UUID(int=1)),
        "idempotencyKey": case.id,
        "props": {**own, "screen_width": 800, "screen_height": 600, **_body_hint(case)},
    }


def _body_hint(case: Case) -> dict[str, Any]:
    return {"dnt": 1, "doNotTrack": "1", "gpc": True} if case.hint == "body" else {}


def _with_consent(event: dict[str, Any], case: Case) -> dict[str, Any]:
    return event if case.consent is ABSENT else {**event, "consent": case.consent}


def request_of(case: Case) -> tuple[dict[str, str], Any]:
    """Headers and body."""
    headers = {"User-Agent": AGENT, "Accept-Language": "nb", "Content-Type": "application/json"}
    if case.gpc is not None:
        headers["Sec-GPC"] = case.gpc
    if case.hint == "dnt":
        headers["DNT"] = "1"
    if case.kind.startswith("scanova"):
        credentials = app.ORIGIN if case.kind.endswith("browser") else {"X-API-Key": DEMO_KEY}
        event = _with_consent(scanova_event(case), case)
        return headers | credentials, {"events": [event]} if "batch" in case.path else event
    if case.kind.startswith("croct"):
        token = tokens.unsigned({**tokens.CLAIMS, "iat": int(time.time())}, appId=tokens.APP_ID)
        own = {"X-App-Id": tokens.APP_ID, "X-Client-Id": case.id, "X-Token": token}
        return headers | own | {"X-Client-Library": "lib"}, _with_consent(croct_beacon(case), case)
    context = {"clientIp": ADDRESS, "userAgent": AGENT, "acceptLanguage": "nb"}
    headers |= {"User-Agent": "back end/1.0", "Authorization": f"Bearer {DEMO_KEY}"}
    event = _with_consent(zenovay_event(case), case)
    return headers, {"trackingCode": "ZV_demo", "events": [event], "serverContext": context}


def config_of(directory: Path, *, honour_gpc: bool) -> Config:
    """With a geo database and a table of scan sessions."""
    database = write_database(directory / "geo.mmdb", {"81.2.69.0/24": GEOLITE2})
    scans = directory / "scans.csv"
    scans.write_text(f"scan_session_id,qr_code_id\n{SCAN},qr-1\n", encoding="utf-8")
    config = app.example(directory)
    enrich = msgspec.structs.replace(
        config.enrich, geo_database=str(database), scan_sessions=str(scans)
    )
    config = msgspec.structs.replace(config, enrich=enrich)
    return app.with_site(config, honour_gpc=honour_gpc, goals=frozenset({"signup"}))


def stored(directory: Path, *, honour_gpc: bool) -> dict[str, dict[str, Any]]:
    """The rows of all cases, by their id; every column, JSON decoded."""

    async def send() -> list[dict[str, Any]]:
        config = config_of(directory, honour_gpc=honour_gpc)
        async with app.running(directory, config) as collector:
            for case in cases(honour_gpc=honour_gpc):
                headers, body = request_of(case)
                answer = await collector.request(
                    "POST", case.path, headers=headers, body=body, address=ADDRESS
                )
                assert answer.status in {200, 204, 422}, (case, answer)
            return collector.rows()

    found = {}
    for row in app.run(send()):
        plain = {
            name: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
            for name, value in row.items()
        }
        own = {
            "scanova": str(plain["event_id"]),
            "croct": str(uuid.UUID(plain["visitor_id"])) if plain["visitor_id"] else "",
            "zenovay": plain["idempotency_key"],
        }[plain["protocol"]]
        assert own not in found
        found[own] = plain
    return found


# --- the page


@cache
def signals() -> dict[str, dict[str, str]]:
    """What each signal makes of an event, by signal and protocol."""
    text = pages.section(pages.page(PAGE), "What a signal means")
    found: dict[str, dict[str, str]] = {}
    for signal, *cells in (row for row in pages.rows(text) if len(row) == 4):
        assert signal not in found
        found[signal] = dict(zip(("scanova", "croct", "zenovay"), cells, strict=True))
    return found


class Rule(NamedTuple):
    """One row of the table of columns."""

    filled_by: frozenset[str]
    left: Mapping[str, str]


@cache
def rules() -> dict[str, Rule]:
    """What is left of each column."""
    text = pages.section(pages.page(PAGE), "Column by column")
    found = {}
    for name, filled_by, *cells in (row for row in pages.rows(text) if len(row) == 5):
        kinds = {kind for kind, *_ in KINDS}
        named = kinds if filled_by == "all" else set(filled_by.split(", "))
        wanted = {kind for kind in kinds if kind in named or kind.split()[0] in named}
        assert all(any(k == one or k.split()[0] == one for k in kinds) for one in named - {"all"})
        left = dict(zip(("full", "pending", "denied"), cells, strict=True))
        found[name.strip("`")] = Rule(frozenset(wanted), left)
    return found


def treatment(case: Case) -> str:
    """What the page makes of this case: full, pending, denied or refused."""
    protocol = case.kind.split()[0]
    if case.gpc == "1":
        made = signals()[
            "`Sec-GPC: 1`, `honour_gpc = true`" if case.honour_gpc else "`Sec-GPC: 1`"
        ][protocol]
        if made != "by consent" and not _is_refused_for_consent(case):
            return made
    return signals()[_signal(case.consent)][protocol]


def _is_refused_for_consent(case: Case) -> bool:
    return signals()[_signal(case.consent)][case.kind.split()[0]] == "refused"


def _signal(consent: Any) -> str:
    if consent is ABSENT or consent is None:
        return "no `consent`"
    name = f"`{consent}`" if isinstance(consent, str) else ""
    return name if name in signals() else "any other `consent`"


# --- the matrix


@pytest.fixture(scope="module", params=[False, True], ids=["ignores GPC", "honours GPC"])
def matrix(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bool, dict[str, dict[str, Any]]]:
    """All rows, and whether their site honours GPC."""
    honour_gpc: bool = request.param
    return honour_gpc, stored(tmp_path_factory.mktemp("matrix"), honour_gpc=honour_gpc)


Matrix = tuple[bool, dict[str, dict[str, Any]]]


def baselines(matrix: Matrix) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The rows of events without any signal, by kind, path and type."""
    honour_gpc, rows = matrix
    plain = (case for case in cases(honour_gpc=honour_gpc) if case.is_plain)
    return {(case.kind, case.path, case.type): rows[case.id] for case in plain}


def test_the_page_names_every_column() -> None:
    """A new column needs a decision on what consent does to it."""
    assert list(rules()) == [column.name for column in COLUMNS]


def test_the_page_tells_who_fills_a_column(matrix: Matrix) -> None:
    """Without any signal each kind of event fills exactly the columns that the page says."""
    honour_gpc, rows = matrix
    found: dict[str, set[str]] = {name: set() for name in rules()}
    for (kind, _, _), row in baselines(matrix).items():
        for name, kinds in found.items():
            if row[name] is not None:
                kinds.add(kind)
    # The one column that is itself a signal.
    found["consent"] = {
        case.kind
        for case in cases(honour_gpc=honour_gpc)
        if case.id in rows and rows[case.id]["consent"] is not None
    }
    assert found == {name: set(rule.filled_by) for name, rule in rules().items()}


def test_events_are_stored_or_refused_as_the_page_says(matrix: Matrix) -> None:
    """Of what is refused there is no row; of everything else there is one."""
    honour_gpc, rows = matrix
    wanted = {case.id for case in cases(honour_gpc=honour_gpc) if treatment(case) != "refused"}
    assert rows.keys() == wanted


@pytest.mark.parametrize("column", [column.name for column in COLUMNS])
def test_each_column_holds_what_the_page_leaves_of_it(matrix: Matrix, column: str) -> None:
    """Kept: as without any signal; gone: NULL; in part: without what is of free form."""
    honour_gpc, rows = matrix
    plain = baselines(matrix)
    seen = set()
    for case in cases(honour_gpc=honour_gpc):
        made = treatment(case)
        if made == "refused":
            continue
        value = rows[case.id][column]
        before = plain[case.kind, case.path, case.type][column]
        left = rules()[column].left[made]
        seen.add(left)
        _check(case, column, left, value, before)
    assert seen >= {rules()[column].left["full"], rules()[column].left["denied"]}


def _check(case: Case, column: str, left: str, value: Any, before: Any) -> None:
    if left == "gone":
        assert value is None, case
    elif column == "consent":
        assert value == _consent_stored(case), case
    elif column == "flags":
        flagged = ["gpc"] if case.gpc == "1" else []
        assert value == [*before, *flagged], case
    elif left == "in part" and before is not None:
        assert {"metadata", "unknown"} <= before.keys(), case
        assert value.keys() == before.keys() - FREE_FORM, case
    elif column in OWN or column == "visitor_id" or before is None:
        assert (value is None) == (before is None), case
    elif column in {"metadata", "context"}:
        assert value.keys() >= before.keys(), case
    else:
        assert left == "kept", (column, left)
        assert value == before, case


def _consent_stored(case: Case) -> str | None:
    if case.consent is ABSENT or case.consent is None or case.kind.startswith("croct"):
        return None
    if case.kind == "zenovay":
        return "opt-in" if case.consent == "opt-in" else "unknown"
    assert isinstance(case.consent, str)
    return case.consent


def test_the_matrix_has_no_blind_spot(matrix: Matrix) -> None:
    """Every treatment was met in every protocol that has it."""
    honour_gpc, _ = matrix
    met = {(case.kind.split()[0], treatment(case)) for case in cases(honour_gpc=honour_gpc)}
    wanted = {("scanova", t) for t in ("full", "pending", "denied", "refused")}
    wanted |= {("zenovay", "full"), ("zenovay", "refused"), ("croct", "full")}
    assert met == wanted | ({("croct", "denied")} if honour_gpc else set())
