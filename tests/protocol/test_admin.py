"""Every admin route, tried in every way in which somebody may try to get in.

The cases go over the table of routes: one that is added is tried without anybody remembering it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import pytest

from collector.admin import CSRF, GUARDS, LOGIN, LOGOUT, OVERVIEW, Route, statuses
from collector.config import Config
from collector.keys import digest, new_admin_token
from collector.logs import Formatter
from storage import StorageError, TookTooLong
from storage import latest as latest_rows
from tests.support import app
from tests.support.app import Answer, Collector
from tests.support.dialects import DIALECTS

TOKEN: Final = new_admin_token()
AWAY: Final = "203.0.113.9"
HERE: Final = "127.0.0.1"
LOCAL: Final = {"Host": "localhost:8000"}
PUBLIC: Final = {"Host": "events.example.com"}
BEARER: Final = {"Authorization": f"Bearer {TOKEN}"}
OWN_PAGE: Final = {"Sec-Fetch-Site": "same-origin"}
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}

pytestmark = pytest.mark.usefixtures("each_front")


def settings(directory: Path, token: str = TOKEN, **members: Any) -> Config:
    """The example, with an admin token."""
    config = app.example(directory)
    server = msgspec.structs.replace(
        config.server, admin_token_sha256=digest(token) if token else "", **members
    )
    return msgspec.structs.replace(config, server=server)


def routes(collector: Collector) -> Sequence[Route]:
    """The table."""
    found = collector.edge._admin.routes
    assert len(found) >= 9
    return found


async def ask(
    collector: Collector,
    route: Route,
    *headers: Mapping[str, str],
    address: str = AWAY,
    form: Mapping[str, str] | None = None,
) -> Answer:
    """A request to a route, as a browser or a program sends it."""
    fields = {name: value for some in headers for name, value in some.items()}
    body = b""
    if route.method == "POST":
        fields = FORM | fields
        body = urlencode(form or {}).encode()
    found = await collector.request(
        route.method, route.path, headers=fields, body=body, address=address
    )
    assert found.status in statuses(route), "as /openapi.json tells"
    guards = {name: found.headers.get(name) for name, _ in GUARDS}
    assert guards == dict(GUARDS), "on every answer"
    assert "unsafe-inline" not in found.headers["content-security-policy"]
    assert not any(name.startswith("access-control-") for name in found.headers), "no CORS"
    return found


def assert_kept_out(route: Route, answer: Answer, *, can_log_in: bool = True) -> None:
    """Nothing of the page is told; whoever may log in is told how."""
    assert answer.status in {401, 303, 403}, (route.path, answer.status)
    if not can_log_in:
        assert answer.status == 403
    elif answer.status == 303:
        assert answer.headers["location"] == LOGIN
        assert answer.body == b""
    elif answer.status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    for word in (b"demo", b"disk_free", b"<html"):
        assert word not in answer.body
    assert "set-cookie" not in answer.headers


def closed(collector: Collector) -> list[Route]:
    """Routes that are for those only who were let in."""
    return [route for route in routes(collector) if not route.is_open]


def test_only_what_people_log_in_with_is_open(tmp_path: Path) -> None:
    """The page that asks for the token, its form, and files that tell nothing; nothing else."""

    async def play() -> None:
        async with app.running(tmp_path, settings(tmp_path)) as collector:
            found = {(r.method, r.path) for r in routes(collector) if r.is_open}
            files = {("GET", f"/dashboard/{one}") for one in ("style.css", "icon.svg", "live.js")}
            assert found == {("GET", LOGIN), ("POST", LOGIN), *files}

    app.run(play())


# Heads of requests without a token that must not be let in, with the address they come from.
INTRUDERS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "from afar": (AWAY, PUBLIC),
    "from afar, as localhost": (AWAY, LOCAL),
    "from the next machine": ("192.168.1.7", LOCAL),
    "from a container": ("172.17.0.1", LOCAL),
    "forged X-Forwarded-For": (AWAY, LOCAL | {"X-Forwarded-For": HERE}),
    "forged Forwarded": (AWAY, LOCAL | {"Forwarded": f"for={HERE}"}),
    "forged X-Real-IP": (AWAY, LOCAL | {"X-Real-IP": HERE}),
    "through a proxy here": (HERE, LOCAL | {"X-Forwarded-For": AWAY}),
    "through a proxy here, forged": (HERE, LOCAL | {"X-Forwarded-For": HERE}),
    "through a proxy here, Forwarded": (HERE, LOCAL | {"Forwarded": f"for={HERE}"}),
    "through a proxy here, Via": (HERE, LOCAL | {"Via": "1.1 proxy"}),
    "through a proxy here, X-Real-IP": (HERE, LOCAL | {"X-Real-IP": HERE}),
    "another name": (HERE, {"Host": "evil.example"}),
    "a name like ours": (HERE, {"Host": "localhost.evil.example:8000"}),
    "no name": (HERE, {}),
    "wrong token": (AWAY, PUBLIC | {"Authorization": "Bearer admin_x"}),
    "wrong token, here": (HERE, LOCAL | {"Authorization": "Bearer admin_x"}),
    "an API key": (HERE, LOCAL | {"Authorization": "Bearer zv_demo" + "0" * 39}),
    "the digest": (AWAY, PUBLIC | {"Authorization": f"Bearer {digest(TOKEN)}"}),
    "made-up session": (AWAY, PUBLIC | {"Cookie": "collector_session=" + "A" * 43}),
    "unreadable name": (HERE, {"Host": "localh\u00f6st"}),
    "unreadable forwarding": (HERE, LOCAL | {"X-Forwarded-For": "\u00e9"}),
}


@pytest.mark.parametrize("token", [TOKEN, ""], ids=["token", "no token"])
def test_intruders_are_kept_out_of_every_route(token: str, tmp_path: Path) -> None:
    """With a token configured and without; of a form, whether or not it looks like one of ours."""

    async def play() -> None:
        # A fault counts, and who is throttled is told so; that has a test of its own.
        config = app.with_limits(settings(tmp_path, token), admin_failed_auth_per_minute=0)
        async with app.running(tmp_path, config) as collector:
            # Without a token nobody logs in, so that nothing is open.
            tried = closed(collector) if token else routes(collector)
            for address, fields in INTRUDERS.values():
                for route in tried:
                    for more in ({}, OWN_PAGE):
                        answer = await ask(collector, route, fields, more, address=address)
                        assert_kept_out(route, answer, can_log_in=bool(token))
                for path in ("/admin", "/admin/v1/x", "/dashboard/", "/dashboard/../metrics"):
                    answer = await collector.request("GET", path, headers=fields, address=address)
                    assert (answer.status, answer.body) == (404, b"not found\n")

    app.run(play())


FOREIGN: Final[Sequence[Mapping[str, str]]] = (
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost"},
    {"Origin": "http://localhost:8000\u00e9"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
)


def test_other_sites_get_nothing_through_a_browser_here(tmp_path: Path) -> None:
    """A page of another site has a browser on this machine ask: no route is answered."""

    async def play() -> None:
        async with app.running(tmp_path, settings(tmp_path)) as collector:
            for route in routes(collector):
                for fields in FOREIGN:
                    assert (await ask(collector, route, LOCAL, fields, address=HERE)).status == 403

    app.run(play())


def test_a_link_of_another_site_may_lead_to_a_page(tmp_path: Path) -> None:
    """To read, in a tab of its own; not to data, and it sends no form."""
    visit = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }

    async def play() -> None:
        async with app.running(tmp_path, settings(tmp_path)) as collector:
            for route in routes(collector):
                answer = await ask(collector, route, LOCAL, visit, address=HERE)
                assert answer.status == (200 if route.kind == "page" else 403)

    app.run(play())


def test_whoever_may_come_in_does(tmp_path: Path) -> None:
    """This machine itself, a good token from anywhere, and a session: every route answers."""

    async def play() -> None:
        async with app.running(tmp_path, settings(tmp_path)) as collector:
            session = await log_in(collector)
            for route in routes(collector):
                if route.kind == "form":
                    continue
                path = msgspec.structs.replace(route, path=f"{route.path}?id=x")
                for headers, address in (
                    (LOCAL, HERE),
                    (PUBLIC | BEARER, AWAY),
                    (PUBLIC | BEARER | {"Origin": "http://evil.example"}, AWAY),
                    (PUBLIC | {"Cookie": session}, AWAY),
                ):
                    answer = await ask(collector, path, headers, address=address)
                    assert answer.status == 200, (route.path, answer)
                    head = await collector.request(
                        "HEAD", path.path, headers=headers, address=address
                    )
                    assert head.status == 200

    app.run(play())


def test_other_methods_are_refused(tmp_path: Path) -> None:
    """405 with the methods there are, without a body and without CORS, to whoever asks."""
    fields = LOCAL | {"Origin": "http://localhost"}

    async def play() -> None:
        async with app.running(tmp_path, settings(tmp_path)) as collector:
            known = {(r.method, r.path) for r in routes(collector)}
            for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "GET", "POST"):
                others = {r.path for r in routes(collector)} - {p for m, p in known if m == method}
                for path in others:
                    answer = await collector.request(method, path, headers=fields, address=HERE)
                    assert answer.status == 405
                    assert answer.headers["allow"]
                    assert "access-control-allow-origin" not in answer.headers

    app.run(play())


# --- forms


async def csrf_of(collector: Collector, path: str, *headers: Mapping[str, str]) -> str:
    """What a form of that page brings along."""
    fields = {name: value for some in headers for name, value in some.items()}
    page = (await collector.request("GET", path, headers=fields)).body.decode()
    _, found, rest = page.partition(f'name="{CSRF}" value="')
    return rest.partition('"')[0] if found else ""


async def log_in(collector: Collector, token: str = TOKEN) -> str:
    """Log in from afar; the cookie as a browser sends it back."""
    form = {CSRF: await csrf_of(collector, LOGIN, PUBLIC), "token": token}
    answer = await collector.request(
        "POST", LOGIN, headers=PUBLIC | OWN_PAGE | FORM, body=urlencode(form).encode()
    )
    assert (answer.status, answer.headers["location"]) == (303, OVERVIEW)
    cookie, _, flags = answer.headers["set-cookie"].partition(";")
    assert flags == " Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
    return cookie


def test_logging_in_and_out(tmp_path: Path) -> None:
    """The token gives a session, the button ends it for good; each login has an id of its own."""

    async def play() -> None:
        async with app.running(tmp_path, settings(tmp_path)) as collector:
            cookie, other = await log_in(collector), await log_in(collector)
            assert cookie != other
            headers = PUBLIC | {"Cookie": cookie}
            form = {CSRF: await csrf_of(collector, OVERVIEW, headers)}
            [out] = [r for r in routes(collector) if r.path == LOGOUT]
            answer = await ask(collector, out, headers, OWN_PAGE, form=form)
            assert (answer.status, answer.headers["location"]) == (303, LOGIN)
            assert "=; Path=/; Max-Age=0" in answer.headers["set-cookie"]
            page = await collector.request("GET", OVERVIEW, headers=headers)
            assert page.status == 303
            again = await collector.request("GET", OVERVIEW, headers=PUBLIC | {"Cookie": other})
            assert again.status == 200

    app.run(play())


FORGERIES: Final[Sequence[tuple[Mapping[str, str], bool]]] = (
    (OWN_PAGE, False),
    ({}, True),
    ({"Origin": "http://evil.example"}, True),
    ({"Sec-Fetch-Site": "cross-site"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Origin": "null"}, True),
    ({"Referer": "https://events.example.com/dashboard"}, True),
)


def test_a_form_must_be_ours_in_both_ways(tmp_path: Path) -> None:
    """The browser says that a page of ours sent it, and it has what only such a page was given."""

    async def play() -> None:
        async with app.running(tmp_path, settings(tmp_path)) as collector:
            headers = PUBLIC | {"Cookie": await log_in(collector)}
            proof = await csrf_of(collector, OVERVIEW, headers)
            assert proof
            for route in routes(collector):
                for fields, brings_proof in FORGERIES if route.kind == "form" else ():
                    form = {"token": TOKEN} | ({CSRF: proof} if brings_proof else {})
                    answer = await ask(collector, route, headers, fields, form=form)
                    assert answer.status == 403
                    assert "set-cookie" not in answer.headers
            page = await collector.request("GET", OVERVIEW, headers=headers)
            assert page.status == 200, "still logged in"

    app.run(play())


def test_wrong_tokens_are_throttled_on_every_door(tmp_path: Path) -> None:
    """Form and bearer share the allowance; then 429 with `Retry-After`; sessions go on."""

    async def play() -> None:
        async with app.running(tmp_path, settings(tmp_path)) as collector:
            session = await log_in(collector)
            [login] = [r for r in routes(collector) if r.path == LOGIN and r.method == "POST"]
            form = {CSRF: await csrf_of(collector, LOGIN, PUBLIC), "token": "<b>wrong"}
            for _ in range(5):
                answer = await ask(collector, login, PUBLIC, OWN_PAGE, form=form)
                assert answer.status == 401
                assert b"That is not the token." in answer.body
                assert b"wrong</" not in answer.body
                assert "set-cookie" not in answer.headers
            wrong = PUBLIC | {"Authorization": "Bearer wrong"}
            for _ in range(5):
                await ask(collector, closed(collector)[0], wrong)
            answer = await ask(collector, login, PUBLIC, OWN_PAGE, form=form | {"token": TOKEN})
            assert (answer.status, answer.headers["retry-after"]) == (429, "6")
            for route in closed(collector):
                answer = await ask(collector, route, PUBLIC, BEARER)
                # The clock goes on while all doors are tried.
                assert (answer.status, int(answer.headers["retry-after"]) <= 6) == (429, True)
                if route.kind == "page":
                    assert (await ask(collector, route, {"Cookie": session})).status == 200
                    assert (await ask(collector, route, LOCAL, address=HERE)).status == 200
                    there = await ask(collector, route, PUBLIC, BEARER, address="203.0.113.10")
                    assert there.status == 200

    app.run(play())


ODD_FORMS: Final[Sequence[tuple[bytes, Mapping[str, str], int]]] = (
    (b"x" * 5_000, FORM, 413),
    (b"{}", {"Content-Type": "application/json"}, 415),
    (b"x", FORM | {"Content-Encoding": "br"}, 415),
    (b"&".join(b"a=%d" % n for n in range(50)), FORM, 403),
    (b"\xff\xfe=%ff&%00=", FORM, 403),
)


def test_odd_forms_are_refused(tmp_path: Path) -> None:
    """Bounded in bytes and members, of one kind; nothing becomes a 500."""

    async def play() -> None:
        async with app.running(tmp_path, settings(tmp_path)) as collector:
            for body, fields, status in ODD_FORMS:
                headers = PUBLIC | OWN_PAGE | fields
                answer = await collector.request("POST", LOGIN, headers=headers, body=body)
                assert answer.status == status

    app.run(play())


# --- what is answered


def test_the_api_tells_what_came_in(tmp_path: Path) -> None:
    """State, newest events, receipt and audit agree about an event of each dialect."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            for dialect in DIALECTS:
                sent = dialect.event("a")
                await collector.request(
                    "POST", sent.path, headers=sent.headers, body=msgspec.json.encode(sent.body)
                )

            async def get(path: str) -> Any:
                answer = await collector.request("GET", path, headers=LOCAL, address=HERE)
                assert answer.status == 200, answer
                return answer.json

            state = await get("/admin/v1/state")
            assert sum(one["events"] for one in state["events"]) == len(DIALECTS)
            assert state["trouble"] == ""
            assert state["numbers"]["unflushed_rows"] == len(DIALECTS)
            events = (await get("/admin/v1/events"))["events"]
            assert len(events) == len(DIALECTS)
            times = [one["received_time"] for one in events]
            assert times == sorted(times, reverse=True)
            assert len((await get("/admin/v1/events?count=1"))["events"]) == 1
            stored = {str(row["event_id"]): row for row in collector.rows()}
            for one in events:
                receipt = await get(f"/admin/v1/receipt?id={one['event_id']}")
                assert receipt["verdict"] == "accepted"
                assert stored[one["event_id"]]["protocol"] == one["protocol"]
            assert (await get("/admin/v1/receipt?id=nothing"))["verdict"] == "unknown"
            audit = await get("/admin/v1/audit")
            assert audit["balanced"]
            assert audit["total"]["difference"] == 0

    app.run(play())


