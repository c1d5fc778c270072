"""What `/openapi.json` tells of Scanova's events that their types do not tell by themselves."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from collector.adapters import scanova_answers, scanova_metadata
from collector.adapters import scanova_faults as faults
from collector.adapters.contract import Described
from collector.adapters.scanova_events import (
    BROWSER_REQUIRED,
    CONSENTS,
    SERVER_REQUIRED,
    SHA256,
    UUID,
    BrowserItem,
    ServerItem,
)
from collector.currencies import CURRENCIES
from collector.refusal import (
    BATCH_SIZE,
    FIELD_TOO_DEEP,
    FIELD_TOO_LARGE,
    INVALID_FIELD,
    MALFORMED_BODY,
    MISSING_FIELD,
    RAW_EMAIL,
)

EVENTS_MAX: Final = 100  # per batch, the vendor's

# What is asked of members behind the decoder.
_UUID_RULE: Final = {"type": ["string", "null"], "pattern": f"^{UUID}$"}
_SHA256_RULE: Final = {"type": ["string", "null"], "pattern": f"^{SHA256}$"}
_NOT_EMPTY: Final = {"type": "string", "minLength": 1}
_PIXELS_RULE: Final = {
    "type": ["integer", "null"],
    "minimum": 0,
    "maximum": faults.INTEGER_MAX,
}
_METADATA_RULE: Final = {
    "type": ["object", "null"],
    "description": f"at most {scanova_metadata.BYTES_MAX} bytes, without e-mail addresses",
}
_RULES: Final[Mapping[str, Mapping[str, Any]]] = {
    **{f"BrowserItem.{name}": _NOT_EMPTY for name in BROWSER_REQUIRED},
    **{f"ServerItem.{name}": _NOT_EMPTY for name in SERVER_REQUIRED},
    **{
        f"{item}.{name}": _UUID_RULE
        for item in ("BrowserItem", "ServerItem")
        for name in ("event_id", "web_session_id", "visitor_id")
    },
    "BrowserItem.scan_session_id": _UUID_RULE,
    "ServerItem.scan_session_id": {"type": "string", "pattern": f"^{UUID}$"},
    **{
        f"{item}.consent": {"enum": [*sorted(CONSENTS), None]}
        for item in ("BrowserItem", "ServerItem")
    },
    "BrowserItem.metadata": _METADATA_RULE,
    "ServerItem.properties": _METADATA_RULE,
    "Device.webdriver": {"description": "true: the browser is driven by a program"},
    **{f"Device.{name}": _PIXELS_RULE for name in ("screen_width", "screen_height")},
    "ConversionValue.amount": {"type": "number"},
    "ConversionValue.currency": {"enum": sorted(CURRENCIES)},
    "UserIdentifiers.email_hash": _SHA256_RULE,
    "UserIdentifiers.phone_hash": _SHA256_RULE,
}
_WIDER: Final = (
    "times must be ISO 8601; `metadata` is bounded in bytes and, of browsers, in depth; neither "
    "it nor `external_id` may hold an e-mail address; the site must exist and allow the sender"
)

_EVENT_REFUSALS: Final = (
    FIELD_TOO_DEEP,
    FIELD_TOO_LARGE,
    INVALID_FIELD,
    MISSING_FIELD,
    RAW_EMAIL,
)


# What a batch is decoded into has a place for each event instead of a list, and one more.
class _BrowserBatch(msgspec.Struct):
    events: Annotated[list[BrowserItem], msgspec.Meta(min_length=1, max_length=EVENTS_MAX)]


class _ServerBatch(msgspec.Struct):
    events: Annotated[list[ServerItem], msgspec.Meta(min_length=1, max_length=EVENTS_MAX)]


def _event(body: type[msgspec.Struct], answer: type[msgspec.Struct]) -> Described:
    return Described(
        body=(body,),
        rules=_RULES,
        wider=_WIDER,
        answers={200: answer},
        error=scanova_answers.Error,
        refusals=(MALFORMED_BODY, *_EVENT_REFUSALS),
    )


def _batch(body: type[msgspec.Struct]) -> Described:
    return Described(
        body=(body,),
        rules=_RULES,
        wider=f"an event that breaks the schema is no fault of the request; {_WIDER}",
        answers={200: scanova_answers.BatchAnswer},
        error=scanova_answers.Error,
        refusals=(BATCH_SIZE, INVALID_FIELD, MALFORMED_BODY, MISSING_FIELD),
        item_refusals=_EVENT_REFUSALS,
    )


BROWSER_EVENT: Final = _event(BrowserItem, scanova_answers.BrowserAnswer)
BROWSER_BATCH: Final = _batch(_BrowserBatch)
SERVER_EVENT: Final = _event(ServerItem, scanova_answers.ServerAnswer)
SERVER_BATCH: Final = _batch(_ServerBatch)
