"""Logging in with the admin token, and out again."""

from collections.abc import Sequence
from typing import Final

from collector.adapters.contract import Response
from collector.admin import LOGIN, LOGOUT, OVERVIEW, Route, Visit, html, redirect
from collector.admin_gate import Gate
from collector.dashboard.frame import form, notice, whole_page
from collector.dashboard.html import Html, tag

_FIELD: Final = "token"


class Login:
    """The page that asks for the token, and the forms that begin and end a session."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    @property
    def routes(self) -> Sequence[Route]:
        """The rows of the table."""
        return (
            Route(
                path=LOGIN,
                name="dashboard_login",
                kind="page",
                summary="Asks for the admin token",
                answer=self._show,
                answers={200: None},
                is_open=True,
            ),
            Route(
                path=LOGIN,
                name="dashboard_log_in",
                kind="form",
                summary="Begins a session for who has the admin token",
                answer=self._log_in,
                answers={303: None, 401: None},
                is_open=True,
            ),
            Route(
                path=LOGOUT,
                name="dashboard_log_out",
                kind="form",
                summary="Ends the session",
                answer=self._log_out,
                answers={303: None},
            ),
        )

    async def _show(self, visit: Visit) -> Response:
        return _page(visit)

    async def _log_in(self, visit: Visit) -> Response:
        denial = self._gate.try_token(visit.asker, visit.form.get(_FIELD, "").strip())
        if denial is None:
            # A new one in any case: an id that somebody else put into the browser is worth nothing.
            if visit.session:
                self._gate.sessions.close(visit.session)
            return redirect(OVERVIEW, ("set-cookie", visit.cookie(self._gate.log_in())))
        if denial.why == "throttled":
            why = f"Too many wrong tokens. Try again in {denial.retry_after_s} s."
            response = _page(visit, why, 429)
            retry_after = ("retry-after", str(denial.retry_after_s))
            return Response(429, [*response.headers, retry_after], response.body)
        if denial.why == "off":
            return _page(visit, "No admin token is configured; nobody can log in.", 401)
        return _page(visit, "That is not the token.", 401)

    async def _log_out(self, visit: Visit) -> Response:
        self._gate.sessions.close(visit.session)
        return redirect(LOGIN, ("set-cookie", visit.cookie("")))


def _user() -> Html:
    """What password managers keep the token under; nobody reads it here."""
    return tag(
        "input",
        attributes={
            "type": "text",
            "name": "user",
            "value": "admin",
            "autocomplete": "username",
            "hidden": True,
        },
    )


def _page(visit: Visit, fault: str = "", status: int = 200) -> Response:
    name = "token"
    label = tag("label", "Admin token", attributes={"for": name})
    field = tag(
        "input",
        attributes={
            "id": name,
            "name": _FIELD,
            "type": "password",
            "autocomplete": "current-password",
            "spellcheck": "false",
            "required": True,
            "autofocus": True,
            "maxlength": "512",
        },
    )
    button = tag("button", "Log in", attributes={"type": "submit"})
    text = whole_page(
        "Log in",
        visit,
        notice(fault, is_bad=True) if fault else None,
        form(visit, LOGIN, _user(), label, field, button),
    )
    return html(text, status)
