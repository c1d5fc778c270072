"""What Croct's clients are answered: empty successes, problem documents, the client id.

Facts about the SDK that rule this module: it decides by `status` *inside* the JSON of an error, not
by the status of HTTP; only 408, 429 and 500 and up are tried again. Must not read beacons.
"""

import re
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from collector.adapters.contract import Budget, Header, Request, Response
from collector.adapters.croct_models import UUID
from collector.event import Batch, Outcome, Verdict
from collector.refusal import QUARANTINED, SUSPENDED, Refusal, Violation

# The SDK's own ids are 32 hex digits; PHP and Next.js set dashed ones, of any version.
CLIENT_ID: Final = re.compile(rf"[0-9a-fA-F]{{32}}|{UUID}")


class Problem(msgspec.Struct, omit_defaults=True):
    """A problem document (RFC 9457); `status` is what the SDK goes by."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    violations: tuple[Violation, ...] = ()


_problem: Final = msgspec.json.Encoder()

# By the code of a refusal: last steps of the type, title. The vendor names all of the first two
# families but unknown-application and inactive-application; the rest keeps to their pattern.
_AUTHENTICATION: Final = "authentication/"
_INVALID_PAYLOAD: Final = ("event-tracking/invalid-payload", "Invalid event payload")
_PROBLEMS: Final = {
    "invalid_payload": _INVALID_PAYLOAD,
    "malformed_body": _INVALID_PAYLOAD,
    "unsupported_media_type": _INVALID_PAYLOAD,
    "missing_app_id": (_AUTHENTICATION + "missing-public-id", "Missing application ID"),
    "invalid_app_id": (_AUTHENTICATION + "invalid-public-id", "Invalid application ID"),
    "invalid_client_id": (_AUTHENTICATION + "invalid-client-id", "Invalid client ID"),
    "invalid_token": (_AUTHENTICATION + "invalid-token", "Invalid user token"),
    "missing_client_id": (_AUTHENTICATION + "missing-client-id", "Missing client ID"),
    "unsigned_token": (_AUTHENTICATION + "unsigned-token", "Unsigned user token"),
    "unknown_app": (_AUTHENTICATION + "unknown-application", "Unknown application"),
    "inactive_site": (_AUTHENTICATION + "inactive-application", "Inactive application"),
    "origin_missing": (_AUTHENTICATION + "forbidden-origin", "Forbidden origin"),
    "origin_refused": (_AUTHENTICATION + "forbidden-origin", "Forbidden origin"),
    "rate_limited": ("rate-limit-exceeded", "Rate limit exceeded"),
    "auth_throttled": ("rate-limit-exceeded", "Rate limit exceeded"),
    "body_too_large": ("payload-too-large", "Payload too large"),
    "body_too_slow": ("request-timeout", "Request timeout"),
    "overloaded": ("service-unavailable", "Service unavailable"),
    "queue_full": ("service-unavailable", "Service unavailable"),
    "storage_unavailable": ("service-unavailable", "Service unavailable"),
    "shutting_down": ("service-unavailable", "Service unavailable"),
    "internal_error": ("internal-error", "Internal error"),
}
# Statuses that are Croct's own where they differ from the table of refusals.
_STATUSES: Final = {"unsupported_media_type": 400, "inactive_site": 401, "origin_missing": 403}


def respond(
    request: Request, _batch: Batch, outcomes: list[Outcome], budget: Budget | None
) -> Response:
    """Answer a beacon that was taken, a repeat too: 204 and no body; a refused one as `refuse`."""
    for outcome in outcomes:
        if not isinstance(outcome, Verdict):
            return refuse(request, outcome, budget)
    return Response(status=204, headers=[])


def refuse(request: Request, refusal: Refusal, _budget: Budget | None) -> Response:
    """Say no with a problem document; by policy without one: suspended 202, kept aside 204.

    The message of a suspension is its reason and becomes the header `X-Suspension-Reason`.
    """
    kind = refusal.kind
    if kind == SUSPENDED:
        reason = refusal.message
        return Response(status=202, headers=[("x-suspension-reason", reason)])
    if kind == QUARANTINED or kind.outcome == "dropped":
        return Response(status=204, headers=[])
    name, title = _PROBLEMS.get(
        kind.code, (kind.code.replace("_", "-"), kind.code.replace("_", " ").capitalize())
    )
    status = _STATUSES.get(kind.code, kind.status)
    headers: list[Header] = [("content-type", "application/problem+json")]
    if status in {429, 503}:
        headers.append(("retry-after", str(refusal.retry_after_s or 1)))
    problem = Problem(
        type=f"https://croct.help/api/{name}",
        title=title,
        status=status,
        detail=refusal.message,
        instance=request.path,
        violations=refusal.violations,
    )
    return Response(status=status, headers=headers, body=_problem.encode(problem))


# --- the client id


def answer_client_id(request: Request, fresh_id: str) -> Response:
    """Give the client id: the one it asks to confirm, unchanged, else `fresh_id` (32 hex digits).

    The SDK takes the whole body for the id, so there is no line feed.
    """
    sent = ""
    for name, value in parse_qsl(request.query):
        if name == "cid":
            sent = value
            break
    client_id = sent if CLIENT_ID.fullmatch(sent) else fresh_id
    return Response(
        status=200,
        headers=[("content-type", "text/plain"), ("cache-control", "no-store")],
        body=client_id.encode(),
    )