SENSELESS: Final = (
    *("events?count=0", "events?count=101", "events?count=x", "events?count=", "receipt?id="),
    *("receipt", f"receipt?id={'x' * 257}", "audit?since=yesterday", "audit?since="),
    *("events?count=-1", "events?count=1e3", "events?count=%D9%A3", "audit?since=2026-13-01"),
)


def test_questions_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    """400 in words; numbers are bounded."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            for query in SENSELESS:
                path = f"/admin/v1/{query}"
                answer = await collector.request("GET", path, headers=LOCAL, address=HERE)
                assert answer.status == 400
                assert answer.json["error"]

    app.run(play())


def test_a_look_up_is_no_sql(tmp_path: Path) -> None:
    """What is looked for is a value and nothing else: it is not found, and nothing breaks."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            await collector.post("/ct", {"site_id": "demo", "event_type": "x"}, **app.ORIGIN)
            for text in ("' OR 1=1 --", "x'; DROP TABLE events; --", "\0", "%", "\ufffd"):
                for path in ("/admin/v1/receipt", "/dashboard/receipt"):
                    target = f"{path}?{urlencode({'id': text})}"
                    answer = await collector.request("GET", target, headers=LOCAL, address=HERE)
                    assert answer.status == 200
            assert len(collector.rows()) == 1
            # As files, too.
            await collector.service.orders.carry_out("compact", {}, lambda *_: None)
            target = "/admin/v1/receipt?id='%20OR%201=1%20--"
            answer = await collector.request("GET", target, headers=LOCAL, address=HERE)
            assert answer.json["verdict"] == "unknown"

    app.run(play())


