"""The page to install: what to paste where, and a test event that shows whether it arrives.

Shown for one site at a time. The address in the snippets is the one that the visitor's browser
used, because that is what is known to lead here; another can be put in its place.
"""

import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from collector.adapters.contract import Header, Response
from collector.admin import Member, Route, Visit, html, redirect
from collector.config import Config, Site
from collector.dashboard.answers import section
from collector.dashboard.frame import form, notice, whole_page
from collector.dashboard.html import Child, Html, Link, tag
from collector.dashboard.known import Known
from collector.dashboard.pieces import hidden
from collector.dashboard.ranges import choice
from collector.dashboard.receipt import look_up
from collector.dashboard.snippets import Snippet, snippets
from collector.ids import uuid4
from collector.origin import host_name
from collector.sample_event import PATH, Sample, Whole, page_of, sample

INSTALL: Final = "/dashboard/install"
_SITE: Final = "site"
_ADDRESS: Final = "address"
_SENT: Final = "sent"
_CHARS_MAX: Final = 300
_IS_OK: Final = 200
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(:[0-9]{1,5})?", re.IGNORECASE)
_UUID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# An endpoint answers with bytes; only a page goes on and on.
Answer = tuple[int, list[Header], bytes | object]
# Has the collector answer a request, as if it had been received.
Deliver = Callable[[Sample, Whole], Awaitable[Answer]]


class Install:
    """Shows snippets, sends test events. `is_secure`: whether a visitor came over TLS."""

    def __init__(
        self, known: Known, *, deliver: Deliver, is_secure: Callable[[Visit], bool]
    ) -> None:
        self._known = known
        self._deliver = deliver
        self._is_secure = is_secure

    @property
    def routes(self) -> Sequence[Route]:
        """The rows of the table."""
        text = {"type": "string"}
        return (
            Route(
                path=INSTALL,
                name="dashboard_install",
                kind="page",
                summary="What to paste into pages and back ends of a site",
                query={
                    _SITE: Member("of the site with this id", text),
                    _ADDRESS: Member("with this address of the collector", text),
                    _SENT: Member("show what became of the test event with this id", text),
                },
                answer=self._show,
                answers={200: None},
            ),
            Route(
                path=INSTALL,
                name="dashboard_send_test",
                kind="form",
                summary="Sends a test event of a site, as a page of it would",
                answer=self._send,
                answers={303: None, 409: None},
            ),
        )

    async def _show(self, visit: Visit) -> Response:
        site = self._site(visit.query.get(_SITE, ""))
        sent = visit.query.get(_SENT, "")
        shown = await look_up(self._known, sent) if _UUID.fullmatch(sent) else None
        return self._page(visit, site, shown)

    async def _send(self, visit: Visit) -> Response:
        site = self._site(visit.form.get(_SITE, ""))
        if site is None or not page_of(site):
            why = "No page may send events of this site: its allowed_domains is empty."
            return self._page(visit, site, notice(why, is_bad=True), 409)
        event_id = uuid4()
        status, _, body = await self._deliver(*sample(site, event_id, visit.asker))
        if status != _IS_OK:
            text = body.decode("utf-8", "replace") if isinstance(body, bytes) else ""
            refused = notice(f"The test event was refused, with status {status}:", is_bad=True)
            return self._page(visit, site, [refused, tag("pre", text)], 409)
        return redirect(str(Link(INSTALL, site=site.id, sent=event_id, **_address(visit))))

    def _site(self, wanted: str) -> Site | None:
        """The site that was asked for, else the first one, None where there is none."""
        sites = self._known.config().sites
        return next((site for site in sites if site.id == wanted), next(iter(sites), None))

    def _page(self, visit: Visit, site: Site | None, came: Child, status: int = 200) -> Response:
        config = self._known.config()
        own = own_address(config, visit, is_secure=self._is_secure(visit))
        address = _address(visit).get(_ADDRESS, own)
        if site is None:
            shown: Child = notice("No site is configured; docs/CONFIG.md tells how.", is_bad=True)
        else:
            shown = [
                _sending(visit, site, came),
                section("Key", _about_key(site)),
                [_shown(one) for one in snippets(address, site)],
                _left_out(site),
            ]
        text = whole_page(
            "Install", visit, _picker(self._known.sites, site, address), shown, path=INSTALL
        )
        return html(text, status)


def _address(visit: Visit) -> dict[str, str]:
    """The address that was put in place of our own, as a member of a query; none if none was."""
    found = address_of((visit.query or visit.form).get(_ADDRESS, ""))
    return {_ADDRESS: found} if found else {}


def own_address(config: Config, visit: Visit, *, is_secure: bool) -> str:
    """The address that the visitor's browser used; the configured one where that is none.

    `Host` is the visitor's own word, heard by nobody else: what is no host name is not repeated.
    """
    found = address_of(
        f"{'https' if is_secure else 'http'}://{visit.asker.headers.get('host') or ''}"
    )
    host = config.server.host
    shown = f"[{host}]" if ":" in host else host
    return found or f"http://{shown}:{config.server.port}"


def address_of(text: str) -> str:
    """Scheme, host and port of an address, "" of what is none; anything behind them is left out."""
    scheme, _, rest = text.strip()[:_CHARS_MAX].partition("://")
    match = _HOST.fullmatch(re.split(r"[/?#]", rest, maxsplit=1)[0])
    if scheme.lower() not in {"http", "https"} or match is None:
        return ""
    host = host_name(match[1] or match[2])
    if not host:
        return ""
    return f"{scheme.lower()}://{f'[{host}]' if ':' in host else host}{match[3] or ''}"


def _picker(sites: Sequence[str], site: Site | None, address: str) -> Html:
    field = tag(
        "input",
        attributes={
            "name": _ADDRESS,
            "type": "text",
            "value": address,
            "maxlength": str(_CHARS_MAX),
            "inputmode": "url",
            "spellcheck": "false",
            "autocomplete": "off",
        },
    )
    return tag(
        "form",
        choice("Site", _SITE, {one: one for one in sites}, site.id if site else ""),
        tag("label", tag("span", "Address of this collector, as pages reach it"), field),
        tag("button", "Show", attributes={"type": "submit"}),
        attributes={"action": Link(INSTALL), "class": "picker"},
    )


def _sending(visit: Visit, site: Site, came: Child) -> Html:
    page = page_of(site)
    what = (
        f"Sends one event of site {site.id} to {PATH}, as {page} would. It is taken, counted and "
        'stored like any other; its metadata says "test": true.'
    )
    kept = [hidden(name, value) for name, value in {_SITE: site.id, **_address(visit)}.items()]
    button = tag("button", "Send a test event", attributes={"type": "submit"})
    return section("Test event", tag("p", what), form(visit, INSTALL, *kept, button), came)


def _about_key(site: Site) -> Child:
    command = f"collector keys new --name backend --site {shlex.quote(site.id)}"
    return [
        tag(
            "p",
            "Back ends show a key, which they read from the variable COLLECTOR_KEY. "
            "Make one with the command below: it is shown once, and only its digest is kept.",
        ),
        tag("pre", tag("code", command)),
    ]


def _left_out(site: Site) -> Child:
    """Which snippets wait for an id of the site."""
    needed = {
        "Croct's SDK": ("croct_app_id", site.croct_app_id),
        "Zenovay's API": ("tracking_code", site.tracking_code),
    }
    return [
        tag("p", f"For {what}, give the site a {setting} in the configuration.")
        for what, (setting, value) in needed.items()
        if not value
    ]


def _shown(one: Snippet) -> Html:
    return section(one.title, tag("p", one.note), tag("pre", tag("code", one.text)))
