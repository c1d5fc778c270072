"""Why something was not accepted: the one table of refusals.

A `Kind` says what happened, how loudly to log it, how it counts, and which HTTP status a protocol
without an opinion of its own would use. An adapter turns a `Refusal` into its dialect and may use
another status where its vendor does. Adding a reason is adding a row here and to docs/PROTOCOLS.md.
"""

from typing import Final, Literal

import msgspec


class Kind(msgspec.Struct, frozen=True):
    """One reason. `code` is the metric's label; `retriable`: the same bytes may succeed later.

    `keeps`: the event is malformed, not unwanted, so that its bytes may be kept in quarantine and
    tried again when a rule has changed. Never for what was refused for privacy, for credentials,
    limits, or by a fault of ours: those must not be kept, or are sent again.
    `log` "warning" is for faults of ours only: what clients can cause at will must not fill a log,
    and is counted anyway.
    """

    code: str
    status: int
    retriable: bool = False
    outcome: Literal["rejected", "dropped"] = "rejected"
    log: Literal["none", "debug", "warning"] = "debug"
    keeps: bool = False


class Violation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One broken rule: `path` is a JSON pointer into the body ("" for the whole)."""

    reason: str
    path: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """A reason, told to the client in `message` (a sentence without secrets or echoed values).

    `path` names the member at fault, outermost first (("body", "metadata", "a")); `rule` is a short
    machine-readable name of the broken rule where a dialect has one (pydantic's `type`).
    `retry_after_s`: whole seconds until another try makes sense, 0 when unknown.
    """

    kind: Kind
    message: str
    path: tuple[str | int, ...] = ()
    rule: str = ""
    retry_after_s: int = 0
    violations: tuple[Violation, ...] = ()


# --- the request as such
METHOD_NOT_ALLOWED: Final = Kind("method_not_allowed", 405)
BODY_TOO_SLOW: Final = Kind("body_too_slow", 408, retriable=True)
BODY_TOO_LARGE: Final = Kind("body_too_large", 413)
UNSUPPORTED_ENCODING: Final = Kind("unsupported_encoding", 415)
UNSUPPORTED_MEDIA_TYPE: Final = Kind("unsupported_media_type", 415)
MALFORMED_BODY: Final = Kind("malformed_body", 400, keeps=True)

# --- its contents
MISSING_FIELD: Final = Kind("missing_field", 422, keeps=True)
INVALID_FIELD: Final = Kind("invalid_field", 422, keeps=True)
INVALID_PAYLOAD: Final = Kind("invalid_payload", 400, keeps=True)
BATCH_SIZE: Final = Kind("batch_size", 422, keeps=True)
FIELD_TOO_LARGE: Final = Kind("field_too_large", 422, keeps=True)
FIELD_TOO_DEEP: Final = Kind("field_too_deep", 422, keeps=True)
# Its bytes hold an address in plain text: not kept.
RAW_EMAIL: Final = Kind("raw_email", 422)
INVALID_EVENT_TYPE: Final = Kind("invalid_event_type", 422, keeps=True)
INVALID_TS: Final = Kind("invalid_ts", 422, keeps=True)
INVALID_IDEMPOTENCY_KEY: Final = Kind("invalid_idempotency_key", 422, keeps=True)
INVALID_VISITOR_ID: Final = Kind("invalid_visitor_id", 422, keeps=True)
INVALID_SESSION_ID: Final = Kind("invalid_session_id", 422, keeps=True)
INVALID_PROPS: Final = Kind("invalid_props", 422, keeps=True)
INVALID_PAYMENT_PROVIDER: Final = Kind("invalid_payment_provider", 422, keeps=True)
UNKNOWN_GOAL: Final = Kind("unknown_goal", 422, keeps=True)

# --- who sends it
MISSING_KEY: Final = Kind("missing_key", 401)
UNKNOWN_KEY: Final = Kind("unknown_key", 401)
PLAN_REQUIRED: Final = Kind("plan_required", 403)
SITE_FORBIDDEN: Final = Kind("site_forbidden", 403)
UNKNOWN_SITE: Final = Kind("unknown_site", 400)
INACTIVE_SITE: Final = Kind("inactive_site", 400)
ORIGIN_MISSING: Final = Kind("origin_missing", 403)
ORIGIN_REFUSED: Final = Kind("origin_refused", 403)
MISSING_APP_ID: Final = Kind("missing_app_id", 401)
INVALID_APP_ID: Final = Kind("invalid_app_id", 401)
UNKNOWN_APP: Final = Kind("unknown_app", 401)
MISSING_CLIENT_ID: Final = Kind("missing_client_id", 401)
INVALID_CLIENT_ID: Final = Kind("invalid_client_id", 401)
INVALID_TOKEN: Final = Kind("invalid_token", 401)
UNSIGNED_TOKEN: Final = Kind("unsigned_token", 401)

# --- how much
RATE_LIMITED: Final = Kind("rate_limited", 429, retriable=True, log="none")
MONTH_EXHAUSTED: Final = Kind("month_exhausted", 429, retriable=True, log="none")
AUTH_THROTTLED: Final = Kind("auth_throttled", 429, retriable=True, log="none")

# --- by policy: neither an error of the client nor of ours
GPC_OPTED_OUT: Final = Kind("gpc_opted_out", 200, outcome="dropped", log="none")
CONSENT_OPTED_OUT: Final = Kind("consent_opted_out", 200, outcome="dropped", log="none")
SUSPENDED: Final = Kind("suspended", 202, outcome="dropped", log="none")
LATE: Final = Kind("late", 204, outcome="dropped", log="none")
QUARANTINED: Final = Kind("quarantined", 204, outcome="rejected")

# --- the collector's own state
OVERLOADED: Final = Kind("overloaded", 503, retriable=True, log="none")
QUEUE_FULL: Final = Kind("queue_full", 503, retriable=True, log="none")
STORAGE_UNAVAILABLE: Final = Kind("storage_unavailable", 503, retriable=True, log="none")
SHUTTING_DOWN: Final = Kind("shutting_down", 503, retriable=True, log="none")
INTERNAL_ERROR: Final = Kind("internal_error", 500, retriable=True, log="warning")

# Codes of all reasons whose events may be kept.
KEPT_CODES: Final = tuple(
    sorted(kind.code for kind in list(globals().values()) if isinstance(kind, Kind) and kind.keeps)
)