@pytest.mark.parametrize(
    "error", [TookTooLong("given up after 5 s"), StorageError("/secret/folder"), OSError(5, "x")]
)
def test_trouble_with_the_files_is_told_without_their_names(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 to programs; people see the rest of the page. No path of this machine is told."""

    def fail(*_: object) -> None:
        raise error

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            monkeypatch.setattr(latest_rows, "latest", fail)
            data = await collector.request("GET", "/admin/v1/events", headers=LOCAL, address=HERE)
            assert (data.status, data.headers["retry-after"]) == (503, "1")
            page = await collector.request("GET", OVERVIEW, headers=LOCAL, address=HERE)
            assert page.status == 200
            assert b"secret" not in data.body + page.body

    app.run(play())


def test_a_fault_of_ours_is_a_500_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it is told, the fields that guard a page are there, the next request is fine.

    The log tells where it was, and not its text: that may repeat what was asked for.
    """
    said = "nobody must read this"

    def fail(*_: object) -> None:
        raise ZeroDivisionError(said)

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            with monkeypatch.context() as patch:
                patch.setattr(latest_rows, "latest", fail)
                for path in ("/admin/v1/events", OVERVIEW):
                    answer = await collector.request("GET", path, headers=LOCAL, address=HERE)
                    assert answer.status == 500
                    assert b"nobody" not in answer.body
                    assert dict(GUARDS).items() <= answer.headers.items()
            page = await collector.request("GET", OVERVIEW, headers=LOCAL, address=HERE)
            assert page.status == 200

    app.run(play())
    told = "\n".join(map(Formatter().format, caplog.records))
    assert "an admin page failed" in told
    assert "builtins.ZeroDivisionError" in told
    assert "nobody" not in told


@pytest.mark.parametrize("needs_token", [True, False])
def test_metrics_may_be_put_behind_the_token(tmp_path: Path, *, needs_token: bool) -> None:
    """Then they are for whoever has the token, and for this machine; else for everybody."""

    async def play() -> None:
        config = settings(tmp_path, metrics_need_token=needs_token)
        async with app.running(tmp_path, config) as collector:
            evil = LOCAL | {"Origin": "http://evil.example"}
            for headers, address, is_ours in (
                (PUBLIC, AWAY, False),
                (evil, HERE, False),
                (PUBLIC | BEARER, AWAY, True),
                (LOCAL, HERE, True),
            ):
                answer = await collector.request(
                    "GET", "/metrics", headers=headers, address=address
                )
                assert answer.status == (200 if is_ours or not needs_token else 401)
                assert "access-control-allow-origin" not in answer.headers
                assert (await collector.request("GET", "/healthz", headers=PUBLIC)).status == 200

    app.run(play())
