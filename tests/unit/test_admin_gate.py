"""Who may see the admin pages, judged by the head of a request alone."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from collector.addresses import AddressReader
from collector.admin_gate import COOKIE, SECURE_COOKIE, Denial, Gate, Grant, is_foreign, is_own_form
from collector.admin_sessions import Sessions
from collector.admin_throttle import FailedLogins
from collector.keys import digest
from tests.support.headers import Fields, Unreadable

# As they are printed; always the same, because tests are named by it.
TOKEN = "admin_" + "aB3dE6gH9j" * 4 + "Kl4"
HOST = ("host", "localhost:8000")


@dataclass
class Asker:
    """The head of a request."""

    client: str = "127.0.0.1:40000"
    headers: Any = field(default_factory=lambda: Fields([HOST]))
    http_version: str = "1.1"


def make_gate(token: str = TOKEN, proxies: tuple[str, ...] = ()) -> Gate:
    """A gate whose clock stands still."""
    return Gate(
        digest(token) if token else "",
        addresses=AddressReader(proxies),
        sessions=Sessions(60_000),
        failures=FailedLogins(10, 100),
        monotonic_us=lambda: 1_000_000,
    )


def asker(*fields: tuple[str, str], client: str = "127.0.0.1:40000") -> Asker:
    """A request with these fields."""
    return Asker(client, Fields(fields))


@pytest.mark.parametrize(
    "client", ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"]
)
@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LOCALHOST", "127.0.0.1:80", "[::1]:8000", "127.1.2.3"]
)
def test_this_machine_needs_no_token(client: str, host: str) -> None:
    """A direct connection from a loopback address to a loopback name."""
    assert make_gate().judge(asker(("host", host), client=client)) == Grant("loopback")
    assert make_gate("").judge(asker(("host", host), client=client)) == Grant("loopback")


@pytest.mark.parametrize(
    "client", ["203.0.113.9:1", "10.0.0.1:1", "172.17.0.1:1", "[2001:db8::1]:1", ":0", "", "x:1"]
)
def test_other_machines_need_one(client: str) -> None:
    """Whatever name they use; without a token that is configured, nothing helps."""
    assert make_gate().judge(asker(HOST, client=client)) == Denial("unknown")
    assert make_gate("").judge(asker(HOST, client=client)) == Denial("off")
    bearer = ("authorization", f"Bearer {TOKEN}")
    assert make_gate("").judge(asker(HOST, bearer, client=client)) == Denial("off")


@pytest.mark.parametrize(
    "host",
    [
        *("events.example.com", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example"),
        *(
            "localhost@evil.example",
            "",
            "localhost:x",
            "[::1",
            "0.0.0.0",
            "128.0.0.1",
            "127.0.0.1 ",
        ),
        *("localhost.", "2130706433", "0x7f.1", "[::1]evil", "localhost:8000:1", "lo\u0441alhost"),
    ],
)
def test_another_name_is_another_site(host: str) -> None:
    """A page that gave its own name the address of this machine is not let in by it."""
    assert make_gate().judge(asker(("host", host))) == Denial("unknown")


def test_a_name_is_said_once() -> None:
    """No name, two names, or one that cannot be read are none of this machine."""
    for headers in (Fields([]), Fields([HOST, HOST]), Unreadable({"host"}, {})):
        assert make_gate().judge(Asker(headers=headers)) == Denial("unknown")


FORWARDING = (
    *("x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-host", "x-forwarded-proto"),
    *("x-client-ip", "true-client-ip", "cf-connecting-ip", "x-forwarded-server"),
)


@pytest.mark.parametrize("name", FORWARDING)
@pytest.mark.parametrize("value", ["127.0.0.1", "for=127.0.0.1", "", "localhost"])
def test_what_looks_forwarded_is_not_direct(name: str, value: str) -> None:
    """A proxy on this machine does not make the world local, whatever a client writes there."""
    assert make_gate().judge(asker(HOST, (name, value))) == Denial("unknown")
    assert make_gate("").judge(asker(HOST, (name, value))) == Denial("off")
    unreadable = Asker(headers=Fields([HOST], {"host", name}))
    assert make_gate().judge(unreadable) == Denial("unknown")


def test_a_trusted_proxy_speaks_for_others() -> None:
    """What comes from one needs the token, whomever it names, and if it names nobody."""
    gate = make_gate(proxies=("127.0.0.1",))
    for said in ([], [("x-forwarded-for", "127.0.0.1")], [("x-forwarded-for", "203.0.113.9")]):
        assert gate.judge(asker(HOST, *said)) == Denial("unknown")


def test_an_old_http_is_that_of_a_proxy() -> None:
    """A proxy that was set up by one line speaks HTTP/1.0 and names the host it was told."""
    for version in ("1.0", "1", "0.9", ""):
        assert make_gate().judge(Asker(http_version=version)) == Denial("unknown")
    assert make_gate().judge(Asker(http_version="2")) == Grant("loopback")


AWAY = "203.0.113.9:1"


def test_the_token_lets_in() -> None:
    """As a bearer token, from anywhere, by any name."""
    for scheme in ("Bearer", "bearer", "BEARER "):
        bearer = ("authorization", f"{scheme} {TOKEN}")
        found = make_gate().judge(asker(("host", "events.example.com"), bearer, client=AWAY))
        assert found == Grant("token")


@pytest.mark.parametrize(
    "value",
    [
        *("", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}"),
        *(TOKEN, f"Bearer {digest(TOKEN)}", f"Bearer {TOKEN} {TOKEN}", f"Bearer {TOKEN.upper()}"),
        "Bearer " + "x" * 100_000,
    ],
)
@pytest.mark.parametrize("client", [AWAY, "127.0.0.1:1"])
def test_a_wrong_token_lets_nobody_in(value: str, client: str) -> None:
    """Not even from this machine: who shows one wants to be judged by it."""
    found = make_gate().judge(asker(HOST, ("authorization", value), client=client))
    assert found == Denial("unknown")


def test_wrong_tokens_are_throttled_before_they_are_compared() -> None:
    """Then a good one waits, too: else it would be told from a wrong one all the same."""
    gate = make_gate()
    wrong = asker(("authorization", "Bearer x"), client=AWAY)
    for _ in range(10):
        assert gate.judge(wrong) == Denial("unknown")
    throttled = gate.judge(asker(("authorization", f"Bearer {TOKEN}"), client=AWAY))
    assert throttled == Denial("throttled", 6)
    session = gate.log_in()
    cookie = ("cookie", f"{COOKIE}={session}")
    assert gate.judge(asker(cookie, client=AWAY)) == Grant("session", session)


def test_a_failure_is_logged_without_what_was_shown(caplog: pytest.LogCaptureFixture) -> None:
    """One line, no value, no address."""
    make_gate().judge(asker(("authorization", "Bearer my-secret"), client=AWAY))
    assert caplog.messages == ["admin: a wrong token was refused"]


def test_a_session_lets_in_until_it_ends() -> None:
    """By its cookie, among others; not by one that was made up."""
    gate = make_gate()
    session = gate.log_in()
    for cookie in (f"{COOKIE}={session}", f"a=b; {COOKIE}={session};c", f"x; {COOKIE}={session}"):
        assert gate.judge(asker(("cookie", cookie), client=AWAY)) == Grant("session", session)
    for cookie in (f"{COOKIE}=x", COOKIE, f"{SECURE_COOKIE}={session}", f"{COOKIE}={session}x", ""):
        assert gate.judge(asker(("cookie", cookie), client=AWAY)) == Denial("unknown")
    gate.sessions.close(session)
    found = gate.judge(asker(("cookie", f"{COOKIE}={session}"), client=AWAY))
    assert found == Denial("unknown")


@pytest.mark.parametrize(
    ("said", "is_secure"),
    [
        (("x-forwarded-proto", "https"), True),
        (("x-forwarded-proto", "http, https"), True),
        (("x-forwarded-proto", "https, http"), False),
        (("x-forwarded-proto", "http"), False),
        (("forwarded", "for=203.0.113.9;proto=https"), True),
        (("forwarded", 'for=1.2.3.4;proto=http, for=203.0.113.9; proto="https"'), True),
        (("forwarded", "for=1.2.3.4;proto=https, for=203.0.113.9;proto=http"), False),
        (("x-other", "https"), False),
    ],
)
def test_the_cookie_of_a_secure_connection(said: tuple[str, str], *, is_secure: bool) -> None:
    """`Secure`, and bound to the host by its name, where a trusted proxy tells of TLS."""
    gate = make_gate(proxies=("10.0.0.1",))
    cookie = gate.cookie(asker(said, client="10.0.0.1:1"), "abc")
    assert cookie.endswith("; HttpOnly; SameSite=Strict" + "; Secure" * is_secure)
    assert cookie.startswith(f"{SECURE_COOKIE if is_secure else COOKIE}=abc; Path=/; Max-Age=60;")
    # Nobody else's word counts.
    assert "Secure" not in gate.cookie(asker(said, client=AWAY), "abc")
    assert "Max-Age=0" in gate.cookie(asker(said, client=AWAY), "")


NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    ("fields", "is_data", "is_page", "is_form"),
    [
        ({}, False, False, False),
        ({"sec-fetch-site": "same-origin"}, False, False, True),
        ({"sec-fetch-site": "none"} | NAVIGATION, False, False, False),
        ({"sec-fetch-site": "cross-site"} | NAVIGATION, True, False, False),
        ({"sec-fetch-site": "same-site"} | NAVIGATION, True, False, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, True, True, False),
        (
            {"sec-fetch-site": "cross-site"} | NAVIGATION | {"sec-fetch-dest": "iframe"},
            True,
            True,
            False,
        ),
        ({"origin": "http://localhost:8000"}, False, False, True),
        ({"origin": "https://localhost:8000"}, False, False, True),
        ({"origin": "http://localhost"}, True, True, False),
        ({"origin": "http://evil.example"}, True, True, False),
        ({"origin": "null"}, True, True, False),
        ({"origin": "http://[::1"}, True, True, False),
        ({"origin": ""}, True, True, False),
        ({"origin": "http://x@localhost:8000"}, True, True, False),
    ],
)
def test_what_browsers_say_of_a_request(
    fields: dict[str, str], *, is_data: bool, is_page: bool, is_form: bool
) -> None:
    """Another site gets no data, may lead to a page, and sends no form."""
    headers = Fields([HOST, *fields.items()])
    assert is_foreign(headers, may_lead_here=False) == is_data
    assert is_foreign(headers, may_lead_here=True) == is_page
    assert is_own_form(headers) == is_form


@pytest.mark.parametrize("name", ["origin", "sec-fetch-site"])
def test_what_cannot_be_read_is_foreign(name: str) -> None:
    """A field with bytes outside of ASCII is not the same as none."""
    headers = Unreadable({name}, dict([HOST]))
    assert is_foreign(headers, may_lead_here=True)
    assert not is_own_form(headers)
